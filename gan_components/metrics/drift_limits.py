"""From which difference between two data sets on somebody is warned, or the run is blocked; imports nothing heavy.

A difference counts only if it is both sure and large: sure, so that small data sets raise no false alarms, and
large, so that big ones do not raise any about trifles.
"""

from typing import Literal

from pydantic import BaseModel, Field

LEVEL = 1e-4
"""Chance of any false alarm in one comparison, at most: a nightly run has one in 27 years."""
NUM_CHECKS = 4
"""Each check is sure at this share of :data:`LEVEL` (Bonferroni)."""

Verdict = Literal["none", "warn", "block"]


class Limits(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The smallest difference of each kind that counts; null: none does."""

    # Share of the images that would have to change class.
    class_balance: float | None = Field(default=None, ge=0, le=1)
    # Share that a class without any image has on the other side.
    missing_classes: float | None = Field(default=None, ge=0, le=1)
    # Difference in the images' brightness or contrast, in standard deviations between images.
    pixel_moments: float | None = Field(default=None, ge=0)
    # Chance that a linear classifier tells which of two images is the champion's; 0.5 is guessing.
    features: float | None = Field(default=None, ge=0.5, le=1)


class WarnLimits(Limits):
    """Limits from which on somebody is warned."""

    class_balance: float | None = Field(default=0.05, ge=0, le=1)
    missing_classes: float | None = Field(default=0.0, ge=0, le=1)
    # What Cohen 1988 calls a small effect.
    pixel_moments: float | None = Field(default=0.2, ge=0)
    features: float | None = Field(default=0.6, ge=0.5, le=1)


class DriftConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What happens when this run's data are not like the champion's; no part of any fingerprint."""

    warn: WarnLimits = WarnLimits()
    block: Limits = Limits()


class Difference(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One measured difference.

    Attributes:
        name: one of the fields of :class:`Limits`.
        value: its size, in the unit given there.
        p_value: chance of one so large between two samples of the same images, corrected for what was tried
            inside the check.
        text: the difference in words and numbers.
    """

    name: str
    value: float
    p_value: float
    text: str

    @property
    def sure(self) -> bool:
        """Whether chance alone does not explain it."""
        return self.p_value < LEVEL / NUM_CHECKS


class Drift(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The decision, with the differences that it is made of."""

    verdict: Verdict
    reason: str
    champion_version: int | None = None
    differences: list[Difference] = []


def decide(differences: list[Difference], config: DriftConfig) -> Drift:
    """Warns or blocks if a sure difference reaches a limit."""
    found = {"block": _beyond(differences, config.block), "warn": _beyond(differences, config.warn)}
    # What blocks need not be named twice.
    counting = found["block"] + [one for one in found["warn"] if one not in found["block"]]
    verdict: Verdict = "block" if found["block"] else "warn" if found["warn"] else "none"
    reason = "; ".join(one.text for one in counting)
    if not counting:
        reason = "no difference is both sure and large, of " + ", ".join(one.name for one in differences)
    return Drift(verdict=verdict, reason=reason, differences=differences)


def undecided(reason: str, config: DriftConfig) -> Drift:
    """The decision about data that cannot be compared: it blocks if any drift would."""
    blocks = any(limit is not None for limit in config.block.model_dump().values())
    return Drift(verdict="block" if blocks else "warn", reason=reason)


def overruled(drift: Drift, why: str) -> Drift:
    """A block as a warning, with the reason that somebody gave for it on record."""
    if drift.verdict != "block":
        return drift
    return drift.model_copy(update={"verdict": "warn", "reason": f"overruled ({why}), although {drift.reason}"})


def _beyond(differences: list[Difference], limits: Limits) -> list[Difference]:
    bounds = limits.model_dump()
    return [
        one for one in differences if one.sure and (limit := bounds[one.name]) is not None and one.value >= limit
    ]
