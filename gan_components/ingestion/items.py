"""What a source gives: images with their labels, dealt out in chunks that a Beam worker can read alone."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan_components.pictures import UnreadableError

# Enough pictures in one chunk that dealing it out costs nothing beside decoding them.
FILES_PER_CHUNK = 64


@dataclass(frozen=True)
class Item:
    """One image of a source.

    Attributes:
        name: of its file, or its place in a larger one; it appears in reports, never in records.
        content: where the picture lies, its file's bytes, its pixels, or why it cannot be read.
        label: index of its class; None without labels.
        held_out: whether it is in the split that the source holds out; None: the picture's key decides, see
            :func:`gan_components.ingestion.identity.is_held_out`.
        partner: where its picture in the second domain lies; None: a function makes it, or there is none.
    """

    name: str
    content: Path | bytes | np.ndarray | UnreadableError
    label: int | None
    held_out: bool | None
    partner: Path | None = None


Chunk = Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class Source:
    """Class names (none without labels), the number of images, and functions that read a part each."""

    class_names: list[str]
    num_items: int
    chunks: list[Chunk]


def dealt(
    items: Callable[..., Iterator[Item]], *columns: list[Any], per_chunk: int = FILES_PER_CHUNK
) -> list[Chunk]:
    """Chunks of the rows of some columns of equal length; `items` takes a part of each."""
    return [
        functools.partial(items, *(column[start : start + per_chunk] for column in columns))
        for start in range(0, len(columns[0]), per_chunk)
    ]
