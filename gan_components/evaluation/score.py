"""Measures generated images against real ones: every number with its interval and its protocol."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel

from gan_components import randomness
from gan_components.domains import SECOND_DOMAINS
from gan_components.errors import InputError
from gan_components.evaluation.config import EvaluateConfig, distance_names
from gan_components.metrics import (
    agreement,
    features,
    frechet,
    inception_score,
    kernel,
    manifold,
    memorization,
    memorization_verdict,
    ms_ssim,
    parzen,
)
from gan_components.metrics.estimate import LEAST_IMAGES, Estimate
from gan_components.metrics.features import inception

# The manifold metrics hold all pairs of distances, some 100 MB at this size.
_MANIFOLD_IMAGES = 2_000
# As many as the authors of the Parzen window choose its width on.
_MOST_VALIDATION_IMAGES = 1_000
# What a number can be at all; intervals end there. Shares lie between 0 and 1.
DISTANCE, ANY = (0.0, np.inf), (-np.inf, np.inf)


class Metric(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One measured number.

    Attributes:
        value: the estimate.
        low, high: its 95 % interval.
        protocol: full name: number of images on each side, reference split, extractor.
        better: whether smaller or larger values are better.
        extractor: key of the identity of the features; numbers of two evaluations compare only if it is equal.
        replicates: of a Fréchet distance, the values without each of 20 groups of images; under one protocol they
            are the same groups, so that differences of two generators' distances have a paired standard error.
    """

    value: float
    low: float
    high: float
    protocol: str
    better: Literal["lower", "higher"]
    extractor: str
    replicates: list[float] = []


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
        frechet_name, kernel_name = distance_names(sides.identity.name)
        for name, estimate, within in (
            (frechet_name, frechet.estimate, DISTANCE),
            (kernel_name, kernel.estimate, ANY),
        ):
            kind = name.partition("_")[0]
            random = randomness.numpy_generator(seed, f"evaluate/{kind}")
            protocol = f"{kind}{short(size)}_{split}_{sides.identity.name}"
            result = estimate(chosen, sides.generated[:size], random)
            key = name + ("_train" if split == "train" else "")
            metrics[key] = metric(result, protocol, "lower", sides.identity, within)
    return metrics


def of_inception(
    generated: dict[str, np.ndarray], holdout: dict[str, np.ndarray], *, digest: str, seed: int
) -> dict[str, Metric]:
    """Inception Score and sFID, from the layers that the FID network gives beside its features.

    Args:
        generated: ``logits_unbiased`` and ``sfid`` of the generated images.
        holdout: ``sfid`` of the held-out images.
        digest: SHA-256 of the network's weights.
        seed: of the evaluation.
    """
    size = min(len(generated["sfid"]), len(holdout["sfid"]))
    _require_enough(size)
    chosen = holdout["sfid"][_choice(len(holdout["sfid"]), size, seed, "holdout")]
    random = randomness.numpy_generator(seed, "evaluate/sfid")
    distance = frechet.estimate(chosen, generated["sfid"][:size], random)
    protocol = f"sfid{short(size)}_holdout_inception"
    return {
        "sfid": metric(distance, protocol, "lower", inception.identity(digest, "sfid"), DISTANCE),
        "inception_score": clearness(generated["logits_unbiased"], digest),
    }


def clearness(logits: np.ndarray, digest: str) -> Metric:
    """The Inception Score, from the logits without their bias."""
    identity = inception.identity(digest, "logits_unbiased")
    within = (1.0, float(logits.shape[1]))
    return metric(
        inception_score.estimate(logits), f"is{short(len(logits))}_inception", "higher", identity, within
    )


def similarity(generated: np.ndarray) -> Metric:
    """Multi-scale structural similarity of pairs of generated images: their variety, 1 if all are equal."""
    identity = features.pixel_extractor(generated.shape[1:]).identity
    return metric(ms_ssim.estimate(generated), f"ms_ssim{short(len(generated))}", "lower", identity, (-1.0, 1.0))


