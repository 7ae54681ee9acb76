"""Pictures on their way from the worker that converts them to the one that writes their shard.

They travel in files, not through Beam: a local runner would hold all of them in memory, and any runner would pay
for each one. A chunk's file is cut into slices by the first bits of the keys, so that a shard can be put together
slice by slice, in the order of the keys, with one slice in memory.
"""

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from apache_beam.coders import FastPrimitivesCoder

# Knows plain values only: numbers, texts, bytes, and tuples and lists of them.
_CODER = FastPrimitivesCoder()
_OFFSET = np.dtype("<i8")


class Converted(NamedTuple):
    """A picture on its way to a shard.

    Attributes:
        key: SHA-256 of the canonical pixels.
        label: its class; None without labels.
        held_out: whether it belongs to ``holdout``.
        name: of the source file.
        source_shape: width, height and channels before fitting.
        near_blank: whether the canonical pixels show next to nothing.
        sums, squares: over the canonical pixels, by channel, those of the second domain last; integers, so
            that no order of adding shows.
        thumbnail: bytes of :func:`gan_components.ingestion.near_duplicates.thumbnail`.
        png: the canonical pixels, encoded.
        key2, png2: of the image in the second domain; None if there is none.
    """

    key: bytes
    label: int | None
    held_out: bool
    name: str
    source_shape: tuple[int, int, int]
    near_blank: bool
    sums: list[int]
    squares: list[int]
    thumbnail: bytes
    png: bytes
    key2: bytes | None
    png2: bytes | None


def write(path: Path, found: Iterable[Converted], *, num_slices: int) -> None:
    """Writes pictures by slice: where each slice begins and the last one ends, then the slices."""
    slices: list[list[Converted]] = [[] for _ in range(num_slices)]
    for one in found:
        slices[int.from_bytes(one.key[:8]) * num_slices >> 64].append(one)
    encoded = [_CODER.encode([tuple(one) for one in members]) for members in slices]
    ends = np.cumsum([_OFFSET.itemsize * (num_slices + 1), *map(len, encoded)], dtype=_OFFSET)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(ends.tobytes())
        file.writelines(encoded)


def read(path: Path, number: int) -> Iterator[Converted]:
    """The pictures of one slice of a file."""
    with path.open("rb") as file:
        file.seek(_OFFSET.itemsize * number)
        start, end = np.frombuffer(file.read(2 * _OFFSET.itemsize), _OFFSET).tolist()
        file.seek(start)
        return (Converted(*fields) for fields in _CODER.decode(file.read(end - start)))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, renamed to `path` in the end.

    A runner may do a bundle twice, even at the same time: each writes its own file, the last rename stands.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    yield partial
    partial.replace(path)
