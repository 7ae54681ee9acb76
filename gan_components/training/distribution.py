"""Which devices compute a step."""

import logging
from typing import Literal

import tensorflow as tf

from gan_components.errors import ConfigError

logger = logging.getLogger(__name__)

Name = Literal["none", "mirrored", "multi_worker", "tpu"]


def strategy(name: Name, *, batch_size: int) -> tf.distribute.Strategy:
    """The strategy `name` on this machine's devices, or on those of all workers.

    ``multi_worker`` returns when every worker of ``TF_CONFIG`` has come, and must be the first thing that a
    process asks of TensorFlow. ``tpu`` is written to the documented interface; it was never run.

    Args:
        name: ``none`` is one device, ``mirrored`` all GPUs, or all (logical) CPUs where there is no GPU;
            ``multi_worker`` the same on each worker of ``TF_CONFIG``; ``tpu`` the one that ``TPU_NAME`` names.
        batch_size: of the global batch.

    Raises:
        ConfigError: no cluster where one is needed, or the batch does not divide by the number of replicas.
    """
    _let_gpu_memory_grow()
    match name:
        case "none":
            return tf.distribute.get_strategy()
        case "mirrored":
            devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
            chosen = tf.distribute.MirroredStrategy([device.name for device in devices])
        case "multi_worker":
            chosen = tf.distribute.MultiWorkerMirroredStrategy()
        case "tpu":
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            chosen = tf.distribute.TPUStrategy(resolver)
    replicas = chosen.num_replicas_in_sync
    if batch_size % replicas:
        raise ConfigError(
            f"train.batch_size {batch_size} does not divide by the {replicas} replicas of strategy {name!r}; "
            f"choose a multiple of {replicas}"
        )
    return chosen


def _let_gpu_memory_grow() -> None:
    """Leaves the GPU's other memory to others: by default TensorFlow takes all of it at once."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            logger.warning("TensorFlow already runs on %s; its memory policy stays as it is", gpu.name)
