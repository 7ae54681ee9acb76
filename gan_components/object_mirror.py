"""A mirror: a directory that holds what lies at an address of an object store, brought up to date by copies.

Its files have the store's times, so a source's identity (names, sizes, times) depends on the store alone: what
did not change is known to be the same, also when it had to be copied anew. Requests that fail for a moment are
repeated by s3fs and gcsfs themselves, a bounded number of times.
"""

import datetime
import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from gan_components import locks
from gan_components.artifacts import Progress, no_progress, write_atomically
from gan_components.errors import InputError
from gan_components.fingerprints import digest_json
from gan_components.object_store import connect

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

_FILES, _INDEX, _PARTIAL = "files", "index.json", "partial"
# Copied at once: enough to hide the way to the store, little enough to report progress.
_BATCH_FILES, _BATCH_BYTES = 256, 256 * 2**20
_SPARE_BYTES = 512 * 2**20
_MAX_NAME_BYTES = 255
# How stores call a denial that they do not raise as PermissionError.
_DENIALS = ("credential", "forbidden")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Choose = Callable[[list[str]], Iterable[str]]
"""Of all names below an address, which a mirror is to hold."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Object:
    """What the store says of an object: `version` changes with its content, `time_ns` is None without a time."""

    key: str
    size: int
    version: str
    time_ns: int | None


class _Copy(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What was copied, and the time that the copy got: a file that differs is copied again."""

    size: int
    version: str
    mtime_ns: int


