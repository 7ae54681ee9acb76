"""The ``export`` section, and what decides a PushedModel."""

import itertools
from typing import Literal

from pydantic import BaseModel, Field, field_validator

from gan_components.artifacts import Evaluation, TrainedModel
from gan_components.fingerprints import Recipe

CANARY = "_canary"
"""Ends the name under which a server offers a model's candidate."""


class ExportConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """How a blessed generator goes into production."""

    promote: Literal["auto", "manual"] = "auto"
    """``auto``: the new version becomes champion at once. ``manual``: it waits as candidate for ``promote``."""

    infra_validation: bool = True
    """Query the SavedModel through the loader of TF Serving before it is pushed (Linux only)."""

    infra_validation_timeout_seconds: float = Field(300.0, gt=0.0)
    """A generator that has not answered every question by then is not pushed."""

    warmup_batch_sizes: tuple[int, ...] = Field((1, 8, 32), min_length=1, max_length=100)
    """Batch sizes that the server tries before it takes traffic: those of its ``allowed_batch_sizes``."""

    keep_versions: int = Field(5, ge=1)
    """How many of the newest serving directories stay; older ones go unless an alias or ``models.config`` names
    them."""

    @field_validator("warmup_batch_sizes")
    @classmethod
    def _increasing(cls, sizes: tuple[int, ...]) -> tuple[int, ...]:
        if sizes[0] < 1 or any(low >= high for low, high in itertools.pairwise(sizes)):
            raise ValueError(f"batch sizes must be positive and increase, got {list(sizes)}")
        return sizes


def recipe(model: TrainedModel, evaluation: Evaluation, config: ExportConfig, *, seed: int) -> Recipe:
    """What decides the push of `model`. Where it goes is no part of it: paths never enter a fingerprint."""
    inputs = {"model": model.content_digest, "evaluation": evaluation.content_digest}
    return Recipe.of("export", "export", config, inputs, seed)
