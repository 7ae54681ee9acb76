"""This project trains by its own ``fit`` whenever it is its turn: a child process of the benchmarks.

python -m peers.project TRAIN_SECTION_AS_JSON DATA [--seed 0] [--checkpoints DIRECTORY]
"""

import argparse
import math
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from gan_components import images, randomness
from gan_components.generators import Description
from gan_components.training import checkpoints, monitors, players
from gan_components.training.config import TrainConfig
from gan_components.training.gan import GAN
from peers import data, graph_arithmetic
from peers.keras_turns import TakesTurns
from peers.turns import Turns

_SAMPLE_BATCH = 256


def build(config: TrainConfig, source: data.Data, *, seed: int) -> GAN:
    """The players for a data set, with its classes unless the section says otherwise."""
    conditional = config.conditional is not False and source.train_labels is not None
    frequencies = np.bincount(source.train_labels, minlength=source.num_classes) if conditional else []
    description = Description(
        image_shape=list(source.train.shape[1:]),
        latent_dim=config.latent_dim,
        latent_distribution=config.latent_distribution,
        class_names=[str(index) for index in range(len(frequencies))],
        class_frequencies=[float(count / len(source.train)) for count in frequencies],
    )
    return players.build(description, config, seed=seed)


def mflop_per_image(gan: GAN, config: TrainConfig, image_shape: tuple[int, ...]) -> float:
    """10^6 floating-point operations of a step without labels over the batch, a lazy penalty by its share."""
    rows = tf.TensorSpec([config.batch_size, *image_shape], tf.uint8)
    step = tf.function(gan.train_step).get_concrete_function(rows)
    return graph_arithmetic.mflop(step, lazy_share=1.0 / config.penalty_interval_steps) / config.batch_size


def num_parameters(gan: GAN) -> int:
    """Trained numbers of both networks."""
    networks = (gan.generator, gan.discriminator)
    return sum(math.prod(weight.shape) for network in networks for weight in network.trainable_variables)


def sample(gan: GAN, source: data.Data, count: int) -> np.ndarray:
    """Images of the averaged generator, uint8 ``[count, H, W, C]``; classes by their frequencies in training."""
    random = np.random.default_rng(0)
    latent_dim = gan.draw(tf.constant(0))["latents"].shape[1]
    inputs = {"latents": random.standard_normal((count, latent_dim), np.float32)}
    if "labels" in gan.draw(tf.constant(0)):
        inputs["labels"] = random.choice(source.train_labels, count)
    apply = tf.function(
        lambda rows: images.to_uint8(gan.ema_generator(rows, training=False)), reduce_retracing=True
    )
    starts = range(0, count, _SAMPLE_BATCH)
    return np.concatenate(
        [
            apply({name: tf.constant(rows[start : start + _SAMPLE_BATCH]) for name, rows in inputs.items()})
            for start in starts
        ]
    )


def main() -> None:
    turns = Turns()
    parser = argparse.ArgumentParser()
    parser.add_argument("section")
    parser.add_argument("data")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path)
    arguments = parser.parse_args()
    # As the stage does.
    randomness.enable_determinism()
    config, source = TrainConfig.model_validate_json(arguments.section), data.load(arguments.data)
    gan = build(config, source, seed=arguments.seed)
    start_step = (arguments.checkpoints and checkpoints.restore_latest(gan, arguments.checkpoints)) or 0

    question = turns.wait() or {}
    description = {
        "version": f"tensorflow {tf.__version__}, keras {keras.__version__}",
        "threads": tf.config.threading.get_intra_op_parallelism_threads(),
        "start_step": start_step,
        "num_steps": config.num_steps,
        "parameters": num_parameters(gan),
    }
    if question.get("arithmetic"):
        # Of another GAN: tracing a step is not free of traces.
        spare = build(config, source, seed=arguments.seed)
        description["mflop_per_image"] = mflop_per_image(spare, config, source.train.shape[1:])
    turns.answer(**description)
    if start_step >= config.num_steps:
        return
    gan.fit(
        source.batches(
            batch_size=config.batch_size,
            seed=arguments.seed,
            start_step=start_step,
            num_steps=config.num_steps,
            labelled="labels" in gan.draw(tf.constant(0)),
        ),
        steps_per_epoch=config.num_steps - start_step,
        shuffle=False,
        verbose=0,
        callbacks=[
            monitors.StopOnNonFinite(),
            TakesTurns(
                turns,
                sample=lambda count: sample(gan, source, count),
                save=lambda: checkpoints.save(gan, arguments.checkpoints, keep=1),
            ),
        ],
    )


if __name__ == "__main__":
    main()
