"""The command line: nothing but parsing and printing. Results go to stdout, progress and logs to stderr."""

import dataclasses
import json
import logging
import os
import signal
import time
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.logging import RichHandler
from rich.markup import escape

from gan_components.errors import ArtifactError, InputError
from gan_components.training.cluster import is_chief
from pipelines import (
    chain,
    config,
    planning,
    production_commands,
    sample_command,
    schedule_command,
    terminal,
    workers,
)
from pipelines import doctor as check
from pipelines.options import (
    Bless,
    ConfigName,
    Data,
    Force,
    Images,
    Json,
    Only,
    Overrides,
    ResumeFrom,
    Root,
    RunId,
    ServingRoot,
    Until,
    Verify,
    Weights,
    workspace_at,
)
from pipelines.outcome import EXIT_CODES, Outcome, Request
from pipelines.records import new_run_id, write_summary

app = typer.Typer(
    help="From images to a gated, registered, servable generator by one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(production_commands.app)
app.add_typer(sample_command.app)
app.add_typer(schedule_command.app, name="schedule")


@app.command(
    epilog="Example: gan-pipelines run digits --set train.num_steps=500 --until train. "
    "Exit codes: 0 done, 99 blocked by the gate, 2 wrong settings or data, 1 anything else."
)
def run(
    name: ConfigName,
    root: Root = Path("gan-runs"),
    data: Data = None,
    weights: Weights = None,
    serving_root: ServingRoot = None,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    force: Force = None,
    run_id: RunId = None,
    verify: Verify = False,
    bless: Bless = None,
    resume_from: ResumeFrom = None,
    as_json: Json = False,
) -> None:
    """Ingest, train, evaluate, export: what is done already is not done again."""
    outcome = Outcome(run_id or new_run_id())
    summarized_in: Path | None = None
    began = time.monotonic()
    try:
        settings = config.load(name, overrides or ())
        request = Request(data, until, only, force, run_id, verify, weights, bless, resume_from)
        workspace = workspace_at(root, serving_root)
        workspace.create()
        if not logging.getLogger("pipelines").isEnabledFor(logging.DEBUG):
            terminal.native_notes_to(workspace.run_directory(outcome.run_id) / "native.log")
        if not is_chief(settings.train.strategy):
            # The chief's summary is the run's.
            code = workers.follow(settings, workspace, request, outcome)
        else:
            summarized_in = workspace.run_directory(outcome.run_id)
            chain.Run(
                config=settings,
                workspace=workspace,
                request=request,
                outcome=outcome,
                on_step=terminal.print_step,
                progress=terminal.Lines(),
            ).execute()
            code = EXIT_CODES[outcome.verdict]
    except InputError as error:
        code = _report(error, outcome, 2)
    except (SystemExit, KeyboardInterrupt) as stop:
        # Training has saved a checkpoint by now; the code is 128 + the signal's number.
        code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 130
        outcome.error = "stopped by a signal; run again to go on"
        terminal.err.print(outcome.error)
    except Exception as error:  # noqa: BLE001 (the process's edge: --json promises a document on failure too)
        code = _report(error, outcome, 1)
    if summarized_in:
        try:
            write_summary(summarized_in, outcome)
        except OSError as error:
            terminal.say(error)
            code = code or 1
    if as_json:
        typer.echo(json.dumps(outcome.document()))
    elif outcome.error is None:
        terminal.print_outcome(outcome, settings.name, time.monotonic() - began)
    raise typer.Exit(code)


@app.command(epilog="Example: gan-pipelines plan digits --set evaluate.num_samples=5000")
def plan(
    name: ConfigName,
    root: Root = Path("gan-runs"),
    data: Data = None,
    weights: Weights = None,
    serving_root: ServingRoot = None,
    overrides: Overrides = None,
    until: Until = None,
    only: Only = None,
    force: Force = None,
    run_id: RunId = None,
    verify: Verify = False,
    as_json: Json = False,
) -> None:
    """Say what `run` would do, and why. Runs nothing; of images in an object store it copies what is new."""
    try:
        settings = config.load(name, overrides or ())
        request = Request(data, until, only, force, run_id, verify, weights)
        steps = planning.plan(settings, workspace_at(root, serving_root), request)
    except (InputError, ArtifactError, OSError) as error:
        terminal.say(error)
        if as_json:
            typer.echo(json.dumps({"stages": [], "error": str(error)}))
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
    if as_json:
        typer.echo(json.dumps({"stages": [step.document() for step in steps]}))
        return
    for step in steps:
        terminal.out.print(terminal.line(step), highlight=False, soft_wrap=True)


@app.command(
    epilog="Example: gan-pipelines score samples/ photos/ --features inception --train training-photos/. "
    "Exit codes: 0 measured, 99 the memorization check fails, 2 wrong settings or data, 1 anything else."
)
def score(
    generated: Images,
    reference: Images,
    features: Annotated[
        str, typer.Option(help="random_conv (auto), pixels, inception (FID) or keras:NAME.")
    ] = "auto",
    weights: Weights = None,
    metrics: Annotated[
        str | None,
        typer.Option(metavar="LIST", show_default="all", help="distance,kernel,manifold,ms_ssim,sfid,..."),
    ] = None,
    train: Annotated[
        str | None, typer.Option(metavar="DATA", help="What the generator was trained on: checks memorization.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=4, max=1024, help="Resize all images to this side.")] = None,
    num_samples: Annotated[int, typer.Option(min=2, help="Images that a generator draws.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Of random subsets.")] = 0,
    root: Root = Path("gan-runs"),
    as_json: Json = False,
) -> None:
    """Measure any images against any others.

    A side is a folder of pictures, an .npz or .npy file, a prepared TFDS directory (DIR:SPLIT), or a SavedModel.
    """
    with terminal.edge(as_json=as_json) as document:
        document |= {"metrics": {}, "memorization": None}
        workspace = workspace_at(root, None)
        workspace.cache.mkdir(parents=True, exist_ok=True)
        if not logging.getLogger("pipelines").isEnabledFor(logging.DEBUG):
            terminal.native_notes_to(workspace.cache / "score.native.log")
        from gan_components.evaluation import standalone

        settings = standalone.Settings(
            features=features,
            weights=weights,
            metrics=metrics.split(",") if metrics else None,
            size=size,
            num_samples=num_samples,
            seed=seed,
            cache=workspace.cache,
        )
        document |= standalone.compare(generated, reference, settings, train=train, progress=terminal.Lines())
    copies = document["memorization"]
    if not as_json:
        terminal.print_metrics(document["metrics"])
        if copies:
            verdict = f"[bold]memorization {copies['verdict']}[/]: {escape(copies['reason'])}"
            terminal.out.print(verdict, soft_wrap=True)
    if copies and copies["verdict"] == "FAIL":
        raise typer.Exit(99)


@app.command()
def presets(as_json: Json = False) -> None:
    """List the presets that ship with the package."""
    rows = {
        preset: next(iter(path.read_text().splitlines()), "").lstrip("# ")
        for preset, path in config.presets().items()
    }
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for preset, line in rows.items():
        terminal.out.print(f"[bold]{preset:10}[/] {line}")


@app.command(epilog="Example: gan-pipelines doctor --root /data/gan-runs")
def doctor(root: Root = Path("gan-runs"), serving_root: ServingRoot = None, as_json: Json = False) -> None:
    """Say what this machine can do for a pipeline, by trying it. Exit code 1 if none can run."""
    found = []
    for finding in check.findings(workspace_at(root, serving_root)):
        found.append(finding)
        if not as_json:
            line = f"[bold]{finding.check:17}[/] {terminal.mark(finding.status)}  {escape(finding.text)}"
            terminal.out.print(line, highlight=False, soft_wrap=True)
    if as_json:
        typer.echo(json.dumps({"findings": [dataclasses.asdict(finding) for finding in found]}))
    if any(finding.status == "broken" for finding in found):
        raise typer.Exit(1)


@app.callback()
def _start(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more to stderr.")] = False,
) -> None:
    # TensorFlow's start-up notes are not this program's output; its warnings and errors still are.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(
        # Libraries' remarks on one another are no news to a user.
        level=logging.DEBUG if verbose else logging.ERROR,
        format="%(message)s",
        handlers=[RichHandler(console=terminal.err, show_path=verbose, show_time=False, markup=False)],
    )
    logging.captureWarnings(True)
    for package in ("pipelines", "gan_components"):
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)
    signal.signal(signal.SIGTERM, _terminate)


def _terminate(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def _report(error: Exception, outcome: Outcome, code: int) -> int:
    outcome.verdict = "failed"
    outcome.error = str(error) or type(error).__name__
    terminal.say(error)
    if code == 1 and logging.getLogger("pipelines").isEnabledFor(logging.DEBUG):
        terminal.err.print(traceback.format_exc(), markup=False, highlight=False)
    return code


def main() -> None:
    """Entry point of ``gan-pipelines`` and ``python -m pipelines``."""
    app()
