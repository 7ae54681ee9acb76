"""Losses of both players: pure functions of logits, in the symbols of the papers.

``D(x)`` are the logits of real images, ``D(G(z))`` those of generated ones; positive means real. Where a paper's
D is a probability, it is the sigmoid of these logits, and every logarithm of it is written as
``softplus(t) = log(1 + exp(t))``: ``-log sigmoid(t) = softplus(-t)`` and ``-log(1 - sigmoid(t)) = softplus(t)``,
which stay finite where the sigmoid rounds to 0 or 1.

Logits are float32, ``[N]``, or ``[N, domains]`` where a discriminator judges an image of each domain. ``E`` is the
mean over the batch and the sum over domains: two domains are two games, whose players share weights (Liu and Tuzel
2016, https://arxiv.org/abs/1606.07536). Losses are float32 scalars, to be minimised by their own player.

One-sided label smoothing (Salimans et al. 2016, https://arxiv.org/abs/1606.03498, section 3.4) tells the
discriminator ``1 - s`` of real images instead of 1. Generated images keep the target 0: any other would put p_g
into the numerator of the best discriminator, and images far from the data would have no reason to move.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]
"""``loss(real_logits, fake_logits) -> (d_loss, g_loss)``."""


def minimax(
    real_logits: tf.Tensor, fake_logits: tf.Tensor, *, label_smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """The value function of the original game, whose generator gradient fades where the discriminator wins.

    ``V(D, G) = E[log D(x)] + E[log(1 - D(G(z)))]`` with probabilities D: ``d_loss = -V``,
    ``g_loss = E[log(1 - D(G(z)))]``, the part of V that G has a hand in.
    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, equation 1 and Algorithm 1.

    Args:
        real_logits: D(x), float32 ``[N]`` or ``[N, domains]``.
        fake_logits: D(G(z)), the same.
        label_smoothing: s in [0, 1) of the discriminator's real target ``1 - s``.

    Returns:
        ``(d_loss, g_loss)`` in nats; log 4 and -log 2 where D cannot tell.

    Example:
        >>> d_loss, g_loss = minimax(tf.zeros(3), tf.zeros(3))
        >>> round(float(d_loss), 4), round(float(g_loss), 4)
        (1.3863, -0.6931)
    """
    return _cross_entropy(real_logits, fake_logits, label_smoothing), -_expectation(tf.nn.softplus(fake_logits))


def non_saturating(
    real_logits: tf.Tensor, fake_logits: tf.Tensor, *, label_smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """The discriminator of :func:`minimax` with a generator that keeps its gradient where the discriminator wins.

    ``g_loss = -E[log D(G(z))]``: the same fixed point.
    Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661, end of section 3.

    Args:
        real_logits: D(x), float32 ``[N]`` or ``[N, domains]``.
        fake_logits: D(G(z)), the same.
        label_smoothing: s in [0, 1) of the discriminator's real target ``1 - s``.

    Returns:
        ``(d_loss, g_loss)`` in nats; log 4 and log 2 where D cannot tell.
    """
    return _cross_entropy(real_logits, fake_logits, label_smoothing), _expectation(tf.nn.softplus(-fake_logits))


def least_squares(
    real_logits: tf.Tensor, fake_logits: tf.Tensor, *, label_smoothing: float = 0.0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Squared distances to targets: also a fake that D takes for more than real is pulled back.

    ``d_loss = E[(D(x) - b)^2] / 2 + E[(D(G(z)) - a)^2] / 2``, ``g_loss = E[(D(G(z)) - c)^2] / 2`` with
    a = 0 and b = c = 1, on logits. Mao et al. 2016, https://arxiv.org/abs/1611.04076.

    Args:
        real_logits: D(x), float32 ``[N]`` or ``[N, domains]``.
        fake_logits: D(G(z)), the same.
        label_smoothing: s in [0, 1); ``b = 1 - s``, while c stays 1.

    Returns:
        ``(d_loss, g_loss)``; 1/4 and 1/8 at the best D that cannot tell, which says 1/2.
    """
    a, b, c = 0.0, 1.0 - label_smoothing, 1.0
    d_loss = 0.5 * _expectation(tf.square(real_logits - b)) + 0.5 * _expectation(tf.square(fake_logits - a))
    return d_loss, 0.5 * _expectation(tf.square(fake_logits - c))


