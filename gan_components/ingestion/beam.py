"""The Beam pipeline: chunks of a source in, sorted shards of distinct examples out.

A picture's key is the SHA-256 of its canonical pixels; the key's first bits choose the bucket, so equal pictures
meet in one bucket, a bucket's records sorted by key are one shard of each split, and no byte depends on who did
what when.

Beam deals out the work and nothing else: a chunk to convert, then a bucket to write. The pictures lie in files
between the two (:mod:`gan_components.ingestion.spills`), so that no process' memory grows with their number.
"""

import contextlib
import functools
import json
import os
import pickle
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner, create_runner
from array_record.python import array_record_module

from gan_components import pictures
from gan_components.artifacts import Progress
from gan_components.domains import SECOND_DOMAINS
from gan_components.errors import InputError
from gan_components.ingestion import identity, near_duplicates, records, rows, spills, validation
from gan_components.ingestion.config import BeamConfig, Fraction, IngestConfig
from gan_components.ingestion.items import Chunk, Item, Source
from gan_components.ingestion.spills import Converted
from gan_components.ingestion.statistics import SPLITS, Summary

_JSON = json.JSONEncoder(ensure_ascii=False)
# What a worker holds of a bucket at a time: an eighth.
_SLICES_PER_BUCKET = 8
# What Beam deals out at most; more where a task would otherwise hold more than half a shard.
_MAX_TASKS = 512
# Fewer chunks are converted before a second process has started.
_MIN_CHUNKS_FOR_PROCESSES = 64


def run(source: Source, config: IngestConfig, *, out: Path, num_buckets: int, progress: Progress) -> None:
    """Converts a source into `out`: for each bucket a shard of each split, and what is known of its records.

    Bucket 3 leaves ``train-00003`` and ``holdout-00003`` (ArrayRecord), ``summary-00003.json``
    (:class:`~gan_components.ingestion.statistics.Summary`), ``index-00003.jsonl`` and ``rows-00003``
    (:mod:`~gan_components.ingestion.rows`). Files ``rejected-*.json`` hold the name and reason of each picture
    that goes to quarantine.

    Args:
        source: what to convert.
        config: the ``ingest`` section.
        out: an empty directory that every worker sees.
        num_buckets: shards of a split, at most.
        progress: called from another thread while workers convert.
    """
    runner, flags = _runner(config.beam), _flags(config.beam, len(source.chunks))
    # Each spill holds a part of each slice: their numbers multiply, and must not grow both with the data.
    num_slices = num_buckets * _SLICES_PER_BUCKET
    num_tasks = min(len(source.chunks), max(_MAX_TASKS, 2 * num_buckets))
    tasks = []
    for number in range(num_tasks):
        # Not through Beam: it compresses what a pipeline begins with, arrays of pixels too, again and again.
        tasks.append(out / f"task-{number:05d}")
        tasks[-1].write_bytes(pickle.dumps(source.chunks[number::num_tasks]))
    counter = out / "converted"
    counter.touch()
    finished = threading.Event()
    watcher = threading.Thread(target=_watch, args=(counter, source.num_items, progress, finished))
    watcher.start()
    try:
        # A list of flags, if empty, and not None: Beam would read this process' command line.
        with beam.Pipeline(runner=runner, options=PipelineOptions(flags)) as pipeline:
            (
                pipeline
                | "Tasks" >> beam.Create(tasks)
                | "Deal tasks" >> beam.Reshuffle()
                | "Convert"
                >> beam.Map(
                    functools.partial(
                        convert,
                        config=config,
                        labelled=bool(source.class_names),
                        num_slices=num_slices,
                        counter=counter,
                    )
                )
                | "Wait for all" >> beam.combiners.ToList()
                | "Buckets" >> beam.FlatMap(lambda spilled: [(bucket, spilled) for bucket in range(num_buckets)])
                | "Deal buckets" >> beam.Reshuffle()
                | "Write" >> beam.MapTuple(functools.partial(write, config=config, out=out))
            )
    finally:
        finished.set()
        watcher.join()


