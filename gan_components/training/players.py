"""Both players and their optimizers, as a training section describes them."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from gan_components import generators, randomness
from gan_components.networks.architectures import ARCHITECTURES
from gan_components.training import augment, ema
from gan_components.training.adam import FusedAdam
from gan_components.training.augment_config import Ada, AugmentConfig, DiffAugment
from gan_components.training.config import TrainConfig
from gan_components.training.draws import drawer
from gan_components.training.gan import GAN
from gan_components.training.losses import LOSSES, PROPORTIONAL
from gan_components.training.objective import Objective
from gan_components.training.schedule import ConstantThenLinear


def build(description: generators.Description, config: TrainConfig, *, seed: int, retry: int = 0) -> GAN:
    """The players of `config` for images as described, compiled and at step 0.

    Args:
        description: shapes, classes and domains.
        config: the section ``train``.
        seed: of the initial weights and the random streams.
        retry: number of roll-backs before; each folds the streams and halves both learning rates.
    """
    architecture = ARCHITECTURES[config.network.name]
    height, width, channels = description.image_shape
    shape = (height, width, channels * description.num_domains)
    of_generator = {
        "image_shape": shape,
        "latent_dim": config.latent_dim,
        "num_classes": description.num_classes,
        "seed": seed,
    }
    with _dtype_policy(config.precision):
        generator = architecture.generator(config.network, **of_generator)
        discriminator = architecture.discriminator(
            config.network, image_shape=shape, num_classes=description.num_classes, seed=seed
        )
    # The average starts from the same initial weights, and is served: it computes in float32.
    with _dtype_policy("float32"):
        ema_generator = architecture.generator(config.network, **of_generator)
    gan = GAN(
        generator=generator,
        discriminator=discriminator,
        ema_generator=ema_generator,
        draw=drawer(
            batch_size=config.batch_size,
            latent_dim=config.latent_dim,
            latent_distribution=config.latent_distribution,
            class_frequencies=description.class_frequencies,
            draws=architecture.draws(config.network, image_shape=shape, latent_dim=config.latent_dim),
            seed=stream_seed(seed, retry),
        ),
        batch_size=config.batch_size,
        seed=stream_seed(seed, retry),
    )
    gan.compile(
        d_optimizer=_adam(config.d_learning_rate / 2**retry, gan.step, config),
        g_optimizer=_adam(config.g_learning_rate / 2**retry, gan.step, config),
        objective=_objective(config, independent_rows=architecture.independent_rows),
        ema_decay=ema.decay_per_step(half_life_images=config.ema_half_life_images, batch_size=config.batch_size),
        xla=config.xla,
    )
    return gan


def stream_seed(seed: int, retry: int) -> int:
    """Seed of all random streams of a training after `retry` roll-backs: the same bits would diverge again."""
    return randomness.integer(seed, f"retry {retry}") if retry else seed


def _objective(config: TrainConfig, *, independent_rows: bool) -> Objective:
    loss = LOSSES[config.loss]
    if config.label_smoothing:
        loss = functools.partial(loss, label_smoothing=config.label_smoothing)
    return Objective(
        loss=loss,
        one_backward=independent_rows and config.loss in PROPORTIONAL and config.network.name != "cogan",
        r1_gamma=config.r1_gamma,
        r2_gamma=config.r2_gamma,
        gp_lambda=config.gp_lambda,
        penalty_interval_steps=config.penalty_interval_steps,
        d_steps_per_g_step=config.d_steps_per_g_step,
        augment=_augment(config.augment, batch_size=config.batch_size),
        ada=config.augment if isinstance(config.augment, Ada) else None,
    )


def _augment(
    section: AugmentConfig | None, *, batch_size: int
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] | None:
    match section:
        case None:
            return None
        case Ada():
            return lambda images, key, p: augment.ada(
                images, key=key, batch_size=batch_size, p=p, transforms=section.transforms
            )
        case DiffAugment():
            return lambda images, key, p: augment.diffaugment(
                images, key=key, batch_size=batch_size, policy=section.policy
            )


def _adam(learning_rate: float, step: keras.Variable, config: TrainConfig) -> keras.Optimizer:
    schedule = ConstantThenLinear(
        learning_rate, step=step, num_steps=config.num_steps, decay_fraction=config.learning_rate_decay_fraction
    )
    return FusedAdam(schedule, config.beta1, config.beta2)


@contextlib.contextmanager
def _dtype_policy(name: str) -> Iterator[None]:
    """Layers made within this context compute by the Keras policy `name`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
