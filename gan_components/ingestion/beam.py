"""The Beam pipeline: chunks of a source in, sorted shards of distinct examples out.

One shuffle does all of it. A picture's key is the SHA-256 of its canonical pixels; the key's first bytes
choose the bucket, so equal pictures meet in one bucket, a bucket's records sorted by key are one shard of
each split, and no byte depends on who did what when.
"""

import io
import threading
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner, create_runner
from array_record.python import array_record_module

from gan_components import pictures
from gan_components.artifacts import Progress, write_atomically
from gan_components.domains import SECOND_DOMAINS
from gan_components.errors import InputError
from gan_components.images import png
from gan_components.ingestion import identity, near_duplicates, validation
from gan_components.ingestion.config import BeamConfig, Fraction, IngestConfig
from gan_components.ingestion.sources import Chunk, Item, Source
from gan_components.ingestion.statistics import SPLITS, Row, Summary


@dataclass(frozen=True)
class Converted:
    """A picture on its way to a shard.

    Attributes:
        key: SHA-256 of the canonical pixels.
        label: its class; None without labels.
        held_out: whether it belongs to ``holdout``.
        name: of the source file.
        source_size: width and height before fitting.
        source_channels: 1 or 3, before conversion.
        near_blank: whether the canonical pixels show next to nothing.
        sums, squares: over the canonical pixels, by channel, those of the second domain last; integers, so
            that no order of adding shows.
        thumbnail: see :mod:`gan_components.ingestion.near_duplicates`.
        png: the canonical pixels, encoded.
        key2, png2: of the image in the second domain; None if there is none.
    """

    key: bytes
    label: int | None
    held_out: bool
    name: str
    source_size: tuple[int, int]
    source_channels: int
    near_blank: bool
    sums: list[int]
    squares: list[int]
    thumbnail: np.ndarray
    png: bytes
    key2: bytes | None
    png2: bytes | None


@dataclass(frozen=True)
class Rejected:
    """A picture on its way to quarantine."""

    name: str
    reason: str


def run(source: Source, config: IngestConfig, *, out: Path, num_buckets: int, progress: Progress) -> None:
    """Converts a source into `out`: for each bucket a shard of each split and a summary.

    Bucket 3 leaves ``train-00003`` and ``holdout-00003`` (ArrayRecord, unless empty), ``00003.json``
    (:class:`~gan_components.ingestion.statistics.Summary`) and ``00003.npy`` (thumbnails of its rows).

    Args:
        source: what to convert.
        config: the ``ingest`` section.
        out: an empty directory that every worker sees.
        num_buckets: shards of a split, at most.
        progress: called from another thread while workers convert.
    """
    runner = _runner(config.beam)
    counter = out / "converted"
    counter.touch()
    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(counter, source.num_items, progress, finished))
    watcher.start()
    try:
        # An empty list of flags, not None: Beam would read this process' command line.
        with beam.Pipeline(runner=runner, options=PipelineOptions(list(config.beam.options))) as pipeline:
            (
                pipeline
                | "Chunks" >> beam.Create(source.chunks)
                | "Deal" >> beam.Reshuffle()
                | "Convert"
                >> beam.FlatMap(
                    convert, config, labelled=bool(source.class_names), num_buckets=num_buckets, counter=counter
                ).with_output_types(tuple[int, Any])
                | "Meet" >> beam.GroupByKey()
                | "Write" >> beam.Map(lambda bucket: write(*bucket, out=out))
            )
    finally:
        finished.set()
        watcher.join()


def _runner(config: BeamConfig) -> PipelineRunner:
    try:
        return create_runner(config.runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"Beam has no runner {config.runner} ({error}); check ingest.beam.runner") from None


def _watch(counter: Path, total: int, progress: Progress, finished: threading.Event) -> None:
    """Reports how many pictures are converted: the size of the file to which workers append a byte each."""
    while not finished.wait(0.5):
        progress(min(counter.stat().st_size, total), total, "converting images")


def convert(
    chunk: Chunk, config: IngestConfig, *, labelled: bool, num_buckets: int, counter: Path
) -> Iterator[tuple[int, Converted | Rejected]]:
    """Reads, decodes and encodes the pictures of a chunk, each with its bucket."""
    converted = 0
    for item in chunk():
        converted += 1
        try:
            yield _converted(item, config, labelled=labelled, num_buckets=num_buckets)
        except pictures.UnreadableError as error:
            yield 0, Rejected(item.name, str(error))
    with counter.open("ab", buffering=0) as file:
        file.write(bytes(converted))