def _runner(config: BeamConfig) -> PipelineRunner:
    try:
        return create_runner(config.runner)
    except (ValueError, ImportError, AttributeError) as error:
        raise InputError(f"Beam has no runner {config.runner} ({error}); check ingest.beam.runner") from None


def _flags(config: BeamConfig, num_chunks: int) -> list[str]:
    """The flags for the runner: those of the section, or a process a core where there is work for them."""
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if config != BeamConfig() or num_chunks < _MIN_CHUNKS_FOR_PROCESSES or num_cores == 1:
        return list(config.options)
    return [
        f"--direct_num_workers={num_cores}",
        "--direct_running_mode=multi_processing",
        "--default_sdk_harness_log_level=WARNING",
    ]


def _watch(counter: Path, total: int, progress: Progress, finished: threading.Event) -> None:
    """Reports how many pictures are converted: the size of the file to which workers append a byte each."""
    while not finished.wait(0.5):
        progress(min(counter.stat().st_size, total), total, "converting images")


def convert(task: Path, *, config: IngestConfig, labelled: bool, num_slices: int, counter: Path) -> Path:
    """Reads, decodes and encodes the pictures of a task's chunks into a spill; returns it."""
    chunks: list[Chunk] = pickle.loads(task.read_bytes())  # noqa: S301 (`run` wrote it)
    converted: list[Converted] = []
    rejected: list[tuple[str, str]] = []
    for chunk in chunks:
        before = len(converted) + len(rejected)
        for item in chunk():
            try:
                converted.append(_converted(item, config, labelled=labelled))
            except pictures.UnreadableError as error:
                rejected.append((item.name, str(error)))
        with counter.open("ab", buffering=0) as count:
            count.write(bytes(len(converted) + len(rejected) - before))
    spill = task.with_name(f"spill-{task.name}")
    spills.write(spill, converted, num_slices=num_slices)
    if rejected:
        with _file(task.with_name(f"rejected-{task.name}.json")) as file:
            file.write(json.dumps(rejected).encode())
    return spill


def _converted(item: Item, config: IngestConfig, *, labelled: bool) -> Converted:
    pixels, source_shape = _canonical(item.content, config)
    pixels2 = _second(item, pixels, config)
    key = identity.pixel_key(pixels)
    domains = [pixels] if pixels2 is None else [pixels, pixels2]
    # Integers below 2^53 are exact in float64, and NumPy is faster with them.
    channels = np.concatenate([domain.reshape(-1, config.channels).T for domain in domains]).astype(np.float64)
    sums, squares = (list(map(int, powers.sum(1))) for powers in (channels, channels**2))
    if item.held_out is None and isinstance(config.holdout, Fraction):
        held_out = identity.is_held_out(key, config.holdout.fraction)
    else:
        held_out = bool(item.held_out)
    return Converted(
        key=key,
        label=item.label if labelled else None,
        held_out=held_out,
        name=item.name,
        source_shape=source_shape,
        near_blank=validation.is_near_blank(
            sums[: config.channels], squares[: config.channels], channels.shape[1]
        ),
        sums=sums,
        squares=squares,
        thumbnail=near_duplicates.thumbnail(pixels).tobytes(),
        png=records.png(pixels),
        key2=None if pixels2 is None else identity.pixel_key(pixels2),
        png2=None if pixels2 is None else records.png(pixels2),
    )


def _second(item: Item, pixels: np.ndarray, config: IngestConfig) -> np.ndarray | None:
    """The canonical pixels in the second domain; None if there is none."""
    if config.second_domain is None:
        return None
    if item.partner is None:
        return SECOND_DOMAINS[config.second_domain](pixels)
    try:
        return _canonical(item.partner, config)[0]
    except pictures.UnreadableError as error:
        raise pictures.UnreadableError(f"its partner in the second domain: {error}") from None