class _Index(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What a mirror holds. `entry` is the address itself below the files: a file's name, or empty for all."""

    address: str
    entry: str = ""
    complete: bool = False
    copies: dict[str, _Copy] = {}


def mirror(
    address: str,
    cache: Path,
    *,
    choose: Choose = list,
    choice: str = "",
    refresh: bool = True,
    progress: Progress = no_progress,
) -> Path:
    """Brings what lies at an address to a directory of its own below `cache`.

    Only what is new or changed (by size, tag and time) is copied, and what vanished is deleted. Names that are no
    paths below the address, and files that have the name of a folder, are passed over with a warning.

    Args:
        address: a file (an archive, a Parquet file ...), or what stands before the names of many.
        cache: root of shared caches.
        choose: which of the names are wanted.
        choice: tells choices apart: each has a directory of its own.
        refresh: look into the store even if the mirror is complete.
        progress: called with numbers of files.

    Returns:
        The copied file, or the directory of the copied files.

    Raises:
        InputError: nothing lies there, it may not be read, it changed meanwhile, or there is no space for it.
        ConnectionError: the store does not answer, or not as expected; another try may find it better.

    Example:
        >>> mirror("s3://photos/cats", Path("gan-runs/cache"))  # doctest: +SKIP
        PosixPath('gan-runs/cache/objects/4bf5.../files')
    """
    directory = cache / "objects" / digest_json([address.rstrip("/"), choice])[:32]
    files = directory / _FILES
    with locks.held(directory.with_name(f".lock-{directory.name}"), f"copying {address}"):
        index = _read_index(directory, address)
        if refresh or not index.complete or not (files / index.entry).exists():
            index = _refreshed(address, directory, index, choose, progress)
    return files / index.entry


def _refreshed(address: str, directory: Path, index: _Index, choose: Choose, progress: Progress) -> _Index:
    """Makes the mirror hold what the store does; its new index."""
    store, path = connect(address)
    objects = _usable(_listing(store, path, address), address)
    if not objects:
        raise InputError(f"{address} holds no objects; check the address given as --data, and the credentials")
    entry = path.rpartition("/")[2] if [one.key for one in objects.values()] == [path] else ""
    wanted = {name: objects[name] for name in choose(list(objects))}
    files = directory / _FILES
    kept = {name: copy for name, copy in index.copies.items() if _stands(files / name, copy, wanted.get(name))}
    missing = {name: one for name, one in wanted.items() if name not in kept}
    _require_space(address, directory, sum(one.size for one in missing.values()))
    # Whoever finds the mirror after a crash must not take it for complete.
    _write_index(directory, _Index(address=address, entry=entry, copies=kept))
    num_deleted = _sweep(files, kept)
    if missing or num_deleted:
        num_mib = sum(one.size for one in missing.values()) / 2**20
        text = "%s: copying %d of %d files (%.1f MiB), %d vanished"
        _log.info(text, address, len(missing), len(wanted), num_mib, num_deleted)
    copies = dict(kept)
    try:
        for batch in _batches(missing):
            _copy(store, batch, directory, address, copies)
            progress(len(copies) - len(kept), len(missing), f"files copied from {address}")
    finally:
        shutil.rmtree(directory / _PARTIAL, ignore_errors=True)
        # Also when it failed: what is copied need not be copied again.
        index = _Index(address=address, entry=entry, complete=copies.keys() == wanted.keys(), copies=copies)
        _write_index(directory, index)
    return index


def _listing(store: "AbstractFileSystem", path: str, address: str) -> dict[str, _Object]:
    """Every object at or below `path`, by its name below it. Markers of folders are none."""
    store.invalidate_cache()
    with _in_words(address):
        found = store.find(path, detail=True)
    objects: dict[str, _Object] = {}
    for key, facts in found.items():
        if facts["type"] == "file" and not key.endswith("/"):
            name = path.rpartition("/")[2] if key == path else key.removeprefix(f"{path}/")
            time_ns = _time_ns(facts)
            version = f"{facts.get('ETag') or facts.get('generation') or ''} {time_ns}"
            objects[name] = _Object(key, int(facts["size"]), version, time_ns)
    return objects


def _time_ns(facts: dict[str, Any]) -> int | None:
    """When an object got its content, in whole microseconds, which every file system's times keep apart."""
    # Of S3, of Google's store (its mtime also moves with the metadata), of fsspec's own.
    for key in ("LastModified", "ctime", "mtime", "created"):
        when = facts.get(key)
        if isinstance(when, datetime.datetime):
            return (when - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
        if isinstance(when, int | float):
            return round(when * 1e6) * 1000
    return None


def _usable(objects: dict[str, _Object], address: str) -> dict[str, _Object]:
    """Those whose names are paths below the mirror's directory, and no folder's."""
    folders: set[str] = set()
    for name in objects:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    usable = {name: one for name, one in objects.items() if _is_path(name) and name not in folders}
    if refused := sorted(objects.keys() - usable.keys()):
        text = "%s: %d objects are passed over, as no file can have their names or a folder has them; first %r"
        _log.warning(text, address, len(refused), refused[0])
    return usable


def _is_path(name: str) -> bool:
    """Whether it names a file below any directory, on every POSIX system."""
    return "\0" not in name and all(
        part not in ("", ".", "..") and len(part.encode(errors="replace")) <= _MAX_NAME_BYTES
        for part in name.split("/")
    )


def _stands(path: Path, copy: _Copy, one: _Object | None) -> bool:
    """Whether the file at `path` is the copy, and the copy that of the object as it is now."""
    if one is None or (copy.size, copy.version) != (one.size, one.version):
        return False
    try:
        status = path.lstat()
    except OSError:
        return False
    return (status.st_size, status.st_mtime_ns) == (copy.size, copy.mtime_ns)


def _sweep(files: Path, kept: dict[str, _Copy]) -> int:
    """Deletes every file but these, and the folders that become empty; how many files that were."""
    num_deleted = 0
    for folder, _, names in os.walk(files, topdown=False):
        for name in names:
            path = Path(folder, name)
            if path.relative_to(files).as_posix() not in kept:
                path.unlink()
                num_deleted += 1
        if not os.listdir(folder):  # noqa: PTH208 (Path.iterdir makes a path of every entry)
            Path(folder).rmdir()
    files.mkdir(parents=True, exist_ok=True)
    return num_deleted


def _batches(missing: dict[str, _Object]) -> Iterator[dict[str, _Object]]:
    batch: dict[str, _Object] = {}
    num_bytes = 0
    for name, one in missing.items():
        if batch and (len(batch) == _BATCH_FILES or num_bytes + one.size > _BATCH_BYTES):
            yield batch
            batch, num_bytes = {}, 0
        batch[name] = one
        num_bytes += one.size
    if batch:
        yield batch


def _copy(
    store: "AbstractFileSystem",
    batch: dict[str, _Object],
    directory: Path,
    address: str,
    copies: dict[str, _Copy],
) -> None:
    """Copies objects under numbers, then renames each to its name; adds them to `copies`."""
    partial = directory / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    targets = [partial / str(number) for number in range(len(batch))]
    with _in_words(address):
        store.get([one.key for one in batch.values()], [str(target) for target in targets])
    for (name, one), target in zip(batch.items(), targets, strict=True):
        if target.stat().st_size != one.size:
            raise InputError(f"{address}: {name} changed while it was copied; run again when nobody writes to it")
        if one.time_ns is not None:
            os.utime(target, ns=(one.time_ns, one.time_ns))
        path = directory / _FILES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        target.replace(path)
        copies[name] = _Copy(size=one.size, version=one.version, mtime_ns=path.stat().st_mtime_ns)


def _require_space(address: str, directory: Path, num_bytes: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(directory).free
    if free < num_bytes + _SPARE_BYTES:
        raise InputError(
            f"{address} needs {num_bytes // 2**20} MiB in {directory} and {_SPARE_BYTES // 2**20} MiB beside it, "
            f"{free // 2**20} MiB are free; free some space or choose another --root"
        )


def _read_index(directory: Path, address: str) -> _Index:
    try:
        return _Index.model_validate_json((directory / _INDEX).read_bytes())
    except (FileNotFoundError, ValidationError):  # nothing is known to be there: all is copied
        return _Index(address=address)


def _write_index(directory: Path, index: _Index) -> None:
    write_atomically(directory / _INDEX, index.model_dump_json().encode())


@contextmanager
def _in_words(address: str) -> Iterator[None]:
    """What a store raises, as an error of this package's; a full disk stays what it is."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"{address} is not there, or not any more ({error}); check the address given as --data"
        ) from None
    except PermissionError as error:
        raise InputError(
            f"{address} may not be read ({error}); check the credentials and what they allow"
        ) from None
    except Exception as error:  # each store has errors of its own, some beside OSError
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        text = f"{address} cannot be read ({type(error).__name__}: {error})"
        if any(word in text.lower() for word in _DENIALS):
            raise InputError(f"{text}; check the credentials and what they allow") from None
        raise ConnectionError(f"{text}; check the network and run again, what is copied is kept") from None
