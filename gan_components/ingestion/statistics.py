"""What is known of the examples: counted in each bucket, added up, written beside the records."""

import hashlib
import math
from collections import Counter
from typing import Any, Literal

from pydantic import BaseModel

from gan_components.fingerprints import digest_json

SPLITS: tuple[Literal["train"], Literal["holdout"]] = ("train", "holdout")


class Row(BaseModel, frozen=True, strict=True, extra="forbid"):
    """A line of ``index.jsonl``: a record, and the source files that hold its pixels.

    Attributes:
        id: hexadecimal key of the image.
        id2: hexadecimal key of the image in the second domain; None if there is none.
        near_blank: see :func:`gan_components.ingestion.validation.is_near_blank`.
    """

    id: str
    id2: str | None
    split: Literal["train", "holdout"]
    label: int | None
    sources: list[str]
    near_blank: bool


class Summary(BaseModel, strict=True, extra="forbid"):
    """Counts over some examples; two add up to the summary of both.

    Attributes:
        rows: one a record.
        rejected: name and reason of each picture in quarantine.
        sums, squares: over the pixels of a split, by channel, those of the second domain last.
        source_sizes: how many records came from pictures of each size, ``WxH``.
        source_channels: the same of each number of channels, 1 or 3.
        num_label_conflicts: records whose copies had different labels.
        num_on_both_sides: records which the source has in ``train`` and in the split held out.
    """

    rows: list[Row] = []
    rejected: list[tuple[str, str]] = []
    sums: dict[str, list[int]] = {}
    squares: dict[str, list[int]] = {}
    source_sizes: dict[str, int] = {}
    source_channels: dict[str, int] = {}
    num_label_conflicts: int = 0
    num_on_both_sides: int = 0

    def count(self, split: str, sums: list[int], squares: list[int], size: tuple[int, int], channels: int) -> None:
        """Adds one record's pixels, and the size and channels of its picture."""
        _add(self.sums, split, sums)
        _add(self.squares, split, squares)
        name = f"{size[0]}x{size[1]}"
        self.source_sizes[name] = self.source_sizes.get(name, 0) + 1
        self.source_channels[str(channels)] = self.source_channels.get(str(channels), 0) + 1

    def add(self, other: "Summary") -> None:
        """Adds another summary to this one."""
        self.rows += other.rows
        self.rejected += other.rejected
        for split in other.sums:
            _add(self.sums, split, other.sums[split])
            _add(self.squares, split, other.squares[split])
        self.source_sizes = dict(Counter(self.source_sizes) + Counter(other.source_sizes))
        self.source_channels = dict(Counter(self.source_channels) + Counter(other.source_channels))
        self.num_label_conflicts += other.num_label_conflicts
        self.num_on_both_sides += other.num_on_both_sides

    @property
    def num_duplicates(self) -> int:
        """Pictures left out because an equal one stands in a record."""
        return sum(len(row.sources) - 1 for row in self.rows)

    @property
    def num_pictures(self) -> int:
        """All pictures of the source, the unreadable ones too."""
        return len(self.rows) + self.num_duplicates + len(self.rejected)

    def of_split(self, split: str) -> list[Row]:
        """The records of a split, in stored order."""
        return [row for row in self.rows if row.split == split]


def content_digest(summary: Summary, image_shape: list[int], class_names: list[str]) -> str:
    """SHA-256 over the canonical records, in the order of split and key.

    A record is its pixels' key, that of its second image, and its label: two data sets with this digest train
    the same model, however their files were named, ordered, encoded and sharded.
    """
    digest = hashlib.sha256(digest_json([*image_shape, *class_names]).encode())
    for split in SPLITS:
        for row in summary.of_split(split):
            keys = row.id if row.id2 is None else f"{row.id} {row.id2}"
            digest.update(f"{split} {keys} {row.label}\n".encode())
    return digest.hexdigest()


def class_frequencies(rows: list[Row], num_classes: int) -> list[float]:
    """Share of each class among `rows`; empty without classes."""
    counts = Counter(row.label for row in rows)
    return [counts[label] / len(rows) for label in range(num_classes)]


def statistics(
    summary: Summary, image_shape: list[int], class_names: list[str], num_near_duplicates: int
) -> dict[str, Any]:
    """What ``statistics.json`` holds; means and deviations in levels 0..255, by channel."""
    return {
        "num_pictures": summary.num_pictures,
        "num_quarantined": len(summary.rejected),
        "num_duplicates": summary.num_duplicates,
        "num_near_duplicates": num_near_duplicates,
        "num_label_conflicts": summary.num_label_conflicts,
        "num_on_both_sides": summary.num_on_both_sides,
        "num_near_blank": sum(row.near_blank for row in summary.rows),
        "source_sizes": dict(sorted(summary.source_sizes.items())),
        "source_channels": dict(sorted(summary.source_channels.items())),
        "splits": {split: _of_split(summary, split, image_shape, class_names) for split in SPLITS},
    }


def _of_split(summary: Summary, split: str, image_shape: list[int], class_names: list[str]) -> dict[str, Any]:
    rows = summary.of_split(split)
    num_pixels = len(rows) * image_shape[0] * image_shape[1]
    means = [total / num_pixels for total in summary.sums[split]]
    # From exact integers: the difference of two large numbers would lose digits in floats.
    variances = [
        (num_pixels * square - total**2) / num_pixels**2
        for square, total in zip(summary.squares[split], summary.sums[split], strict=True)
    ]
    deviations = [math.sqrt(variance) for variance in variances]
    labels = Counter(row.label for row in rows)
    channels = image_shape[2]
    found = {
        "num_examples": len(rows),
        "class_counts": {name: labels[label] for label, name in enumerate(class_names)},
        "mean": means[:channels],
        "std": deviations[:channels],
    }
    if len(means) > channels:
        found["second_domain"] = {"mean": means[channels:], "std": deviations[channels:]}
    return found


def _add(totals: dict[str, list[int]], split: str, numbers: list[int]) -> None:
    before = totals.get(split, [0] * len(numbers))
    totals[split] = [a + b for a, b in zip(before, numbers, strict=True)]
