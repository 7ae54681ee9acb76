"""The files of a source: found, listed and identified, without reading an image."""

import errno
import logging
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gan_components import pictures
from gan_components.errors import InputError
from gan_components.fingerprints import digest_file, digest_json
from gan_components.ingestion import archives
from gan_components.ingestion.labels import table_name

logger = logging.getLogger(__name__)

# How files end that hold many images each, by source.
SHARD_SUFFIXES = {
    "webdataset": archives.TAR_SUFFIXES,
    "arrays": (".npz", ".npy"),
    "parquet": (".parquet",),
    "tfrecord": (".tfrecord", ".tfrecords", ".tfrecord.gz", ".tfrecords.gz"),
}


@dataclass(frozen=True)
class File:
    """A file of a source: where it lies, its name below the data directory (with ``/``), size and time."""

    path: Path
    name: str
    size: int
    mtime_ns: int


def located(data: str | None) -> Path:
    """The data directory or file, which must be there and readable.

    Raises:
        InputError: it is not.
    """
    if data is None:
        raise InputError("this source reads files, and none were given; add --data PATH")
    if "://" in data:
        raise InputError(f"{data} is an address; copy it to a local directory and give that as --data")
    path = Path(data).expanduser()
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            next(os.scandir(path), None)
        elif stat.S_ISREG(mode):
            path.open("rb").close()
        else:
            raise InputError(f"{data} is neither a file nor a directory; check the path given as --data")
    except OSError as error:
        reasons = {
            errno.ENOENT: "does not exist; check the path given as --data",
            errno.EACCES: "cannot be read by this user; change its permissions or give another --data",
        }
        reason = reasons.get(error.errno or 0, f"cannot be read ({error.strerror}); give another --data")
        raise InputError(f"{data} {reason}") from None
    return path.resolve()


def directory(data: str | None, *, instead: str = "") -> Path:
    """The data directory, which must be there and readable.

    Args:
        data: as given.
        instead: which files would do as well, for the error message.

    Raises:
        InputError: it is not.
    """
    root = located(data)
    if not root.is_dir():
        raise InputError(f"{data} is a file; give the directory that holds the images{instead} as --data")
    return root


def archive(data: str | None) -> File | None:
    """The data file, if it is an archive by its name."""
    if data is None or not data.lower().endswith(archives.SUFFIXES):
        return None
    path = located(data)
    return describe(path, path.parent) if path.is_file() else None


def image_directory(data: str | None) -> Path:
    """The data directory of a source that reads archives too."""
    return directory(data, instead=f" (or an archive: {', '.join(archives.SUFFIXES)})")


def shards(data: str | None, source: str) -> list[File]:
    """The data file, or all files below the data directory, whose names end as those of a source do; by name.

    Raises:
        InputError: there are none, or a folder cannot be read.
    """
    root = located(data)
    if root.is_dir():
        return below(root, SHARD_SUFFIXES[source], f"files for the source {source}")
    if not _ends(root.name, SHARD_SUFFIXES[source]):
        raise InputError(
            f"{data} is not named {' or '.join(SHARD_SUFFIXES[source])}; check --data and ingest.source"
        )
    return [describe(root, root.parent)]


def describe(path: Path, root: Path) -> File:
    """The :class:`File` at `path` below `root`."""
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check --data") from None
    return File(path, _name(path, root), status.st_size, status.st_mtime_ns)


def images(root: Path) -> list[File]:
    """All image files below `root`, see :func:`below`."""
    return below(root, tuple(sorted(pictures.SUFFIXES)), "images")


def below(root: Path, suffixes: tuple[str, ...], what: str) -> list[File]:
    """All files below `root` whose names end so, by name. Hidden ones and links that lead out do not count.

    Raises:
        InputError: there are none, or a folder cannot be read.
    """
    outside: list[str] = []
    found = sorted(_walk(root, root, suffixes, outside), key=lambda file: file.name)
    links = f"{len(outside)} symbolic links lead out of it and are not followed, first {outside[:1]}"
    if not found:
        raise InputError(
            f"{root} holds no {what} (files named {', '.join(suffixes)})"
            + (f"; {links}; copy the files" if outside else "; check --data")
        )
    if outside:
        logger.warning("%s: %s", root, links)
    return found


def _walk(folder: Path, root: Path, suffixes: tuple[str, ...], outside: list[str]) -> Iterator[File]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); change its permissions") from None
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(path, root, suffixes, outside)
        elif _ends(entry.name, suffixes):
            # Not Path.resolve: it raises on links that go round in circles.
            if entry.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                outside.append(_name(path, root))
            elif path.is_file():
                yield describe(path, root)


def _ends(name: str, suffixes: tuple[str, ...]) -> bool:
    # TFDS and others write a shard's number behind the ending.
    return re.sub(r"-\d+-of-\d+$", "", name.lower()).endswith(suffixes)


def _name(path: Path, root: Path) -> str:
    """Name below `root`, with the bytes that are no UTF-8 written out: names go to JSON."""
    return os.fsencode(path.relative_to(root).as_posix()).decode("utf-8", "backslashreplace")


def label_file(root: Path, labels: str | None) -> File | None:
    """The table of labels in `root`, if `labels` names one or StyleGAN's is there."""
    name = table_name(labels, {path.name for path in root.iterdir()})
    return describe(root / name, root) if name else None


def content(file: File) -> bytes:
    """The bytes of a small file.

    Raises:
        InputError: it cannot be read, or has more than 256 MiB.
    """
    if file.size > archives.MAX_MEMBER_BYTES:
        raise InputError(f"{file.path} has {file.size} bytes, more than {archives.MAX_MEMBER_BYTES}; check --data")
    try:
        return file.path.read_bytes()
    except OSError as error:
        raise InputError(f"{file.path} cannot be read ({error.strerror}); change its permissions") from None


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