def _converted(item: Item, config: IngestConfig, *, labelled: bool, num_buckets: int) -> tuple[int, Converted]:
    content = item.content
    if isinstance(content, pictures.UnreadableError):
        raise content
    picture = pictures.from_array(content) if isinstance(content, np.ndarray) else pictures.read(content)
    validation.check_size(picture, config.min_side_pixels)
    pixels = pictures.canonical(picture, size=config.size, channels=config.channels, fit=config.fit)
    pixels2 = SECOND_DOMAINS[config.second_domain](pixels) if config.second_domain else None
    key = identity.pixel_key(pixels)
    domains = [pixels] if pixels2 is None else [pixels, pixels2]
    columns = np.concatenate(domains, axis=-1).astype(np.int64).reshape(-1, config.channels * len(domains))
    if item.held_out is None and isinstance(config.holdout, Fraction):
        held_out = identity.is_held_out(key, config.holdout.fraction)
    else:
        held_out = bool(item.held_out)
    return int.from_bytes(key[:8]) * num_buckets >> 64, Converted(
        key=key,
        label=item.label if labelled else None,
        held_out=held_out,
        name=item.name,
        source_size=picture.size,
        source_channels=len(picture.getbands()),
        near_blank=validation.is_near_blank(pixels),
        sums=columns.sum(0).tolist(),
        squares=(columns**2).sum(0).tolist(),
        thumbnail=near_duplicates.thumbnail(pixels),
        png=png(pixels),
        key2=None if pixels2 is None else identity.pixel_key(pixels2),
        png2=None if pixels2 is None else png(pixels2),
    )


def write(bucket: int, found: Iterable[Converted | Rejected], *, out: Path) -> None:
    """Writes a bucket: its distinct records in the order of their keys, and what is known of them.

    Equal pixels become one record. It is held out if one of them is, so that training never sees a held-out
    picture; it has the smallest of their labels.
    """
    summary = Summary()
    same: dict[bytes, list[Converted]] = {}
    for one in found:
        if isinstance(one, Rejected):
            summary.rejected.append((one.name, one.reason))
        else:
            same.setdefault(one.key, []).append(one)
    thumbnails: list[np.ndarray] = []
    shards: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    for key, copies in sorted(same.items()):
        sides = {copy.held_out for copy in copies}
        labels = {copy.label for copy in copies}
        row = Row(
            id=key.hex(),
            split="holdout" if True in sides else "train",
            id2=key2.hex() if (key2 := copies[0].key2) else None,
            label=min(labels, key=lambda label: -1 if label is None else label),
            sources=sorted(copy.name for copy in copies),
            near_blank=copies[0].near_blank,
        )
        summary.rows.append(row)
        first = copies[0]
        summary.count(row.split, first.sums, first.squares, first.source_size, first.source_channels)
        summary.num_label_conflicts += len(labels) > 1
        summary.num_on_both_sides += len(sides) > 1
        thumbnails.append(copies[0].thumbnail)
        shards[row.split].append(_example(row.id, row.label, copies[0].png, copies[0].png2))
    for split, records in shards.items():
        if records:
            _write_shard(out / f"{split}-{bucket:05d}", records)
    buffer = io.BytesIO()
    np.save(buffer, np.array(thumbnails))
    write_atomically(out / f"{bucket:05d}.npy", buffer.getvalue())
    write_atomically(out / f"{bucket:05d}.json", summary.model_dump_json().encode())


def _example(key: str, label: int | None, encoded: bytes, encoded2: bytes | None) -> bytes:
    """A ``tf.train.Example`` as TFDS stores Text, Image and ClassLabel; the same bytes on every run."""
    features = {
        "id": tf.train.Feature(bytes_list=tf.train.BytesList(value=[key.encode()])),
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded])),
    }
    if encoded2 is not None:
        features["image2"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded2]))
    if label is not None:
        features["label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _write_shard(path: Path, records: list[bytes]) -> None:
    # A runner may do a bundle twice, even at the same time: each writes its own file, the last rename stands.
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    # One record a group makes access by position cheap; PNG does not compress any further.
    writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
    for record in records:
        writer.write(record)
    writer.close()
    partial.replace(path)
