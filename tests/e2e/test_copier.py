"""A generator that replays training images is blocked, and nothing is pushed."""

from pathlib import Path

import keras
import numpy as np
import pytest

from gan_components import artifacts, examples, generators, images
from gan_components.artifacts import Examples, TrainedModel
from gan_components.training import config as training
from pipelines import config
from pipelines.workspace import Workspace
from tests.commandline import QUICK, call

pytestmark = pytest.mark.slow


@keras.saving.register_keras_serializable(package="tests")
class Copier(keras.layers.Layer):
    """Chooses a training image by the latents: perfect pictures, a perfect distance, and all of it stolen."""

    def __init__(self, bank: np.ndarray) -> None:
        super().__init__()
        self.bank = self.add_weight(shape=bank.shape, initializer="zeros", trainable=False)
        self.bank.assign(bank)

    def call(self, latents):
        chosen = keras.ops.cast(keras.ops.abs(latents[:, 0]) * 1e5, "int32") % self.bank.shape[0]
        return keras.ops.take(self.bank, chosen, axis=0)


def test_a_copier_is_blocked_with_99_and_nothing_is_pushed(tmp_path):
    """Red if the memorization check does not reach the gate, or the gate not the exit code."""
    root = tmp_path / "root"
    ingested = call("run", "digits", "--until", "ingest", root=root).document["stages"][0]["artifact"]
    data = Examples.open(Path(ingested))
    stolen = images.to_float(examples.read(data, "train").images).numpy()
    latents, label = keras.Input((100,), name="latents"), keras.Input((), dtype="int64", name="labels")
    network = keras.Model({"latents": latents, "labels": label}, Copier(stolen)(latents))

    settings = config.load("digits", QUICK)
    recipe = training.recipe(data, settings.train, seed=settings.seed)
    out = Workspace.at(root).artifact_path(recipe)
    description = generators.Description(
        image_shape=[28, 28, 1],
        latent_dim=100,
        class_names=data.properties["class_names"],
        class_frequencies=data.properties["class_frequencies"],
    )
    generators.save(network, artifacts.work_directory(out, recipe) / "generator", description)
    TrainedModel.seal(out, recipe, properties={}, content_digest="c" * 64)

    for _ in range(2):  # a cached block is blocked again
        blocked = call("run", "digits", root=root)
        assert blocked.code == 99, blocked.stderr
        assert blocked.statuses["train"] == "hit"
        assert blocked.document["verdict"] == "blocked"
        assert "memorization FAIL" in blocked.document["blessing"]["reason"]
        assert not (root / "serving" / "digits").exists()
