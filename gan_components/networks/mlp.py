"""The fully connected networks of the first GAN, for images of any shape, with labels where there are any.

Goodfellow et al. 2014, https://arxiv.org/abs/1406.2661: the generator has two layers of rectified linear units,
the discriminator two layers of maxout units (Goodfellow et al. 2013, https://arxiv.org/abs/1302.4389). Labels
are joined to the input of both as a one-hot vector (Mirza and Osindero 2014, https://arxiv.org/abs/1411.1784).

Three things differ from the paper's networks for MNIST:

* Images lie in [-1, 1], so the generator ends in tanh and not in the logistic function. It is the same family:
  ``tanh(x) = 2 sigmoid(2x) - 1``.
* The discriminator has no dropout. A mask would have to be drawn anew for each of its passes, and a gradient
  penalty needs it as a function that stays the same between two passes; R1 is the regulariser here.
* Initial kernels are Glorot's. The paper's, uniform in ±0.05 and ±0.005, were tuned to its learning rate of
  0.1 with momentum; Glorot's bound for 784 inputs and 1,200 units is 0.055.
"""

import math

import keras
from keras import layers

from gan_components.networks import initializers
from gan_components.networks.config import Mlp


def generator(
    config: Mlp, *, image_shape: tuple[int, int, int], latent_dim: int, num_classes: int, seed: int
) -> keras.Model:
    """Maps ``{"latents": float32 [N, D][, "labels": int64 [N]]}`` to images in [-1, 1].

    Args:
        config: sizes of the layers.
        image_shape: ``(H, W, C)``.
        latent_dim: D.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A model with float32 output ``[N, H, W, C]``.
    """
    latents = keras.Input((latent_dim,), name="latents")
    inputs, x = _joined({"latents": latents}, latents, num_classes)
    for i in range(2):
        x = layers.Dense(config.g_units, "relu", **initializers.glorot(seed, f"generator/hidden{i}"))(x)
    x = layers.Dense(math.prod(image_shape), **initializers.glorot(seed, "generator/image"))(x)
    # Under mixed precision the image, like every output, stays float32.
    x = layers.Activation("tanh", dtype="float32")(x)
    images = layers.Reshape(image_shape, dtype="float32", name="images")(x)
    return keras.Model(inputs, images, name="generator")


def discriminator(config: Mlp, *, image_shape: tuple[int, int, int], num_classes: int, seed: int) -> keras.Model:
    """Maps ``{"images": float32 [N, H, W, C][, "labels": int64 [N]]}`` to logits: positive means real.

    Args:
        config: sizes of the layers.
        image_shape: ``(H, W, C)``.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights.

    Returns:
        A model with float32 output ``[N]``.
    """
    images = keras.Input(image_shape, name="images")
    inputs, x = _joined({"images": images}, layers.Flatten()(images), num_classes)
    for i in range(2):
        x = _maxout(x, config.d_units, config.maxout_pieces, seed, f"discriminator/hidden{i}")
    x = layers.Dense(1, **initializers.glorot(seed, "discriminator/logit"))(x)
    logits = layers.Reshape((), dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="discriminator")


def _joined(
    inputs: dict[str, keras.KerasTensor], x: keras.KerasTensor, num_classes: int
) -> tuple[dict[str, keras.KerasTensor], keras.KerasTensor]:
    if not num_classes:
        return inputs, x
    labels = keras.Input((), dtype="int64", name="labels")
    one_hot = layers.CategoryEncoding(num_classes, "one_hot")(labels)
    return {**inputs, "labels": labels}, layers.Concatenate()([x, one_hot])


def _maxout(x: keras.KerasTensor, units: int, pieces: int, seed: int, name: str) -> keras.KerasTensor:
    """``max_k (x W_k + b_k)`` over `pieces` linear maps."""
    x = layers.Dense(units * pieces, **initializers.glorot(seed, name))(x)
    return keras.ops.max(layers.Reshape((units, pieces))(x), axis=-1)
