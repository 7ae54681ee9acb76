"""One step against Algorithm 1 in NumPy, on players with one weight each, and what a step is made of."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.generators import Description
from gan_components.networks.config import Dcgan
from gan_components.training import players
from gan_components.training.config import TrainConfig
from gan_components.training.gan import GAN
from gan_components.training.growth import Phase
from gan_components.training.losses import LOSSES, PROPORTIONAL, non_saturating
from gan_components.training.objective import Objective
from gan_components.training.windows import METRICS

RATE, GAMMA, INTERVAL, DECAY = 0.1, 3.0, 2, 0.5
PIXELS = np.array([[0, 51], [102, 153], [204, 255]], np.uint8)
LATENTS = np.array([[1.0], [-2.0], [0.5]], np.float32)
R1 = Objective(loss=non_saturating, r1_gamma=GAMMA, penalty_interval_steps=INTERVAL)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(x))


def _weight(value: float) -> keras.initializers.Initializer:
    return keras.initializers.Constant(value)


def _grey(latents: keras.KerasTensor) -> keras.Model:
    value = keras.layers.Dense(1, use_bias=False, kernel_initializer=_weight(0.8))(latents)
    fake = keras.layers.Reshape((1, 2, 1))(keras.layers.Concatenate()([value, value]))
    return keras.Model({"latents": latents}, fake)


def _linear_gan(objective: Objective = R1) -> GAN:
    """G(z) = a z, the same in both pixels; D(x) = w (x1 + x2). Latents of draw n are n + 1 times LATENTS."""
    images = keras.Input((1, 2, 1), name="images")
    total = keras.layers.Lambda(lambda x: keras.ops.sum(x, axis=(1, 2)))(images)
    logit = keras.layers.Dense(1, use_bias=False, kernel_initializer=_weight(0.6))(total)
    gan = GAN(
        generator=_grey(keras.Input((1,), name="latents")),
        discriminator=keras.Model({"images": images}, keras.layers.Reshape(())(logit)),
        ema_generator=_grey(keras.Input((1,), name="latents")),
        draw=lambda step: {"latents": LATENTS * tf.cast(step + 1, tf.float32)},
        batch_size=3,
        seed=0,
    )
    gan.compile(
        d_optimizer=keras.optimizers.SGD(RATE),
        g_optimizer=keras.optimizers.SGD(RATE),
        objective=objective,
        ema_decay=DECAY,
    )
    return gan


def _algorithm_1(num_steps: int, k: int = 1) -> tuple[dict[str, float], dict[str, float]]:
    """The same training by hand, in float64: weights and window means after `num_steps`."""
    a, w, average = 0.8, 0.6, 0.8
    logs: dict[str, list[float]] = {name: [] for name in (*METRICS, "r1")}
    for d_step in range(num_steps * k):
        step = d_step // k
        x = (PIXELS / 127.5 - 1)[
            :: 1 if d_step % k == k - 1 else -1
        ]  # turns before the last see the rows reversed
        z = LATENTS[:, 0] * (d_step + 1)
        real, fake = w * x.sum(axis=1), 2 * w * a * z
        d_gradient = (-_sigmoid(-real) * x.sum(axis=1)).mean() + (_sigmoid(fake) * 2 * a * z).mean()
        if step % INTERVAL == 0:
            # Two pixels with the gradient w each: |dD/dx|^2 = 2 w^2, its derivative 4 w.
            r1 = 2 * w**2
            d_gradient += INTERVAL * GAMMA / 2 * 4 * w
        if d_step % k < k - 1:
            w -= RATE * d_gradient
            continue
        g_gradient = (-_sigmoid(-fake) * 2 * w * z).mean()
        logs["d_loss"].append(_softplus(-real).mean() + _softplus(fake).mean())
        logs["g_loss"].append(_softplus(-fake).mean())
        logs["d_real"].append(_sigmoid(real).mean())
        logs["d_fake"].append(_sigmoid(fake).mean())
        logs["d_accuracy"].append((real > fake).mean())
        logs["d_gradient_norm"].append(abs(d_gradient))
        logs["g_gradient_norm"].append(abs(g_gradient))
        logs["spread"].append((a * z).std() / x.std(axis=0).mean())
        if step % INTERVAL == 0:
            logs["r1"].append(r1)
        a, w = a - RATE * g_gradient, w - RATE * d_gradient
        decay = min(DECAY, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * a
    return {"a": a, "w": w, "average": average}, {name: np.mean(values) for name, values in logs.items()}


def _fit(gan: GAN, num_steps: int, rows: np.ndarray) -> dict[str, float]:
    gan.fit(
        tf.data.Dataset.from_tensors(rows).repeat(num_steps), steps_per_epoch=num_steps, shuffle=False, verbose=0
    )
    networks = {"a": gan.generator, "w": gan.discriminator, "average": gan.ema_generator}
    return {name: network.get_weights()[0].item() for name, network in networks.items()}


@pytest.mark.parametrize("one_backward", [False, True])
@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_steps_equal_algorithm_1(num_steps, one_backward):
    """Weights of both players, the average and every log, through `fit`. float32 over five steps: 1e-5.

    Red if: real and fake change places; the penalty loses its interval or its half; the average is updated
    before G's step; r1 is averaged over the steps without it; the one backward pass keeps D's sign.
    """
    gan = _linear_gan(dataclasses.replace(R1, one_backward=one_backward))
    got = _fit(gan, num_steps, PIXELS.reshape(3, 1, 2, 1))
    weights, logs = _algorithm_1(num_steps)
    assert got == pytest.approx(weights, rel=1e-5)
    assert {name: float(m.result()) for name, m in gan.windows.items()} == pytest.approx(logs, rel=1e-5)
    assert int(gan.step.numpy()) == num_steps


def test_several_discriminator_steps_to_one_of_the_generator():
    """k = 3 of Algorithm 1, each turn with its own rows and latents.

    Red if a turn sees the rows of another, if G moves in every turn, or all turns draw the same latents.
    """
    gan = _linear_gan(dataclasses.replace(R1, d_steps_per_g_step=3))
    first, last = PIXELS[::-1].reshape(3, 1, 2, 1), PIXELS.reshape(3, 1, 2, 1)
    got = _fit(gan, 4, np.stack([first, first, last], axis=1))
    assert got == pytest.approx(_algorithm_1(4, k=3)[0], rel=1e-5)


def test_without_a_penalty_there_is_none_in_the_logs():
    """Red if r1 is logged as 0, which would read like a measurement."""
    assert "r1" not in _linear_gan(Objective(loss=non_saturating)).windows


def _toy(**settings) -> GAN:
    description = Description(image_shape=[16, 16, 1], latent_dim=8)
    config = TrainConfig(
        **{"network": Dcgan(base_channels=4), "latent_dim": 8, "batch_size": 8, "r1_gamma": None} | settings
    )
    return players.build(description, config, seed=1)


ROWS = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("loss", "bias"), [(loss, 0.0) for loss in sorted(PROPORTIONAL)] + [("non_saturating", -200.0)]
)
def test_one_backward_pass_gives_the_gradients_of_two(loss, bias):
    """Steps of SGD are the gradients. float32 sums in another order: 1e-4 of a tensor's norm.

    Red if the rows' factor is left out, or taken from the discriminator's objective of real images too; at logits
    of -200, where D's gradient is 0 in float32 and G's is not, if D's is not kept from it.
    """
    weights = []
    for one_backward in (True, False):
        gan = _toy(loss=loss)
        gan.discriminator.trainable_variables[-1].assign([bias])
        gan.compile(
            d_optimizer=keras.optimizers.SGD(1.0),
            g_optimizer=keras.optimizers.SGD(1.0),
            objective=Objective(loss=LOSSES[loss], one_backward=one_backward),
            ema_decay=0.5,
        )
        before = [variable.numpy() for variable in gan.generator.trainable_variables]
        gan.fit(tf.data.Dataset.from_tensors(ROWS), steps_per_epoch=1, shuffle=False, verbose=0)
        after = [variable.numpy() for variable in gan.generator.trainable_variables]
        weights.append([a - b for a, b in zip(after, before, strict=True)])
    for one, two in zip(*weights, strict=True):
        assert np.linalg.norm(two) > 0
        assert np.linalg.norm(one - two) <= 1e-4 * np.linalg.norm(two)


@pytest.mark.parametrize(
    "settings",
    [
        {"r1_gamma": 1.0, "r2_gamma": 1.0, "loss": "relativistic"},
        {"gp_lambda": 10.0, "loss": "wasserstein", "penalty_interval_steps": 1},
        {"augment": {"kind": "diffaugment"}},
        {"augment": {"kind": "ada", "speed_images": 8, "interval_steps": 1, "target": -0.99}, "r1_gamma": 1.0},
        {"precision": "mixed_bfloat16", "r1_gamma": 1.0},
        {"network": Dcgan(base_channels=4, spectral_norm=True), "loss": "hinge"},
        {"label_smoothing": 0.1},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_settings_reach_the_step(settings):
    """Each changes the weights of the discriminator after two steps, and everything stays finite.

    Red if a setting is accepted and ignored.
    """
    after = []
    for chosen in ({}, settings):
        gan = _toy(
            **TrainConfig.model_validate(chosen | {"log_interval_steps": 8}).model_dump(include=set(chosen))
        )
        gan.fit(tf.data.Dataset.from_tensors(ROWS).repeat(2), steps_per_epoch=2, shuffle=False, verbose=0)
        after.append(
            np.concatenate([variable.numpy().ravel() for variable in gan.discriminator.trainable_variables])
        )
        assert all(np.isfinite(float(window.result())) for window in gan.windows.values())
    assert after[0].shape != after[1].shape or np.any(after[0] != after[1])
    if "augment" in settings and settings["augment"]["kind"] == "ada":
        assert float(gan.ada_p.numpy()) > 0


class Growing(keras.Model):
    """One weight a level; D and G alike."""

    num_levels = 2

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key, self.level = key, 1
        self.alpha = keras.Variable(1.0, trainable=False, aggregation="only_first_replica", name="alpha")
        self.scales = [keras.Variable(1.0, name=f"scale{level}") for level in range(2)]
        self.built = True

    def call(self, inputs, training=False):
        total = tf.reduce_mean(inputs[self.key], axis=list(range(1, inputs[self.key].shape.rank)))
        scale = self.scales[0] if self.level == 0 else self.scales[0] + self.alpha * self.scales[1]
        rows = total * scale
        return rows if self.key == "images" else tf.ones((1, 8, 8, 1)) * tf.reshape(rows, (-1, 1, 1, 1))


def test_growing_trains_the_levels_weights_and_fades_in():
    """Phase 0 leaves the second level alone; at its start the optimizers forget; alpha is a function of the step.

    Red if the level is not set, weights without a gradient are touched, alpha lags a step, or the optimizers are
    reset on a resume in the middle of a phase.
    """
    gan = GAN(
        generator=Growing("latents"), discriminator=Growing("images"), ema_generator=Growing("latents"),
        draw=lambda step: {"latents": tf.constant([[1.0], [2.0]])}, batch_size=2, seed=0,
    )  # fmt: skip
    gan.compile(
        d_optimizer=keras.optimizers.Adam(0.01, 0.0),
        g_optimizer=keras.optimizers.Adam(0.01, 0.0),
        objective=Objective(loss=non_saturating),
        ema_decay=0.0,
    )
    data = tf.data.Dataset.from_tensors(np.full((2, 8, 8, 1), 200, np.uint8)).repeat()
    first, second = Phase(0, 3, 0, 4), Phase(3, 20, 1, 4)
    gan.enter(first)
    gan.fit(data, steps_per_epoch=3, shuffle=False, verbose=0)
    assert [float(scale.numpy()) for scale in gan.generator.scales][1] == 1.0
    assert float(gan.generator.scales[0].numpy()) != 1.0
    assert int(gan.g_optimizer.iterations.numpy()) == 3
    gan.enter(second)
    assert int(gan.g_optimizer.iterations.numpy()) == 0
    gan.fit(data, steps_per_epoch=3, shuffle=False, verbose=0)
    assert float(gan.discriminator.alpha.numpy()) == 0.5
    assert float(gan.ema_generator.alpha.numpy()) == 0.5
    assert float(gan.generator.scales[1].numpy()) != 1.0
    gan.enter(second)
    assert int(gan.g_optimizer.iterations.numpy()) == 3
