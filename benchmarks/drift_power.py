"""Does the drift check find data that changed, and does it leave new samples of the old data alone?

Each time the champion's images and this run's are two samples without a common image of the 5,000 embedded MNIST
digits; this run's are shifted, or not. The check runs as in the chain, with its default limits.

    python benchmarks/drift_power.py [--runs 100] [--sizes 500 2000]

Bounds: inverted images, a missing class and doubled brightness are found in every run; of ten times as many new
samples none is reported, and no check is sure at 5 % of more than 8 % of them. Without bounds: images a tenth
darker, noise of 5 levels, and the missing class without labels, where only the features can tell.
"""

import argparse
import os
from collections import Counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from measure import claim, note, report

from gan_components.ingestion import digits
from gan_components.metrics import drift, drift_limits

MISSING = 7
NOISE_LEVELS = 5.0
_RESAMPLES = "new samples"
_BOUNDED = ("inverted", "missing class", "doubled brightness")


class World:
    """All digits as each shift leaves them, described once; a data set is some of the rows."""

    def __init__(self) -> None:
        images, self.labels = digits.read()
        levels = images[..., None].astype(float)
        noise = np.random.default_rng(0).normal(0, NOISE_LEVELS, levels.shape)
        shifted = {
            _RESAMPLES: levels,
            "inverted": 255 - levels,
            "doubled brightness": 2 * levels,
            "a tenth darker": 0.9 * levels,
            "noise": levels + noise,
        }
        self.samples = {
            name: drift.sample_of([np.clip(np.rint(one), 0, 255).astype(np.uint8)], one.shape[1:], {})
            for name, one in shifted.items()
        }

    def data(self, rows: np.ndarray, shift: str = _RESAMPLES) -> drift.Sample:
        if shift.startswith("missing class"):
            rows = rows[self.labels[rows] != MISSING]
        whole = self.samples.get(shift, self.samples[_RESAMPLES])
        counts = np.bincount(self.labels[rows], minlength=10)
        named = (
            {} if shift.endswith("without labels") else dict(zip(digits.CLASS_NAMES, counts.tolist(), strict=True))
        )
        return drift.Sample(named, whole.moments[rows], whole.features[rows])

    def compare(self, size: int, shift: str, number: int) -> list[drift_limits.Difference]:
        """The differences between two samples of `size` images, the second shifted."""
        random = np.random.default_rng(number)
        rows = random.permutation(len(self.labels))
        champion, run = self.data(rows[:size]), self.data(rows[size : 2 * size], shift)
        if not run.class_counts:
            champion = drift.Sample({}, champion.moments, champion.features)
        return drift.differences(champion, run, random)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="with each shift; ten times as many without")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 2000], help="images on each side")
    arguments = parser.parse_args()
    world, config = World(), drift_limits.DriftConfig()
    shifts = [_RESAMPLES, *_BOUNDED, "missing class without labels", "a tenth darker", "noise"]

    found: dict[str, dict[str, dict]] = {}
    claims = []
    for size in arguments.sizes:
        for shift in shifts:
            runs = arguments.runs * (10 if shift == _RESAMPLES else 1)
            verdicts: Counter[str] = Counter()
            sure: Counter[str] = Counter()
            for number in range(runs):
                differences = world.compare(size, shift, number)
                verdicts[drift_limits.decide(differences, config).verdict] += 1
                sure.update(one.name for one in differences if one.p_value < 0.05)
            shares = {name: count / runs for name, count in sure.items()}
            found.setdefault(str(size), {})[shift] = {
                "runs": runs,
                "verdicts": dict(verdicts),
                "p_below_0.05": shares,
            }
            note(f"  {size} images, {shift}: {dict(verdicts)} of {runs}")
            if shift in _BOUNDED:
                claims.append(claim(f"{shift}, {size} images: found", verdicts["warn"] / runs, "share", ">= 1"))
            elif shift == _RESAMPLES:
                claims += [
                    claim(f"{shift}, {size} images: reported", verdicts["warn"] / runs, "share", "<= 0"),
                    claim(
                        f"{shift}, {size} images: sure at 5 %, most of any check",
                        max(shares.values(), default=0.0),
                        "share",
                        "<= 0.08",
                    ),
                ]
    report("drift_power", claims, runs=arguments.runs, sizes=arguments.sizes, found=found)


if __name__ == "__main__":
    main()
