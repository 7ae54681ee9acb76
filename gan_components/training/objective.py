"""What the two players minimise."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from gan_components.training.augment_config import Ada
from gan_components.training.losses import Loss

PENALTIES = ("r1", "r2", "gp")
"""Logged without their weights, if they are on."""


@dataclass(frozen=True)
class Objective:
    """What the players minimise.

    Attributes:
        loss: of both players, from the logits of a real and a generated batch.
        one_backward: G's gradient at a generated image is taken as a multiple of D's: see ``losses.PROPORTIONAL``.
            Needs a proportional loss, and logits of their own image alone.
        r1_gamma, r2_gamma, gp_lambda: weights of :mod:`penalties`; None is off.
        penalty_interval_steps: steps from one penalty to the next.
        d_steps_per_g_step: k of Algorithm 1.
        augment: ``(images, key, ada_p) -> images``, before every look of the discriminator; None: off.
        ada: the controller of ``ada_p``; None: it stays at 0.
    """

    loss: Loss
    one_backward: bool = False
    r1_gamma: float | None = None
    r2_gamma: float | None = None
    gp_lambda: float | None = None
    penalty_interval_steps: int = 1
    d_steps_per_g_step: int = 1
    augment: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] | None = None
    ada: Ada | None = None

    @property
    def penalties(self) -> list[str]:
        """Names of the penalties that are on."""
        weights = dict(zip(PENALTIES, (self.r1_gamma, self.r2_gamma, self.gp_lambda), strict=True))
        return [name for name, weight in weights.items() if weight is not None]
