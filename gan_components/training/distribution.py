"""Which devices compute a step."""

import logging
from typing import Literal

import tensorflow as tf

from gan_components.errors import ConfigError

logger = logging.getLogger(__name__)


def strategy(name: Literal["none", "mirrored"], *, batch_size: int) -> tf.distribute.Strategy:
    """The strategy `name` on this machine's devices.

    Args:
        name: ``none`` is one device, ``mirrored`` all GPUs, or all (logical) CPUs where there is no GPU.
        batch_size: of the global batch.

    Raises:
        ConfigError: the batch does not divide by the number of replicas.
    """
    _let_gpu_memory_grow()
    if name == "none":
        return tf.distribute.get_strategy()
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if batch_size % len(devices):
        raise ConfigError(
            f"train.batch_size {batch_size} does not divide by the {len(devices)} replicas of "
            f"strategy 'mirrored'; choose a multiple of {len(devices)}"
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _let_gpu_memory_grow() -> None:
    """Leaves the GPU's other memory to others: by default TensorFlow takes all of it at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            logger.warning("TensorFlow already runs on %s; its memory policy stays as it is", gpu.name)
