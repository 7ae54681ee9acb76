"""Measures generated images against real ones: every number with its interval and its protocol."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel

from gan_components import randomness
from gan_components.domains import SECOND_DOMAINS
from gan_components.errors import InputError
from gan_components.metrics import agreement, features, frechet, kernel, manifold, memorization, parzen
from gan_components.metrics.estimate import GROUPS, Estimate

# The manifold metrics hold all pairs of distances, some 100 MB at this size.
_MANIFOLD_IMAGES = 2_000
_LEAST_IMAGES = 2 * GROUPS
# As many as the authors of the Parzen window choose its width on.
_MOST_VALIDATION_IMAGES = 1_000
# What a number can be at all; intervals end there. Shares lie between 0 and 1.
_RANGES = {"fd": (0.0, np.inf), "kid": (-np.inf, np.inf), "density": (0.0, np.inf)}


class Metric(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One measured number.

    Attributes:
        value: the estimate.
        low, high: its 95 % interval.
        protocol: full name: number of images on each side, reference split, extractor.
        better: whether smaller or larger values are better.
        extractor: key of the identity of the features; numbers of two evaluations compare only if it is equal.
    """

    value: float
    low: float
    high: float
    protocol: str
    better: Literal["lower", "higher"]
    extractor: str


@dataclass(frozen=True)
class Sides:
    """Features of generated, held-out and training images, all of one extractor."""

    generated: np.ndarray
    holdout: np.ndarray
    train: np.ndarray
    identity: features.Identity


def distances(sides: Sides, *, seed: int) -> dict[str, Metric]:
    """Fréchet and kernel distance to held-out images, and beside each the one to as many training images.

    All sides have the same number of images N, the most that all three can give: the Fréchet distance of
    finite sets grows with 1/N, so that unequal numbers would flatter one side. A distance to training images
    well below the one to held-out images is a sign of overfitting.
    """
    size = min(len(sides.generated), len(sides.holdout), len(sides.train))
    _require_enough(size)
    metrics = {}
    for split, reference in (("holdout", sides.holdout), ("train", sides.train)):
        # The generated side is the same for both: the difference is then the references' alone.
        chosen = reference[_choice(len(reference), size, seed, split)]
        for kind, estimate in (("fd", frechet.estimate), ("kid", kernel.estimate)):
            random = randomness.numpy_generator(seed, f"evaluate/{kind}")
            name = f"{kind}_{sides.identity.name}" + ("_train" if split == "train" else "")
            protocol = f"{kind}{_short(size)}_{split}_{sides.identity.name}"
            result = estimate(chosen, sides.generated[:size], random)
            metrics[name] = _metric(result, protocol, "lower", sides.identity, _RANGES[kind])
    return metrics


def coverage(sides: Sides, *, seed: int) -> dict[str, Metric]:
    """Precision, recall, density and coverage against held-out images, on at most 2,000 images a side."""
    size = min(len(sides.generated), len(sides.holdout), _MANIFOLD_IMAGES)
    _require_enough(size)
    real = sides.holdout[_choice(len(sides.holdout), size, seed, "holdout")]
    random = randomness.numpy_generator(seed, "evaluate/manifold")
    metrics = {}
    for name, estimate in manifold.estimates(real, sides.generated[:size], random).items():
        k = manifold.PRECISION_RECALL_K if name in ("precision", "recall") else manifold.DENSITY_COVERAGE_K
        protocol = f"{name}{_short(size)}_k{k}_holdout_{sides.identity.name}"
        metrics[name] = _metric(estimate, protocol, "higher", sides.identity, _RANGES.get(name, (0.0, 1.0)))
    return metrics


def class_agreement(wanted: np.ndarray, found: np.ndarray, identity: features.Identity) -> Metric:
    """Share of images whose class, as the extractor's classifier sees it, is the one that was asked for.

    It cannot exceed the classifier's own accuracy by much, which is near 98 % for digits.
    """
    share = float(np.mean(wanted == found))
    error = (share * (1 - share) / len(wanted)) ** 0.5
    protocol = f"agreement{_short(len(wanted))}_{identity.name}"
    return _metric(Estimate(share, error), protocol, "higher", identity, (0.0, 1.0))


