"""Shards of records with encoded pictures: what is common to Parquet and TFRecord."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gan_components.ingestion import labels
from gan_components.ingestion.items import Chunk, Item, Source
from gan_components.pictures import UnreadableError


@dataclass(frozen=True)
class Part:
    """Records that one worker reads from front to back.

    Attributes:
        name: of the file, and of the place in it.
        read: gives the picture of each record, or why there is none.
        labels: of each record.
    """

    name: str
    read: Callable[[], Iterator[bytes | UnreadableError]]
    labels: list[str | None]


def source(parts: list[Part], how: str | None, holdout_split: str | None) -> Source:
    """The images in some parts.

    Args:
        parts: of all shards.
        how: ``auto`` or None, as in the ``ingest`` section.
        holdout_split: the shards that are held out; None: there are none.

    Raises:
        InputError: labels or splits that do not fit.
    """
    names = [f"{part.name}#{place}" for part in parts for place in range(len(part.labels))]
    class_names, classes = labels.given(
        names, [text for part in parts for text in part.labels], how, where="the records"
    )
    held_out = labels.held_out([part.name for part in parts], holdout_split, shards=True)
    chunks: list[Chunk] = []
    start = 0
    for part, side in zip(parts, held_out, strict=True):
        stop = start + len(part.labels)
        chunks.append(functools.partial(_items, part.name, part.read, classes[start:stop], side))
        start = stop
    return Source(class_names, len(names), chunks)


def _items(
    name: str, read: Callable[[], Iterator[bytes | UnreadableError]], classes: list[int | None], side: bool | None
) -> Iterator[Item]:
    for place, (content, label) in enumerate(zip(read(), classes, strict=True)):
        yield Item(f"{name}#{place}", content, label, side)
