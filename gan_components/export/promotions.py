"""The promotion log: what was in production when, by whom and why. One JSON line a promotion, never rewritten.

MLflow moves an alias without keeping what it pointed to before. Reading this log needs neither MLflow nor
TensorFlow, so that a run with nothing to do stays quick.
"""

import datetime
import getpass
import logging
import os
import socket
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError

from gan_components import locks
from gan_components.errors import ArtifactError

_log = logging.getLogger(__name__)


class Promotion(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One move of production.

    Attributes:
        when: UTC, ISO 8601 with microseconds; texts sort by time.
        who: user and host.
        from_version: serving version that was in production before; None for the first.
        to_version: serving version that went into production.
        registry_version: the same generator in MLflow's registry.
        generator_digest: content digest of the trained model.
        model_fingerprint: of the TrainedModel; names its directory under ``artifacts/train``.
        evaluation_fingerprint: of the Evaluation that blessed it.
        metric: name of the primary distance.
        protocol: its full name; with `extractor`, what must be equal for two values to compare.
        extractor: identity of the feature extractor.
        value: the distance; lower is better.
        why: in words.
    """

    schema_version: Literal[1] = 1
    when: str
    who: str
    model: str
    from_version: int | None
    to_version: int
    registry_version: str
    generator_digest: str
    model_fingerprint: str
    evaluation_fingerprint: str
    metric: str
    protocol: str
    extractor: str
    value: float
    why: str


def now() -> str:
    """The time as the log writes it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")


def caller() -> str:
    """The user and host that act, as the log writes them."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def log_path(root: Path, model: str) -> Path:
    """The promotion log of `model`."""
    return root / "promotions" / f"{model}.jsonl"


def lock(root: Path, model: str) -> AbstractContextManager[None]:
    """Held from reading the champion to the end of its replacement; the same thread may take it again."""
    return locks.held(log_path(root, model).with_suffix(".lock"), f"promoting {model}")


def append(root: Path, promotion: Promotion) -> None:
    """Adds a record; it is on the disk when this returns. Call it under :func:`lock`."""
    path = log_path(root, promotion.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        complete, torn = _split(file.read())
        if torn:
            _log.warning("%s: dropping an unfinished last line that a crash left", path)
            file.truncate(len(complete))
        file.write(promotion.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_all(root: Path, model: str) -> list[Promotion]:
    """Every promotion of `model`, oldest first.

    Raises:
        ArtifactError: a complete line is not a record.
    """
    path = log_path(root, model)
    try:
        complete, torn = _split(path.read_bytes())
    except FileNotFoundError:
        return []
    if torn:
        _log.warning("%s: ignoring an unfinished last line that a crash left", path)
    promotions = []
    for number, line in enumerate(complete.splitlines(), 1):
        try:
            promotions.append(Promotion.model_validate_json(line))
        except ValidationError as error:
            raise ArtifactError(
                f"{path}, line {number} is not a promotion record: {error.errors()[0]['msg']}; the log is "
                "append-only, restore the line from a backup or move the damaged file away"
            ) from None
    return promotions


def pushed(root: Path, model: str, generator_digest: str) -> Promotion | None:
    """The last promotion of the generator with this content digest; None if it never was in production."""
    found = [p for p in read_all(root, model) if p.generator_digest == generator_digest]
    return found[-1] if found else None


def best(root: Path, model: str, *, protocol: str, extractor: str) -> float | None:
    """The lowest distance of any promoted generator, of those measured alike; None without one."""
    alike = [p for p in read_all(root, model) if (p.protocol, p.extractor) == (protocol, extractor)]
    return min((p.value for p in alike), default=None)


def highest_version(root: Path, model: str) -> int:
    """The highest serving version that ever was in production; 0 without any."""
    return max((p.to_version for p in read_all(root, model)), default=0)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """The complete lines, and what stands after the last newline: a record counts when its newline is there."""
    end = data.rfind(b"\n") + 1
    return data[:end], data[end:]
