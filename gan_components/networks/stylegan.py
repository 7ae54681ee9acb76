"""StyleGAN: a mapping network whose styles steer a synthesis network, growing or of fixed size.

Karras et al. 2018, https://arxiv.org/abs/1812.04948. Latents z become styles w; synthesis starts from a learned
4x4 constant; every layer adds noise and then takes its mean and scale per channel from w (AdaIN). The
discriminator is ProGAN's, with features blurred before they are halved.

Departures: the constant starts as noise and not as ones, which have no variance for the first AdaIN to normalise
(Karras' second version does the same); labels as in :mod:`gan_components.networks.progan`; truncation acts on all
layers, not only on the coarse ones; the end as in :mod:`gan_components.networks.progan`.

Noise and mixing come in as inputs, see :func:`draws`; no layer keeps random state. Without them noise is a
constant of the model and styles are not mixed: an image is a function of its own latents (and label), as serving
needs it.
"""

import keras
import tensorflow as tf

from gan_components import randomness
from gan_components.networks.config import Draws, Stylegan
from gan_components.networks.layers import EqualisedConv2D, EqualisedDense, blur, leaky_relu
from gan_components.networks.progan import (
    Discriminator,
    Growing,
    Inputs,
    channels_by_level,
    joined_latents,
    label_embedding,
    painted,
    to_rgb,
)

# Of the moving average of w, a step.
W_AVERAGE_DECAY = 0.995


def generator(
    config: Stylegan, *, image_shape: tuple[int, int, int], latent_dim: int, num_classes: int, seed: int
) -> keras.Model:
    """Maps latents to images: see :func:`progan.generator`.

    Args:
        config: the section ``train.network``. Styles w have `max_channels` numbers: as in the paper, where both
            are 512.
        image_shape: ``(H, W, C)``; H = W, a power of two from 8 to 1024.
        latent_dim: D of the latents; their length does not count, they are normalised.
        num_classes: with 0 the model takes no labels.
        seed: of the initial weights and of the constant noise.

    Returns:
        A :class:`progan.Growing` model with float32 output ``[N, H, W, C]`` at every level. Its inputs are a dict:
        ``latents`` float32 ``[N, D]``, ``labels`` int64 ``[N]`` where there are classes, and if wanted
        ``truncation`` float32 ``[N]`` (psi: ``w = w_average + psi (w - w_average)``; 1 is off) and what
        :func:`draws` names.

    Raises:
        InputError: the images have another shape.

    Example:
        >>> network = generator(Stylegan(), image_shape=(32, 32, 3), latent_dim=128, num_classes=0, seed=0)
        >>> network({"latents": tf.zeros([2, 128]), "truncation": tf.constant([0.7, 1.0])}).shape
        TensorShape([2, 32, 32, 3])
    """
    channels = channels_by_level(config, image_shape)
    return Generator(config, channels, image_shape[-1], latent_dim=latent_dim, num_classes=num_classes, seed=seed)


def discriminator(
    config: Stylegan, *, image_shape: tuple[int, int, int], num_classes: int, seed: int
) -> keras.Model:
    """Maps images in [-1, 1] to logits: see :func:`progan.discriminator`."""
    channels = channels_by_level(config, image_shape)
    return Discriminator(channels, image_shape[-1], num_classes=num_classes, blurred=True, seed=seed)


def draws(config: Stylegan, *, image_shape: tuple[int, int, int], latent_dim: int) -> Draws:
    """The generator's random inputs in training: distribution and shape of one row.

    ``noise_0``, ``noise_1``, ...: of each layer, two a level. ``mixing``: two numbers in [0, 1); where the first
    lies below ``style_mixing_probability``, the layers from a crossover on, which the second chooses, take their
    styles from ``mixing_latents``.
    """
    sides = [_side(layer) for layer in range(num_style_layers(config, image_shape=image_shape))]
    noise: Draws = {f"noise_{layer}": ("normal", (side, side, 1)) for layer, side in enumerate(sides)}
    if not config.style_mixing_probability:
        return noise
    return noise | {"mixing_latents": ("normal", (latent_dim,)), "mixing": ("uniform", (2,))}


