"""Whether the images are what the user expects, and what is unusual about them: in words.

What holds for one picture sends it to quarantine; what holds for all of them is an error.
"""

from typing import Any

from gan_components.errors import InputError
from gan_components.ingestion.config import Bounds, ExpectConfig
from gan_components.ingestion.statistics import Summary
from gan_components.pictures import UnreadableError

# Largest standard deviation of a channel, in levels of 256.
NEAR_BLANK_DEVIATION = 2.0


def check_size(shape: tuple[int, int, int], min_side_pixels: int) -> None:
    """Raises UnreadableError if a side of a picture, ``(width, height, channels)``, has fewer pixels."""
    width, height, _ = shape
    if min(width, height) < min_side_pixels:
        raise UnreadableError(f"{width} x {height} is smaller than ingest.min_side_pixels: {min_side_pixels}")


def is_near_blank(sums: list[int], squares: list[int], num_pixels: int) -> bool:
    """Whether a picture shows next to nothing, by the sums over its uint8 pixels and their squares, by channel.

    ``n^2 var = n sum(x^2) - sum(x)^2``, exact in integers, and from what is summed up anyway.

    Example:
        >>> is_near_blank([64 * 7], [64 * 7**2], 64)
        True
    """
    limit = (NEAR_BLANK_DEVIATION * num_pixels) ** 2
    return all(num_pixels * square - total**2 < limit for total, square in zip(sums, squares, strict=True))


def observed(summary: Summary, class_names: list[str]) -> dict[str, Any]:
    """What the images are like, in the form of ``ingest.expect``: to be copied there, and so pinned."""
    sides = _sides(summary)
    return {
        "num_images": {"min": summary.num_pictures, "max": summary.num_pictures},
        "side_pixels": {"min": min(sides), "max": max(sides)},
        "source_channels": sorted(int(channels) for channels in summary.source_channels),
        "class_names": class_names or None,
    }


def check(summary: Summary, class_names: list[str], expect: ExpectConfig) -> None:
    """Raises InputError that names all that is not as expected."""
    found = observed(summary, class_names)
    wrong = []
    if problem := _outside(found["num_images"], expect.num_images):
        wrong.append(f"num_images: {summary.num_pictures} images, {problem}")
    if problem := _outside(found["side_pixels"], expect.side_pixels):
        sides = found["side_pixels"]
        wrong.append(f"side_pixels: {sides['min']} to {sides['max']} pixels, {problem}")
    if expect.source_channels is not None and set(found["source_channels"]) - set(expect.source_channels):
        counts = ", ".join(
            f"{count} with {channels}" for channels, count in sorted(summary.source_channels.items())
        )
        wrong.append(f"source_channels: {counts}, expected only {expect.source_channels}")
    if expect.class_names is not None and class_names != expect.class_names:
        missing = sorted(set(expect.class_names) - set(class_names))
        added = sorted(set(class_names) - set(expect.class_names))
        wrong.append(f"class_names: missing {missing}, not expected {added}, in this order {class_names[:10]}")
    if wrong:
        raise InputError(
            f"the images are not as ingest.expect has them: {'; '.join(wrong)}. Mend one or the other"
        )


def anomalies(summary: Summary, num_alike: dict[str, int]) -> list[str]:
    """What the user should look at, in words, with the file that lists it.

    Args:
        summary: of all records.
        num_alike: images that look alike, by the names of :class:`gan_components.examples.Properties`.
    """
    counts = [
        (summary.num_quarantined, "images went to quarantine: quarantine.jsonl"),
        (summary.num_duplicates, "images have the same pixels as another one: index.jsonl"),
        (summary.num_near_blank, "images are nearly blank: near_blank in index.jsonl"),
        (num_alike["num_near_duplicates"], "held-out images look like a training image: near_duplicates.jsonl"),
        (
            num_alike.get("num_near_duplicates_within", 0),
            "images look like another one of their split: near_duplicates.jsonl",
        ),
        (summary.num_label_conflicts, "images have copies with other labels"),
        (summary.num_on_both_sides, "images lie in train and in the split held out, and are held out"),
    ]
    return [f"{count} {words}" for count, words in counts if count]


def _sides(summary: Summary) -> list[int]:
    return [int(side) for size in summary.source_sizes for side in size.split("x")]


def _outside(found: dict[str, int], expected: Bounds | None) -> str | None:
    if expected is None:
        return None
    low, high = expected.min, expected.max
    if (low is None or found["min"] >= low) and (high is None or found["max"] <= high):
        return None
    return "expected " + " and ".join(
        f"{word} {bound}" for word, bound in (("at least", low), ("at most", high)) if bound is not None
    )
