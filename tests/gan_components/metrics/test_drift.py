"""Data sets that changed are told from new samples of the old one. Each test names what turns it red."""

import numpy as np
import pytest

from gan_components.ingestion import digits
from gan_components.metrics import drift, drift_limits

SIZE = 1_000
SHIFTS = ("none", "inverted", "missing class", "doubled brightness")


def counts(labels: np.ndarray) -> dict[str, int]:
    return {name: int((labels == place).sum()) for place, name in enumerate(digits.CLASS_NAMES)}


def described(images: np.ndarray) -> drift.Sample:
    return drift.sample_of([images], images.shape[1:], {})


class World:
    """The digits as each shift leaves them, described once: a span is some of the rows."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.labels = labels
        doubled = np.minimum(images.astype(int) * 2, 255).astype(np.uint8)
        self.samples = {
            "none": described(images),
            "inverted": described(255 - images),
            "doubled brightness": described(doubled),
        }

    def span(self, rows: np.ndarray, shift: str = "none") -> drift.Sample:
        if shift == "missing class":
            rows = rows[self.labels[rows] != 7]
        whole = self.samples.get(shift, self.samples["none"])
        return drift.Sample(counts(self.labels[rows]), whole.moments[rows], whole.features[rows])


@pytest.fixture(scope="module")
def world():
    images, labels = digits.read()
    return World(images[..., None], labels)


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


def one(name: str, champion: drift.Sample, run: drift.Sample) -> drift_limits.Difference:
    found = drift.differences(champion, run, np.random.default_rng(0))
    return next(difference for difference in found if difference.name == name)


def with_counts(**class_counts: int) -> drift.Sample:
    """Few images, which differ in nothing, of many that are counted."""
    rows = np.random.default_rng(0).normal(size=(8, 2))
    return drift.Sample(class_counts, rows, rows)


def test_a_missing_class_is_named():
    """Red if only the champion's classes are looked at, or a class that is rare counts as missing by chance."""
    both, neither = with_counts(cat=900, dog=100, newt=1), with_counts(cat=1000)
    gone = one("missing_classes", both, neither)
    assert gone.sure
    assert "'dog', 9.99 % of the champion's images, is missing here" in gone.text
    assert "newt" not in gone.text
    new = one("missing_classes", neither, both)
    assert "'dog', 9.99 % of this run's images, is missing in the champion's data" in new.text


def test_trifles_in_large_data_do_not_count():
    """Red if being sure is enough: of ten million images nothing is ever quite as before."""
    champion, run = with_counts(cat=5_000_000, dog=5_000_000), with_counts(cat=4_900_000, dog=5_100_000)
    assert one("class_balance", champion, run).sure
    assert verdict(champion, run, np.random.default_rng(0)) == "none"


def test_chance_in_small_data_does_not_count():
    """Red if being large is enough: of twenty images a fifth may well be of other classes."""
    champion, run = with_counts(cat=10, dog=10), with_counts(cat=14, dog=6)
    assert one("class_balance", champion, run).value == pytest.approx(0.2)
    assert verdict(champion, run, np.random.default_rng(0)) == "none"


def test_lost_labels_are_drift():
    """Red if the class checks are left out where one side has no labels."""
    for champion, run in ((with_counts(cat=9), with_counts()), (with_counts(), with_counts(cat=9))):
        assert verdict(champion, run, np.random.default_rng(0)) == "warn"
    assert verdict(with_counts(), with_counts(), np.random.default_rng(0)) == "none"


def test_images_of_one_colour():
    """Red without the least spread: zero would be divided by zero, and a difference by nothing."""
    grey = np.full((40, 8, 8, 1), 100, np.uint8)
    same, lighter = described(grey), described(grey + np.uint8(50))
    assert verdict(same, same, np.random.default_rng(0)) == "none"
    assert one("pixel_moments", same, lighter).value == pytest.approx(50)


def test_colours_are_named():
    """Red if the columns of several channels are mixed up."""
    images = np.random.default_rng(0).integers(0, 100, (200, 8, 8, 3), np.uint8)
    greener = images.copy()
    greener[..., 1] += 100
    found = one("pixel_moments", described(images), described(greener))
    assert "brightness of green" in found.text


def test_limits_warn_block_and_can_be_overruled():
    """Red if a limit of one severity stands in for the other, or a block that is overruled is forgotten."""
    difference = drift_limits.Difference(name="features", value=0.8, p_value=1e-9, text="features: 80 %")
    for section, expected in (
        ({"block": {"features": 0.75}}, "block"),
        ({"block": {"features": 0.85}}, "warn"),
        ({"warn": {"features": None}}, "none"),
        ({"warn": {"features": None}, "block": {"features": 0.75}}, "block"),
    ):
        config = drift_limits.DriftConfig.model_validate(section)
        found = drift_limits.decide([difference], config)
        assert found.verdict == expected
        assert (difference.text in found.reason) == (expected != "none")
        overruled = drift_limits.overruled(found, "known")
        assert overruled.verdict == ("warn" if expected == "block" else expected)
        assert ("known" in overruled.reason) == (expected == "block")
        assert drift_limits.undecided("gone", config).verdict == ("block" if "block" in section else "warn")
