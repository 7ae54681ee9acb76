"""What is known of the examples: counted in each bucket, added up, written beside the records."""

import hashlib
import math
from collections import Counter
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel

from gan_components.fingerprints import digest_json
from gan_components.ingestion.rows import identities

SPLITS: tuple[Literal["train"], Literal["holdout"]] = ("train", "holdout")
_ROWS_AT_ONCE = 4096


class Summary(BaseModel, strict=True, extra="forbid"):
    """Counts over some examples; two add up to the summary of both.

    Attributes:
        num_examples: records of each split.
        class_counts: records of each label, by split.
        sums, squares: over the pixels of a split, by channel, those of the second domain last.
        source_sizes: how many records came from pictures of each size, ``WxH``.
        source_channels: the same of each number of channels, 1 or 3.
        num_quarantined: pictures that cannot be used.
        num_duplicates: pictures left out because an equal one stands in a record.
        num_near_blank: see :func:`gan_components.ingestion.validation.is_near_blank`.
        num_label_conflicts: records whose copies had different labels.
        num_on_both_sides: records which the source has in ``train`` and in the split held out.
    """

    num_examples: dict[str, int] = dict.fromkeys(SPLITS, 0)
    class_counts: dict[str, dict[int, int]] = {split: {} for split in SPLITS}
    sums: dict[str, list[int]] = {}
    squares: dict[str, list[int]] = {}
    source_sizes: dict[str, int] = {}
    source_channels: dict[str, int] = {}
    num_quarantined: int = 0
    num_duplicates: int = 0
    num_near_blank: int = 0
    num_label_conflicts: int = 0
    num_on_both_sides: int = 0

    def count(
        self, split: str, label: int | None, sums: list[int], squares: list[int], shape: tuple[int, int, int]
    ) -> None:
        """Adds one record, of a picture with this width, height and channels."""
        width, height, channels = shape
        self.num_examples[split] += 1
        if label is not None:
            self.class_counts[split][label] = self.class_counts[split].get(label, 0) + 1
        _add(self.sums, split, sums)
        _add(self.squares, split, squares)
        name = f"{width}x{height}"
        self.source_sizes[name] = self.source_sizes.get(name, 0) + 1
        self.source_channels[str(channels)] = self.source_channels.get(str(channels), 0) + 1

    def add(self, other: "Summary") -> None:
        """Adds another summary to this one."""
        for split in SPLITS:
            self.num_examples[split] += other.num_examples[split]
            self.class_counts[split] = dict(Counter(self.class_counts[split]) + Counter(other.class_counts[split]))
        for counted in other.sums:
            _add(self.sums, counted, other.sums[counted])
            _add(self.squares, counted, other.squares[counted])
        self.source_sizes = dict(Counter(self.source_sizes) + Counter(other.source_sizes))
        self.source_channels = dict(Counter(self.source_channels) + Counter(other.source_channels))
        self.num_quarantined += other.num_quarantined
        self.num_duplicates += other.num_duplicates
        self.num_near_blank += other.num_near_blank
        self.num_label_conflicts += other.num_label_conflicts
        self.num_on_both_sides += other.num_on_both_sides

    @property
    def num_pictures(self) -> int:
        """All pictures of the source, those in quarantine too."""
        return sum(self.num_examples.values()) + self.num_duplicates + self.num_quarantined


def content_digest(rows: np.ndarray, image_shape: list[int], class_names: list[str]) -> str:
    """SHA-256 over the canonical records, in the order of split and key.

    A record is its pixels' key, that of its second image, and its label: two data sets with this digest train
    the same model, however their files were named, ordered, encoded and sharded.

    Args:
        rows: from :func:`gan_components.ingestion.rows.read`.
        image_shape, class_names: of the data set.
    """
    digest = hashlib.sha256(digest_json([*image_shape, *class_names]).encode())
    for split, held_out in zip(SPLITS, (False, True), strict=True):
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            for identity in identities(some[some["held_out"] == held_out]):
                digest.update(f"{split} {identity}\n".encode())
    return digest.hexdigest()


def class_frequencies(summary: Summary, num_classes: int) -> list[float]:
    """Share of each class in the training split; empty without classes."""
    counts = summary.class_counts["train"]
    return [counts.get(label, 0) / summary.num_examples["train"] for label in range(num_classes)]


def statistics(
    summary: Summary, image_shape: list[int], class_names: list[str], num_alike: dict[str, int]
) -> dict[str, Any]:
    """What ``statistics.json`` holds; means and deviations in levels 0..255, by channel."""
    return {
        "num_pictures": summary.num_pictures,
        "num_quarantined": summary.num_quarantined,
        "num_duplicates": summary.num_duplicates,
        **num_alike,
        "num_label_conflicts": summary.num_label_conflicts,
        "num_on_both_sides": summary.num_on_both_sides,
        "num_near_blank": summary.num_near_blank,
        "source_sizes": dict(sorted(summary.source_sizes.items())),
        "source_channels": dict(sorted(summary.source_channels.items())),
        "splits": {split: _of_split(summary, split, image_shape, class_names) for split in SPLITS},
    }


def _of_split(summary: Summary, split: str, image_shape: list[int], class_names: list[str]) -> dict[str, Any]:
    num_examples = summary.num_examples[split]
    num_pixels = num_examples * image_shape[0] * image_shape[1]
    means = [total / num_pixels for total in summary.sums[split]]
    # From exact integers: the difference of two large numbers would lose digits in floats.
    variances = [
        (num_pixels * square - total**2) / num_pixels**2
        for square, total in zip(summary.squares[split], summary.sums[split], strict=True)
    ]
    deviations = [math.sqrt(variance) for variance in variances]
    channels = image_shape[2]
    found = {
        "num_examples": num_examples,
        "class_counts": {
            name: summary.class_counts[split].get(label, 0) for label, name in enumerate(class_names)
        },
        "mean": means[:channels],
        "std": deviations[:channels],
    }
    if len(means) > channels:
        found["second_domain"] = {"mean": means[channels:], "std": deviations[channels:]}
    return found


def _add(totals: dict[str, list[int]], split: str, numbers: list[int]) -> None:
    before = totals.get(split, [0] * len(numbers))
    totals[split] = [a + b for a, b in zip(before, numbers, strict=True)]
