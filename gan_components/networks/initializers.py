"""Names and seeded initial kernels of layers.

A layer's seed is derived from its name, so that construction is a pure function of its arguments: two calls
give equal weights, and no two layers start with the same numbers.
"""

import keras

from gan_components import randomness


def glorot(seed: int, name: str) -> dict:
    """Name and kernel initializer of a layer: uniform in ±sqrt(6 / (fan_in + fan_out)).

    Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.

    Args:
        seed: of the network.
        name: of the layer, such as ``generator/dense``; unique in the network.

    Returns:
        Keyword arguments of a Keras layer with a kernel.

    Example:
        >>> layer = keras.layers.Dense(3, **glorot(0, "generator/dense"))
        >>> layer.name
        'generator_dense'
    """
    return _layer(name, keras.initializers.GlorotUniform(seed=randomness.integer(seed, name)))


def scaled_normal(seed: int, name: str, gain: float = 1.0) -> dict:
    """Name and kernel initializer of a layer: normal with standard deviation ``gain / sqrt(fan_in)``.

    He et al. 2015, https://arxiv.org/abs/1502.01852. With gain 1 a linear layer keeps the variance; with gain
    0 it starts as zero.
    """
    if gain == 0.0:
        return _layer(name, keras.initializers.Zeros())
    initializer = keras.initializers.VarianceScaling(
        gain**2, mode="fan_in", distribution="untruncated_normal", seed=randomness.integer(seed, name)
    )
    return _layer(name, initializer)


def _layer(name: str, initializer: keras.Initializer) -> dict:
    # Keras refuses slashes in names.
    return {"name": name.replace("/", "_"), "kernel_initializer": initializer}
