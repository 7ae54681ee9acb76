"""Does the memorization check find copies, and does it leave honest generators alone?

Simulated generators over Fashion-MNIST: each time other 4,000 images are the training set, 1,000 are held out, and
a generator "draws" 2,000 of the remaining 65,000. Of these, 1 % (20 images) are replaced by training images: as
they are, with noise of 5 levels, or moved by one pixel; or nothing is replaced. The check runs as in the stage, in
pixels, in pixels up to a shift, and in random convolutional features.

    python benchmarks/memorization_power.py [--generators 200] [--images DIRECTORY]

Bounds: copies are failed in at least 99 %, noisy or moved ones in 95 %; honest generators in at most 5 %, also
with 250 held-out images, where the verdict is UNDECIDED. A generator of one class passes the check and fails
the preset `fashion`'s bound of coverage.
"""

import argparse
import functools
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from measure import claim, note, report

from gan_components.ingestion import idx
from gan_components.metrics import features, manifold, memorization
from pipelines import config as presets

NUM_TRAIN, NUM_HOLDOUT, NUM_FEW, NUM_DRAWS, NUM_COPIES = 4_000, 1_000, 250, 2_000, 20
NOISE_LEVELS = 5.0
_MANIFOLD_IMAGES = 1_000

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def as_they_are(copies: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return copies


def noisy(copies: np.ndarray, random: np.random.Generator) -> np.ndarray:
    return np.clip(np.rint(copies + random.normal(0, NOISE_LEVELS, copies.shape)), 0, 255).astype(np.uint8)


def moved(copies: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each by one pixel up, down, left or right; the border's pixels are repeated."""
    padded = np.pad(copies, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    places = random.choice([[0, 1], [2, 1], [1, 0], [1, 2]], len(copies))
    side = copies.shape[1]
    return np.stack([one[y : y + side, x : x + side] for one, (y, x) in zip(padded, places, strict=True)])


CHANGES: dict[str, Change | None] = {"copies": as_they_are, "noisy": noisy, "moved": moved, "honest": None}


class World:
    """All images with their features, from which training sets, held-out sets and generators are drawn."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.extractor = features.random_conv_extractor(images.shape[1:])
        self.features = self.extractor.features(images)

    def check(
        self,
        drawn: np.ndarray,
        train: np.ndarray,
        holdout: np.ndarray,
        random: np.random.Generator,
        change: Change | None = None,
    ) -> str:
        """The verdict about a generator that draws these rows, a few replaced by changed training images."""
        generated, embedded = self.images[drawn], self.features[drawn]
        if change is not None:
            generated, embedded = generated.copy(), embedded.copy()
            generated[:NUM_COPIES] = change(self.images[random.choice(train, NUM_COPIES, replace=False)], random)
            embedded[:NUM_COPIES] = self.extractor.features(generated[:NUM_COPIES])
        spaces = [
            memorization.Space(name, ours, all_[train], all_[holdout])
            for name, ours, all_ in (
                ("pixels", generated, self.images),
                (self.extractor.identity.name, embedded, self.features),
            )
        ]
        return memorization.check(*spaces, random)[0].verdict

    def coverage(self, drawn: np.ndarray, holdout: np.ndarray) -> float:
        chosen = drawn[:_MANIFOLD_IMAGES]
        pairs = manifold.distances(self.features[holdout[:_MANIFOLD_IMAGES]], self.features[chosen])
        return manifold.density_coverage(pairs)[1]


@functools.cache
def world_of(directory: Path) -> World:
    """Each process has its own."""
    splits = [idx.read(*files) for files in idx.find(directory, test=True).values()]
    pixels, labels = (np.concatenate(parts) for parts in zip(*splits, strict=True))
    return World(pixels[..., None], labels)


def simulate(directory: Path, number: int) -> tuple[dict[str, str], float]:
    """The verdict of each kind of generator, and the coverage of the collapsed one."""
    world = world_of(directory)
    random = np.random.default_rng(number)
    order = random.permutation(len(world.images))
    train, holdout, pool = np.split(order, [NUM_TRAIN, NUM_TRAIN + NUM_HOLDOUT])
    verdicts = {
        name: world.check(pool[:NUM_DRAWS], train, holdout, random, change) for name, change in CHANGES.items()
    }
    verdicts["few"] = world.check(pool[:NUM_DRAWS], train, holdout[:NUM_FEW], random)
    one_class = pool[world.labels[pool] == number % 10][:NUM_DRAWS]
    verdicts["collapsed"] = world.check(one_class, train, holdout, random)
    return verdicts, world.coverage(one_class, holdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--generators", type=int, default=200, help="of each kind")
    parser.add_argument(
        "--images", type=Path, default="/usr/share/datasets/fashion-mnist", help="folder of the four IDX files"
    )
    arguments = parser.parse_args()

    verdicts: dict[str, Counter] = {}
    coverages = []
    # Much of a check is one thread's work: a process a core, each with one thread for its matrix products.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        simulated = pool.map(functools.partial(simulate, arguments.images), range(arguments.generators))
        for number, (found, coverage) in enumerate(simulated):
            for name, verdict in found.items():
                verdicts.setdefault(name, Counter())[verdict] += 1
            coverages.append(coverage)
            if number % 10 == 9:
                note(f"  {number + 1} of {arguments.generators}: { ({k: dict(v) for k, v in verdicts.items()}) }")

    coverage_bound = presets.load("fashion").evaluate.bounds["coverage"].min

    def share(name: str, verdict: str) -> float:
        return verdicts[name][verdict] / arguments.generators

    report(
        "memorization_power",
        [
            claim("generators with 1 % copies that fail", share("copies", "FAIL"), "share", ">= 0.99"),
            claim("with 1 % noisy copies", share("noisy", "FAIL"), "share", ">= 0.95"),
            claim("with 1 % moved copies", share("moved", "FAIL"), "share", ">= 0.95"),
            claim("honest generators that fail", share("honest", "FAIL"), "share", "<= 0.05"),
            claim("honest ones that fail by 250 held-out images", share("few", "FAIL"), "share", "<= 0.05"),
            claim("honest ones that are UNDECIDED by these", share("few", "UNDECIDED"), "share", ">= 0.95"),
            claim("collapsed generators that pass", share("collapsed", "PASS"), "share", ">= 0.95"),
            claim(
                "largest coverage of a collapsed one", float(np.max(coverages)), "share", f"<= {coverage_bound}"
            ),
        ],
        generators=arguments.generators,
        verdicts={name: dict(counts) for name, counts in verdicts.items()},
    )


if __name__ == "__main__":
    main()
