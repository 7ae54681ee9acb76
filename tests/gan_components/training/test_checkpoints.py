"""A checkpoint holds every variable of every system."""

import keras
import numpy as np
import pytest

from gan_components import randomness
from gan_components.generators import Description
from gan_components.networks.config import Cogan, Dcgan, Mlp, NetworkConfig, Progan, Resnet, Stylegan
from gan_components.training import checkpoints, players
from gan_components.training.gan import GAN
from tests.gan_components.training.toy_training import CONFIG

SYSTEMS = [
    Mlp(g_units=8, d_units=4, maxout_pieces=2),
    Dcgan(base_channels=4, spectral_norm=True),
    Cogan(base_channels=4),
    Progan(base_channels=4, max_channels=8),
    Stylegan(base_channels=4, max_channels=8, mapping_layers=2),
    Resnet(base_channels=4, group_channels=4),
]


def _players(network: NetworkConfig) -> GAN:
    pairs = network.name == "cogan"
    description = Description(
        image_shape=[16, 16, 1],
        num_domains=2 if pairs else 1,
        latent_dim=8,
        class_names=[] if pairs else ["a", "b"],
        class_frequencies=[] if pairs else [0.5, 0.5],
    )
    return players.build(description, CONFIG.model_copy(update={"network": network}), seed=1)


def _state(gan: GAN) -> list[keras.Variable]:
    holders = (gan.generator, gan.discriminator, gan.ema_generator, gan.d_optimizer, gan.g_optimizer)
    windows = [variable for window in gan.windows.values() for variable in window.variables]
    return [*(v for holder in holders for v in holder.variables), *windows, gan.step, gan.ada_p, gan.ada_signs]


@pytest.mark.parametrize("network", SYSTEMS, ids=lambda network: network.name)
def test_every_variable_comes_back(tmp_path, network):
    """Red if a network or an optimizer is given to TensorFlow as an object: layers in lists are then left out."""
    random = randomness.numpy_generator(0, "state")
    saved = _players(network)
    for variable in _state(saved):
        variable.assign(random.integers(1, 100, variable.shape).astype(variable.dtype))
    checkpoints.save(saved, tmp_path, keep=1)
    restored = _players(network)
    checkpoints.restore_latest(restored, tmp_path)
    assert len(_state(restored)) > 20
    for old, new in zip(_state(saved), _state(restored), strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy(), err_msg=new.path)
