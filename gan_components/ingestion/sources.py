"""Sources: what they hold, dealt out in chunks that a Beam worker can read alone."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np

from gan_components.errors import InputError
from gan_components.ingestion import (
    arrays,
    digits,
    files,
    idx,
    image_folder,
    parquet,
    public,
    shards,
    spans,
    stacked_digits,
    tfrecord,
    webdataset,
)
from gan_components.ingestion.config import Fraction, IngestConfig
from gan_components.ingestion.items import Chunk, Item, Source


def open_source(data: str | None, config: IngestConfig, *, seed: int) -> Source:
    """Looks through a source without decoding its pictures.

    Args:
        data: directory or file of the source, see :func:`gan_components.ingestion.config.recipe`.
        config: the ``ingest`` section.
        seed: the pipeline's seed; only `stacked_digits` draws.

    Raises:
        InputError: missing files or splits, damaged containers, labels that do not fit.
    """
    how, split, image, label = config.labels, config.holdout_split, config.image_field, config.label_field
    match config.source:
        case "digits":
            pixels, classes = digits.read()
            source = Source(
                digits.CLASS_NAMES, len(pixels), arrays.chunks("digits", pixels, classes.tolist(), None)
            )
        case "stacked_digits":
            source = _stacked_digits(config, seed)
        case "idx":
            source = _idx(files.directory(data), test=split is not None)
        case "image_folder":
            paired = config.second_domain == "folder"
            if (archive := files.archive(data)) is None or config.spans is not None:
                source = image_folder.folders(spans.folders(data, config.spans), how, split, paired=paired)
            elif paired:
                raise InputError(
                    f"{data}: pairs are not read from archives; unpack it and give the folder as --data"
                )
            else:
                source = image_folder.archive(archive.path, how, split)
        case "webdataset":
            source = webdataset.source(files.shards(data, config.source), how, split)
        case "arrays":
            source = arrays.source(files.shards(data, config.source), config)
        case "parquet":
            found = files.shards(data, config.source)
            parts = [part for shard in found for part in parquet.parts(shard, image=image, label=label)]
            source = shards.source(parts, how, split)
        case "tfrecord":
            parts = [tfrecord.part(shard, image=image, label=label) for shard in files.shards(data, config.source)]
            source = shards.source(parts, how, split)
        case "tfds":
            source = _public(data, config.tfds_name, split)
    if source.num_items == 0:
        raise InputError(f"{data} holds no images; check --data and ingest.source")
    return dataclasses.replace(source, class_names=[]) if how is None else source


def _idx(root: Path, *, test: bool) -> Source:
    chunks: list[Chunk] = []
    num_items = num_classes = 0
    for split, (image_file, label_file) in idx.find(root, test=test).items():
        pixels, classes = idx.read(image_file, label_file)
        chunks += arrays.chunks(image_file.name, pixels, classes.tolist(), split == "test" if test else None)
        num_items += len(pixels)
        num_classes = max(num_classes, int(classes.max()) + 1)
    return Source([str(index) for index in range(num_classes)], num_items, chunks)


def _stacked_digits(config: IngestConfig, seed: int) -> Source:
    # The section's validator refuses a split of this source.
    fraction = cast(Fraction, config.holdout).fraction
    chunks: list[Chunk] = []
    for held_out, triples in stacked_digits.draw(config.num_images, fraction, seed=seed).items():
        chunks += [
            functools.partial(_stacked_items, held_out, start, triples[start : start + arrays.IMAGES_PER_CHUNK])
            for start in range(0, len(triples), arrays.IMAGES_PER_CHUNK)
        ]
    return Source([], config.num_images, chunks)


def _stacked_items(held_out: bool, start: int, triples: np.ndarray) -> Iterator[Item]:
    side = "holdout" if held_out else "train"
    for offset, (picture, triple) in enumerate(zip(stacked_digits.stacks(triples), triples, strict=True)):
        # The name tells which digits these are: their places in the source `digits`.
        yield Item(f"{side}#{start + offset}:{'+'.join(map(str, triple))}", picture, None, held_out)


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