def _canonical(
    content: Path | bytes | np.ndarray | pictures.UnreadableError, config: IngestConfig
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Canonical pixels of an item, and the width, height and channels it had."""
    if isinstance(content, pictures.UnreadableError):
        raise content
    shape: tuple[int, int, int] = (config.size, config.size, config.channels)
    if isinstance(content, np.ndarray) and content.dtype == np.uint8 and _as_shape(content) == shape:
        # What fits already passes through bit for bit; to make a picture of it takes longer than all of that.
        pixels, source_shape = content.reshape(shape), shape
    else:
        picture = pictures.from_array(content) if isinstance(content, np.ndarray) else pictures.read(content)
        pixels = pictures.canonical(picture, size=config.size, channels=config.channels, fit=config.fit)
        source_shape = (*picture.size, len(picture.getbands()))
    validation.check_size(source_shape, config.min_side_pixels)
    return pixels, source_shape


def _as_shape(pixels: np.ndarray) -> tuple[int, ...]:
    return pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)


def write(bucket: int, spilled: Iterable[Path], *, config: IngestConfig, out: Path) -> None:
    """Writes a bucket: its distinct records in the order of their keys, and what is known of them."""
    paths = sorted(spilled)
    summary = Summary()
    with contextlib.ExitStack() as stack:
        shards = {split: stack.enter_context(_shard(out / f"{split}-{bucket:05d}")) for split in SPLITS}
        index = stack.enter_context(_file(out / f"index-{bucket:05d}.jsonl"))
        table = stack.enter_context(_file(out / f"rows-{bucket:05d}"))
        for number in range(bucket * _SLICES_PER_BUCKET, (bucket + 1) * _SLICES_PER_BUCKET):
            same: dict[bytes, list[Converted]] = {}
            for path in paths:
                for one in spills.read(path, number):
                    same.setdefault(one.key, []).append(one)
            for _, copies in sorted(same.items()):
                kept, line = _merged(copies, summary)
                shards[line["split"]].write(records.example(line["id"], kept.label, kept.png, kept.png2))
                index.write(f"{_JSON.encode(line)}\n".encode())
                table.write(rows.row(kept))
    with _file(out / f"summary-{bucket:05d}.json") as file:
        file.write(summary.model_dump_json().encode())


def _merged(copies: list[Converted], summary: Summary) -> tuple[Converted, dict[str, Any]]:
    """Makes one picture of those with equal pixels, and adds it to the summary.

    It is held out if one of them is, so that training never sees a held-out picture; it has the smallest of
    their labels, and of different partners the one with the smallest key.

    Returns:
        The picture, and its line of ``index.jsonl``.
    """
    sides = {copy.held_out for copy in copies}
    labels = {copy.label for copy in copies}
    kept = min(copies, key=lambda copy: (copy.key2 or b"", copy.name))._replace(
        held_out=True in sides, label=min(labels, key=lambda label: -1 if label is None else label)
    )
    split = "holdout" if kept.held_out else "train"
    summary.count(split, kept.label, kept.sums, kept.squares, kept.source_shape)
    summary.num_near_blank += kept.near_blank
    summary.num_duplicates += len(copies) - 1
    summary.num_label_conflicts += len(labels) > 1
    summary.num_on_both_sides += len(sides) > 1
    line = {
        "id": kept.key.hex(),
        "id2": kept.key2.hex() if kept.key2 else None,
        "split": split,
        "label": kept.label,
        "sources": sorted(copy.name for copy in copies),
        "near_blank": kept.near_blank,
    }
    return kept, line


@contextlib.contextmanager
def _shard(path: Path) -> Iterator[array_record_module.ArrayRecordWriter]:
    with spills.replacing(path) as partial:
        # One record a group makes access by position cheap; PNG does not compress any further.
        writer = array_record_module.ArrayRecordWriter(str(partial), "group_size:1,uncompressed")
        yield writer
        writer.close()


@contextlib.contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    with spills.replacing(path) as partial, partial.open("wb") as file:
        yield file
