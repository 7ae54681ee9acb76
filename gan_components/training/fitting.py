"""Steps after steps: the phases of a growing generator, the batches of each, and checkpoints on the way."""

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

from gan_components import examples as examples_reader
from gan_components.artifacts import Examples
from gan_components.errors import TrainingError
from gan_components.training import cluster, growth, monitors
from gan_components.training.config import TrainConfig
from gan_components.training.gan import GAN
from gan_components.training.growth import Phase


def fit(
    gan: GAN,
    examples: Examples,
    config: TrainConfig,
    watchers: list[keras.callbacks.Callback],
    *,
    seed: int,
    work: Path,
) -> None:
    """Trains from the step where `gan` stands to the last, phase by phase, with the chief's checkpoints in `work`.

    Raises:
        TrainingError: a worker was lost, or a loss stopped being finite.
    """
    start_step = int(gan.step.numpy())
    phases = _phases(gan, config)
    with monitors.stop_signals() as received:
        if cluster.is_chief(config.strategy):
            # Last, so that a checkpoint follows what the others wrote for its step.
            watchers = [*watchers, _saver(config, work, received)]
        for phase in phases:
            start = max(start_step, phase.start_step)
            # A run that was killed between its last step and the seal only exports again.
            if start >= phase.end_step or received:
                continue
            gan.enter(phase)
            with _says_who_is_lost(config, gan):
                gan.fit(
                    _batches(gan, examples, config, seed=seed, start_step=start, end_step=phase.end_step),
                    steps_per_epoch=phase.end_step - start,
                    shuffle=False,
                    verbose=0,
                    callbacks=watchers,
                )
    # What samples and exports sees the last level, also where no step was left.
    gan.enter(phases[-1])


def _phases(gan: GAN, config: TrainConfig) -> list[Phase]:
    if config.growth is None:
        return [Phase(0, config.num_steps)]
    return growth.phases(
        num_levels=gan.generator.num_levels,
        stable_steps=config.growth.stable_steps,
        fade_steps=config.growth.fade_steps,
        num_steps=config.num_steps,
    )


@contextlib.contextmanager
def _says_who_is_lost(config: TrainConfig, gan: GAN) -> Iterator[None]:
    """Turns the error of a collective operation, which names a node of a graph, into one that names the cause."""
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if config.strategy != "multi_worker":
            raise
        raise TrainingError(
            f"a worker was lost after step {int(gan.step.numpy())}; start all workers again with the same "
            "--run-id: the training resumes from its last checkpoint"
        ) from error


def _saver(config: TrainConfig, work: Path, received: list[signal.Signals]) -> keras.callbacks.Callback:
    return monitors.Checkpoints(
        work / "checkpoints",
        interval_steps=config.checkpoint_interval_steps,
        num_steps=config.num_steps,
        received=received,
    )


def _batches(
    gan: GAN, examples: Examples, config: TrainConfig, *, seed: int, start_step: int, end_step: int
) -> tf.data.Dataset:
    k = config.d_steps_per_g_step
    batches = examples_reader.batches(
        examples,
        batch_size=config.batch_size * k,
        seed=seed,
        start_step=start_step,
        num_steps=end_step - start_step,
    )
    if isinstance(batches.element_spec, tuple) and "labels" not in gan.draw(tf.constant(0)):
        batches = batches.map(lambda images, labels: images)
    if k == 1:
        return batches
    # Rows first, so that replicas divide rows and every turn of the discriminator has the same global batch.
    return batches.map(
        lambda *tensors: tf.nest.map_structure(
            lambda rows: tf.reshape(rows, [config.batch_size, k, *rows.shape[1:]]),
            tensors if len(tensors) > 1 else tensors[0],
        )
    )
