"""Named, stateless random streams: the only source of random numbers in this project.

A stream is ``fold_in(seed, name, step)``. Two uses never share numbers because their names differ; a
resumed run sees the same numbers because nothing is consumed. Under ``tf.distribute`` every replica
draws the tensor of the *global* batch and takes its own rows, so that one device and many compute the
same step; a Keras ``SeedGenerator`` would give every replica the same rows.

The same seed gives the same bits on the same machine kind and device count.
"""

import hashlib

import numpy as np
import tensorflow as tf


def enable_determinism() -> None:
    """Makes TensorFlow compute the same bits every time; for the whole process, it has no narrower switch.

    Two things are needed: operations whose sums keep their order, and reads that keep theirs. The second is not
    part of ``enable_op_determinism``: TensorFlow 2.21's dependency optimizer drops the edge from a read of a
    variable to a write after it, so that a training step may see p of ADA, or the bias of a layer under R1, from
    after its own update.
    """
    tf.config.experimental.enable_op_determinism()
    tf.config.optimizer.set_experimental_options({"dependency_optimization": False})


def _digest(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def stream(seed: int, name: str) -> np.ndarray:
    """Key of the stream `name`: int32 ``[2]``, for TensorFlow's stateless operations."""
    return np.frombuffer(_digest(seed, name)[:8], "<i4").copy()


def at_step(key: np.ndarray, step: tf.Tensor) -> tf.Tensor:
    """Key of a stream at a training step (an integer scalar tensor): int32 ``[2]``."""
    return tf.random.experimental.stateless_fold_in(key, tf.cast(step, tf.int32))


def integer(seed: int, name: str) -> int:
    """A seed in [0, 2**31) for libraries that take one integer, such as Keras initializers."""
    return int.from_bytes(_digest(seed, name)[:4], "little") >> 1


def numpy_generator(seed: int, name: str) -> np.random.Generator:
    """The stream `name` as a NumPy generator."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(seed, name)[:16], "little")))


def normal(key: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Standard normal numbers for the rows of this replica.

    Args:
        key: int32 ``[2]`` from :func:`at_step`.
        shape: of the *global* batch, ``(batch_size, ...)``, static.

    Returns:
        float32 ``(batch_size / replicas, ...)``: this replica's rows of the global draw.
    """
    return replica_rows(tf.random.stateless_normal(shape, key, alg="philox"))


def uniform(key: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
    """Uniform numbers in [0, 1) for the rows of this replica; arguments as for :func:`normal`."""
    return replica_rows(tf.random.stateless_uniform(shape, key, alg="philox"))


def replica_rows(rows: tf.Tensor) -> tf.Tensor:
    """This replica's share of a tensor that every replica drew for the global batch."""
    context = tf.distribute.get_replica_context()
    replicas = context.num_replicas_in_sync if context else 1
    if replicas == 1:
        return rows
    if rows.shape[0] % replicas:
        raise ValueError(f"batch_size {rows.shape[0]} does not divide by {replicas} replicas; choose a multiple")
    share = rows.shape[0] // replicas
    start = context.replica_id_in_sync_group * share
    return tf.ensure_shape(rows[start : start + share], (share, *rows.shape[1:]))
