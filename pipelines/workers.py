"""The workers of a distributed training: how they find what the chief trains, and how it ended.

Every worker of ``TF_CONFIG`` runs the same command with the same ``--run-id`` on the same file system. The first
one, the chief, plans, locks and runs the chain. The others take no lock: they wait for the chief's note in
``runs/<run-id>/workers.json``, take part in the training that it names, and exit with the chief's code.
"""

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError

from gan_components.artifacts import Examples, write_atomically
from gan_components.errors import InputError, TrainingError
from pipelines.config import PipelineConfig
from pipelines.outcome import EXIT_CODES, Outcome, Request, Verdict
from pipelines.workspace import Workspace

_FILE, _LOCK = "workers.json", "chief.lock"
_POLL_SECONDS = 0.5
# For a chief that starts later than its workers, or again after a failure.
PATIENCE_SECONDS = 600.0

_log = logging.getLogger(__name__)


class Note(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What the chief tells.

    Attributes:
        attempt: another for every start of the chief.
        examples: directory of the examples that are trained on, below the root; None until training begins.
        trained: directory of the model that is being trained, below the root.
        verdict: of the run, once it has ended.
        exit_code: with it.
    """

    attempt: str
    examples: str | None = None
    trained: str | None = None
    verdict: Verdict | None = None
    exit_code: int | None = None


@contextmanager
def led(config: PipelineConfig, workspace: Workspace, outcome: Outcome) -> Iterator[None]:
    """The chief's run: workers see that it lives, and in the end how it ended. Nothing without workers."""
    if config.train.strategy != "multi_worker":
        yield
        return
    directory = workspace.run_directory(outcome.run_id)
    directory.mkdir(parents=True, exist_ok=True)
    note, code = Note(attempt=secrets.token_hex(8)), 1
    with FileLock(directory / _LOCK):
        _write(directory, note)
        try:
            yield
            code = EXIT_CODES[outcome.verdict]
        except InputError:
            code = 2
            raise
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
            raise
        finally:
            _write(directory, note.model_copy(update={"verdict": outcome.verdict, "exit_code": code}))


def call(config: PipelineConfig, workspace: Workspace, outcome: Outcome, examples: Path, trained: Path) -> None:
    """Tells the workers what the chief is about to train."""
    if config.train.strategy != "multi_worker":
        return
    directory = workspace.run_directory(outcome.run_id)
    note = _read(directory)
    if note is None:
        raise TrainingError(f"{directory / _FILE} vanished; start all workers again")
    places = {"examples": examples, "trained": trained}
    relative = {name: str(path.relative_to(workspace.root)) for name, path in places.items()}
    _write(directory, note.model_copy(update=relative))


def follow(config: PipelineConfig, workspace: Workspace, request: Request, outcome: Outcome) -> int:
    """A worker's run: takes part in the chief's training and returns its exit code.

    Raises:
        InputError: without ``--run-id`` workers and chief cannot meet.
        TrainingError: the chief did not come, or died.
    """
    if request.run_id is None:
        raise InputError("train.strategy multi_worker needs the same --run-id for every worker; give one")
    directory = workspace.run_directory(request.run_id)
    # What ended before this process began was another attempt, unless nobody starts a new one.
    finished = _read(directory)
    ended = finished.attempt if finished and finished.exit_code is not None else None
    joined, last_seen = None, time.monotonic()
    while True:
        note = _read(directory)
        if note and note.attempt != ended:
            if note.exit_code is not None and note.verdict is not None:
                outcome.verdict = note.verdict
                return note.exit_code
            if note.trained and note.examples and joined != note.attempt:
                _log.info("training together with the chief of run %s", request.run_id)
                _join(config, workspace, note)
                joined = note.attempt
        if _lives(directory):
            last_seen = time.monotonic()
        elif joined:
            raise TrainingError(f"the chief of run {request.run_id!r} died; start all workers again to resume")
        elif time.monotonic() - last_seen > PATIENCE_SECONDS:
            if finished and finished.exit_code is not None and finished.verdict is not None:
                outcome.verdict = finished.verdict
                return finished.exit_code
            raise TrainingError(
                f"no chief of run {request.run_id!r} came within {PATIENCE_SECONDS:.0f} s; start the first worker "
                "of TF_CONFIG with the same --run-id and --root"
            )
        time.sleep(_POLL_SECONDS)


def _join(config: PipelineConfig, workspace: Workspace, note: Note) -> None:
    from gan_components.training.stage import join

    examples = Examples.open(workspace.root / str(note.examples))
    join(examples, config.train, out=workspace.root / str(note.trained), seed=config.seed)


def _lives(directory: Path) -> bool:
    """Whether some process holds the chief's lock. The operating system frees it when its holder dies."""
    lock = FileLock(directory / _LOCK)
    try:
        lock.acquire(timeout=0)
    except (Timeout, FileNotFoundError):
        return directory.exists()
    lock.release()
    return False


def _read(directory: Path) -> Note | None:
    try:
        return Note.model_validate_json((directory / _FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _write(directory: Path, note: Note) -> None:
    write_atomically(directory / _FILE, note.model_dump_json(indent=1).encode())
