"""Growing: which resolution is trained at a step, and how far its newest level has faded in.

Karras et al. 2017, https://arxiv.org/abs/1710.10196, section 2. Level 0 (4x4) trains for ``stable_steps``; each
further level fades in over ``fade_steps`` and then trains for ``stable_steps``; the last one takes what is left.
"""

from dataclasses import dataclass

import tensorflow as tf

from gan_components.errors import ConfigError


@dataclass(frozen=True)
class Phase:
    """The steps ``start_step .. end_step - 1``, all at one level.

    Attributes:
        level: index of the resolution; None: the networks do not grow.
        fade_steps: steps over which the level's weight rises from 0 to 1.
    """

    start_step: int
    end_step: int
    level: int | None = None
    fade_steps: int = 0

    def alpha(self, step: tf.Tensor) -> tf.Tensor:
        """Weight of the newest level at a step, float32 in [0, 1]."""
        if not self.level:
            return tf.constant(1.0)
        return tf.clip_by_value(tf.cast(step - self.start_step, tf.float32) / self.fade_steps, 0.0, 1.0)


def phases(*, num_levels: int, stable_steps: int, fade_steps: int, num_steps: int) -> list[Phase]:
    """All phases of a training in order.

    Raises:
        ConfigError: the last level would not have faded in by the end.

    Example:
        >>> [(p.level, p.start_step, p.end_step) for p in phases(
        ...     num_levels=3, stable_steps=10, fade_steps=5, num_steps=60)]
        [(0, 0, 10), (1, 10, 25), (2, 25, 60)]
    """
    starts = [0] + [stable_steps + level * (fade_steps + stable_steps) for level in range(num_levels - 1)]
    least = starts[-1] + fade_steps
    if num_steps <= least:
        raise ConfigError(
            f"growing through {num_levels} levels takes more than {least} steps, train.num_steps is {num_steps}; "
            "raise it, or lower train.growth.stable_steps or fade_steps"
        )
    ends = [*starts[1:], num_steps]
    return [
        Phase(start, end, level, fade_steps) for level, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
