"""Losses of both players: pure functions of logits, in the symbols of the papers.

``D(x)`` are the logits of real images, ``D(G(z))`` those of generated ones; positive means real. Expectations
are means over the batch.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""``loss(real_logits, fake_logits) -> (d_loss, g_loss)``, both to be minimised by their own player."""


def non_saturating(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The non-saturating GAN loss.

    ``d_loss = E[softplus(-D(x))] + E[softplus(D(G(z)))]``, ``g_loss = E[softplus(-D(G(z)))]``,
    which is Algorithm 1 of Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, with the generator's
    objective ``max log sigmoid(D(G(z)))`` of its section 3: it keeps a gradient where the discriminator wins.

    Args:
        real_logits: float32 ``[N]``.
        fake_logits: float32 ``[N]``.

    Returns:
        ``(d_loss, g_loss)``, float32 scalars in nats; 2 log 2 and log 2 where D cannot tell.
    """
    d_loss = tf.reduce_mean(tf.nn.softplus(-real_logits)) + tf.reduce_mean(tf.nn.softplus(fake_logits))
    g_loss = tf.reduce_mean(tf.nn.softplus(-fake_logits))
    return d_loss, g_loss


LOSSES: dict[str, Loss] = {"non_saturating": non_saturating}
