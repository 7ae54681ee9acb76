"""What people read: results on stdout, steps, progress and errors on stderr."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from gan_components.errors import InputError
from pipelines.outcome import Outcome, Step

out = Console()
err = Console(stderr=True)

_STYLES = {
    "hit": "green",
    "ran": "cyan",
    "miss": "yellow",
    "blocked": "red",
    "ok": "green",
    "limited": "yellow",
    "broken": "red",
}


class Lines:
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


@contextmanager
def edge(*, as_json: bool) -> Iterator[dict[str, Any]]:
    """The edge of a command: gives the document to fill, tells errors, and ends with their exit codes.

    With `as_json` the document is printed in the end, on failure with the key ``error``.
    """
    document: dict[str, Any] = {}
    code = 0
    try:
        yield document
    except Exception as error:  # noqa: BLE001 (--json promises a document on failure too)
        code = 2 if isinstance(error, InputError) else 1
        document["error"] = str(error) or type(error).__name__
        say(error)
    if as_json:
        typer.echo(json.dumps(document))
    if code:
        raise typer.Exit(code)


def say(error: Exception) -> None:
    """Prints an error's message."""
    text = str(error) or type(error).__name__
    err.print(f"[red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)


def print_step(step: Step) -> None:
    """Prints a step on stderr, as it ends."""
    err.print(line(step), highlight=False, soft_wrap=True)


def line(step: Step) -> str:
    """A step in one line, with rich's marks."""
    seconds = f" in {step.seconds:.0f} s" if step.seconds else ""
    return f"[bold]{step.stage:8}[/] {mark(step.status)}{seconds}  {escape(step.reason)}"


def mark(status: str) -> str:
    """A status in its colour, with rich's marks."""
    return f"[{_STYLES[status]}]{status}[/]" if status in _STYLES else status


def print_outcome(outcome: Outcome, name: str, seconds: float) -> None:
    """Prints what came of a run, the numbers and where things lie."""
    print_metrics(outcome.metrics)
    rows: dict[str, object] = {}
    if trained := outcome.made.get("train"):
        # Grids are named by step: the last is that of the generator as it ships.
        rows["samples"] = max((trained / "samples").glob("*.png"), default=None)
    if evaluated := outcome.made.get("evaluate"):
        rows["report"] = evaluated / "report.html"
    if outcome.pushed:
        rows["served"] = outcome.pushed.get("address", outcome.pushed["path"])
        rows["registry"] = f"models:/{name}/{outcome.pushed['registry_version']}"
    for row, value in rows.items():
        if value:
            out.print(f"{row:9} {value}", highlight=False, soft_wrap=True)
    if outcome.drift:
        text = f"drift     {outcome.drift['verdict']}: {outcome.drift['reason']}"
        out.print(text, highlight=False, markup=False, soft_wrap=True)
    if outcome.verdict == "blocked" and outcome.blessing:
        out.print(f"[red]blocked[/] by the gate: {escape(str(outcome.blessing['reason']))}", soft_wrap=True)
    out.print(f"[bold]{outcome.verdict}[/] in {seconds:.0f} s", highlight=False)


def print_metrics(metrics: dict[str, Any]) -> None:
    """Prints each metric with its interval and its protocol."""
    for metric, one in metrics.items():
        interval = f"[{one['low']:.4g}, {one['high']:.4g}]"
        text = f"{metric:27}{one['value']:<10.4g}{interval:23}{one['protocol']}"
        out.print(text, highlight=False, markup=False, soft_wrap=True)


def native_notes_to(path: Path) -> None:
    """Sends to a file what native code writes to descriptor 2; Python's stderr stays where it was.

    TensorFlow's C++ side writes start-up notes and optimizer remarks there whatever its settings are.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    notes = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(notes, 2)
    os.close(notes)