def coverage(sides: Sides, *, seed: int, split: str = "holdout") -> dict[str, Metric]:
    """Precision, recall, density and coverage against held-out images, on at most 2,000 images a side.

    `split` is the name of these images in the protocol.
    """
    size = min(len(sides.generated), len(sides.holdout), _MANIFOLD_IMAGES)
    _require_enough(size)
    real = sides.holdout[_choice(len(sides.holdout), size, seed, "holdout")]
    random = randomness.numpy_generator(seed, "evaluate/manifold")
    metrics = {}
    for name, estimate in manifold.estimates(real, sides.generated[:size], random).items():
        k = manifold.PRECISION_RECALL_K if name in ("precision", "recall") else manifold.DENSITY_COVERAGE_K
        protocol = f"{name}{short(size)}_k{k}_{split}_{sides.identity.name}"
        metrics[name] = metric(
            estimate, protocol, "higher", sides.identity, DISTANCE if name == "density" else (0.0, 1.0)
        )
    return metrics


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
    protocol = f"parzen{short(len(generated))}_holdout"
    return metric(window.estimate, protocol, "higher", identity, (-np.inf, np.inf)), window


def pixel_agreement(pairs: tuple[np.ndarray, np.ndarray], second_domain: str) -> dict[str, Metric]:
    """Share of the pixels in which a second image is what the examples' function makes of the first one.

    Beside it the share for unrelated pairs, which tells how little the first one can mean.
    """
    partner = SECOND_DOMAINS[second_domain]
    identity = features.pixel_extractor(pairs[0].shape[1:]).identity
    protocol = f"agreement{short(len(pairs[0]))}_{second_domain}"
    unrelated = (np.roll(pairs[0], 1, axis=0), pairs[1])
    return {
        name: metric(agreement.estimate(*chosen, partner), f"{protocol}{suffix}", "higher", identity, (0.0, 1.0))
        for name, chosen, suffix in (
            ("pixel_agreement", pairs, ""),
            ("pixel_agreement_unrelated", unrelated, "_unrelated"),
        )
    }


def memorized(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
    sides: Sides,
    *,
    config: EvaluateConfig,
    seed: int,
    duplicates: tuple[int, int] | None = None,
) -> tuple[memorization_verdict.Report, memorization.Closest]:
    """The memorization check in pixels, always, and in the extractor's space if that is another.

    Args:
        images: generated, training and held-out images, uint8 ``[N, H, W, C]``.
        sides: their features, in the same order.
        config: the tolerances.
        seed: of the evaluation.
        duplicates: see :func:`memorization.check`.
    """
    pixels, embedding = memorization.Space("pixels", *images), None
    if sides.identity.name != "pixels":
        embedding = memorization.Space(sides.identity.name, sides.generated, sides.train, sides.holdout)
    return memorization.check(
        pixels,
        embedding,
        randomness.numpy_generator(seed, "evaluate/memorization"),
        min_holdout=config.min_holdout,
        max_copy_excess=config.max_copy_excess,
        max_closeness_excess=config.max_closeness_excess,
        max_shift_pixels=config.max_shift_pixels,
        mirrored=config.mirrored,
        duplicates=duplicates,
    )


def metric(
    estimate: Estimate,
    protocol: str,
    better: Literal["lower", "higher"],
    identity: features.Identity,
    within: tuple[float, float],
) -> Metric:
    """An estimate with its protocol, its interval cut to what the number can be at all."""
    low, high = estimate.interval
    return Metric(
        value=estimate.value,
        low=max(low, within[0]),
        high=min(high, within[1]),
        protocol=protocol,
        better=better,
        extractor=identity.key,
        replicates=list(estimate.replicates),
    )


def _choice(count: int, size: int, seed: int, name: str) -> np.ndarray:
    return randomness.numpy_generator(seed, f"evaluate/{name}").permutation(count)[:size]


def _require_enough(size: int) -> None:
    if size < LEAST_IMAGES:
        raise InputError(
            f"the smallest of the generated, training and held-out sets has {size} images, measuring takes "
            f"{LEAST_IMAGES}; add images or hold out a larger share (ingest.holdout)"
        )


def short(count: int) -> str:
    """A count in a protocol: 10k, 1021."""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)
