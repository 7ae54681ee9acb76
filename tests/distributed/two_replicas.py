"""Child process of test_virtual_devices.py: five steps on one CPU and on two logical ones; prints JSON."""

import json

import keras
import numpy as np
import tensorflow as tf

from gan_components.generators import Description
from gan_components.training import distribution, stage
from tests.gan_components.training import toy_training

STEPS = 5
CONFIG = toy_training.CONFIG
DESCRIPTION = Description(
    image_shape=[16, 16, 1],
    latent_dim=CONFIG.latent_dim,
    class_names=["dark", "grey", "bright"],
    class_frequencies=toy_training.FREQUENCIES,
)


class _Logs(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.values: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        self.values.append({name: float(np.reshape(value, ())) for name, value in logs.items()})


def _run(name: str) -> dict:
    strategy = distribution.strategy(name, batch_size=CONFIG.batch_size)
    with strategy.scope():
        gan = stage._build(DESCRIPTION, CONFIG, seed=3)
    draws = strategy.run(lambda: gan.draw(tf.constant(0, tf.int64))[0])
    batches = toy_training.batches(None, batch_size=CONFIG.batch_size, seed=3, start_step=0, num_steps=STEPS)
    logs = _Logs()
    gan.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0, callbacks=[logs])
    networks = {"generator": gan.generator, "discriminator": gan.discriminator, "ema": gan.ema_generator}
    return {
        "replicas": strategy.num_replicas_in_sync,
        "latents": [part.numpy().tolist() for part in strategy.experimental_local_results(draws)],
        "logs": logs.values,
        "step": int(gan.step.numpy()),
        "weights": {
            f"{name}/{variable.path}": variable.numpy().ravel().tolist()
            for name, network in networks.items()
            for variable in network.variables
        },
    }


if __name__ == "__main__":
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    print(json.dumps({name: _run(name) for name in ("none", "mirrored")}))
