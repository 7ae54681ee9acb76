"""Training that starts from the networks of another."""

import logging

import numpy as np
import pytest

from gan_components.artifacts import TrainedModel
from gan_components.fingerprints import Recipe
from gan_components.generators import Generator
from gan_components.networks.config import Dcgan
from gan_components.training import checkpoints, players
from gan_components.training import config as training_config
from tests.gan_components.training import toy_training
from tests.gan_components.training.toy_training import CONFIG

# So small a rate that the weights stay where they start.
STANDING = CONFIG.model_copy(
    update={
        "num_steps": 4,
        "log_interval_steps": 2,
        "g_learning_rate": 1e-12,
        "d_learning_rate": 1e-12,
        "checkpoint_interval_steps": 4,
        "warm_start": True,
    }
)


@pytest.fixture(scope="module")
def champion(tmp_path_factory) -> TrainedModel:
    return toy_training.train(tmp_path_factory.mktemp("champion"))


def _assert_begun_with(model: TrainedModel, other: TrainedModel) -> None:
    """Rates of 1e-12 leave weights where they began; normalisation's statistics move."""
    description = Generator.load(other.generator_directory).description
    ours, theirs = (players.build(description, CONFIG, seed=seed) for seed in (1, 2))
    for gan, trained in ((ours, model), (theirs, other)):
        checkpoints.restore_latest(gan, trained.directory / "checkpoints")
    for network in ("generator", "discriminator"):
        pairs = zip(getattr(ours, network).weights, getattr(theirs, network).weights, strict=True)
        for our, their in pairs:
            if our.trainable:
                np.testing.assert_allclose(our.numpy(), their.numpy(), atol=1e-9, err_msg=our.path)
    assert int(ours.step.numpy()) == STANDING.num_steps


def test_networks_are_loaded_and_nothing_else(champion):
    """Red if one of the networks is left out, or the step or an optimizer comes along."""
    description = Generator.load(champion.generator_directory).description
    whole, networks = (players.build(description, CONFIG, seed=seed) for seed in (1, 2))
    checkpoints.restore_latest(whole, champion.directory / "checkpoints")
    checkpoints.load_networks(networks, champion.directory / "checkpoints")
    for name in ("generator", "discriminator", "ema_generator"):
        for theirs, ours in zip(getattr(whole, name).variables, getattr(networks, name).variables, strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    assert int(whole.step.numpy()) == CONFIG.num_steps
    assert int(networks.step.numpy()) == 0
    assert int(networks.d_optimizer.iterations.numpy()) == 0


def test_it_starts_where_the_other_ended(champion, tmp_path):
    """Red if the stage does not load the networks, or goes on counting the other's steps."""
    warm = toy_training.train(tmp_path, STANDING, initial=champion)
    assert warm.properties["started_from"] == champion.fingerprint
    _assert_begun_with(warm, champion)


@pytest.mark.long
def test_a_killed_run_keeps_its_start(champion, tmp_path):
    """What is in production changes between two tries. Red without the checkpoint before the first step."""

    def crash(done: int, total: int, text: str) -> None:
        if done == 2:
            raise OSError("the machine went away")

    with pytest.raises(OSError, match="the machine went away"):
        toy_training.train(tmp_path, STANDING, initial=champion, progress=crash)
    warm = toy_training.train(tmp_path, STANDING)
    assert warm.properties["started_from"] == champion.fingerprint
    _assert_begun_with(warm, champion)


def test_other_networks_start_anew_and_say_so(champion, tmp_path, caplog):
    """Red without the comparison: the checkpoint would end the run, every night anew."""
    wider = STANDING.model_copy(update={"network": Dcgan(base_channels=8)})
    with caplog.at_level(logging.WARNING):
        model = toy_training.train(tmp_path, wider, initial=champion)
    assert model.properties["started_from"] is None
    assert "'base_channels': 4" in caplog.text and "random weights" in caplog.text


def test_it_is_no_reason_to_train(champion, tmp_path):
    """Red if the setting enters the fingerprint."""
    examples = toy_training.examples(tmp_path)

    def recipe(warm: bool) -> Recipe:
        config = CONFIG.model_copy(update={"warm_start": warm})
        return training_config.recipe(examples, config, seed=0)

    assert recipe(True).fingerprint == recipe(False).fingerprint


@pytest.mark.parametrize("other", [{"growth": {"stable_steps": 1, "fade_steps": 1}}, {"strategy": "multi_worker"}])
def test_what_it_does_not_go_with(other):
    """Red if growing starts at 4x4 with networks that have grown, or workers start from different weights."""
    with pytest.raises(ValueError, match="warm_start does not go with"):
        training_config.TrainConfig(network={"name": "progan"}, warm_start=True, **other)
