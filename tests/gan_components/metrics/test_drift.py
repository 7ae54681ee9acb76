"""Data sets that changed are told from new samples of the old one. Each test names what turns it red."""

import numpy as np
import pytest

from gan_components.ingestion import digits
from gan_components.metrics import drift, drift_limits

SIZE = 1_000
SHIFTS = ("none", "inverted", "missing class", "doubled brightness")


@pytest.fixture(scope="module")
def pool():
    images, labels = digits.read()
    return images[..., None], labels


def counts(labels: np.ndarray) -> dict[str, int]:
    return {name: int((labels == place).sum()) for place, name in enumerate(digits.CLASS_NAMES)}


def sample(images: np.ndarray, labels: np.ndarray) -> drift.Sample:
    return drift.sample_of([images], images.shape[1:], counts(labels))


class World:
    """The pool as each shift leaves it, described once: a span is some of its rows."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.labels = labels
        doubled = np.minimum(images.astype(int) * 2, 255).astype(np.uint8)
        self.samples = {
            "none": sample(images, labels),
            "inverted": sample(255 - images, labels),
            "doubled brightness": sample(doubled, labels),
        }

    def span(self, rows: np.ndarray, shift: str = "none", labelled: bool = True) -> drift.Sample:
        if shift == "missing class":
            rows = rows[self.labels[rows] != 7]
        whole = self.samples.get(shift, self.samples["none"])
        found = counts(self.labels[rows]) if labelled else {}
        return drift.Sample(found, whole.moments[rows], whole.features[rows])


@pytest.fixture(scope="module")
def world(pool):
    return World(*pool)


def verdict(champion: drift.Sample, run: drift.Sample, random: np.random.Generator) -> str:
    return drift_limits.decide(drift.differences(champion, run, random), drift_limits.DriftConfig()).verdict


@pytest.mark.parametrize("shift", SHIFTS)
def test_100_of_100(world, shift):
    """Red for `none` without the limits on sizes and chances; for a shift without the check that sees it."""
    verdicts = []
    for number in range(100):
        random = np.random.default_rng(number)
        rows = random.permutation(len(world.labels))
        champion, run = world.span(rows[:SIZE]), world.span(rows[SIZE : 2 * SIZE], shift)
        verdicts.append(verdict(champion, run, random))
    assert verdicts == ["none" if shift == "none" else "warn"] * 100
