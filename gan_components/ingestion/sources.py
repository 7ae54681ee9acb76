"""Sources: what they hold, dealt out in chunks that a Beam worker can read alone."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from gan_components.errors import InputError
from gan_components.ingestion import (
    archives,
    arrays,
    digits,
    files,
    idx,
    labels,
    parquet,
    public,
    spans,
    stacked_digits,
    tfrecord,
    webdataset,
)
from gan_components.ingestion.archives import Member
from gan_components.ingestion.config import Fraction, IngestConfig
from gan_components.ingestion.files import File
from gan_components.pictures import UnreadableError

# Enough pictures in one chunk that dealing it out costs nothing beside decoding them.
FILES_PER_CHUNK = 64
ARRAYS_PER_CHUNK = 512


@dataclass(frozen=True)
class Item:
    """One image of a source.

    Attributes:
        name: of its file, or its place in a larger one; it appears in reports, never in records.
        content: where the picture lies, its file's bytes, its pixels, or why it cannot be read.
        label: index of its class; None without labels.
        held_out: whether it is in the split that the source holds out; None: the picture's key decides, see
            :func:`gan_components.ingestion.identity.is_held_out`.
    """

    name: str
    content: Path | bytes | np.ndarray | UnreadableError
    label: int | None
    held_out: bool | None


Chunk = Callable[[], Iterator[Item]]


@dataclass(frozen=True)
class Source:
    """Class names (none without labels), the number of images, and functions that read a part each."""

    class_names: list[str]
    num_items: int
    chunks: list[Chunk]


def open_source(data: str | None, config: IngestConfig, *, seed: int) -> Source:
    """Looks through a source without decoding its pictures.

    Args:
        data: directory of the source, see :func:`gan_components.ingestion.config.recipe`.
        config: the ``ingest`` section.
        seed: the pipeline's seed; only `stacked_digits` draws.

    Raises:
        InputError: missing files or splits, damaged containers, labels that do not fit.
    """
    match config.source:
        case "digits":
            pixels, classes = digits.read()
            source = Source(digits.CLASS_NAMES, len(pixels), _array_chunks("digits", pixels, classes, None))
        case "stacked_digits":
            source = _stacked_digits(config, seed)
        case "idx":
            source = _idx(files.directory(data), test=config.holdout_split is not None)
        case "image_folder":
            if (archive := files.archive(data)) and config.spans is None:
                source = _archive(archive.path, config.labels, config.holdout_split)
            else:
                source = _image_folder(spans.folders(data, config.spans), config.labels, config.holdout_split)
        case "webdataset":
            source = _webdataset(files.shards(data, "webdataset"), config.labels, config.holdout_split)
        case "arrays":
            source = _arrays(files.shards(data, "arrays"), config)
        case "parquet":
            source = _records(files.shards(data, "parquet"), _parquet, config)
        case "tfrecord":
            source = _records(files.shards(data, "tfrecord"), _tfrecord, config)
        case "tfds":
            source = _public(data, config.tfds_name, config.holdout_split)
    if source.num_items == 0:
        raise InputError(f"{data} holds no images; check --data and ingest.source")
    return dataclasses.replace(source, class_names=[]) if config.labels is None else source


def _idx(root: Path, *, test: bool) -> Source:
    chunks: list[Chunk] = []
    num_items = num_classes = 0
    for split, (image_file, label_file) in idx.find(root, test=test).items():
        pixels, classes = idx.read(image_file, label_file)
        chunks += _array_chunks(image_file.name, pixels, classes, split == "test" if test else None)
        num_items += len(pixels)
        num_classes = max(num_classes, int(classes.max()) + 1)
    return Source([str(index) for index in range(num_classes)], num_items, chunks)


def _array_chunks(
    name: str, pixels: np.ndarray, classes: Sequence[int | None], held_out: bool | None
) -> list[Chunk]:
    # Of a file mapped into memory, chunks carry the place and not the pixels.
    lazy = isinstance(pixels, np.memmap)
    return [
        functools.partial(
            _array_items,
            name,
            start,
            functools.partial(arrays.rows, Path(pixels.filename), start, stop) if lazy else pixels[start:stop],
            classes[start:stop],
            held_out,
        )
        for start in range(0, len(pixels), ARRAYS_PER_CHUNK)
        for stop in [start + ARRAYS_PER_CHUNK]
    ]


def _array_items(
    name: str,
    start: int,
    pixels: np.ndarray | Callable[[], np.ndarray],
    classes: Sequence[int | None],
    held_out: bool | None,
) -> Iterator[Item]:
    rows = pixels() if callable(pixels) else pixels
    for offset, (picture, label) in enumerate(zip(rows, classes, strict=True)):
        yield Item(f"{name}#{start + offset}", picture, None if label is None else int(label), held_out)


def _stacked_digits(config: IngestConfig, seed: int) -> Source:
    # The section's validator refuses a split of this source.
    fraction = cast(Fraction, config.holdout).fraction
    chunks: list[Chunk] = []
    for held_out, triples in stacked_digits.draw(config.num_images, fraction, seed=seed).items():
        chunks += [
            functools.partial(_stacked_items, held_out, start, triples[start : start + ARRAYS_PER_CHUNK])
            for start in range(0, len(triples), ARRAYS_PER_CHUNK)
        ]
    return Source([], config.num_images, chunks)


def _stacked_items(held_out: bool, start: int, triples: np.ndarray) -> Iterator[Item]:
    side = "holdout" if held_out else "train"
    for offset, (picture, triple) in enumerate(zip(stacked_digits.stacks(triples), triples, strict=True)):
        # The name tells which digits these are: their places in the source `digits`.
        yield Item(f"{side}#{start + offset}:{'+'.join(map(str, triple))}", picture, None, held_out)


def _image_folder(folders: list[spans.Folder], how: str | None, holdout_split: str | None) -> Source:
    inside = [(folder, file) for folder in folders for file in files.images(folder.root)]
    found = [folder.named(file) for folder, file in inside]
    # Classes and sides are named below each span's folder.
    names = [file.name for _, file in inside]
    root = Path(os.path.commonpath([folder.root for folder in folders]))
    table = spans.label_table(folders, how)
    held_out = labels.held_out(names, holdout_split)
    class_names, classes = labels.read(
        names,
        how,
        # Below train/ and the split held out, the next folder names the class.
        depth=0 if holdout_split is None else 1,
        where=str(table.path if table else root),
        table=files.content(table) if table else None,
    )
    return Source(class_names, len(found), _dealt(_file_items, found, classes, held_out))


def _file_items(found: list[File], classes: list[int | None], held_out: list[bool | None]) -> Iterator[Item]:
    for file, label, side in zip(found, classes, held_out, strict=True):
        yield Item(file.name, file.path, label, side)


def _archive(path: Path, how: str | None, holdout_split: str | None) -> Source:
    members = archives.members(path)
    found = archives.pictures(members)
    sound = [member.name for member in found if not member.problem]
    everything = {member.name: member for member in members}
    # A table beside a folder says where names begin.
    wrapper = "" if labels.table_name(how, everything) in everything else archives.wrapper(sound)
    names = [name.removeprefix(wrapper) for name in sound]
    others = {name.removeprefix(wrapper): member for name, member in everything.items()}
    table = labels.table_name(how, others)
    held_out = labels.held_out(names, holdout_split)
    class_names, classes = labels.read(
        names,
        how,
        depth=0 if holdout_split is None else 1,
        where=f"{path}/{table}" if table else str(path),
        table=_table(path, others, table) if table else None,
    )
    known = dict(zip(sound, zip(classes, held_out, strict=True), strict=True))
    return Source(class_names, len(found), _member_chunks(path, "", found, known))


def _table(path: Path, members: dict[str, Member], name: str) -> bytes:
    if name not in members:
        raise InputError(f"{path} holds no {name}; check ingest.labels")
    (content,) = archives.read(path, [members[name]])
    if isinstance(content, UnreadableError):
        raise InputError(f"{path}/{name} cannot be read ({content}); pack it again or change ingest.labels")
    return content


def _webdataset(shards: list[File], how: str | None, holdout_split: str | None) -> Source:
    by_shard = [(shard, webdataset.samples(shard)) for shard in shards]
    sound = {
        f"{shard.name}/{sample.picture.name}": sample.label
        for shard, samples in by_shard
        for sample in samples
        if not sample.picture.problem
    }
    names = list(sound)
    class_names, classes = labels.given(names, list(sound.values()), how, where="the shards")
    held_out = labels.held_out(names, holdout_split, shards=True)
    known = dict(zip(names, zip(classes, held_out, strict=True), strict=True))
    chunks = [
        chunk
        for shard, samples in by_shard
        for chunk in _member_chunks(shard.path, f"{shard.name}/", [sample.picture for sample in samples], known)
    ]
    return Source(class_names, sum(len(samples) for _, samples in by_shard), chunks)


def _member_chunks(
    path: Path, prefix: str, members: list[Member], known: dict[str, tuple[int | None, bool | None]]
) -> list[Chunk]:
    """Chunks of the members of an archive.

    Args:
        path: the archive.
        prefix: goes before their names.
        members: the pictures.
        known: class and side of each, by name; those that cannot be read have none.
    """
    rows = [known.get(prefix + member.name, (None, None)) for member in members]
    # What only unpacks from the front is read in one go.
    step = max(len(members), 1) if archives.is_sequential(path) else FILES_PER_CHUNK
    return _dealt(functools.partial(_member_items, path, prefix), members, rows, per_chunk=step)


def _member_items(
    path: Path, prefix: str, members: list[Member], known: list[tuple[int | None, bool | None]]
) -> Iterator[Item]:
    contents = archives.read(path, members)
    for member, content, (label, side) in zip(members, contents, known, strict=True):
        yield Item(prefix + member.name, content, label, side)


def _dealt(
    items: Callable[..., Iterator[Item]], *columns: list[Any], per_chunk: int = FILES_PER_CHUNK
) -> list[Chunk]:
    """Chunks of the rows of some columns of equal length."""
    return [
        functools.partial(items, *(column[start : start + per_chunk] for column in columns))
        for start in range(0, len(columns[0]), per_chunk)
    ]


def _arrays(found: list[File], config: IngestConfig) -> Source:
    opened = arrays.find(found)
    splits = {None: None} if config.holdout_split is None else {"train": False, config.holdout_split: True}
    parts: list[tuple[str, np.ndarray, bool | None]] = []
    texts: list[str | None] = []
    for split, side in splits.items():
        image, label = arrays.names_of(list(opened), split, image=config.image_field, label=config.label_field)
        pixels = arrays.images(image, opened[image]())
        parts.append((image, pixels, side))
        texts += (
            arrays.labels(label, opened[label](), len(pixels)) if label and config.labels else [None] * len(pixels)
        )
    names = [f"{name}#{place}" for name, pixels, _ in parts for place in range(len(pixels))]
    class_names, classes = labels.given(names, texts, config.labels, where="the arrays")
    chunks: list[Chunk] = []
    start = 0
    for name, pixels, side in parts:
        chunks += _array_chunks(name, pixels, classes[start : start + len(pixels)], side)
        start += len(pixels)
    return Source(class_names, len(texts), chunks)


# Name, what reads the encoded pictures, and the label of each.
Part = tuple[str, Callable[[], Iterator[bytes | UnreadableError]], list[str | None]]


def _parquet(shard: File, image: str | None, label: str | None) -> Iterator[Part]:
    for group in parquet.groups(shard, image=image, label=label):
        yield f"{shard.name}:{group.place}", functools.partial(parquet.read, shard.path, group), group.labels


def _tfrecord(shard: File, image: str | None, label: str | None) -> Iterator[Part]:
    named, found = tfrecord.labels(shard, image=image, label=label)
    yield shard.name, functools.partial(tfrecord.read, shard.path, named), found


def _records(
    shards: list[File], opened: Callable[[File, str | None, str | None], Iterator[Part]], config: IngestConfig
) -> Source:
    """A source of shards whose parts are read from front to back, a chunk each."""
    parts = [part for shard in shards for part in opened(shard, config.image_field, config.label_field)]
    names = [f"{name}#{place}" for name, _, found in parts for place in range(len(found))]
    texts = [text for _, _, found in parts for text in found]
    class_names, classes = labels.given(names, texts, config.labels, where="the records")
    held_out = labels.held_out([name for name, _, _ in parts], config.holdout_split, shards=True)
    chunks: list[Chunk] = []
    start = 0
    for (name, read, found), side in zip(parts, held_out, strict=True):
        chunks.append(functools.partial(_record_items, name, read, classes[start : start + len(found)], side))
        start += len(found)
    return Source(class_names, len(names), chunks)


def _record_items(
    name: str, read: Callable[[], Iterator[bytes | UnreadableError]], classes: list[int | None], side: bool | None
) -> Iterator[Item]:
    for place, (content, label) in enumerate(zip(read(), classes, strict=True)):
        yield Item(f"{name}#{place}", content, label, side)


def _public(data: str | None, name: str | None, holdout_split: str | None) -> Source:
    builder = public.prepared(data, name)
    _, label = public.features(builder)
    class_names = [] if label is None else builder.info.features[label].names
    splits = ["train"] if holdout_split is None else ["train", holdout_split]
    chunks: list[Chunk] = []
    num_items = 0
    for split in splits:
        for part, size in public.parts(builder, split):
            side = None if holdout_split is None else split == holdout_split
            chunks.append(functools.partial(_public_items, data, name, part, side))
            num_items += size
    return Source(class_names, num_items, chunks)


def _public_items(data: str | None, name: str | None, part: str, held_out: bool | None) -> Iterator[Item]:
    for place, (pixels, label) in enumerate(public.read(public.prepared(data, name), part)):
        yield Item(f"{part}#{place}", pixels, label, held_out)
