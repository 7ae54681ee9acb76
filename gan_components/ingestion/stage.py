"""The first stage: a source becomes Examples."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from gan_components.artifacts import Examples, Progress, no_progress, work_directory
from gan_components.errors import InputError
from gan_components.examples import DATASET, Properties
from gan_components.ingestion import beam, dataset, near_duplicates, validation
from gan_components.ingestion.config import IngestConfig, recipe
from gan_components.ingestion.sources import Source, open_source
from gan_components.ingestion.statistics import (
    SPLITS,
    Summary,
    class_frequencies,
    content_digest,
    statistics,
)

logger = logging.getLogger(__name__)

_SHARD_BYTES = 128 * 2**20
_MIN_PER_SPLIT = 2


def ingest(
    data: str | None,
    config: IngestConfig,
    *,
    out: Path,
    seed: int,
    cache: Path,
    progress: Progress = no_progress,
    verify: bool = False,
) -> Examples:
    """Turns a source into Examples.

    The artifact holds ``dataset/`` (for ``tfds.builder_from_directory``), ``index.jsonl`` (which source files
    hold a record's pixels), ``quarantine.jsonl`` (what could not be read, and why), ``near_duplicates.jsonl``
    (held-out images that look like a training image), ``statistics.json`` and ``schema.json``.

    Args:
        data: directory of the source; see :func:`gan_components.ingestion.config.recipe`.
        config: the ``ingest`` section.
        out: the artifact's directory.
        seed: the pipeline's seed; of the records only those of `stacked_digits` depend on it.
        cache: root of shared caches; not used.
        progress: called with counts, also from another thread.
        verify: identify the source by its bytes instead of sizes and times.

    Raises:
        InputError: nothing to ingest, labels that do not fit, too many unreadable pictures, a split with
            fewer than two images, or files that changed meanwhile.
    """
    what = recipe(data, config, seed=seed, verify=verify)
    source = open_source(data, config, seed=seed)
    work = work_directory(out, what)
    try:
        progress(0, source.num_items, "converting images")
        summary, alike = _converted(source, config, work, progress)
        if recipe(data, config, seed=seed, verify=verify) != what:
            raise InputError(f"{data} changed while it was read; run again when nobody writes to it")
        _write_descriptions(work, summary, alike, source, config)
    except InputError:
        shutil.rmtree(work)
        raise
    for words in validation.anomalies(summary, num_near_duplicates=len(alike)):
        logger.warning("%s", words)
    progress(source.num_items, source.num_items, "images converted")
    train, holdout = (summary.of_split(split) for split in SPLITS)
    properties = Properties(
        image_shape=config.image_shape,
        class_names=source.class_names,
        class_frequencies=class_frequencies(train, len(source.class_names)),
        second_domain=config.second_domain,
        num_train=len(train),
        num_holdout=len(holdout),
        num_quarantined=len(summary.rejected),
        num_duplicates=summary.num_duplicates,
        num_near_duplicates=len(alike),
        num_label_conflicts=summary.num_label_conflicts,
        num_on_both_sides=summary.num_on_both_sides,
    )
    digest = content_digest(summary, config.image_shape, source.class_names)
    return Examples.seal(out, what, properties=properties.model_dump(), content_digest=digest)


def _converted(
    source: Source, config: IngestConfig, work: Path, progress: Progress
) -> tuple[Summary, list[dict[str, Any]]]:
    """Runs the pipeline and leaves the data set in `work`.

    Returns:
        The summary of all records, and the held-out ones that look like a training image.
    """
    height, width, channels = config.image_shape
    num_domains = 2 if config.second_domain else 1
    num_buckets = -(-source.num_items * height * width * channels * num_domains // _SHARD_BYTES)
    parts = work / "parts"
    parts.mkdir()
    beam.run(source, config, out=parts, num_buckets=num_buckets, progress=progress)
    buckets = {path.stem: Summary.model_validate_json(path.read_bytes()) for path in sorted(parts.glob("*.json"))}
    summary = Summary()
    for bucket in buckets.values():
        summary.add(bucket)
    _check(summary, config)
    validation.check(summary, source.class_names, config.expect)
    thumbnails = np.concatenate([np.load(parts / f"{name}.npy") for name in buckets])
    features = dataset.features(config.image_shape, source.class_names, config.second_domain)
    dataset.assemble(parts, buckets, work / DATASET, features)
    shutil.rmtree(parts)
    return summary, _near_duplicates(summary, thumbnails)


def _check(summary: Summary, config: IngestConfig) -> None:
    """Raises InputError if these examples cannot be trained on."""
    total, rejected = summary.num_pictures, sorted(summary.rejected)
    if len(rejected) > config.max_quarantined_share * total:
        shown = "; ".join(f"{name}: {reason}" for name, reason in rejected[:3])
        raise InputError(
            f"{len(rejected)} of {total} images cannot be read ({shown}); repair or remove them, or raise "
            f"ingest.max_quarantined_share above {config.max_quarantined_share:g}"
        )
    for split in SPLITS:
        count = len(summary.of_split(split))
        if count < _MIN_PER_SPLIT:
            raise InputError(
                f"of {total} images ({summary.num_duplicates} duplicates, {len(rejected)} unreadable), {count} "
                f"went to {split}, at least {_MIN_PER_SPLIT} are needed; add images or change ingest.holdout"
            )


def _near_duplicates(summary: Summary, thumbnails: np.ndarray) -> list[dict[str, Any]]:
    """Lines of ``near_duplicates.jsonl``."""
    rows = {split: [place for place, row in enumerate(summary.rows) if row.split == split] for split in SPLITS}
    pairs = near_duplicates.find(thumbnails[rows["train"]], thumbnails[rows["holdout"]])
    return [
        {
            "holdout": summary.rows[rows["holdout"][held_out]].id,
            "train": summary.rows[rows["train"][trained]].id,
            "distance": round(distance, 3),
        }
        for held_out, trained, distance in pairs
    ]


def _write_descriptions(
    work: Path, summary: Summary, alike: list[dict[str, Any]], source: Source, config: IngestConfig
) -> None:
    """Writes what lies beside the records: where they come from, what was left out, what they look like."""
    _write_lines(work / "index.jsonl", [row.model_dump() for row in summary.rows])
    rejected = [{"file": name, "reason": reason} for name, reason in sorted(summary.rejected)]
    _write_lines(work / "quarantine.jsonl", rejected)
    _write_lines(work / "near_duplicates.jsonl", alike)
    _write_json(work / "statistics.json", statistics(summary, config.image_shape, source.class_names, len(alike)))
    image = {"shape": config.image_shape, "dtype": "uint8", "range": [0, 255], "encoding": "png"}
    _write_json(
        work / "schema.json",
        {
            "image": image,
            "image2": image | {"made_of_image_by": config.second_domain} if config.second_domain else None,
            "label": {"dtype": "int64", "classes": source.class_names} if source.class_names else None,
            "expect": validation.observed(summary, source.class_names),
            "id": "SHA-256 of height, width and channels as little-endian uint32 and the pixels, in hexadecimal",
        },
    )


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
