"""What ``sample`` is asked for: seeds, labels and what is changed of them, and how they lie in a grid."""

import itertools
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from gan_components.errors import InputError

# No int64 has more digits.
_RANGE = re.compile("([0-9]{1,19})(?::([0-9]{1,19}))?")
_MAX_IMAGES = 100_000


def integers(text: str, option: str) -> list[int]:
    """Reads ``7``, ``0:64`` (without the end) or a list of such, as int64 that are not negative."""
    found: list[int] = []
    for part in text.split(","):
        numbers = _RANGE.fullmatch(part.strip())
        if not numbers:
            raise InputError(f"{option} {text}: {part!r} is no number and no range such as 0:64")
        start, stop = numbers.groups()
        ends = range(int(start), int(stop) if stop else int(start) + 1)
        if ends.stop > 2**63 or not ends or len(found) + ends.stop - ends.start > _MAX_IMAGES:
            raise InputError(
                f"{option} {text}: expected 1 to {_MAX_IMAGES:,} numbers, each at least 0 and below 2^63"
            )
        found.extend(ends)
    return found


def numbers(text: str) -> list[float]:
    """Reads the psis of ``--truncation``, such as ``0,0.5,1``."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = [math.nan]
    if not all(map(math.isfinite, found)):
        raise InputError(f"--truncation {text}: expected numbers such as 0.7 or 0,0.5,1")
    return found


def refuse_too_many(count: int) -> None:
    """Raises InputError for more images than anybody looks at."""
    if count > _MAX_IMAGES:
        raise InputError(f"these are {count:,} images, more than {_MAX_IMAGES:,}; give fewer --seeds")


class Wanted(NamedTuple):
    """An image that is asked for.

    Attributes:
        label: None: drawn from the seed.
        truncation: psi; None: as the network makes it.
        style: the other seed, and the first layer that takes its style.
    """

    seed: int
    label: int | None
    truncation: float | None = None
    style: tuple[int, int] | None = None

    def file_name(self, seed_digits: int) -> str:
        """Its own among all that can be asked for; names sort by seed."""
        label = "" if self.label is None else f"_label{self.label}"
        truncation = "" if self.truncation is None else f"_truncation{self.truncation:g}"
        style = "" if self.style is None else f"_style{self.style[0]}from{self.style[1]}"
        return f"seed{self.seed:0{seed_digits}}{label}{truncation}{style}.png"


def in_rows(
    seeds: list[int], labels: list[int] | None, psis: list[float] | None, styles: list[tuple[int, int]]
) -> tuple[list[Wanted], int]:
    """The images in order, labels given in turn, and the columns of their grid: a row a truncation or style."""
    rows: Sequence[dict] = (
        [{"truncation": psi} for psi in psis or []] or [{"style": style} for style in styles] or [{}]
    )
    refuse_too_many(len(seeds) * len(rows))
    labelled = list(zip(seeds, itertools.cycle(labels or [None]), strict=False))
    wanted = [Wanted(seed, label, **change) for change in rows for seed, label in labelled]
    if len(rows) > 1:
        return wanted, len(seeds)
    if labels and len(labels) > 1:
        return wanted, min(len(labels), len(seeds))
    return wanted, math.ceil(math.sqrt(len(wanted)))
