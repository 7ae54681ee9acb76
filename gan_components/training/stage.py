"""The stage ``train``: Examples in, TrainedModel out."""

import hashlib
import logging
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from gan_components import artifacts, generators
from gan_components import examples as examples_reader
from gan_components.artifacts import Examples, Progress, TrainedModel, no_progress
from gan_components.errors import ConfigError, TrainingError
from gan_components.fingerprints import Recipe, digest_json
from gan_components.networks import NETWORKS
from gan_components.training import checkpoints, distribution, ema, monitors
from gan_components.training import config as training_config
from gan_components.training.config import TrainConfig
from gan_components.training.gan import GAN, drawer
from gan_components.training.losses import LOSSES
from gan_components.training.schedule import ConstantThenLinear

logger = logging.getLogger(__name__)


def train(
    examples: Examples,
    config: TrainConfig,
    *,
    out: Path,
    seed: int,
    cache: Path,
    progress: Progress = no_progress,
) -> TrainedModel:
    """Trains a generator and seals its moving average as a SavedModel.

    A run that was killed goes on from its last checkpoint, if nothing in its recipe changed, and ends with
    the bits of an uninterrupted run on the same kind of machine and number of devices.

    Args:
        examples: what to learn; only the split ``train`` is read.
        config: the section ``train``.
        out: the artifact's directory.
        seed: of the initial weights, the order of the data, latents and labels.
        cache: root of what stages share; training keeps nothing there.
        progress: told the finished steps, the losses and images/s.

    Raises:
        InputError: fewer images than a batch, or a shape that the network cannot make.
        ConfigError: the section does not fit the examples or the devices.
        TrainingError: a loss stopped being finite.
        SystemExit: 143 or 130 after SIGTERM or SIGINT, when a checkpoint was saved.
    """
    # Process-wide: TensorFlow has no narrower switch. It is what makes a resumed run end with the same bits,
    # and costs nothing measurable on a CPU.
    tf.config.experimental.enable_op_determinism()
    recipe = training_config.recipe(examples, config, seed=seed)
    description = _describe(examples, config, seed=seed, recipe=recipe)
    strategy = distribution.strategy(config.strategy, batch_size=config.batch_size)
    with strategy.scope():
        gan = _build(description, config, seed=seed)

    work = artifacts.work_directory(out, recipe, resume=True)
    start_step = checkpoints.restore_latest(gan, work / "checkpoints")
    if start_step:
        logger.info("resuming from step %d of %d", start_step, config.num_steps)
    # A run that was killed between its last step and the seal only exports again.
    if start_step < config.num_steps:
        _fit(gan, examples, description, config, seed=seed, work=work, progress=progress)

    _check_finite(gan.ema_generator, num_steps=config.num_steps)
    checkpoints.prune(work / "checkpoints", keep=1)
    shutil.rmtree(work / "generator", ignore_errors=True)
    generators.save(gan.ema_generator, work / "generator", description)
    return TrainedModel.seal(
        out,
        recipe,
        properties={
            **description.model_dump(mode="json", exclude={"provenance"}),
            "network": config.network,
            "num_steps": config.num_steps,
        },
        content_digest=_content_digest(gan.ema_generator, description),
    )


def _describe(examples: Examples, config: TrainConfig, *, seed: int, recipe: Recipe) -> generators.Description:
    properties: dict[str, Any] = examples.properties
    has_classes = bool(properties["class_names"])
    if config.conditional and not has_classes:
        raise ConfigError("train.conditional is true, but the examples have no classes; set it to null")
    conditional = has_classes if config.conditional is None else config.conditional
    return generators.Description(
        image_shape=properties["image_shape"],
        latent_dim=config.latent_dim,
        class_names=properties["class_names"] if conditional else [],
        class_frequencies=properties["class_frequencies"] if conditional else [],
        provenance={
            "fingerprint": recipe.fingerprint,
            "examples": examples.content_digest,
            "network": config.network,
            "num_steps": config.num_steps,
            "seed": seed,
        },
    )


