"""Tiny generators and artifacts to export."""

import json
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from gan_components import artifacts, generators
from gan_components.artifacts import Evaluation, TrainedModel
from gan_components.export import warmup
from gan_components.fingerprints import Recipe
from gan_components.generators import Description

BLESSING = {"blessed": True, "reason": "all 3 checks passed", "checks": []}


STYLE_LAYERS = 2


class Styled(keras.Model):
    """A network with truncation and styles: ``mean + psi (w - mean)`` before the last layers.

    The first half of w is the style of layer 0, the second that of layer 1.
    """

    def __init__(self, synthesis: keras.Model) -> None:
        super().__init__()
        self.synthesis = synthesis
        self.mean = self.add_weight(shape=(4,), initializer="ones", trainable=False)

    def call(self, inputs, training=False):
        inputs = dict(inputs)
        w, psi = inputs["latents"], inputs.pop("truncation", None)
        other, crossover = inputs.pop("mixing_latents", None), inputs.pop("crossover", None)
        if psi is not None:
            inputs["latents"] = self.mean + psi[:, None] * (w - self.mean)
        if other is not None:
            inputs["latents"] = tf.where(tf.constant([0, 0, 1, 1], tf.int64) < crossover[:, None], w, other)
        return self.synthesis(inputs, training=training)


class Apply(keras.layers.Layer):
    """Runs any function of the images inside the network."""

    def __init__(self, function: Callable[[tf.Tensor], tf.Tensor]) -> None:
        super().__init__()
        self._function = function

    def call(self, images):
        return tf.ensure_shape(self._function(images), images.shape)


def save(
    directory: Path,
    *,
    num_classes: int = 0,
    num_domains: int = 1,
    styled: bool = False,
    seed: int = 0,
    tail: Callable[[tf.Tensor], tf.Tensor] = tf.identity,
) -> Path:
    """Saves a generator of 8×8×3 images, or pairs of them; `tail` is applied to what it draws."""
    keras.utils.set_random_seed(seed)
    rows = keras.Input((4,), name="latents")
    inputs = {"latents": rows}
    if num_classes:
        inputs["labels"] = keras.Input((), dtype="int64", name="labels")
        rows = keras.layers.Concatenate()([rows, keras.layers.Embedding(num_classes, 4)(inputs["labels"])])
    rows = keras.layers.Reshape((4, 4, 8))(keras.layers.Dense(4 * 4 * 8)(rows))
    rows = keras.layers.BatchNormalization()(rows)
    rows = keras.layers.Conv2DTranspose(3 * num_domains, 4, 2, "same", activation="tanh")(rows)
    network = keras.Model(inputs, Apply(tail)(rows))
    if styled:
        network = Styled(network)
    description = Description(
        image_shape=[8, 8, 3],
        latent_dim=4,
        num_domains=num_domains,
        truncation=styled,
        num_style_layers=STYLE_LAYERS if styled else 0,
        class_names=[str(i) for i in range(num_classes)],
        class_frequencies=[1 / num_classes] * num_classes if num_classes else [],
    )
    generators.save(network, directory, description)
    return directory


def servable(directory: Path, **options) -> Path:
    """A saved generator with its warm-up file."""
    save(directory, **options)
    warmup.write(directory, (1, 8))
    return directory


def recipe(stage: str, **inputs: str) -> Recipe:
    return Recipe(stage=stage, config={}, inputs=inputs, seed=0, code={}, libraries={})


def trained_model(root: Path, name: str, generator: Path) -> TrainedModel:
    """A TrainedModel around a copy of `generator`, of a content of its own."""
    made = recipe("train", examples=f"examples of {name}")
    work = artifacts.work_directory(root / "train" / name, made)
    (work / "generator").symlink_to(generator)
    return TrainedModel.seal(root / "train" / name, made, content_digest=f"generator {name}")


def evaluation(root: Path, model: TrainedModel, value: float = 2.5) -> Evaluation:
    made = recipe("evaluate", model=model.content_digest)
    out = root / "evaluate" / model.directory.name
    work = artifacts.work_directory(out, made)
    metric = {"value": value, "protocol": "fd1k_holdout_pixels", "extractor": "pixels"}
    (work / "metrics.json").write_text(json.dumps({"fd_pixels": metric}))
    return Evaluation.seal(out, made, properties={"primary_metric": "fd_pixels"})
