"""Reads Examples: whole splits as NumPy, or batches whose order is a pure function of (seed, step)."""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image
from pydantic import BaseModel

from gan_components import randomness
from gan_components.artifacts import Examples
from gan_components.errors import InputError

DATASET = "dataset"
"""Below the artifact's directory: what ``tfds.builder_from_directory`` opens."""

# Decoded images up to this size are held in memory; more are read record by record.
MEMORY_LIMIT_BYTES = 2 * 2**30

# So many are asked for in one call. It costs hardly more than one for a few: each looks through a whole shard.
_RECORDS_AT_ONCE = 1024

# The random stream of each domain's order.
_ORDERS = ("order", "order2")


class Properties(BaseModel, frozen=True, strict=True):
    """The properties of Examples, typed.

    Attributes:
        image_shape: ``[H, W, C]``.
        class_names: name of each label in order; empty without labels.
        class_frequencies: share of each class in the training split; sums to 1.
        second_domain: how each record's second image is made of its first, or ``folder``; None: there is none.
        num_train, num_holdout: images in each split.
        num_quarantined: pictures of the source that could not be read.
        num_duplicates: pictures left out because their pixels stand in another record.
        num_near_duplicates: held-out images that look like a training image.
        num_near_duplicates_within: images that look like another one of their split; None: nobody looked.
        num_label_conflicts: records whose copies had different labels.
        num_on_both_sides: records that the source has in ``train`` and in the split held out.
    """

    image_shape: list[int]
    class_names: list[str]
    class_frequencies: list[float]
    second_domain: str | None = None
    num_train: int
    num_holdout: int
    num_quarantined: int = 0
    num_duplicates: int = 0
    num_near_duplicates: int = 0
    num_near_duplicates_within: int | None = None
    num_label_conflicts: int = 0
    num_on_both_sides: int = 0

    @classmethod
    def of(cls, examples: Examples) -> Self:
        """The properties of an artifact."""
        return cls.model_validate(examples.properties)


@dataclass(frozen=True)
class Split:
    """A split in memory, in stored order (by id).

    Attributes:
        images: uint8 ``[N, H, W, C]``.
        images2: the same of the second domain, row by row; None if there is none.
        labels: int64 ``[N]``; None without classes.
        ids: hexadecimal SHA-256 of each image's pixels.
    """

    images: np.ndarray
    images2: np.ndarray | None
    labels: np.ndarray | None
    ids: list[str]


def read(examples: Examples, split: Literal["train", "holdout"], *, places: Sequence[int] | None = None) -> Split:
    """Reads and decodes a split.

    Args:
        examples: the artifact.
        split: ``train`` or ``holdout``.
        places: which images, by their place in stored order; None: all.

    Example:
        >>> holdout = read(examples, "holdout")
        >>> holdout.images.shape
        (1021, 28, 28, 1)
    """
    properties = Properties.of(examples)
    names = _image_features(properties)
    # PNG is decoded here: TFDS would ask for OpenCV in the log.
    encoded = {name: tfds.decode.SkipDecoding() for name in names}
    records = _builder(examples).as_data_source(split, decoders=encoded)
    places = range(len(records)) if places is None else places
    domains = [np.empty((len(places), *properties.image_shape), np.uint8) for _ in names]
    labels = np.empty(len(places), np.int64)
    ids = []
    for row, record in enumerate(_in_calls_of_many(records, places)):
        for name, images in zip(names, domains, strict=True):
            images[row] = np.asarray(Image.open(io.BytesIO(record[name]))).reshape(images.shape[1:])
        labels[row] = record.get("label", -1)
        ids.append(record["id"].decode())
    return Split(
        images=domains[0],
        images2=domains[1] if properties.second_domain else None,
        labels=labels if properties.class_names else None,
        ids=ids,
    )


