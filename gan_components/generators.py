"""The served generator: a SavedModel that draws images from integer seeds. How a generator crosses stages.

Evaluation and export load this SavedModel and never the training code: what is measured is what ships.
Every signature takes and returns rows (equal first dimensions), so that TF Serving can batch requests:

======================= ================================== ==========================================
signature               takes                              gives
======================= ================================== ==========================================
``serving_default``     ``seed[, label]`` int64 [N]        ``image_bytes`` string [N] (PNG)
``images``              ``seed[, label]`` int64 [N]        ``images`` uint8 [N, H, W, C]
``latents``             ``seed`` int64 [N]                 ``latents`` float32 [N, D]
``from_latents``        ``latents[, label]``               ``images`` uint8 [N, H, W, C]
======================= ================================== ==========================================

``label`` stands there if the generator knows classes; −1 means: drawn from the seed by the training
frequencies.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Self

import keras
import numpy as np
import tensorflow as tf
from pydantic import BaseModel, JsonValue

from gan_components import images

DESCRIPTION = Path("assets.extra") / "generator.json"

# Second word of the Philox seed; the first is the caller's seed. Training folds its streams from hashed int32
# keys, so no served image repeats a training draw.
_LATENT_STREAM = 0x6C6174656E7473
_LABEL_STREAM = 0x6C6162656C


class Description(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What ``assets.extra/generator.json`` says of a generator.

    Attributes:
        image_shape: ``[H, W, C]``.
        latent_dim: D.
        class_names: name of each label in order; empty if the generator takes no labels.
        class_frequencies: share of each class in the training split; sums to 1.
        provenance: where it comes from: preset name, digests, steps.
    """

    image_shape: list[int]
    latent_dim: int
    class_names: list[str] = []
    class_frequencies: list[float] = []
    provenance: dict[str, JsonValue] = {}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def save(network: keras.Model, directory: Path, description: Description) -> None:
    """Writes `network` as a SavedModel with the signatures above.

    Args:
        network: maps float32 latents ``[N, D]``, or ``[latents, labels]`` with int labels ``[N]`` if the
            description names classes, to float32 images ``[N, H, W, C]`` in [-1, 1]. Built, in float32.
        directory: must not exist.
        description: written beside the graph.

    Raises:
        ValueError: the network computes in less than float32 or another shape than described.
    """
    expected = (None, *description.image_shape)
    if tuple(network.output_shape) != expected:
        raise ValueError(f"the generator gives {network.output_shape}, the description says {expected}")
    if network.compute_dtype != "float32":
        raise ValueError(f"served generators compute in float32, this one in {network.compute_dtype}")
    archive = keras.export.ExportArchive()
    archive.track(network)
    for name, function, signature in _endpoints(network, description):
        archive.add_endpoint(name, function, input_signature=signature)
    archive.write_out(str(directory), verbose=False)
    path = directory / DESCRIPTION
    path.parent.mkdir(exist_ok=True)
    path.write_text(description.model_dump_json(indent=1))


def _endpoints(network: keras.Model, description: Description) -> list[tuple[str, Callable, list[tf.TensorSpec]]]:
    conditional = description.num_classes > 0
    cumulative = np.cumsum(description.class_frequencies)

    def latents(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        def row(seed: tf.Tensor) -> tf.Tensor:
            key = tf.stack([seed, _LATENT_STREAM])
            return tf.random.stateless_normal([description.latent_dim], key, alg="philox")

        return {"latents": tf.map_fn(row, seed, fn_output_signature=tf.float32)}

    def drawn(seed: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        def row(seed: tf.Tensor) -> tf.Tensor:
            key = tf.stack([seed, _LABEL_STREAM])
            return tf.random.stateless_uniform([], key, alg="philox", dtype=tf.float64)

        point = tf.map_fn(row, seed, fn_output_signature=tf.float64)
        # The last boundary is left out: rounding must not push a point past the last class.
        by_seed = tf.searchsorted(cumulative[:-1], point, side="right", out_type=tf.int64)
        return tf.where(label < 0, by_seed, label)

    def from_latents(latents: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"images": images.to_uint8(network([latents, *label] if label else latents, training=False))}

    def as_images(seed: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        labels = [drawn(seed, label[0])] if label else []
        return from_latents(latents(seed)["latents"], *labels)

    def as_png(seed: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        pictures = as_images(seed, *label)["images"]
        return {"image_bytes": tf.map_fn(tf.io.encode_png, pictures, fn_output_signature=tf.string)}

    seed = tf.TensorSpec([None], tf.int64, name="seed")
    noise = tf.TensorSpec([None, description.latent_dim], tf.float32, name="latents")
    label = [tf.TensorSpec([None], tf.int64, name="label")] if conditional else []
    return [
        ("serving_default", as_png, [seed, *label]),
        ("images", as_images, [seed, *label]),
        ("latents", latents, [seed]),
        ("from_latents", from_latents, [noise, *label]),
    ]


class Generator:
    """A loaded generator SavedModel.

    Example:
        >>> generator = Generator.load(Path("serving/digits/1"))
        >>> generator.images(range(64), labels=[3] * 64).shape
        (64, 28, 28, 1)
    """

    def __init__(self, module: tf.Module, description: Description) -> None:
        self._module = module  # keeps the variables alive
        self._signatures = module.signatures
        self.description = description

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Loads the SavedModel in `directory`."""
        description = Description.model_validate_json((directory / DESCRIPTION).read_bytes())
        return cls(tf.saved_model.load(str(directory)), description)

    def images(self, seeds: "np.ndarray | range | list[int]", labels=None, *, batch_size: int = 256) -> np.ndarray:
        """Draws one image a seed.

        Args:
            seeds: integers ``[N]``.
            labels: classes ``[N]``; None draws them from the seeds by the training frequencies.
            batch_size: rows computed at once; it does not change the images by more than one level.

        Returns:
            uint8 ``[N, H, W, C]``.

        Raises:
            ValueError: labels for a generator without classes, or outside its classes.
        """
        seeds = np.asarray(seeds, np.int64)
        inputs = {"seed": seeds}
        if self.description.num_classes:
            chosen = np.full(len(seeds), -1) if labels is None else np.asarray(labels)
            if len(chosen) and not (chosen.min() >= -1 and chosen.max() < self.description.num_classes):
                raise ValueError(
                    f"labels must lie in 0..{self.description.num_classes - 1} (or be -1: drawn), "
                    f"got {chosen.min()}..{chosen.max()}"
                )
            inputs["label"] = chosen.astype(np.int64)
        elif labels is not None:
            raise ValueError("this generator was trained without labels; leave them out")
        parts = [
            self._signatures["images"](
                **{name: tf.constant(rows[i : i + batch_size]) for name, rows in inputs.items()}
            )["images"].numpy()
            for i in range(0, len(seeds), batch_size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, *self.description.image_shape), np.uint8)
