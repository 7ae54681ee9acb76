"""The command line: nothing but parsing and printing. Results go to stdout, progress and logs to stderr."""

import json
import logging
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape

from gan_components.errors import ArtifactError, InputError
from gan_components.training.cluster import is_chief
from pipelines import chain, config, workers
from pipelines.outcome import EXIT_CODES, Outcome, Request, Stage, Step
from pipelines.records import new_run_id
from pipelines.workspace import Workspace

app = typer.Typer(
    help="From images to a gated, registered, servable generator by one command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()
err = Console(stderr=True)

ConfigName = Annotated[str, typer.Argument(metavar="CONFIG", help="A preset's name or a YAML file.")]
Root = Annotated[
    Path, typer.Option(envvar="GAN_PIPELINES_ROOT", help="Where artifacts, cache, runs and registry lie.")
]
Data = Annotated[str | None, typer.Option(help="The images: a folder, or what the preset's source reads.")]
Weights = Annotated[Path | None, typer.Option(help="Weights of inception or keras:NAME.  [default: download]")]
ServingRoot = Annotated[Path | None, typer.Option(help="Where TF Serving reads.  [default: ROOT/serving]")]
Images = Annotated[str, typer.Argument(help="Folder, .npz, .npy, TFDS directory or SavedModel.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. train.batch_size=128.")
]
Until = Annotated[Stage | None, typer.Option(help="Stop after this stage.")]
Only = Annotated[Stage | None, typer.Option(help="Run this stage; earlier ones must be done.")]
Force = Annotated[Stage | None, typer.Option(help="Rebuild this stage.")]
RunId = Annotated[str | None, typer.Option(help="Share one plan and MLflow run between tasks.")]
Verify = Annotated[bool, typer.Option(help="Read every byte instead of trusting sizes and times.")]
Bless = Annotated[str | None, typer.Option(metavar="WHY", help="Overrule failed checks of quality, on record.")]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]
_MARKS = {
    "hit": "[green]hit[/]",
    "ran": "[cyan]ran[/]",
    "miss": "[yellow]miss[/]",
    "blocked": "[red]blocked[/]",
}


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
    as_json: Json = False,
) -> None:
    """Ingest, train, evaluate, export: what is done already is not done again."""
    outcome = Outcome(run_id or new_run_id())
    began = time.monotonic()
    try:
        settings = config.load(name, overrides or ())
        request = Request(data, until, only, force, run_id, verify, weights, bless)
        workspace = _workspace(root, serving_root)
        workspace.create()
        if not logging.getLogger("pipelines").isEnabledFor(logging.DEBUG):
            _native_notes_to(workspace.run_directory(outcome.run_id) / "native.log")
        if not is_chief(settings.train.strategy):
            code = workers.follow(settings, workspace, request, outcome)
        else:
            chain.Run(
                config=settings,
                workspace=workspace,
                request=request,
                outcome=outcome,
                on_step=_print_step,
                progress=_Lines(),
            ).execute()
            code = EXIT_CODES[outcome.verdict]
    except InputError as error:
        code = _report(error, outcome, 2)
    except (SystemExit, KeyboardInterrupt) as stop:
        # Training has saved a checkpoint by now; the code is 128 + the signal's number.
        code = stop.code if isinstance(stop, SystemExit) and isinstance(stop.code, int) else 130
        outcome.error = "stopped by a signal; run again to go on"
        err.print(outcome.error)
    except Exception as error:  # noqa: BLE001 (the process's edge: --json promises a document on failure too)
        code = _report(error, outcome, 1)
    if as_json:
        typer.echo(json.dumps(outcome.document()))
    elif outcome.error is None:
        _print_outcome(outcome, settings.name, time.monotonic() - began)
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
    """Say what `run` would do, and why. Runs nothing."""
    try:
        settings = config.load(name, overrides or ())
        request = Request(data, until, only, force, run_id, verify, weights)
        steps = chain.plan(settings, _workspace(root, serving_root), request)
    except (InputError, ArtifactError) as error:
        _say(error)
        if as_json:
            typer.echo(json.dumps({"stages": [], "error": str(error)}))
        raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
    if as_json:
        typer.echo(json.dumps({"stages": [step.document() for step in steps]}))
        return
    for step in steps:
        out.print(_line(step), highlight=False, soft_wrap=True)


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
        str | None, typer.Option(metavar="LIST", help="distance,kernel,manifold,ms_ssim,sfid,...  [default: all]")
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
    document: dict[str, Any] = {"metrics": {}, "memorization": None}
    code = 0
    try:
        workspace = _workspace(root, None)
        workspace.create()
        if not logging.getLogger("pipelines").isEnabledFor(logging.DEBUG):
            _native_notes_to(workspace.root / "score.native.log")
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
        document = standalone.compare(generated, reference, settings, train=train, progress=_Lines())
    except (InputError, ValueError) as error:
        document["error"], code = str(error), 2
        _say(error)
    except Exception as error:  # noqa: BLE001 (the process's edge: --json promises a document on failure too)
        document["error"], code = str(error) or type(error).__name__, 1
        _say(error)
    copies = document["memorization"]
    if copies and copies["verdict"] == "FAIL":
        code = 99
    if as_json:
        typer.echo(json.dumps(document))
    else:
        _print_metrics(document["metrics"])
        if copies:
            out.print(f"[bold]memorization {copies['verdict']}[/]: {escape(copies['reason'])}", soft_wrap=True)
    raise typer.Exit(code)


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
        out.print(f"[bold]{preset:10}[/] {line}")


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
        handlers=[RichHandler(console=err, show_path=verbose, show_time=False, markup=False)],
    )
    logging.captureWarnings(True)
    for package in ("pipelines", "gan_components"):
        logging.getLogger(package).setLevel(logging.DEBUG if verbose else logging.INFO)
    signal.signal(signal.SIGTERM, _terminate)


