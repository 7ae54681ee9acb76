"""Child process of test_replicas.py: five steps of a training under a strategy; prints JSON.

``python -m tests.distributed.five_steps none|mirrored|multi_worker CASE...``; ``mirrored`` on two logical CPUs,
and ``multi_worker`` as the task of ``TF_CONFIG``.
"""

import json
import sys
import unittest.mock

import keras
import numpy as np
import tensorflow as tf

from gan_components import randomness
from gan_components.generators import Description
from gan_components.networks import dcgan, stylegan
from gan_components.networks.config import Dcgan, Stylegan
from gan_components.training import distribution, players
from gan_components.training.augment_config import Ada, DiffAugment
from gan_components.training.config import TrainConfig
from tests.gan_components.training import toy_training

STEPS = 5
DCGAN = toy_training.CONFIG
CASES: dict[str, TrainConfig] = {
    # BatchNorm and R1.
    "dcgan": DCGAN,
    # p moves at every step.
    "ada": DCGAN.model_copy(
        update={
            "augment": Ada(interval_steps=1, speed_images=100, target=-0.99),
            "network": Dcgan(base_channels=4, spectral_norm=True),
            "r2_gamma": 1.0,
        }
    ),
    "two turns": DCGAN.model_copy(
        update={"augment": DiffAugment(), "d_steps_per_g_step": 2, "gp_lambda": 10.0, "loss": "wasserstein"}
    ),
    # Noise, mixing, the average of w, and minibatch statistics in groups of 4: a replica's 8 rows are two groups.
    "stylegan": DCGAN.model_copy(update={"network": Stylegan(base_channels=4, max_channels=8, mapping_layers=2)}),
}

# Weights, data and streams of each case.
SEED = 5


def _smooth(x: tf.Tensor) -> tf.Tensor:
    """Stands in for the (leaky) ReLUs: as wide, without a kink.

    At a kink a unit whose input lies within rounding of zero takes the other slope on the other device, and Adam
    makes whole steps of it: which seeds meet one depends on the processor.
    """
    return x * (0.6 + 0.4 * tf.tanh(4.0 * x))


class _Logs(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        self.values.append({name: float(np.reshape(value, ())) for name, value in logs.items()})


def _run(config: TrainConfig, strategy: tf.distribute.Strategy) -> dict:
    description = Description(
        image_shape=[16, 16, 1],
        latent_dim=config.latent_dim,
        class_names=["dark", "grey", "bright"],
        class_frequencies=toy_training.FREQUENCIES,
    )
    with strategy.scope():
        gan = players.build(description, config, seed=SEED)
    draws = strategy.run(lambda: gan.draw(tf.constant(0, tf.int64))["latents"])
    k = config.d_steps_per_g_step
    batches = toy_training.batches(
        None, batch_size=config.batch_size * k, seed=SEED, start_step=0, num_steps=STEPS
    )
    if k > 1:
        batches = batches.map(
            lambda images, labels: (tf.reshape(images, (-1, k, *images.shape[1:])), tf.reshape(labels, (-1, k)))
        )
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    logs = _Logs()
    gan.fit(batches.with_options(options), steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=[logs])
    networks = {"generator": gan.generator, "discriminator": gan.discriminator, "ema": gan.ema_generator}
    return {
        "replicas": strategy.num_replicas_in_sync,
        "latents": [part.numpy().tolist() for part in strategy.experimental_local_results(draws)],
        "logs": logs.values,
        "step": int(gan.step.numpy()),
        "ada_p": float(gan.ada_p.numpy()),
        "weights": {
            f"{name}/{variable.path}": variable.numpy().ravel().tolist()
            for name, network in networks.items()
            for variable in network.variables
        },
    }


if __name__ == "__main__":
    name, *cases = sys.argv[1:]
    # As the stage does.
    randomness.enable_determinism()
    if name == "mirrored":
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )
    chosen = distribution.strategy(name, batch_size=DCGAN.batch_size)
    with (
        unittest.mock.patch.object(dcgan, "leaky_relu", _smooth),
        unittest.mock.patch.object(stylegan, "leaky_relu", _smooth),
        unittest.mock.patch.object(keras.layers, "ReLU", lambda: keras.layers.Activation(_smooth)),
    ):
        print(json.dumps({case: _run(CASES[case], chosen) for case in cases}))
