"""Any images against any others: ``gan-pipelines score``."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from gan_components import randomness
from gan_components.artifacts import Progress, no_progress
from gan_components.errors import ConfigError, InputError
from gan_components.evaluation import score
from gan_components.evaluation.collection import Collection, collect
from gan_components.evaluation.config import (
    EvaluateConfig,
    distance_names,
    reads_weights,
    require_known_features,
    require_usable_weights,
)
from gan_components.metrics import features, frechet, kernel
from gan_components.metrics.estimate import LEAST_IMAGES
from gan_components.metrics.features import inception

METRICS = ("distance", "kernel", "manifold", "ms_ssim", "inception_score", "sfid", "fid_infinity")
"""What can be asked for; ``manifold`` is precision, recall, density and coverage."""

_OF_INCEPTION = frozenset({"inception_score", "sfid", "fid_infinity"})
# Minutes of work for a number that few ask for.
_ON_REQUEST = frozenset({"fid_infinity"})
_SIMILARITY_IMAGES = 2_000
_LEAST_SIDE = 11

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """How to compare.

    Attributes:
        features: ``auto`` (``random_conv``), ``random_conv``, ``pixels``, ``inception`` or ``keras:NAME``.
        weights: file of a published network's weights; None: they are downloaded once.
        metrics: some of :data:`METRICS`; None: all that the features allow, but ``fid_infinity``.
        size: resize every image to this side first; None: leave them.
        num_samples: images that a generator draws.
        seed: decides which subsets are drawn, never the seeds of the images.
        cache: root of the shared caches.
    """

    features: str = "auto"
    weights: Path | None = None
    metrics: Sequence[str] | None = None
    size: int | None = None
    num_samples: int = 10_000
    seed: int = 0
    cache: Path = Path("gan-runs/cache")

    @property
    def wanted(self) -> set[str]:
        """The metrics to measure.

        Raises:
            ConfigError: an unknown one, or one of Inception's features in others.
        """
        allowed = set(METRICS) if self.features == "inception" else set(METRICS) - _OF_INCEPTION
        wanted = allowed - _ON_REQUEST if self.metrics is None else set(self.metrics)
        for name in sorted(wanted - allowed):
            reason = "needs --features inception" if name in METRICS else f"is none of {', '.join(METRICS)}"
            raise ConfigError(f"--metrics {name} {reason}")
        return wanted


def compare(
    generated: str,
    reference: str,
    settings: Settings,
    *,
    train: str | None = None,
    progress: Progress = no_progress,
) -> dict[str, JsonValue]:
    """Measures one set of images against another; see :func:`collection.collect` for what a set can be.

    Unlike the stage, which takes equally many images of each side, it takes all: protocols name both counts.
    Distances of finite sets grow with one over the counts; compare numbers of equal counts only.

    Args:
        generated: the images to be judged.
        reference: real images; with `train` those that were held out.
        settings: how.
        train: what the generator was trained on, for the memorization check.
        progress: told of each step.

    Returns:
        ``{"metrics": {name: {value, low, high, protocol, ...}}, "memorization": the report or None}``.

    Raises:
        ConfigError: settings that do not fit.
        InputError: images that cannot be compared.
    """
    require_known_features(settings.features)
    require_usable_weights(settings.features, settings.weights)
    section = EvaluateConfig(features=settings.features)
    if section.features == "classifier":
        raise ConfigError("score trains no classifier; choose random_conv, pixels, inception or keras:NAME")
    wanted = settings.wanted
    texts = [generated, reference, *([train] if train else [])]
    total, done = len(texts) + 2, iter(range(1, len(texts) + 3))
    sides = [collect(text, num_samples=settings.num_samples) for text in texts]
    for side in sides:
        if side.count < LEAST_IMAGES:
            raise InputError(
                f"{side.name} holds {side.count} images; intervals take at least {LEAST_IMAGES} on each side; "
                "add images"
            )
    if "fid_infinity" in wanted and sides[0].count < frechet.LEAST_FOR_INFINITY:
        raise InputError(
            f"fid_infinity takes at least {frechet.LEAST_FOR_INFINITY} generated images, got {sides[0].count}; "
            "leave it out of --metrics or add images"
        )
    coloured = _coloured(sides)
    shape = _common_shape(sides, settings.size, needed=train is not None or not reads_weights(section.features))
    template = np.zeros((1, *(shape or (_LEAST_SIDE,) * 2), 3 if coloured else 1), np.uint8)
    extractor = features.extractor(
        section.features, template, None, num_classes=0, cache=settings.cache, weights=settings.weights
    )
    outputs, pixels = [], []
    for side in sides:
        progress(next(done), total, f"features of {side.count:,} images: {side.name}")
        # All are needed for the memorization check, some of the generated ones for their similarity, else none.
        similar = "ms_ssim" in wanted and shape is not None and side is sides[0]
        kept = side.count if train else _SIMILARITY_IMAGES if similar else 0
        output, first = _outputs(extractor, side.batches(coloured=coloured, size=settings.size), side, kept)
        outputs.append(output)
        pixels.append(first)
    progress(next(done), total, "comparing")
    metrics = _metrics(extractor.identity, outputs[0], outputs[1], wanted, seed=settings.seed)
    if "ms_ssim" in wanted:
        metrics |= _similarity(pixels[0][:_SIMILARITY_IMAGES])
    report = None
    if train:
        drawn, held_out, trained_on = (output[extractor.identity.layer] for output in outputs)
        report, _ = score.memorized(
            (pixels[0], pixels[2], pixels[1]),
            score.Sides(generated=drawn, holdout=held_out, train=trained_on, identity=extractor.identity),
            config=section,
            seed=settings.seed,
        )
    progress(next(done), total, "done")
    return {
        "metrics": {name: metric.model_dump(mode="json") for name, metric in metrics.items()},
        "memorization": report.model_dump(mode="json") if report else None,
    }


def _coloured(sides: list[Collection]) -> bool:
    coloured = [side.name for side in sides if side.coloured]
    grey = [side.name for side in sides if not side.coloured]
    if coloured and grey:
        logger.warning("%s: grey; repeated into red, green and blue, as %s has colours", grey[0], coloured[0])
    return bool(coloured)


def _common_shape(sides: list[Collection], size: int | None, *, needed: bool) -> tuple[int, int] | None:
    """The one shape of all images; None if there are several and none is needed.

    Raises:
        InputError: several, where one is needed.
    """
    if size is not None:
        return size, size
    shapes = frozenset[tuple[int, int]]().union(*(side.shapes for side in sides))
    if len(shapes) == 1:
        return next(iter(shapes))
    if needed:
        found = "; ".join(f"{side.name} has {_some(side.shapes)}" for side in sides)
        raise InputError(
            f"all images must have one size here: {found}. Give --size N to cut each to its centre square and "
            "resize it to N x N pixels, or choose --features inception, which resizes by its own rule"
        )
    return None


def _some(shapes: frozenset[tuple[int, int]]) -> str:
    listed = ", ".join(f"{width}x{height}" for height, width in sorted(shapes)[:3])
    return listed + (f" and {len(shapes) - 3} sizes more" if len(shapes) > 3 else "")


def _outputs(
    extractor: features.Extractor, batches: Iterator[np.ndarray], side: Collection, kept: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """All layers of a side's images, and the first `kept` or a few more of the images, in one pass.

    Raises:
        InputError: images that are all the same, or features that are not finite.
    """
    parts, first, same = [], None, True
    pixels: list[np.ndarray] = []
    for batch in batches:
        first = batch[0] if first is None else first
        same = same and batch.shape[1:] == first.shape and bool(np.all(batch == first))
        parts.append(extractor.layers(batch))
        if sum(map(len, pixels)) < kept:
            pixels.append(batch)
    if same:
        raise InputError(f"all {side.count} images of {side.name} are the same; there is nothing to measure")
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, rows in joined.items():
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            raise InputError(
                f"{extractor.identity.name} gave features that are not finite ({name}) for {len(bad)} images of "
                f"{side.name}, the first is number {bad[0]}; the weights do not fit these images"
            )
    return joined, np.concatenate(pixels) if pixels else np.empty((0, 0, 0, 1), np.uint8)


def _metrics(
    identity: features.Identity,
    generated: dict[str, np.ndarray],
    reference: dict[str, np.ndarray],
    wanted: set[str],
    *,
    seed: int,
) -> dict[str, score.Metric]:
    drawn, real = generated[identity.layer], reference[identity.layer]
    distance, kernel_name = distance_names(identity.name)
    counts = f"{score.short(len(drawn))}_reference{score.short(len(real))}_{identity.name}"

    def random(name: str) -> np.random.Generator:
        return randomness.numpy_generator(seed, f"score/{name}")

    metrics = {}
    if "distance" in wanted:
        result = frechet.estimate(real, drawn, random("fd"))
        metrics[distance] = score.metric(
            result, f"{distance.partition('_')[0]}{counts}", "lower", identity, score.DISTANCE
        )
    if "kernel" in wanted:
        result = kernel.estimate(real, drawn, random("kid"))
        metrics[kernel_name] = score.metric(result, f"kid{counts}", "lower", identity, score.ANY)
    if "manifold" in wanted:
        metrics |= score.coverage(
            score.Sides(generated=drawn, holdout=real, train=real, identity=identity), seed=seed, split="reference"
        )
    if "fid_infinity" in wanted:
        result = frechet.at_infinity(drawn, real, random("fid_infinity"))
        metrics["fid_infinity"] = score.metric(result, f"fid_infinity{counts}", "lower", identity, score.ANY)
    if "sfid" in wanted:
        result = frechet.estimate(reference["sfid"], generated["sfid"], random("sfid"))
        layer = inception.identity(identity.digest, "sfid")
        metrics["sfid"] = score.metric(result, f"sfid{counts}", "lower", layer, score.DISTANCE)
    if "inception_score" in wanted:
        metrics["inception_score"] = score.clearness(generated["logits_unbiased"], identity.digest)
    return metrics


def _similarity(images: np.ndarray) -> dict[str, score.Metric]:
    """MS-SSIM of images; none where sizes differ, so that there are no images, or are too small for it."""
    if min(images.shape[1:3]) < _LEAST_SIDE:
        logger.warning("ms_ssim is left out: it takes images of one size, at least %d pixels a side", _LEAST_SIDE)
        return {}
    return {"ms_ssim": score.similarity(images)}