def _native_notes_to(path: Path) -> None:
    """Sends to a file what native code writes to descriptor 2; Python's stderr stays where it was.

    TensorFlow's C++ side writes start-up notes and optimizer remarks there whatever its settings are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(notes, 2)
    os.close(notes)


def _terminate(signum: int, frame: object) -> NoReturn:
    raise SystemExit(128 + signum)


def _workspace(root: Path, serving_root: Path | None) -> Workspace:
    return Workspace.at(root, serving_root=serving_root, tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"))


class _Lines:
    """Progress as lines on stderr: overwritten on a terminal, one every ten seconds in a log."""

    def __init__(self) -> None:
        self._last = 0.0
        self._line = ""
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - self._last < (0.2 if self._terminal else 10.0) and done != total:
            return
        self._last = now
        line = f"  {done:,}/{total:,}  {text}"
        if line == self._line:
            return
        self._line = line
        if self._terminal:
            line = f"\r\x1b[K{line}"
        sys.stderr.write(line if self._terminal and done != total else f"{line}\n")
        sys.stderr.flush()


def _report(error: Exception, outcome: Outcome, code: int) -> int:
    outcome.verdict = "failed"
    outcome.error = str(error) or type(error).__name__
    _say(error)
    if code == 1 and logging.getLogger("pipelines").isEnabledFor(logging.DEBUG):
        err.print(traceback.format_exc(), markup=False, highlight=False)
    return code


def _say(error: Exception) -> None:
    text = str(error) or type(error).__name__
    err.print(f"[red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _print_step(step: Step) -> None:
    err.print(_line(step), highlight=False, soft_wrap=True)


def _line(step: Step) -> str:
    mark = _MARKS.get(step.status, step.status)
    seconds = f" in {step.seconds:.0f} s" if step.seconds else ""
    return f"[bold]{step.stage:8}[/] {mark}{seconds}  {escape(step.reason)}"


def _print_outcome(outcome: Outcome, name: str, seconds: float) -> None:
    _print_metrics(outcome.metrics)
    rows: dict[str, object] = {}
    if trained := outcome.made.get("train"):
        # Grids are named by step: the last is that of the generator as it ships.
        rows["samples"] = max((trained / "samples").glob("*.png"), default=None)
    if evaluated := outcome.made.get("evaluate"):
        rows["report"] = evaluated / "report.html"
    if outcome.pushed:
        rows["served"] = outcome.pushed["path"]
        rows["registry"] = f"models:/{name}/{outcome.pushed['registry_version']}"
    for row, value in rows.items():
        if value:
            out.print(f"{row:9} {value}", highlight=False, soft_wrap=True)
    if outcome.verdict == "blocked" and outcome.blessing:
        out.print(f"[red]blocked[/] by the gate: {escape(str(outcome.blessing['reason']))}", soft_wrap=True)
    out.print(f"[bold]{outcome.verdict}[/] in {seconds:.0f} s", highlight=False)


def _print_metrics(metrics: dict[str, Any]) -> None:
    for metric, one in metrics.items():
        interval = f"[{one['low']:.4g}, {one['high']:.4g}]"
        line = f"{metric:27}{one['value']:<10.4g}{interval:23}{one['protocol']}"
        out.print(line, highlight=False, markup=False, soft_wrap=True)


def main() -> None:
    """Entry point of ``gan-pipelines`` and ``python -m pipelines``."""
    app()