def log_likelihood(
    generated: np.ndarray, train: np.ndarray, holdout: np.ndarray, *, seed: int
) -> tuple[Metric, parzen.Parzen]:
    """Mean Parzen-window log-likelihood of the held-out images in nats, and the window.

    The width is chosen on a tenth of the training images, at most 1,000, so that the held-out ones stay unseen.

    Args:
        generated: uint8 ``[N, H, W, C]``; each stands for one Gaussian.
        train: uint8 ``[M, H, W, C]``.
        holdout: uint8 ``[K, H, W, C]``.
        seed: of the evaluation.
    """
    _require_enough(min(len(generated), len(train), len(holdout)))
    size = min(-(-len(train) // 10), _MOST_VALIDATION_IMAGES)
    window = parzen.measure(holdout, generated, train[_choice(len(train), size, seed, "parzen")])
    identity = features.pixel_extractor(generated.shape[1:]).identity
    protocol = f"parzen{_short(len(generated))}_holdout"
    return _metric(window.estimate, protocol, "higher", identity, (-np.inf, np.inf)), window


def pixel_agreement(pairs: tuple[np.ndarray, np.ndarray], second_domain: str) -> dict[str, Metric]:
    """Share of the pixels in which a second image is what the examples' function makes of the first one.

    Beside it the share for unrelated pairs, which tells how little the first one can mean.
    """
    partner = SECOND_DOMAINS[second_domain]
    identity = features.pixel_extractor(pairs[0].shape[1:]).identity
    protocol = f"agreement{_short(len(pairs[0]))}_{second_domain}"
    unrelated = (np.roll(pairs[0], 1, axis=0), pairs[1])
    return {
        name: _metric(agreement.estimate(*chosen, partner), f"{protocol}{suffix}", "higher", identity, (0.0, 1.0))
        for name, chosen, suffix in (
            ("pixel_agreement", pairs, ""),
            ("pixel_agreement_unrelated", unrelated, "_unrelated"),
        )
    }


def memorized(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    sides: Sides,
    *,
    seed: int,
    min_holdout: int,
    max_copy_excess: float,
    max_closeness_excess: float,
    duplicates: tuple[int, int],
) -> tuple[memorization.Report, memorization.Closest]:
    """The memorization check in pixels, always, and in the extractor's space if that is another.

    Args:
        images: generated, training and held-out images, uint8 ``[N, H, W, C]``.
        sides: their features, in the same order.
        seed: of the evaluation; the rest goes to :func:`memorization.check`.
    """
    pixels, embedding = memorization.Space("pixels", *images), None
    if sides.identity.name != "pixels":
        embedding = memorization.Space(sides.identity.name, sides.generated, sides.train, sides.holdout)
    return memorization.check(
        pixels,
        embedding,
        randomness.numpy_generator(seed, "evaluate/memorization"),
        min_holdout=min_holdout,
        max_copy_excess=max_copy_excess,
        max_closeness_excess=max_closeness_excess,
        duplicates=duplicates,
    )


def _metric(
    estimate: Estimate,
    protocol: str,
    better: Literal["lower", "higher"],
    identity: features.Identity,
    within: tuple[float, float],
) -> Metric:
    low, high = estimate.interval
    return Metric(
        value=estimate.value,
        low=max(low, within[0]),
        high=min(high, within[1]),
        protocol=protocol,
        better=better,
        extractor=identity.key,
    )


def _choice(count: int, size: int, seed: int, name: str) -> np.ndarray:
    return randomness.numpy_generator(seed, f"evaluate/{name}").permutation(count)[:size]


def _require_enough(size: int) -> None:
    if size < _LEAST_IMAGES:
        raise InputError(
            f"the smallest of the generated, training and held-out sets has {size} images, measuring takes "
            f"{_LEAST_IMAGES}; add images or hold out a larger share (ingest.holdout)"
        )


def _short(count: int) -> str:
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)
