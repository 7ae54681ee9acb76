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
frequencies. A generator of two domains (CoGAN) gives a second image of the same latent beside each image:
``image2_bytes`` and ``images2``. A generator with truncation (StyleGAN) has one signature more:

======================= ================================== ==========================================
``truncated``           ``seed`` int64 [N], ``truncation`` ``images`` uint8 [N, H, W, C]
                        float32 [N]``[, label]``
======================= ================================== ==========================================

``truncation`` is the paper's psi, ``w = mean(w) + psi (w - mean(w))``: 1 gives ``images``, 0 the mean image. One
with styles (StyleGAN) mixes those of two seeds:

======================= ================================== ==========================================
``mixed``               ``seed, style_seed, style_layer``  ``images`` uint8 [N, H, W, C]
                        int64 [N]``[, label]``
======================= ================================== ==========================================

From ``style_layer`` on, counted from 0 and two a resolution, the layers take their style from ``style_seed``; a
number past the last layer gives ``images``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

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
        image_shape: ``[H, W, C]`` of one image.
        latent_dim: D.
        latent_distribution: of each latent number: ``normal`` (0, 1), or ``uniform`` on [-1, 1).
        num_domains: images drawn from one latent.
        truncation: whether the network takes ``truncation``.
        num_style_layers: layers with a style that can be another latent's; 0: none.
        class_names: name of each label in order; empty if the generator takes no labels.
        class_frequencies: share of each class in the training split; sums to 1.
        provenance: where it comes from: preset name, digests, steps.
    """

    image_shape: list[int]
    latent_dim: int
    latent_distribution: Literal["normal", "uniform"] = "normal"
    num_domains: Literal[1, 2] = 1
    truncation: bool = False
    num_style_layers: int = 0
    class_names: list[str] = []
    class_frequencies: list[float] = []
    provenance: dict[str, JsonValue] = {}

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def save(network: keras.Model, directory: Path, description: Description) -> None:
    """Writes `network` as a SavedModel with the signatures above.

    Args:
        network: maps ``{"latents": float32 [N, D]}``, with ``"labels": int64 [N]`` if the description names
            classes, to float32 images ``[N, H, W, C]`` in [-1, 1]; of two domains ``[N, H, W, 2C]``, the first
            domain first. With truncation it also takes ``"truncation": float32 [N]``, with style layers
            ``"mixing_latents": float32 [N, D]`` and ``"crossover": int64 [N]``. Built, in float32.
        directory: must not exist.
        description: written beside the graph.

    Raises:
        ValueError: the network computes in less than float32 or gives another shape than described.
    """
    if network.compute_dtype != "float32":
        raise ValueError(f"served generators compute in float32, this one in {network.compute_dtype}")
    row = {"latents": tf.zeros([1, description.latent_dim])}
    if description.num_classes:
        row["labels"] = tf.zeros([1], tf.int64)
    height, width, channels = description.image_shape
    got, expected = network(row, training=False).shape[1:], (height, width, channels * description.num_domains)
    if tuple(got) != expected:
        raise ValueError(f"the generator gives images of shape {tuple(got)}, the description says {expected}")
    archive = keras.export.ExportArchive()
    archive.track(network)
    for name, function, signature in _endpoints(network, description):
        archive.add_endpoint(name, function, input_signature=signature)
    archive.write_out(str(directory), verbose=False)
    path = directory / DESCRIPTION
    path.parent.mkdir(exist_ok=True)
    path.write_text(description.model_dump_json(indent=1))


def _endpoints(network: keras.Model, description: Description) -> list[tuple[str, Callable, list[tf.TensorSpec]]]:
    cumulative = np.cumsum(description.class_frequencies)
    domains = ["images", "images2"][: description.num_domains]

    def latents(seed: tf.Tensor) -> dict[str, tf.Tensor]:
        def row(seed: tf.Tensor) -> tf.Tensor:
            key, shape = tf.stack([seed, _LATENT_STREAM]), [description.latent_dim]
            if description.latent_distribution == "uniform":
                return tf.random.stateless_uniform(shape, key, -1.0, 1.0, alg="philox")
            return tf.random.stateless_normal(shape, key, alg="philox")

        return {"latents": tf.map_fn(row, seed, fn_output_signature=tf.float32)}

    def drawn(seed: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        def row(seed: tf.Tensor) -> tf.Tensor:
            key = tf.stack([seed, _LABEL_STREAM])
            return tf.random.stateless_uniform([], key, alg="philox", dtype=tf.float64)

        def by_seed() -> tf.Tensor:
            point = tf.map_fn(row, seed, fn_output_signature=tf.float64)
            # The last boundary is left out: rounding must not push a point past the last class.
            found = tf.searchsorted(cumulative[:-1], point, side="right", out_type=tf.int64)
            return tf.where(label < 0, found, label)

        # Who names the classes does not wait for a loop over the rows.
        return tf.cond(tf.reduce_all(label >= 0), lambda: label, by_seed)

    def from_inputs(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        levels = images.to_uint8(network(inputs, training=False))
        return dict(zip(domains, tf.split(levels, len(domains), axis=-1), strict=True))

    def from_latents(latents: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_inputs({"latents": latents} | ({"labels": label[0]} if label else {}))

    def as_inputs(seed: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        return latents(seed) | ({"labels": drawn(seed, *label)} if label else {})

    def as_images(seed: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_inputs(as_inputs(seed, *label))

    def truncated(seed: tf.Tensor, truncation: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        return from_inputs(as_inputs(seed, *label) | {"truncation": truncation})

    def mixed(
        seed: tf.Tensor, style_seed: tf.Tensor, style_layer: tf.Tensor, *label: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        other = {"mixing_latents": latents(style_seed)["latents"], "crossover": style_layer}
        return from_inputs(as_inputs(seed, *label) | other)

    def as_png(seed: tf.Tensor, *label: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            # The suffix `_bytes` makes TF Serving's REST answer base64.
            f"{name.replace('images', 'image')}_bytes": tf.map_fn(
                tf.io.encode_png, pictures, fn_output_signature=tf.string
            )
            for name, pictures in as_images(seed, *label).items()
        }

    seed = tf.TensorSpec([None], tf.int64, name="seed")
    noise = tf.TensorSpec([None, description.latent_dim], tf.float32, name="latents")
    label = [tf.TensorSpec([None], tf.int64, name="label")] if description.num_classes else []
    endpoints: list[tuple[str, Callable, list[tf.TensorSpec]]] = [
        ("serving_default", as_png, [seed, *label]),
        ("images", as_images, [seed, *label]),
        ("latents", latents, [seed]),
        ("from_latents", from_latents, [noise, *label]),
    ]
    if description.truncation:
        truncation = tf.TensorSpec([None], tf.float32, name="truncation")
        endpoints.append(("truncated", truncated, [seed, truncation, *label]))
    if description.num_style_layers:
        others = [tf.TensorSpec([None], tf.int64, name=name) for name in ("style_seed", "style_layer")]
        endpoints.append(("mixed", mixed, [seed, *others, *label]))
    return endpoints


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
        """Draws one image a seed; of a generator of two domains the image of the first.

        Args:
            seeds: integers ``[N]``.
            labels: classes ``[N]``; None draws them from the seeds by the training frequencies.
            batch_size: rows computed at once; it does not change the images by more than one level.

        Returns:
            uint8 ``[N, H, W, C]``.

        Raises:
            ValueError: labels for a generator without classes, or outside its classes.
        """
        return self._draw(["images"], seeds, labels, batch_size)[0]

    def pairs(
        self, seeds: "np.ndarray | range | list[int]", labels=None, *, batch_size: int = 256
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws the two images of each seed, one a domain; arguments as for :meth:`images`.

        Returns:
            Two times uint8 ``[N, H, W, C]``: row i of both comes from the latents of seed i.

        Raises:
            ValueError: the generator has one domain; or the labels do not fit.
        """
        if self.description.num_domains != 2:
            raise ValueError("this generator has one domain and no pairs; call images() instead")
        images, images2 = self._draw(["images", "images2"], seeds, labels, batch_size)
        return images, images2

    def _draw(self, outputs: list[str], seeds, labels, batch_size: int) -> list[np.ndarray]:
        inputs = self._inputs(np.asarray(seeds, np.int64), labels)
        parts: list[list[np.ndarray]] = [[np.zeros((0, *self.description.image_shape), np.uint8)] for _ in outputs]
        for start in range(0, len(inputs["seed"]), batch_size):
            rows = {name: tf.constant(column[start : start + batch_size]) for name, column in inputs.items()}
            drawn = self._signatures["images"](**rows)
            for part, name in zip(parts, outputs, strict=True):
                part.append(drawn[name].numpy())
        return [np.concatenate(part) for part in parts]

    def _inputs(self, seeds: np.ndarray, labels) -> dict[str, np.ndarray]:
        if not self.description.num_classes:
            if labels is not None:
                raise ValueError("this generator was trained without labels; leave them out")
            return {"seed": seeds}
        chosen = np.full(len(seeds), -1) if labels is None else np.asarray(labels)
        if len(chosen) and not (chosen.min() >= -1 and chosen.max() < self.description.num_classes):
            raise ValueError(
                f"labels must lie in 0..{self.description.num_classes - 1} (or be -1: drawn), "
                f"got {chosen.min()}..{chosen.max()}"
            )
        return {"seed": seeds, "label": chosen.astype(np.int64)}
