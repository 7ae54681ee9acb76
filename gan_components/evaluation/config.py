"""The ``evaluate`` section, and what decides an Evaluation."""

import difflib
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from gan_components.artifacts import Examples, TrainedModel
from gan_components.errors import ConfigError, InputError
from gan_components.fingerprints import Recipe, digest_file

FEATURES = ("auto", "classifier", "random_conv", "pixels", "inception", "keras:NAME")
"""Spaces in which distances are measured; NAME is one of ``keras.applications``."""

METRICS = (
    "precision", "recall", "density", "coverage", "class_agreement", "parzen_log_likelihood",
    "pixel_agreement", "pixel_agreement_unrelated", "inception_score", "sfid",
    *(f"{kind}{against}" for kind in ("fid", "kid") for against in ("", "_train")),
    *(f"{kind}_{space}{against}" for kind in ("fd", "kid") for space in ("classifier", "random_conv", "pixels")
      for against in ("", "_train")),
)  # fmt: skip
_KERAS_METRIC = re.compile(r"(fd|kid)_keras_[a-z0-9]+(_train)?")


def distance_names(space: str) -> tuple[str, str]:
    """Names of the Fréchet and the kernel distance in a space: FID and KID are those in Inception's features.

    Example:
        >>> distance_names("inception"), distance_names("classifier")
        (('fid', 'kid'), ('fd_classifier', 'kid_classifier'))
    """
    return ("fid", "kid") if space == "inception" else (f"fd_{space}", f"kid_{space}")


def require_known_features(features: str) -> None:
    """Raises ConfigError, naming the nearest, unless `features` are some of :data:`FEATURES`."""
    if features not in FEATURES[:-1] and not re.fullmatch(r"keras:\w+", features):
        nearest = difflib.get_close_matches(features, FEATURES, n=1)
        hint = f"; did you mean {nearest[0]}?" if nearest else ""
        raise ConfigError(f"{features} are no features{hint} Known: {', '.join(FEATURES)}")


def require_usable_weights(features: str, weights: Path | None) -> None:
    """Refuses a file that evaluation could not use, before hours of training.

    Raises:
        ConfigError: features that read none.
        InputError: no such file.
    """
    if weights is not None and not reads_weights(features):
        raise ConfigError(f"--weights goes with the features inception and keras:NAME; {features} reads no file")
    if weights is not None and not weights.is_file():
        raise InputError(f"there is no file {weights}; check --weights")


def reads_weights(features: str) -> bool:
    """Whether the features are those of a published network, whose weights are a file."""
    return features == "inception" or features.startswith("keras:")


class Bound(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The values of a metric that may be released, both ends included."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a bound needs `min`, `max` or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} lies above max {self.max}")
        return self


class EvaluateConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """How a generator is measured, and what it must reach to be released."""

    features: str = "auto"
    """Space of the distances, one of :data:`FEATURES`. ``auto``: ``classifier`` with at least two classes, else
    ``random_conv``. ``inception`` (FID) and ``keras:NAME`` read published weights, see ``--weights``."""

    num_samples: int = Field(10_000, ge=100)
    """Generated images, from the seeds 0 to N − 1; the labels are drawn by the generator."""

    min_holdout: int = Field(1_000, ge=2)
    """With fewer held-out images the memorization check cannot pass: its verdict is UNDECIDED."""

    parzen: bool = False
    """Whether to measure ``parzen_log_likelihood`` too, in nats, as the first GAN paper did (10,000 samples).

    It compares with other published Parzen windows, and is a poor judge of images: see :mod:`metrics.parzen`."""

    bounds: dict[str, Bound] = {}
    """Absolute bounds by metric, for example ``{fd_classifier: {max: 20.0}, coverage: {min: 0.6}}``."""

    margin: float = Field(0.05, ge=0.0)
    """Share by which the primary distance may exceed the champion's (twice that for the best ever)."""

    first_model: Literal["allow", "block"] = "allow"
    """Whether a model may be released that has no champion to beat; it needs at least one bound then."""

    undecided: Literal["allow", "block"] = "block"
    """What an UNDECIDED memorization check means for the release."""

    max_copy_excess: float = Field(0.001, ge=0.0, lt=1.0)
    """Delta: tolerated excess of the generated images' copy rates over those of held-out images."""

    max_closeness_excess: float = Field(0.02, ge=0.0, lt=0.5)
    """Tolerated excess over one half of the share of images closer to training than to held-out ones."""

    max_shift_pixels: int = Field(1, ge=0, le=4)
    """Copies are also looked for at shifts of up to this many pixels; 0: only where they stand."""

    mirrored: bool = False
    """Whether copies are also looked for in a mirror; for images that may be mirrored, such as photographs."""

    report_training_images: bool = True
    """Whether the report may show training images (the nearest-neighbour panels)."""

    @field_validator("features")
    @classmethod
    def _known_features(cls, features: str) -> str:
        require_known_features(features)
        return features

    @field_validator("bounds")
    @classmethod
    def _known_metrics(cls, bounds: dict[str, Bound]) -> dict[str, Bound]:
        for name in bounds:
            if name not in METRICS and not _KERAS_METRIC.fullmatch(name):
                nearest = difflib.get_close_matches(name, METRICS, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                raise ValueError(f"{name} is no metric{hint} Known: {', '.join(METRICS)}")
        return bounds

    @model_validator(mode="after")
    def _bounds_are_measured(self) -> Self:
        if "parzen_log_likelihood" in self.bounds and not self.parzen:
            raise ValueError("a bound on parzen_log_likelihood needs it measured: set evaluate.parzen to true")
        return self


def recipe(
    model: TrainedModel,
    examples: Examples,
    config: EvaluateConfig,
    *,
    seed: int,
    weights: Path | None = None,
) -> Recipe:
    """What decides the Evaluation of `model`; computed without measuring anything."""
    inputs = {"model": model.content_digest, "examples": examples.content_digest}
    if weights is not None:
        inputs["weights"] = digest_file(weights)
    return Recipe.of("evaluate", "evaluation", config, inputs, seed)
