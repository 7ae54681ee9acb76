"""Every preset through all stages: a few steps of small networks, on the data that the preset names."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from gan_components.generators import Generator
from gan_components.ingestion import digits
from tests.commandline import call

COMMON = [
    "train.num_steps=24",
    "train.batch_size=16",
    "train.log_interval_steps=8",
    "train.sample_interval_steps=24",
    "evaluate.num_samples=1000",
    "evaluate.bounds={coverage: {min: 0.0}}",
]
SYSTEMS = {
    "gan-mlp": ["train.network={name: mlp, g_units: 32, d_units: 16}"],
    "dcgan": ["train.network.base_channels=8"],
    "cogan": ["train.network.base_channels=8"],
    "progan": ["train.network={name: progan, base_channels: 4, max_channels: 8}",
               "train.growth={stable_steps: 4, fade_steps: 2}"],
    "stylegan": ["train.network={name: stylegan, base_channels: 4, max_channels: 8, mapping_layers: 2}",
                 "train.growth={stable_steps: 4, fade_steps: 2}"],
    "r3gan": ["train.network={name: resnet, base_channels: 8, group_channels: 8}", "ingest.num_images=8000"],
}  # fmt: skip


@pytest.fixture(scope="module", params=list(SYSTEMS))
def run(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    return request.param, call("run", request.param, root=root, sets=[*COMMON, *SYSTEMS[request.param]])


@pytest.mark.long
def test_a_preset_goes_from_images_to_a_served_generator(run):
    """Infra validation replays every signature on the way. Red if a stage cannot take what another gives."""
    name, result = run
    assert result.code == 0, result.stderr
    assert result.document["verdict"] == "pushed"
    if name == "cogan":
        assert result.document["metrics"]["pixel_agreement"]["protocol"] == "agreement1k_edges"
    if name == "gan-mlp":
        assert result.document["metrics"]["parzen_log_likelihood"]["protocol"] == "parzen1k_holdout"


@pytest.mark.long
def test_the_served_generator_is_a_function_of_its_latents(run):
    """``from_latents(latents(s)) == images(s)``. Red if noise or mixing of training reaches what is served."""
    name, result = run
    served = Generator.load(Path(str(result.document["pushed"]["path"])))
    seeds = tf.range(8, dtype=tf.int64)
    label = {"label": seeds % 10} if served.description.num_classes else {}
    latents = served._signatures["latents"](seed=seeds)["latents"]
    again = served._signatures["from_latents"](latents=latents, **label)["images"].numpy()
    first = served._signatures["images"](seed=seeds, **label)["images"].numpy()
    np.testing.assert_array_equal(again, first)
    assert served.description.num_domains == (2 if name == "cogan" else 1)
    assert ("truncated" in served._signatures) == ("mixed" in served._signatures) == (name == "stylegan")


@pytest.mark.long
def test_pairs_of_two_folders_are_trained_on(tmp_path):
    """Red if what ingestion makes of two folders is not what a system of two domains takes."""
    pictures, _ = digits.read()
    for domain, images in (("first", pictures), ("second", pictures[:, :, ::-1])):
        (tmp_path / "pairs" / domain).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / "pairs" / domain / f"{number}.png")
    ingest = ["ingest.source=image_folder", "ingest.second_domain=folder", "ingest.labels=null"]
    sets = [*COMMON, *SYSTEMS["cogan"], *ingest]
    result = call("run", "cogan", "--data", str(tmp_path / "pairs"), root=tmp_path / "root", sets=sets)
    assert result.code == 0, result.stderr
    assert "pixel_agreement" not in result.document["metrics"]
    served = Generator.load(Path(str(result.document["pushed"]["path"])))
    first, second = served.pairs(np.arange(4))
    assert first.shape == second.shape == (4, 28, 28, 1)
    assert (first != second).any()
