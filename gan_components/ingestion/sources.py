"""Sources: what they hold, dealt out in chunks that a Beam worker can read alone."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from gan_components.ingestion import digits, files, idx, labels, public, spans, stacked_digits
from gan_components.ingestion.config import Fraction, IngestConfig
from gan_components.ingestion.files import File

# Enough pictures in one chunk that dealing it out costs nothing beside decoding them.
FILES_PER_CHUNK = 64
ARRAYS_PER_CHUNK = 512


@dataclass(frozen=True)
class Item:
    """One image of a source.

    Attributes:
        name: of its file, or its place in a larger one; it appears in reports, never in records.
        content: where the picture lies, or its pixels.
        label: index of its class; None without labels.
        held_out: whether it is in the split that the source holds out; None: the picture's key decides, see
            :func:`gan_components.ingestion.identity.is_held_out`.
    """

    name: str
    content: Path | np.ndarray
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
            source = _image_folder(spans.folders(data, config.spans), config.labels, config.holdout_split)
        case "tfds":
            source = _public(data, config.tfds_name, config.holdout_split)
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


def _array_chunks(name: str, pixels: np.ndarray, classes: np.ndarray, held_out: bool | None) -> list[Chunk]:
    return [
        functools.partial(
            _array_items,
            name,
            start,
            pixels[start : start + ARRAYS_PER_CHUNK],
            classes[start : start + ARRAYS_PER_CHUNK],
            held_out,
        )
        for start in range(0, len(pixels), ARRAYS_PER_CHUNK)
    ]


def _array_items(
    name: str, start: int, pixels: np.ndarray, classes: np.ndarray, held_out: bool | None
) -> Iterator[Item]:
    for offset, (picture, label) in enumerate(zip(pixels, classes, strict=True)):
        yield Item(f"{name}#{start + offset}", picture, int(label), held_out)


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
    held_out = labels.held_out(names, holdout_split)
    # Below train/ and the split held out, the next folder names the class.
    class_names, classes = labels.read(root, names, how, depth=0 if holdout_split is None else 1)
    chunks: list[Chunk] = [
        functools.partial(
            _file_items,
            found[start : start + FILES_PER_CHUNK],
            classes[start : start + FILES_PER_CHUNK],
            held_out[start : start + FILES_PER_CHUNK],
        )
        for start in range(0, len(found), FILES_PER_CHUNK)
    ]
    return Source(class_names, len(found), chunks)


def _file_items(found: list[File], classes: list[int | None], held_out: list[bool] | list[None]) -> Iterator[Item]:
    for file, label, side in zip(found, classes, held_out, strict=True):
        yield Item(file.name, file.path, label, side)


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
