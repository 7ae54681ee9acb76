"""What stages exchange: a directory and its manifest, complete or absent.

A stage fills ``work_directory(out, recipe)`` and then seals it: the manifest is written last and the
directory is renamed into place, so that a reader sees all of an artifact or none of it, whenever the writer
died.
"""

import datetime
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, JsonValue, ValidationError

from gan_components.errors import ArtifactError, InputError
from gan_components.fingerprints import Recipe, digest_file, digest_json

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_WORK = ".work-"
_TAKEN_OVER = "taken_over"

Progress = Callable[[int, int, str], None]
"""``progress(done, total, text)``: how a stage reports long work; it never prints."""


def no_progress(done: int, total: int, text: str) -> None:
    """The progress callback of callers that do not want to know."""


class FileRecord(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One file of an artifact. Size and time find a change quickly, the hash proves it."""

    size: int
    mtime_ns: int
    sha256: str


class Manifest(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What an artifact says about itself; see the attributes of :class:`Artifact`."""

    schema_version: int
    kind: str
    fingerprint: str
    content_digest: str
    recipe: Recipe
    created_at: str
    properties: dict[str, JsonValue]
    files: dict[str, FileRecord]


class Artifact:
    """A complete directory with a valid manifest.

    Attributes:
        directory: where it lies.
        manifest: what made it (recipe), what it holds (files, typed properties) and the digest of its
            content, which is what the next stage's fingerprint sees.
    """

    kind: ClassVar[str]

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"{self.kind}({str(self.directory)!r})"

    @property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @property
    def content_digest(self) -> str:
        return self.manifest.content_digest

    @property
    def properties(self) -> dict[str, Any]:
        return self.manifest.properties

    @classmethod
    def open(cls, directory: Path, *, verify: bool = False) -> Self:
        """Opens an artifact after checking that it is whole.

        Args:
            directory: the artifact's directory.
            verify: hash every file; otherwise only those whose size or time changed are hashed.

        Raises:
            ArtifactError: no manifest, another kind or schema, a file missing or altered.
        """
        path = directory / MANIFEST
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise ArtifactError(f"{directory} holds no complete {cls.kind}: {MANIFEST} is missing") from None
        except ValidationError as error:
            raise ArtifactError(
                f"{path} is not a manifest of schema {SCHEMA_VERSION}: {error.errors()[0]['msg']}; "
                "delete the directory to have it rebuilt"
            ) from None
        if manifest.schema_version != SCHEMA_VERSION:
            raise ArtifactError(
                f"{directory} has manifest schema {manifest.schema_version}, this one reads {SCHEMA_VERSION}"
            )
        if manifest.kind != cls.kind:
            raise ArtifactError(f"{directory} holds {manifest.kind}, expected {cls.kind}")
        for name, record in manifest.files.items():
            _check(directory / name, record, verify=verify)
        return cls(directory, manifest)

    @classmethod
    def seal(
        cls,
        out: Path,
        recipe: Recipe,
        *,
        properties: dict[str, Any] | None = None,
        content_digest: str | None = None,
    ) -> Self:
        """Writes the manifest of ``work_directory(out, recipe)`` and renames that directory to `out`.

        Args:
            out: the artifact's final directory; what stood there before is replaced.
            recipe: what made it.
            properties: typed values that readers need without opening the files.
            content_digest: identity of the content; default: over the names and hashes of all files. Stages
                whose files hold times or other accidents give one that does not.
        """
        work = work_path(out, recipe)
        files = {
            path.relative_to(work).as_posix(): _record(path)
            for path in sorted(work.rglob("*"))
            if path.is_file() and path.name != MANIFEST
        }
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            kind=cls.kind,
            fingerprint=recipe.fingerprint,
            content_digest=content_digest or digest_json({name: record.sha256 for name, record in files.items()}),
            recipe=recipe,
            created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            properties=properties or {},
            files=files,
        )
        write_atomically(work / MANIFEST, manifest.model_dump_json(indent=1).encode())
        if out.exists():
            # Only a forced rebuild comes here. A reader between the renames finds nothing, never a mixture.
            replaced = out.with_name(f".replaced-{out.name}")
            shutil.rmtree(replaced, ignore_errors=True)
            out.rename(replaced)
            work.rename(out)
            shutil.rmtree(replaced)
        else:
            work.rename(out)
        sync(out.parent)
        return cls(out, manifest)


class Examples(Artifact):
    """Images ready for training: a TFDS-format data set with the splits ``train`` and ``holdout``."""

    kind = "Examples"


class TrainedModel(Artifact):
    """A trained generator: ``generator/`` (SavedModel), ``checkpoints/``, ``history.jsonl``, ``samples/``."""

    kind = "TrainedModel"

    @property
    def generator_directory(self) -> Path:
        return self.directory / "generator"


class Evaluation(Artifact):
    """A model's measurements: ``metrics.json``, ``memorization.json``, ``checks.json``, ``report.html``."""

    kind = "Evaluation"


class PushedModel(Artifact):
    """The record of a push: ``push.json``, ``blessing.json``, ``infra_validation.json``."""

    kind = "PushedModel"


def work_path(out: Path, recipe: Recipe) -> Path:
    """Where the unfinished artifact of `recipe` lies, beside `out`."""
    return out.with_name(f"{_WORK}{recipe.fingerprint}")


def work_directory(out: Path, recipe: Recipe, *, resume: bool = False) -> Path:
    """Makes the directory in which a stage works.

    Args:
        out: the artifact's final directory.
        recipe: what will make it; only work under the same fingerprint is ever resumed.
        resume: keep what a crashed run left there; otherwise start empty.
    """
    work = work_path(out, recipe)
    if not resume:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work


def take_over(unfinished: Path, out: Path, recipe: Recipe) -> None:
    """Makes the unfinished work of another recipe that of `recipe`; :func:`taken_over` tells of it.

    Raises:
        InputError: it is no unfinished work of this stage, or `recipe` has some of its own.
    """
    work = work_path(out, recipe)
    if not unfinished.is_dir() or unfinished.parent.resolve() != work.parent.resolve():
        raise InputError(
            f"{unfinished} is no unfinished work in {work.parent}; `gan-pipelines plan` names what there is. Work "
            "that was taken over already goes on without --resume-from"
        )
    if work.exists():
        raise InputError(f"{work} would be lost to {unfinished}; delete one of them")
    write_atomically(unfinished / _TAKEN_OVER, unfinished.name.removeprefix(_WORK).encode())
    unfinished.rename(work)
    sync(work.parent)


def taken_over(work: Path) -> str | None:
    """The fingerprint under which the work in this directory was begun, if it was another."""
    record = work / _TAKEN_OVER
    return record.read_text() if record.exists() else None


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a file so that a reader sees the old bytes or the new ones, also after a power cut."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync(path.parent)


def _record(path: Path) -> FileRecord:
    status = path.stat()
    return FileRecord(size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest_file(path))


def _check(path: Path, record: FileRecord, *, verify: bool) -> None:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; delete the artifact's directory to have it rebuilt") from None
    if status.st_size == record.size and status.st_mtime_ns == record.mtime_ns and not verify:
        return
    if status.st_size != record.size or digest_file(path) != record.sha256:
        raise ArtifactError(
            f"{path} was altered after it was written; delete the artifact's directory to have it rebuilt"
        )


def sync(path: Path) -> None:
    """Brings a file, or the renames in a directory, to the disk: they survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