def _build(description: generators.Description, config: TrainConfig, *, seed: int) -> GAN:
    network = NETWORKS[config.network]
    height, width, channels = description.image_shape
    gan = GAN(
        generator=network.generator(
            (height, width, channels),
            latent_dim=config.latent_dim,
            num_classes=description.num_classes,
            base_channels=config.base_channels,
            seed=seed,
        ),
        discriminator=network.discriminator(
            (height, width, channels),
            num_classes=description.num_classes,
            base_channels=config.base_channels,
            seed=seed,
        ),
        draw=drawer(
            batch_size=config.batch_size,
            latent_dim=config.latent_dim,
            class_frequencies=description.class_frequencies,
            seed=seed,
        ),
    )
    gan.compile(
        d_optimizer=_adam(config.d_learning_rate, config),
        g_optimizer=_adam(config.g_learning_rate, config),
        loss=LOSSES[config.loss],
        r1_gamma=config.r1_gamma,
        r1_interval_steps=config.r1_interval_steps,
        ema_decay=ema.decay_per_step(half_life_images=config.ema_half_life_images, batch_size=config.batch_size),
    )
    return gan


def _adam(learning_rate: float, config: TrainConfig) -> keras.Optimizer:
    schedule = ConstantThenLinear(
        learning_rate, num_steps=config.num_steps, decay_fraction=config.learning_rate_decay_fraction
    )
    return keras.optimizers.Adam(schedule, config.beta1, config.beta2)


def _fit(
    gan: GAN,
    examples: Examples,
    description: generators.Description,
    config: TrainConfig,
    *,
    seed: int,
    work: Path,
    progress: Progress,
) -> None:
    start_step = int(gan.step.numpy())
    batches = examples_reader.batches(
        examples,
        batch_size=config.batch_size,
        seed=seed,
        start_step=start_step,
        num_steps=config.num_steps - start_step,
    )
    if not description.num_classes and isinstance(batches.element_spec, tuple):
        batches = batches.map(lambda images, labels: images)
    with monitors.stop_signals() as received:
        gan.fit(
            batches,
            steps_per_epoch=config.num_steps - start_step,
            shuffle=False,
            verbose=0,
            callbacks=[
                monitors.StopOnNonFinite(),
                monitors.History(
                    work / "history.jsonl", interval_steps=config.log_interval_steps, start_step=start_step
                ),
                monitors.Report(
                    progress,
                    batch_size=config.batch_size,
                    num_steps=config.num_steps,
                    interval_steps=config.log_interval_steps,
                ),
                monitors.Samples(
                    work / "samples",
                    inputs=monitors.sample_inputs(
                        latent_dim=config.latent_dim, num_classes=description.num_classes, seed=seed
                    ),
                    interval_steps=config.sample_interval_steps,
                    num_steps=config.num_steps,
                ),
                monitors.Checkpoints(
                    work / "checkpoints",
                    interval_steps=config.checkpoint_interval_steps,
                    num_steps=config.num_steps,
                    received=received,
                ),
            ],
        )


def _check_finite(network: keras.Model, *, num_steps: int) -> None:
    """The monitors see losses, which tell of the weights before a step: nobody saw those after the last."""
    for variable in network.variables:
        if not np.all(np.isfinite(variable.numpy())):
            raise TrainingError(
                f"the averaged generator's {variable.path} is not finite after the last step, {num_steps}; "
                "lower train.g_learning_rate or raise train.r1_gamma"
            )


def _content_digest(network: keras.Model, description: generators.Description) -> str:
    """Identity of what is served: weights and description, not the files of a SavedModel, which differ from
    one writing to the next, and not the provenance: equal weights from changed code are the same generator.
    """
    weights = hashlib.sha256()
    for variable in network.variables:
        weights.update(f"{variable.path} {variable.shape} {variable.dtype}\n".encode())
        weights.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest_json(
        {
            "weights": weights.hexdigest(),
            "description": description.model_dump(mode="json", exclude={"provenance"}),
        }
    )
