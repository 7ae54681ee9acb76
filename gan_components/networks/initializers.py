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
    # Keras refuses slashes in names.
    initializer = keras.initializers.GlorotUniform(seed=randomness.integer(seed, name))
    return {"name": name.replace("/", "_"), "kernel_initializer": initializer}