def num_style_layers(config: Stylegan, *, image_shape: tuple[int, int, int]) -> int:
    """The generator's layers with a style: two a level."""
    return 2 * len(channels_by_level(config, image_shape))


class Generator(Growing):
    """See :func:`generator`.

    Attributes:
        w_average: mean of w, float32 ``[style_dim]``; each call in training moves it towards the mean over the
            global batch.
    """

    def __init__(
        self,
        config: Stylegan,
        channels: list[int],
        image_channels: int,
        *,
        latent_dim: int,
        num_classes: int,
        seed: int,
    ) -> None:
        super().__init__(len(channels), "generator")
        self.num_classes = num_classes
        self.style_mixing_probability = config.style_mixing_probability
        if num_classes:
            self.embedding = label_embedding(num_classes, latent_dim, seed, "generator")
        style_dim = config.max_channels
        fan_in = 2 * latent_dim if num_classes else latent_dim
        self.mapping = [
            EqualisedDense(
                style_dim if layer else fan_in,
                style_dim,
                seed=seed,
                name=f"generator_mapping{layer}",
                lr_multiplier=0.01,
            )
            for layer in range(config.mapping_layers)
        ]
        self.constant = self.add_weight(
            shape=(1, 4, 4, channels[0]), initializer=_normal(seed, "generator_constant"), name="constant"
        )
        # `convs[i]` leads to layer i + 1; layer 0 is the constant.
        self.convs = [
            _conv(layer, channels, seed=seed, name=f"generator_conv{layer}")
            for layer in range(1, 2 * len(channels))
        ]
        self.styled = [
            StyledNoise(_side(layer), channels[layer // 2], style_dim, seed=seed, name=f"generator_styled{layer}")
            for layer in range(2 * len(channels))
        ]
        self.to_rgb = to_rgb(channels, image_channels, seed)
        self.w_average = self.add_weight(
            shape=(style_dim,),
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
            name="w_average",
        )
        self.known_inputs = frozenset(
            {"latents", "truncation", "mixing", "mixing_latents", "crossover"}
            | ({"labels"} if num_classes else set())
            | {f"noise_{layer}" for layer in range(2 * len(channels))}
        )
        self.built = True

    def call(self, inputs: Inputs, training: bool = False) -> tf.Tensor:
        unknown = inputs.keys() - self.known_inputs
        if unknown:
            raise ValueError(f"unknown inputs {sorted(unknown)}; expected some of {sorted(self.known_inputs)}")
        styles = self._styles(inputs, training)
        x = tf.repeat(self.constant.value, tf.shape(inputs["latents"])[0], 0)
        x = below = self.styled[0](x, styles[0], inputs.get("noise_0"))
        for layer, style in enumerate(styles[1:], 1):
            if layer % 2 == 0:
                below = x
            x = self.convs[layer - 1](x)
            if layer % 2 == 0:
                x = blur(x)
            x = self.styled[layer](x, style, inputs.get(f"noise_{layer}"))
        return painted(self, self.to_rgb, x, below)

    def _styles(self, inputs: Inputs, training: bool) -> list[tf.Tensor]:
        """w of every layer in use, float32 ``[N, style_dim]``."""
        w = self._mapped(inputs)
        if training:
            self._track(w)
        styles = [w] * (2 * (self.level + 1))
        if "mixing_latents" in inputs:
            other = self._mapped({**inputs, "latents": inputs["mixing_latents"]})
            # Drawn in training, named by whoever serves.
            crossover = (
                self._crossover(inputs["mixing"], len(styles)) if "mixing" in inputs else inputs["crossover"]
            )
            styles = [tf.where(layer < crossover[:, None], w, other) for layer in range(len(styles))]
        if "truncation" in inputs:
            psi = inputs["truncation"][:, None]
            # Exact at both ends: at 0 nothing of the latents is left, at 1 nothing is changed.
            styles = [(1.0 - psi) * self.w_average + psi * style for style in styles]
        return styles

    def _mapped(self, inputs: Inputs) -> tf.Tensor:
        w = joined_latents(inputs, self.embedding if self.num_classes else None)
        for dense in self.mapping:
            w = leaky_relu(dense(w))
        return tf.cast(w, tf.float32)

    def _crossover(self, mixing: tf.Tensor, num_layers: int) -> tf.Tensor:
        """The first layer with the other style: 1 to ``num_layers - 1``, or `num_layers`: none."""
        chosen = 1 + tf.cast(mixing[:, 1] * (num_layers - 1), tf.int32)
        return tf.where(mixing[:, 0] < self.style_mixing_probability, chosen, num_layers)

    def _track(self, w: tf.Tensor) -> None:
        mean = tf.reduce_mean(tf.stop_gradient(w), 0)
        # None between replicas, such as in a call from within `strategy.scope()` alone.
        context = tf.distribute.get_replica_context()
        if context is not None:
            mean = context.all_reduce(tf.distribute.ReduceOp.MEAN, mean)
        self.w_average.assign(mean + W_AVERAGE_DECAY * (self.w_average - mean))


class StyledNoise(keras.layers.Layer):
    """``AdaIN(leaky_relu(x + s noise + b), w)``, with a strength s per channel that starts at 0.

    ``AdaIN(x, w) = (1 + y_s) (x - mean(x)) / std(x) + y_b``, statistics over the pixels of each channel of each
    image, ``y = A w`` a linear layer.

    Args:
        side: H of the inputs ``[N, H, H, C]``.
        channels: C.
        style_dim: of w, float32 ``[N, style_dim]``.
        seed: of the network; the layer's own is derived from its name.
    """

    def __init__(self, side: int, channels: int, style_dim: int, *, seed: int, name: str) -> None:
        super().__init__(name=name)
        self.style = EqualisedDense(style_dim, 2 * channels, seed=seed, name=f"{name}_style", gain=1.0)
        zeros = {"shape": (channels,), "initializer": "zeros", "autocast": False}
        self.strength = self.add_weight(**zeros, name="strength")
        self.bias = self.add_weight(**zeros, name="bias")
        self.noise = self.add_weight(
            shape=(1, side, side, 1),
            initializer=_normal(seed, f"{name}_noise"),
            trainable=False,
            autocast=False,
            name="noise",
        )

    def call(self, x: tf.Tensor, w: tf.Tensor, noise: tf.Tensor | None = None) -> tf.Tensor:
        noise = self.noise.value if noise is None else noise
        x += tf.cast(noise, x.dtype) * tf.cast(self.strength.value, x.dtype)
        x = leaky_relu(tf.nn.bias_add(x, tf.cast(self.bias.value, x.dtype)))
        wide = tf.cast(x, tf.float32)
        mean, variance = tf.nn.moments(wide, (1, 2), keepdims=True)
        scale, shift = tf.split(tf.cast(self.style(w), tf.float32)[:, None, None, :], 2, -1)
        scale = (1.0 + scale) * tf.math.rsqrt(variance + 1e-8)
        return tf.cast(wide * scale + (shift - mean * scale), x.dtype)


def _side(layer: int) -> int:
    return 4 * 2 ** (layer // 2)


def _conv(layer: int, channels: list[int], *, seed: int, name: str) -> EqualisedConv2D:
    """What leads to a layer; its bias follows the noise."""
    return EqualisedConv2D(
        channels[(layer - 1) // 2],
        channels[layer // 2],
        seed=seed,
        name=name,
        resample="up" if layer % 2 == 0 else None,
        use_bias=False,
    )


def _normal(seed: int, name: str) -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=1.0, seed=randomness.integer(seed, name))
