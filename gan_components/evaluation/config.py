"""The ``evaluate`` section, and what decides an Evaluation."""

import difflib
from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from gan_components.artifacts import Examples, TrainedModel
from gan_components.fingerprints import Recipe

EXTRACTORS = ("classifier", "random_conv", "pixels")
METRICS = (
    *(f"{kind}_{extractor}{against}" for kind in ("fd", "kid") for extractor in EXTRACTORS
      for against in ("", "_train")),
    "precision", "recall", "density", "coverage", "class_agreement", "parzen_log_likelihood",
    "pixel_agreement", "pixel_agreement_unrelated",
)  # fmt: skip


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

    features: Literal["auto", "classifier", "random_conv", "pixels"] = "auto"
    """Space of the distances. ``auto``: ``classifier`` with at least two classes, else ``random_conv``."""

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

    report_training_images: bool = True
    """Whether the report may show training images (the nearest-neighbour panels)."""

    @field_validator("bounds")
    @classmethod
    def _known_metrics(cls, bounds: dict[str, Bound]) -> dict[str, Bound]:
        for name in bounds:
            if name not in METRICS:
                nearest = difflib.get_close_matches(name, METRICS, n=1)
                hint = f"; did you mean {nearest[0]}?" if nearest else ""
                raise ValueError(f"{name} is no metric{hint} Known: {', '.join(METRICS)}")
        return bounds

    @model_validator(mode="after")
    def _bounds_are_measured(self) -> Self:
        if "parzen_log_likelihood" in self.bounds and not self.parzen:
            raise ValueError("a bound on parzen_log_likelihood needs it measured: set evaluate.parzen to true")
        return self


def recipe(model: TrainedModel, examples: Examples, config: EvaluateConfig, *, seed: int) -> Recipe:
    """What decides the Evaluation of `model`; computed without measuring anything."""
    inputs = {"model": model.content_digest, "examples": examples.content_digest}
    return Recipe.of("evaluate", "evaluation", config, inputs, seed)
