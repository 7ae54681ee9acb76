"""Commands about what is in production: ``promote``, ``rollback``, ``history``, and ``gc`` of what is not."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from gan_components.errors import InputError
from gan_components.export import promotions
from pipelines import gc as collection
from pipelines import terminal
from pipelines.options import Json, Root, ServingRoot, workspace_at

app = typer.Typer()

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Its name: `name` in the configuration.")]
Why = Annotated[str | None, typer.Option(help="Reason, for the log.")]


@app.command(epilog='Example: gan-pipelines promote digits 3 --why "the new one draws no sevens"')
def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="Number in the registry, or an alias such as candidate.")],
    why: Why = None,
    root: Root = Path("gan-runs"),
    serving_root: ServingRoot = None,
    as_json: Json = False,
) -> None:
    """Put a registered version into production: registry alias, models.config and log together."""
    _move(model, version, why or "promoted by hand", root, serving_root, as_json=as_json)


@app.command(epilog='Example: gan-pipelines rollback digits --why "complaints about blurred images"')
def rollback(
    model: Model,
    to: Annotated[str, typer.Option(help="Number in the registry, or an alias.")] = "previous",
    why: Why = None,
    root: Root = Path("gan-runs"),
    serving_root: ServingRoot = None,
    as_json: Json = False,
) -> None:
    """Put back what was in production before. A second time this undoes the first."""
    _move(model, to, why or "rolled back by hand", root, serving_root, as_json=as_json)


@app.command(epilog="Example: gan-pipelines history digits --json")
def history(model: Model, root: Root = Path("gan-runs"), as_json: Json = False) -> None:
    """Say what was in production when, by whom and why. Reads the promotion log alone."""
    with terminal.edge(as_json=as_json) as document:
        moves = promotions.read_all(root.expanduser().absolute(), model)
        if not moves:
            raise InputError(
                f"nothing of {model!r} was ever in production below {root}; check the name and --root"
            )
        document["promotions"] = [move.model_dump(mode="json") for move in moves]
        if as_json:
            return
        for move in moves:
            came = "-" if move.from_version is None else move.from_version
            line = f"{move.when[:19]}  {came} -> {move.to_version}  {move.metric} {move.value:.4g}  {move.who}"
            line += f"  {' '.join(move.why.split())}"
            terminal.out.print(escape(line), highlight=False, soft_wrap=True)


@app.command(
    epilog="Example: gan-pipelines gc --keep 5 --dry-run. Give --serving-root if the runs were given one: what "
    "stands there is in use."
)
def gc(
    keep: Annotated[
        int, typer.Option(min=1, help="How many of the newest artifacts of each stage, runs and promotions stay.")
    ] = 3,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; delete nothing.")] = False,
    root: Root = Path("gan-runs"),
    serving_root: ServingRoot = None,
    as_json: Json = False,
) -> None:
    """Delete artifacts that nothing in use reaches, and old runs."""
    with terminal.edge(as_json=as_json) as document:
        workspace = workspace_at(root, serving_root)
        workspace.require_registry()
        with collection.idle(workspace):
            garbage = collection.find(workspace, keep=keep)
            if not dry_run:
                collection.delete(garbage)
        total = sum(one.num_bytes for one in garbage)
        document["deleted"] = [{"path": str(one.path), "bytes": one.num_bytes, "why": one.why} for one in garbage]
        document |= {"bytes": total, "dry_run": dry_run}
        if as_json:
            return
        for one in garbage:
            line = f"{one.num_bytes:>15,}  {one.path.relative_to(workspace.root)}  {one.why}"
            terminal.out.print(escape(line), highlight=False, soft_wrap=True)
        said = "would be deleted" if dry_run else "deleted"
        terminal.out.print(f"{total:>15,}  bytes in {len(garbage)} directories {said}", highlight=False)


def _move(model: str, version: str, why: str, root: Path, serving_root: str | None, *, as_json: bool) -> None:
    with terminal.edge(as_json=as_json) as document:
        from gan_components.export import production, registry

        workspace = workspace_at(root, serving_root)
        destination = workspace.destination(model)
        workspace.require_registry()
        number = version
        if not version.isdecimal():
            found = registry.by_alias(destination.tracking_uri, model, version)
            if found is None:
                raise InputError(f"no version of {model!r} has the alias {version!r}; see `gan-pipelines history`")
            number = found.version
        moved = production.promote(destination, number, why=why)
        document |= {"version": number, "promotion": moved.model_dump(mode="json") if moved else None}
        if not as_json:
            said = f"is in production: {why}" if moved else "is in production already"
            terminal.out.print(f"{escape(model)} version {number} {escape(said)}", highlight=False, soft_wrap=True)