def wasserstein(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Difference of mean scores, for a 1-Lipschitz discriminator ("critic"), which something else must ensure.

    ``d_loss = E[D(G(z))] - E[D(x)]``, ``g_loss = -E[D(G(z))]``.
    Arjovsky, Chintala, Bottou 2017, https://arxiv.org/abs/1701.07875; :func:`.penalties.wgan_gp` keeps D close
    to 1-Lipschitz.

    Args:
        real_logits: D(x), float32 ``[N]`` or ``[N, domains]``.
        fake_logits: D(G(z)), the same.

    Returns:
        ``(d_loss, g_loss)``; -d_loss is a lower bound of the distance if D is 1-Lipschitz.
    """
    fake_score = _expectation(fake_logits)
    return fake_score - _expectation(real_logits), -fake_score


def hinge(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A discriminator that learns from no image that it puts beyond the margin.

    ``d_loss = E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]``, ``g_loss = -E[D(G(z))]``.
    Lim and Ye 2017, https://arxiv.org/abs/1705.02894; Miyato et al. 2018, https://arxiv.org/abs/1802.05957.

    Args:
        real_logits: D(x), float32 ``[N]`` or ``[N, domains]``.
        fake_logits: D(G(z)), the same.

    Returns:
        ``(d_loss, g_loss)``; 2 and 0 where D says 0.
    """
    d_loss = _expectation(tf.nn.relu(1.0 - real_logits)) + _expectation(tf.nn.relu(1.0 + fake_logits))
    return d_loss, -_expectation(fake_logits)


def relativistic(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Relativistic pairing (RpGAN): is a real image more real than the generated one beside it in the batch?

    ``d_loss = E[softplus(-(D(x) - D(G(z))))]``, ``g_loss = E[softplus(-(D(G(z)) - D(x)))]``; the i-th real and
    the i-th generated image are a pair. Jolicoeur-Martineau 2018, https://arxiv.org/abs/1807.00734;
    with R1 and R2 the loss of R3GAN, Huang et al. 2024, https://arxiv.org/abs/2501.05441.

    Args:
        real_logits: D(x), float32 ``[N]`` or ``[N, domains]``.
        fake_logits: D(G(z)), the same; unlike elsewhere, as many as there are real ones.

    Returns:
        ``(d_loss, g_loss)`` in nats; log 2 each where D cannot tell.
    """
    margin = real_logits - fake_logits
    return _expectation(tf.nn.softplus(-margin)), _expectation(tf.nn.softplus(margin))


LOSSES: dict[str, Callable[..., tuple[tf.Tensor, tf.Tensor]]] = {
    "minimax": minimax,
    "non_saturating": non_saturating,
    "least_squares": least_squares,
    "wasserstein": wasserstein,
    "hinge": hinge,
    "relativistic": relativistic,
}
"""Each is a :data:`Loss`; those of :data:`SMOOTHABLE` also take the keyword ``label_smoothing``."""

SMOOTHABLE = frozenset({"minimax", "non_saturating", "least_squares"})
"""Losses with a target for real images. Wasserstein, hinge and relativistic compare scores, they have none."""

PROPORTIONAL = frozenset({"minimax", "non_saturating", "wasserstein", "relativistic"})
"""Losses whose gradients at a generated image's logit y are multiples of each other, D's being never zero.

================ ======================== ========================= ===============
loss             D's, times N             G's, times N              G's / D's
================ ======================== ========================= ===============
minimax          sigmoid(y)               -sigmoid(y)               -1
non_saturating   sigmoid(y)               -sigmoid(-y)              -exp(-y)
wasserstein      1                        -1                        -1
relativistic     sigmoid(y - x)           -sigmoid(x - y)           -exp(x - y)
least_squares    y                        y - 1                     none at y = 0
hinge            1 if y > -1, else 0      -1                        none at y <= -1
================ ======================== ========================= ===============

(x: the logit of the paired real image.) Where logits depend on their own image alone, one backward pass through D
then gives both players' gradients: the ratio turns D's slope at a generated image into G's.

That holds for real numbers. In float32 D's gradient is 0 where ``sigmoid(y) / N`` (relativistic:
``sigmoid(y - x) / N``) falls below 1.2e-38: at 64 images where the argument is below -83. Its product with small
slopes inside D vanishes somewhat earlier. Hence :data:`KEPT_FROM_ZERO`.
"""

KEPT_FROM_ZERO = 1e-20
"""A slope along ``D(G(z))`` to add to D's objective before dividing by its gradient, which is positive for all of
:data:`PROPORTIONAL`. A float32 gradient absorbs it without a trace down to 1e-12; below, it does not move D: Adam
divides by at least 1e-7."""


def _expectation(values: tf.Tensor) -> tf.Tensor:
    """Mean over the batch, sum over domains."""
    return tf.reduce_sum(tf.reduce_mean(values, axis=0))


def _cross_entropy(real_logits: tf.Tensor, fake_logits: tf.Tensor, label_smoothing: float) -> tf.Tensor:
    """``-V`` with the real target ``1 - label_smoothing``."""
    real = tf.nn.softplus(-real_logits)
    if label_smoothing:
        # (1 - s) softplus(-t) + s softplus(t), by softplus(t) = t + softplus(-t).
        real += label_smoothing * real_logits
    return _expectation(real) + _expectation(tf.nn.softplus(fake_logits))
