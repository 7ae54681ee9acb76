"""Pictures inside zip and tar archives: listed and read in place, never unpacked to a disk.

An archive is as hostile as a picture. What concerns one member (a name that leads out, a link, a password) sends
that member to quarantine; what concerns the archive as a whole (damage, a bomb) is refused.
"""

import functools
import gzip
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from gan_components.errors import InputError
from gan_components.pictures import SUFFIXES as PICTURE_SUFFIXES
from gan_components.pictures import UnreadableError

TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz")
SUFFIXES = (".zip", *TAR_SUFFIXES)
MAX_MEMBERS = 5_000_000
# 64 megapixels of four bytes.
MAX_MEMBER_BYTES = 256 * 2**20
# Pictures hardly shrink when packed. A few bitmaps of one colour do: small archives may hold what they like.
MAX_RATIO = 100
MAX_BYTES_AT_ANY_RATIO = 2**30
# tarfile reads names and extended headers whole, as long as they say they are.
_MAX_HEADER_BYTES = 2**20

_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    NotImplementedError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    Attributes:
        name: as the archive has it, with ``/``; bytes that are no UTF-8 are written out.
        place: number in a zip's directory; in a tar, unpacked, the byte at which the content begins.
        size: of the content, in bytes, as declared.
        problem: why it will not be read; None: nothing known against it.
    """

    name: str
    place: int
    size: int
    problem: str | None


def members(path: Path) -> list[Member]:
    """All files in an archive, in its order, without reading any.

    Raises:
        InputError: no archive, a damaged one, or one that unpacks to far more than pictures do.
    """
    found: list[Member] = []
    try:
        for member in _zip_members(path) if _is_zip(path) else _tar_members(path):
            found.append(member)
            if len(found) > MAX_MEMBERS:
                raise InputError(f"{path} holds more than {MAX_MEMBERS} files; divide it")
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be read as an archive ({error}); fetch or pack it again") from None
    times = Counter(member.name for member in found)
    return [
        replace(member, problem=f"{times[member.name]} files in the archive have this name")
        if times[member.name] > 1
        else member
        for member in found
    ]


def pictures(members: list[Member]) -> list[Member]:
    """Those that are named like pictures; hidden ones do not count."""
    return [
        member
        for member in members
        if member.name.lower().endswith(tuple(PICTURE_SUFFIXES))
        and not any(part.startswith(".") and part != ".." for part in PurePosixPath(member.name).parts)
    ]


def read(path: Path, members: list[Member]) -> Iterator[bytes | UnreadableError]:
    """The content of each of some members, or why it cannot be read.

    Args:
        path: the archive.
        members: in the order of the archive.
    """
    sound = [member for member in members if not member.problem]
    contents = _read_zip(path, sound) if _is_zip(path) else _read_tar(path, sound)
    for member in members:
        yield UnreadableError(member.problem) if member.problem else next(contents)


def wrapper(names: list[str]) -> str:
    """The folder, with ``/``, around all names (it is how archives are usually packed); empty if there is none."""
    folders = {PurePosixPath(name).parts[0] + "/" for name in names}
    folder = folders.pop() if len(folders) == 1 else ""
    return folder if all(name.startswith(folder) for name in names) else ""


def is_sequential(path: Path) -> bool:
    """Whether a member can only be reached through all before it."""
    return path.name.lower().endswith("gz")


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _zip_members(path: Path) -> Iterator[Member]:
    infos = _opened_zip(path, path.stat().st_mtime_ns).infolist()
    refuse_bomb(path, sum(info.file_size for info in infos))
    for place, info in enumerate(infos):
        # Some programs on Windows write their own separator.
        name = _printable(info.filename.replace("\\", "/"))
        kind = info.external_attr >> 16
        problem = _problem(name, info.file_size)
        if info.flag_bits & 1:
            problem = "it is encrypted"
        elif stat.S_ISLNK(kind):
            problem = "it is a link, and links in archives are not followed"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # Of these the module unpacks a block whole, however large it is.
            problem = f"it is packed by method {info.compress_type}, known are stored (0) and deflated (8)"
        if not name.endswith("/"):
            yield Member(name, place, info.file_size, problem)


def _tar_members(path: Path) -> Iterator[Member]:
    with _opened_tar(path) as stream:
        headers = _Headers(stream)
        with tarfile.TarFile(
            fileobj=cast(BinaryIO, headers), encoding="utf-8", errors="surrogateescape"
        ) as archive:
            while (info := archive.next()) is not None:
                if info.size < 0:
                    raise tarfile.ReadError(f"a member of {info.size} bytes")
                refuse_bomb(path, info.offset_data + info.size)
                # Or it would remember all of them.
                archive.members.clear()  # type: ignore[attr-defined]
                name = _printable(info.name)
                problem = _problem(name, info.size)
                if info.issym() or info.islnk():
                    problem = "it is a link, and links in archives are not followed"
                elif not info.isreg() or info.issparse():
                    problem = "it is no regular file"
                if not info.isdir():
                    yield Member(name, info.offset_data, info.size, problem)
        if headers.last != bytes(tarfile.BLOCKSIZE):
            # tarfile takes a damaged header for the end.
            raise tarfile.ReadError("its end mark is missing: it was cut short, or a header is damaged")


class _Headers:
    """A stream for :mod:`tarfile` that refuses long headers: gigabytes of name pack into kilobytes.

    Attributes:
        last: what was read last.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell
        self.last = b""

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self._stream.read(size)
        return self.last


