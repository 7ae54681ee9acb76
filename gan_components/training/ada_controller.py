"""ADA's controller: how often images are augmented, by how sure the discriminator is of the real ones."""

import tensorflow as tf

from gan_components.training.augment_config import Ada


def next_p(
    p: tf.Tensor,
    sign_mean: tf.Tensor,
    *,
    batch_size: int,
    interval_steps: int = 4,
    target: float = 0.6,
    speed_images: int = 500_000,
    max_p: float = 0.8,
) -> tf.Tensor:
    """One move of ADA's controller: p rises while the discriminator is surer of real images than `target`.

    ``p + sign(r_t - target) * batch_size * interval_steps / speed_images``, kept in [0, max_p], with
    ``r_t = E[sign(D(real))]``; Karras et al. 2020, https://arxiv.org/abs/2006.06676, section 3.

    Args:
        p: float32 scalar.
        sign_mean: r_t, float32 scalar in [-1, 1]: over the real images of the last `interval_steps` steps and of
            all replicas, augmented as the discriminator saw them.
        batch_size: real images a step, all replicas together.
        interval_steps: between two moves.
        target: of r_t.
        speed_images: over which p would rise from 0 to 1.
        max_p: where p ends.

    Returns:
        float32 scalar.
    """
    move = batch_size * interval_steps / speed_images
    return tf.clip_by_value(p + move * tf.sign(sign_mean - target), 0.0, max_p)


def controlled(
    config: Ada, *, p: tf.Tensor, sign_sum: tf.Tensor, step: tf.Tensor, batch_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The controller's state after a step: :func:`next_p` at the end of every interval, else nothing moves.

    Args:
        config: target, interval and speed.
        p: float32 scalar, in this step.
        sign_sum: float32 scalar, sum of the steps' ``mean sign(D(real))`` since p last moved, with this step's.
        step: integer scalar, number of the steps finished before this one.
        batch_size: real images a step, all replicas together.

    Returns:
        ``(p, sign_sum)`` for the next step, float32 scalars.
    """
    moved = next_p(
        p,
        sign_sum / config.interval_steps,
        batch_size=batch_size,
        interval_steps=config.interval_steps,
        target=config.target,
        speed_images=config.speed_images,
        max_p=config.max_p,
    )
    due = tf.equal((step + 1) % config.interval_steps, 0)
    return tf.where(due, moved, p), tf.where(due, 0.0, sign_sum)
