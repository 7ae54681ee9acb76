"""One step against Algorithm 1 in NumPy, on players with one weight each."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.training.gan import GAN, drawer
from gan_components.training.losses import non_saturating

RATE, GAMMA, INTERVAL, DECAY = 0.1, 3.0, 2, 0.5
PIXELS = np.array([[0, 51], [102, 153], [204, 255]], np.uint8)
LATENTS = np.array([[1.0], [-2.0], [0.5]], np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def _weight(value: float) -> keras.initializers.Initializer:
    return keras.initializers.Constant(value)


def _linear_gan(r1_gamma: float | None = GAMMA) -> GAN:
    """G(z) = a z, the same in both pixels; D(x) = w (x1 + x2)."""
    latents, images = keras.Input((1,)), keras.Input((1, 2, 1))
    grey = keras.layers.Dense(1, use_bias=False, kernel_initializer=_weight(0.8))(latents)
    fake = keras.layers.Reshape((1, 2, 1))(keras.layers.Concatenate()([grey, grey]))
    total = keras.layers.Lambda(lambda x: keras.ops.sum(x, axis=(1, 2)))(images)
    logit = keras.layers.Dense(1, use_bias=False, kernel_initializer=_weight(0.6))(total)
    gan = GAN(
        generator=keras.Model(latents, fake),
        discriminator=keras.Model(images, keras.layers.Reshape(())(logit)),
        draw=lambda step: [tf.constant(LATENTS)],
    )
    gan.compile(
        d_optimizer=keras.optimizers.SGD(RATE),
        g_optimizer=keras.optimizers.SGD(RATE),
        loss=non_saturating,
        r1_gamma=r1_gamma,
        r1_interval_steps=INTERVAL,
        ema_decay=DECAY,
    )
    return gan


def _algorithm_1(num_steps: int) -> tuple[dict[str, float], dict[str, float]]:
    """The same training by hand, in float64: weights and window means after `num_steps`."""
    a, w, average = 0.8, 0.6, 0.8
    x = (PIXELS / 127.5 - 1).sum(axis=1)
    z = 2 * LATENTS[:, 0]
    logs: dict[str, list[float]] = {name: [] for name in ("d_loss", "g_loss", "d_real", "d_fake", "r1")}
    for step in range(num_steps):
        real, fake = w * x, w * a * z
        logs["d_loss"].append(_softplus(-real).mean() + _softplus(fake).mean())
        logs["g_loss"].append(_softplus(-fake).mean())
        logs["d_real"].append(_sigmoid(real).mean())
        logs["d_fake"].append(_sigmoid(fake).mean())
        d_gradient = (-_sigmoid(-real) * x).mean() + (_sigmoid(fake) * a * z).mean()
        if step % INTERVAL == 0:
            # Two pixels with the gradient w each: |dD/dx|^2 = 2 w^2, its derivative 4 w.
            logs["r1"].append(2 * w**2)
            d_gradient += INTERVAL * GAMMA / 2 * 4 * w
        g_gradient = (-_sigmoid(-fake) * w * z).mean()
        a, w = a - RATE * g_gradient, w - RATE * d_gradient
        decay = min(DECAY, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * a
    return {"a": a, "w": w, "average": average}, {name: np.mean(values) for name, values in logs.items()}


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_steps_equal_algorithm_1(num_steps):
    """Weights of both players, the average and every log, through `fit`. float32 over five steps: 1e-5.

    Red if: real and fake change places; the penalty loses its interval or its half; the average is updated
    before G's step; r1 is averaged over the steps without it.
    """
    gan = _linear_gan()
    data = tf.data.Dataset.from_tensors(PIXELS.reshape(3, 1, 2, 1)).repeat(num_steps)
    gan.fit(data, steps_per_epoch=num_steps, shuffle=False, verbose=0)
    weights, logs = _algorithm_1(num_steps)
    got = {
        "a": gan.generator.get_weights()[0].item(),
        "w": gan.discriminator.get_weights()[0].item(),
        "average": gan.ema_generator.get_weights()[0].item(),
    }
    assert got == pytest.approx(weights, rel=1e-5)
    assert {name: float(m.result()) for name, m in gan.windows.items()} == pytest.approx(logs, rel=1e-5)
    assert int(gan.step.numpy()) == num_steps


def test_without_a_penalty_there_is_none_in_the_logs():
    """Red if r1 is logged as 0, which would read like a measurement."""
    assert "r1" not in _linear_gan(r1_gamma=None).windows


def test_draws_are_a_function_of_seed_and_step():
    """Red if the step is not folded in, or latents and labels share a stream."""

    def draw(seed: int, step: int) -> list[tf.Tensor]:
        inputs = drawer(batch_size=4, latent_dim=3, class_frequencies=[0.5, 0.5], seed=seed)
        return inputs(tf.constant(step, tf.int64))

    np.testing.assert_array_equal(draw(1, 5)[0], draw(1, 5)[0])
    assert np.all(draw(1, 5)[0] != draw(1, 6)[0])
    assert np.all(draw(1, 5)[0] != draw(2, 5)[0])


def test_labels_follow_the_training_frequencies():
    """20,000 draws: three standard errors of a share of 0.5 are 0.011. Red with uniform labels."""
    draw = drawer(batch_size=20_000, latent_dim=1, class_frequencies=[0.5, 0.0, 0.3, 0.2], seed=0)
    _, labels = draw(tf.constant(0, tf.int64))
    assert labels.dtype == tf.int64
    np.testing.assert_allclose(np.bincount(labels, minlength=4) / 20_000, [0.5, 0.0, 0.3, 0.2], atol=0.011)
    assert np.bincount(labels, minlength=4)[1] == 0