def batches(examples: Examples, *, batch_size: int, seed: int, start_step: int, num_steps: int) -> tf.data.Dataset:
    """Batches of the training split for the steps ``start_step .. start_step + num_steps - 1``.

    Position ``p = step * batch_size + row`` shows image ``permutation(epoch = p // N)[p % N]``: each epoch
    shows each image once, and a run that resumes at a step sees what it would have seen. Permutations are
    computed, not stored (``tf.random.experimental.index_shuffle``).

    A second domain goes through permutations of its own, independent of the first's, so that correspondences
    cannot be learned from the data (CoGAN's setting, https://arxiv.org/abs/1606.07536). The two images of a row
    have nothing to do with one another, and a label of the row would be that of one of them: there are none.

    Args:
        examples: the artifact.
        batch_size: global; batches are always full.
        seed: the pipeline's seed.
        start_step: first step.
        num_steps: how many.

    Returns:
        Data set of ``(images uint8 [B, H, W, C], labels int64 [B])``, without classes of ``images``; of two
        domains of ``images uint8 [B, H, W, 2C]``, the first domain first.

    Raises:
        InputError: fewer training images than `batch_size`.
    """
    properties = Properties.of(examples)
    num_images = properties.num_train
    if num_images < batch_size:
        raise InputError(
            f"the training split has {num_images} images, one batch takes {batch_size}; "
            f"lower train.batch_size to {num_images} or less, or add images"
        )
    streams = _ORDERS[: len(_image_features(properties))]

    def order(step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tuple(
            order_at(step, batch_size=batch_size, num_images=num_images, seed=seed, stream=stream)
            for stream in streams
        )

    decoded_bytes = num_images * math.prod(properties.image_shape) * len(streams)
    images = _from_memory if decoded_bytes <= MEMORY_LIMIT_BYTES else _from_records
    orders = tf.data.Dataset.range(start_step, start_step + num_steps).map(order)
    return images(examples, orders).with_options(_options()).prefetch(tf.data.AUTOTUNE)


def order_at(step: tf.Tensor, *, batch_size: int, num_images: int, seed: int, stream: str = "order") -> tf.Tensor:
    """Places in the training split of the images that a step sees: int64 ``[B]``."""
    position = tf.cast(step, tf.int64) * batch_size + tf.range(batch_size, dtype=tf.int64)
    epoch = position // num_images
    place = position % num_images
    key = randomness.stream(seed, stream)

    def shuffled(epoch: tf.Tensor) -> tf.Tensor:
        return tf.random.experimental.index_shuffle(place, randomness.at_step(key, epoch), num_images - 1)

    # A batch is never larger than an epoch, so that it touches two at most.
    return tf.where(epoch == epoch[0], shuffled(epoch[0]), shuffled(epoch[0] + 1))


def _image_features(properties: Properties) -> list[str]:
    return ["image", "image2"] if properties.second_domain else ["image"]


def _from_memory(examples: Examples, orders: tf.data.Dataset) -> tf.data.Dataset:
    """Images by place, gathered from the decoded split."""
    split = read(examples, "train")
    with tf.device("CPU:0"):
        domains = [tf.constant(images) for images in (split.images, split.images2) if images is not None]
        labels = None if split.labels is None or len(domains) == 2 else tf.constant(split.labels)

    def gather(*places: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        rows = tf.concat([tf.gather(*pair) for pair in zip(domains, places, strict=True)], axis=-1)
        return rows if labels is None else (rows, tf.gather(labels, places[0]))

    return orders.map(gather, num_parallel_calls=tf.data.AUTOTUNE)


def _from_records(examples: Examples, orders: tf.data.Dataset) -> tf.data.Dataset:
    """Images by place, read and decoded when they are needed."""
    method = tfds.decode.DeserializeMethod.RAW_BYTES
    source = _builder(examples).as_data_source("train", deserialize_method=method)
    properties = Properties.of(examples)
    shape = properties.image_shape
    names = _image_features(properties)
    labelled = bool(properties.class_names) and len(names) == 1

    def fetch(places: np.ndarray) -> np.ndarray:
        records = source.__getitems__(places.ravel().tolist())
        return np.array(records, np.object_).reshape(places.shape)

    def records(*places: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = [tf.numpy_function(fetch, [one], tf.string, stateful=False) for one in places]
        return tuple(tf.ensure_shape(one, one_places.shape) for one, one_places in zip(found, places, strict=True))

    def parsed(records: tf.Tensor, name: str) -> dict[str, tf.Tensor]:
        features = {name: tf.io.FixedLenFeature([], tf.string)}
        if labelled:
            features["label"] = tf.io.FixedLenFeature([], tf.int64)
        return tf.io.parse_example(records, features)

    def decoded(encoded: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda png: tf.ensure_shape(tf.io.decode_png(png, channels=shape[-1]), shape),
            encoded,
            fn_output_signature=tf.uint8,
        )

    def rows(*records: tf.Tensor) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        domains = [parsed(one, name) for one, name in zip(records, names, strict=True)]
        images = tf.concat([decoded(one[name]) for one, name in zip(domains, names, strict=True)], axis=-1)
        return (images, domains[0]["label"]) if labelled else images

    steps = max(1, _RECORDS_AT_ONCE // orders.element_spec[0].shape[0])
    read = orders.batch(steps).map(records, num_parallel_calls=tf.data.AUTOTUNE).unbatch()
    # Unbatching forgets how many there are, and Keras wants to know.
    known = read.apply(tf.data.experimental.assert_cardinality(orders.cardinality()))
    return known.map(rows, num_parallel_calls=tf.data.AUTOTUNE)


def _in_calls_of_many(source: Any, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The records of a TFDS data source at some places, in their order."""
    for start in range(0, len(places), _RECORDS_AT_ONCE):
        yield from source.__getitems__(places[start : start + _RECORDS_AT_ONCE])


def _builder(examples: Examples) -> tfds.core.DatasetBuilder:
    return tfds.builder_from_directory(examples.directory / DATASET)


def _options() -> tf.data.Options:
    options = tf.data.Options()
    # Of each global batch every worker takes its rows: sharding by file would give workers other images
    # than one machine sees, and there are no files here anyway.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    options.deterministic = True
    return options
