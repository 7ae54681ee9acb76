"""The first stage: a source becomes Examples."""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gan_components.artifacts import Examples, Progress, no_progress, work_directory
from gan_components.domains import SECOND_DOMAINS
from gan_components.errors import InputError
from gan_components.examples import DATASET, Properties
from gan_components.ingestion import beam, dataset, near_duplicates, rows, validation
from gan_components.ingestion.config import IngestConfig, recipe
from gan_components.ingestion.items import Source
from gan_components.ingestion.sources import open_source
from gan_components.ingestion.statistics import (
    SPLITS,
    Summary,
    class_frequencies,
    content_digest,
    statistics,
)

logger = logging.getLogger(__name__)

_SHARD_BYTES = 32 * 2**20
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
    (images that look alike), ``statistics.json`` and ``schema.json``.

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
        found = _converted(source, config, work, progress)
        if recipe(data, config, seed=seed, verify=verify) != what:
            raise InputError(f"{data} changed while it was read; run again when nobody writes to it")
        _write_descriptions(work, found, source, config)
    except InputError:
        shutil.rmtree(work)
        raise
    summary = found.summary
    for words in validation.anomalies(summary, found.num_alike):
        logger.warning("%s", words)
    progress(source.num_items, source.num_items, "images converted")
    properties = Properties(
        image_shape=config.image_shape,
        class_names=source.class_names,
        class_frequencies=class_frequencies(summary, len(source.class_names)),
        second_domain=config.second_domain,
        num_train=summary.num_examples["train"],
        num_holdout=summary.num_examples["holdout"],
        num_quarantined=summary.num_quarantined,
        num_duplicates=summary.num_duplicates,
        **found.num_alike,
        num_label_conflicts=summary.num_label_conflicts,
        num_on_both_sides=summary.num_on_both_sides,
    )
    digest = content_digest(found.rows, config.image_shape, source.class_names)
    return Examples.seal(out, what, properties=properties.model_dump(), content_digest=digest)


@dataclass(frozen=True)
class _Found:
    """What is known when the source is converted.

    Attributes:
        summary: of all records.
        rows: of all records; see :func:`gan_components.ingestion.rows.read`.
        rejected: name and reason of each picture in quarantine, by name.
        alike: lines of ``near_duplicates.jsonl``, under the name of their count.
    """

    summary: Summary
    rows: np.ndarray
    rejected: list[tuple[str, str]]
    alike: dict[str, list[dict[str, Any]]]

    @property
    def num_alike(self) -> dict[str, int]:
        return {name: len(lines) for name, lines in self.alike.items()}


def _converted(source: Source, config: IngestConfig, work: Path, progress: Progress) -> _Found:
    """Runs the pipeline and leaves the data set and ``index.jsonl`` in `work`."""
    height, width, channels = config.image_shape
    num_domains = 2 if config.second_domain else 1
    num_buckets = -(-source.num_items * height * width * channels * num_domains // _SHARD_BYTES)
    parts = work / "parts"
    parts.mkdir()
    beam.run(source, config, out=parts, num_buckets=num_buckets, progress=progress)
    buckets = [f"{bucket:05d}" for bucket in range(num_buckets)]
    summaries = {
        name: Summary.model_validate_json((parts / f"summary-{name}.json").read_bytes()) for name in buckets
    }
    summary = Summary()
    for bucket in summaries.values():
        summary.add(bucket)
    rejected = sorted(
        (name, reason) for path in parts.glob("rejected-*.json") for name, reason in json.loads(path.read_bytes())
    )
    summary.num_quarantined = len(rejected)
    _check(summary, rejected, config)
    validation.check(summary, source.class_names, config.expect)
    table = rows.read([parts / f"rows-{name}" for name in buckets], config)
    with (work / "index.jsonl").open("wb") as index:
        for name in buckets:
            with (parts / f"index-{name}.jsonl").open("rb") as part:
                shutil.copyfileobj(part, index)
    features = dataset.features(config.image_shape, source.class_names, config.second_domain)
    dataset.assemble(parts, summaries, work / DATASET, features)
    shutil.rmtree(parts)
    return _Found(summary, table, rejected, _alike(table, config))


def _check(summary: Summary, rejected: list[tuple[str, str]], config: IngestConfig) -> None:
    """Raises InputError if these examples cannot be trained on."""
    total = summary.num_pictures
    if len(rejected) > config.max_quarantined_share * total:
        shown = "; ".join(f"{name}: {reason}" for name, reason in rejected[:3])
        raise InputError(
            f"{len(rejected)} of {total} images cannot be used ({shown}); repair or remove them, or raise "
            f"ingest.max_quarantined_share above {config.max_quarantined_share:g}"
        )
    for split in SPLITS:
        count = summary.num_examples[split]
        if count < _MIN_PER_SPLIT:
            raise InputError(
                f"of {total} images ({summary.num_duplicates} duplicates, {len(rejected)} unreadable), {count} "
                f"went to {split}, at least {_MIN_PER_SPLIT} are needed; add images or change ingest.holdout"
            )


def _alike(table: np.ndarray, config: IngestConfig) -> dict[str, list[dict[str, Any]]]:
    """Lines of ``near_duplicates.jsonl``: ids by split, and their distance."""

    def lines(rows: np.ndarray, references: np.ndarray, names: tuple[str, str]) -> list[dict[str, Any]]:
        found = near_duplicates.find(table["thumbnail"], rows, references)
        return [
            {names[0]: _id(table, row), names[1]: _id(table, like), "distance": round(distance, 3)}
            for row, like, distance in found
        ]

    held_out = table["held_out"]
    alike = {"num_near_duplicates": lines(held_out, ~held_out, ("holdout", "train"))}
    if config.near_duplicates == "everywhere":
        alike["num_near_duplicates_within"] = [
            line
            for split, rows in zip(SPLITS, (~held_out, held_out), strict=True)
            for line in lines(rows, rows, (split, "like"))
        ]
    return alike


def _id(table: np.ndarray, row: int) -> str:
    return table["key"][row].tobytes().hex()


def _write_descriptions(work: Path, found: _Found, source: Source, config: IngestConfig) -> None:
    """Writes what lies beside the records: what was left out, what they look like."""
    rejected = [{"file": name, "reason": reason} for name, reason in found.rejected]
    _write_lines(work / "quarantine.jsonl", rejected)
    _write_lines(work / "near_duplicates.jsonl", [line for lines in found.alike.values() for line in lines])
    summary, shape, class_names = found.summary, config.image_shape, source.class_names
    counted = statistics(summary, shape, class_names, found.num_alike)
    _write_json(work / "statistics.json", counted)
    made_by = config.second_domain if config.second_domain in SECOND_DOMAINS else None
    image = {"shape": shape, "dtype": "uint8", "range": [0, 255], "encoding": "png"}
    _write_json(
        work / "schema.json",
        {
            "image": image,
            "image2": image | {"made_of_image_by": made_by} if config.second_domain else None,
            "label": {"dtype": "int64", "classes": class_names} if class_names else None,
            "expect": validation.observed(summary, class_names),
            "id": "SHA-256 of height, width and channels as little-endian uint32 and the pixels, in hexadecimal",
        },
    )


def _write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