def refuse_bomb(path: Path, unpacked: int) -> None:
    """Raises InputError if a file unpacks to far more bytes than pictures do."""
    packed = path.stat().st_size
    if unpacked > max(MAX_BYTES_AT_ANY_RATIO, MAX_RATIO * packed):
        raise InputError(
            f"{path} has {packed} bytes and unpacks to {unpacked} or more, which pictures do not; "
            "check where it comes from, or give its images as a folder"
        )


def _problem(name: str, size: int) -> str | None:
    """What can be said against a member of this name and size."""
    if name.startswith("/") or ".." in PurePosixPath(name).parts or name[1:2] == ":":
        return "its name leads out of the archive"
    if size > MAX_MEMBER_BYTES:
        return f"it has {size} bytes, more than {MAX_MEMBER_BYTES}"
    return None


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _read_zip(path: Path, members: list[Member]) -> Iterator[bytes | UnreadableError]:
    archive = _opened_zip(path, path.stat().st_mtime_ns)
    infos = archive.infolist()
    for member in members:
        try:
            with archive.open(infos[member.place]) as stream:
                # Asked for the rest, it would unpack what is there, not what is declared.
                content = stream.read(member.size)
            yield _whole(content, member)
        except (*_DAMAGED, RuntimeError) as error:
            yield UnreadableError(f"{type(error).__name__}: {error}")


def _read_tar(path: Path, members: list[Member]) -> Iterator[bytes | UnreadableError]:
    with _opened_tar(path) as stream:
        for member in members:
            try:
                stream.seek(member.place)
                yield _whole(stream.read(member.size), member)
            except _DAMAGED as error:
                yield UnreadableError(f"{type(error).__name__}: {error}")


def _whole(content: bytes, member: Member) -> bytes | UnreadableError:
    if len(content) < member.size:
        return UnreadableError(f"it is cut short: {len(content)} of {member.size} bytes")
    return content


@functools.lru_cache(maxsize=2)
def _opened_zip(path: Path, mtime_ns: int) -> zipfile.ZipFile:
    # Opened once a process, not once a chunk: the directory of 70,000 members takes a second to read.
    return zipfile.ZipFile(path)


def _opened_tar(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if is_sequential(path) else path.open("rb")
