"""What the contenders train on, in memory: the same arrays for all, divided as this project's ingestion does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from gan_components import examples
from gan_components.ingestion import digits, identity, idx, stacked_digits
from gan_components.ingestion.config import Fraction
from pipelines import config as presets


@dataclass(frozen=True)
class Data:
    """A data set in memory, in an order without meaning.

    Attributes:
        train: uint8 ``[N, H, W, C]``.
        train_labels: int64 ``[N]``; None without classes.
        holdout: uint8 ``[M, H, W, C]``, never trained on.
        num_classes: 0 without classes.
    """

    train: np.ndarray
    train_labels: np.ndarray | None
    holdout: np.ndarray
    num_classes: int = 0

    def batches(
        self, *, batch_size: int, seed: int, start_step: int, num_steps: int, labelled: bool
    ) -> tf.data.Dataset:
        """Batches in the order and by the operations of this project's own training from memory."""
        images, labels = tf.constant(self.train), self.train_labels
        classes = tf.constant(labels) if labelled and labels is not None else None

        def batch(step: tf.Tensor) -> "tf.Tensor | tuple[tf.Tensor, tf.Tensor]":
            places = examples.order_at(step, batch_size=batch_size, num_images=len(self.train), seed=seed)
            rows = tf.gather(images, places)
            return rows if classes is None else (rows, tf.gather(classes, places))

        steps = tf.data.Dataset.range(start_step, num_steps)
        return steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def load(name: str) -> Data:
    """A data set by name.

    Args:
        name: ``digits``; ``fashion:DIRECTORY`` of the four IDX files; ``stacked_digits``, as the preset r3gan
            draws them; ``noise:HxWxC``, 2,048 images of random numbers.
    """
    kind, _, detail = name.partition(":")
    match kind:
        case "digits":
            return _digits(_fraction("digits"))
        case "fashion":
            return _fashion(Path(detail))
        case "stacked_digits":
            preset = presets.load("r3gan")
            drawn = stacked_digits.draw(preset.ingest.num_images, _fraction("r3gan"), seed=preset.seed)
            return Data(stacked_digits.stacks(drawn[False]), None, stacked_digits.stacks(drawn[True]))
        case "noise":
            shape = (2048, *map(int, detail.split("x")))
            images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
            return Data(images, None, images)
    raise ValueError(f"no data {name!r}; expected digits, fashion:DIRECTORY, stacked_digits or noise:HxWxC")


def _fraction(preset: str) -> float:
    holdout = presets.load(preset).ingest.holdout
    if not isinstance(holdout, Fraction):
        raise ValueError(f"preset {preset} holds out a split, not a fraction")
    return holdout.fraction


def _digits(fraction: float) -> Data:
    images, labels = digits.read()
    # They come sorted by class, and the Keras example's shuffle reaches 1,024 images far.
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order, ..., None], labels[order]
    held_out = np.array([identity.is_held_out(identity.pixel_key(image), fraction) for image in images])
    return Data(images[~held_out], labels[~held_out], images[held_out], len(digits.CLASS_NAMES))


def _fashion(directory: Path) -> Data:
    splits = {name: idx.read(*files) for name, files in idx.find(directory, test=True).items()}
    images, labels = splits["train"]
    return Data(images[..., None], labels.astype(np.int64), splits["test"][0][..., None], 10)
