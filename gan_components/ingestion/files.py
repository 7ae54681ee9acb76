"""The files of a source: found, listed and identified, without reading an image."""

import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gan_components import pictures
from gan_components.errors import InputError
from gan_components.fingerprints import digest_file, digest_json

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """A file of a source: where it lies, its name below the data directory (with ``/``), size and time."""

    path: Path
    name: str
    size: int
    mtime_ns: int


def directory(data: str | None) -> Path:
    """The data directory, which must be there and readable.

    Raises:
        InputError: it is not.
    """
    if data is None:
        raise InputError("this source reads a directory, and none was given; add --data DIRECTORY")
    if "://" in data:
        raise InputError(f"{data} is an address; copy it to a local directory and give that as --data")
    root = Path(data).expanduser()
    try:
        next(os.scandir(root), None)
    except OSError as error:
        reasons = {
            errno.ENOENT: "does not exist; check the path given as --data",
            errno.ENOTDIR: "is a file; give the directory that holds the images as --data",
            errno.EACCES: "cannot be read by this user; change its permissions or give another --data",
        }
        reason = reasons.get(error.errno or 0, f"cannot be read ({error.strerror}); give another --data")
        raise InputError(f"{data} {reason}") from None
    return root.resolve()


def describe(path: Path, root: Path) -> File:
    """The :class:`File` at `path` below `root`."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check --data") from None
    return File(path, _name(path, root), status.st_size, status.st_mtime_ns)


def images(root: Path) -> list[File]:
    """All image files below `root`, by name. Hidden ones and links that lead out of `root` do not count.

    Raises:
        InputError: there are none, or a folder cannot be read.
    """
    outside: list[str] = []
    found = sorted(_walk(root, root, outside), key=lambda file: file.name)
    links = f"{len(outside)} symbolic links lead out of it and are not followed, first {outside[:1]}"
    if not found:
        raise InputError(
            f"{root} holds no images (files named {', '.join(sorted(pictures.SUFFIXES))})"
            + (f"; {links}; copy the files" if outside else "; check --data")
        )
    if outside:
        logger.warning("%s: %s", root, links)
    return found


def _walk(folder: Path, root: Path, outside: list[str]) -> Iterator[File]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); change its permissions") from None
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root, outside)
        elif path.suffix.lower() in pictures.SUFFIXES:
            # Not Path.resolve: it raises on links that go round in circles.
            if entry.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                outside.append(_name(path, root))
            elif path.is_file():
                yield describe(path, root)


def _name(path: Path, root: Path) -> str:
    """Name below `root`, with the bytes that are no UTF-8 written out: names go to JSON."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def label_file(root: Path, labels: str | None) -> list[File]:
    """The CSV file of labels below `root`, if `labels` names one."""
    return [describe(root / labels, root)] if labels and labels.endswith(".csv") else []


def dataset(root: Path) -> list[File]:
    """The files of a prepared TensorFlow data set.

    Raises:
        InputError: `root` is not one.
    """
    if not (root / "dataset_info.json").is_file():
        raise InputError(
            f"{root} holds no dataset_info.json; set ingest.tfds_name, or give the directory of one version "
            "of a prepared data set as --data"
        )
    return [describe(path, root) for path in sorted(root.iterdir()) if path.is_file()]


def identity(files: list[File], *, verify: bool) -> str:
    """SHA-256 over the files' names, sizes and times; with `verify`, over names and bytes."""
    if verify:
        return digest_json({file.name: _digest(file) for file in files})
    return digest_json({file.name: [file.size, file.mtime_ns] for file in files})


def _digest(file: File) -> str:
    try:
        return digest_file(file.path)
    except OSError as error:
        # An unreadable image goes to quarantine like a broken one; it must not stop the run here.
        return f"unreadable: {error.strerror}"
