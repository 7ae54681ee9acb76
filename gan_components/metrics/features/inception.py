"""The Inception network of the Fréchet Inception Distance, as a Keras model.

Heusel et al. 2017, https://arxiv.org/abs/1706.08500, measure distances in the features of the Inception-v3 that
Google published on 2015-12-05 as a frozen TensorFlow graph (Szegedy et al. 2015,
https://arxiv.org/abs/1512.00567). It is not the network of ``keras.applications``: the pooling branch of its last
block takes maxima, it has 1,008 classes, its normalisations have a scale, and its images are resized by TensorFlow
1's bilinear rule, whose pixels have no centres.

Normalisation with stored moments is linear: it is folded into the convolution before it, and convolutions of one
input that do the same are one. The numbers differ from the published graph's by rounding.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from gan_components.errors import InputError
from gan_components.metrics.extractor import Extractor, Identity
from gan_components.metrics.features import inception_weights

TAPS = {"64": 64, "192": 192, "768": 768, "2048": 2048, "logits_unbiased": 1008, "logits": 1008, "sfid": 2023}
"""Layers at which features can be taken, and how many there are.

``64`` to ``2048`` are spatial means, named after their channels: after the first and the second pooling, before
the first auxiliary classifier, and of the last block, where the distance is taken. ``sfid`` are the first 7
channels of 17x17 activations (Nash et al. 2021, https://arxiv.org/abs/2103.03841).
"""

SIDE = 299
# What one pass gives beside the features: for the Inception Score and for sFID.
_BESIDE = ("logits_unbiased", "sfid")
_EPSILON = 0.001
_BATCH_SIZE = 32

Weights = Mapping[str, np.ndarray]


def inception_extractor(weights: Path | None, cache: Path, *, layer: str = "2048") -> Extractor:
    """Features of the FID network: with the layer ``2048``, distances in them are called FID.

    Images of any size; grey ones are repeated into red, green and blue, for which the network was not made: quote
    such a distance as what it is.

    Args:
        weights: a file, see :mod:`inception_weights`; None: the published one.
        cache: root of the shared caches.
        layer: one of :data:`TAPS`.

    Raises:
        InputError: no weights, or others.
    """
    values, digest = inception_weights.load(weights, cache)
    whole = network(values)
    chosen = {name: whole.output[name] for name in (layer, *_BESIDE)}
    model = keras.Model(whole.input, chosen)
    apply = tf.function(
        lambda images: model(tf.cast(images, tf.float32)),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
    )

    def outputs(images: np.ndarray, names: Iterable[str] = tuple(chosen)) -> dict[str, np.ndarray]:
        colour = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
        starts = range(0, len(images), _BATCH_SIZE)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for batch in (apply(colour[start : start + _BATCH_SIZE]) for start in starts):
            for name, kept in parts.items():
                kept.append(batch[name].numpy())
        return {name: np.concatenate(kept) for name, kept in parts.items()}

    return Extractor(identity(digest, layer), lambda images: outputs(images, [layer])[layer], outputs=outputs)


def identity(digest: str, layer: str) -> Identity:
    """Identity of one of the network's :data:`TAPS`; `digest` is the SHA-256 of the file of weights."""
    return Identity(
        name="inception",
        digest=digest,
        preprocessing="TensorFlow 1's bilinear resize to 299x299, (x - 128) / 128, grey repeated",
        layer=layer,
        dimension=TAPS[layer],
    )


def network(weights: Weights) -> keras.Model:
    """A model of uint8-valued float32 images ``[N, H, W, 3]`` in 0..255, with a dict of :data:`TAPS`.

    Args:
        weights: by the names of the published PyTorch file: ``Mixed_5b.branch1x1.conv.weight`` and so on.

    Returns:
        A model with float32 outputs ``[N, D]``; images of any size.

    Raises:
        InputError: a weight is missing, left over or of another shape.
    """
    builder = _Builder(weights)
    x = images = keras.Input((None, None, 3), name="images")
    x = layers.Lambda(_resized, output_shape=(SIDE, SIDE, 3), name="resize")(x)
    taps = {}
    x = builder.convolution(x, {"Conv2d_1a_3x3": 32}, 3, 2, "valid")
    x = builder.convolution(x, {"Conv2d_2a_3x3": 32}, 3, padding="valid")
    x = builder.convolution(x, {"Conv2d_2b_3x3": 64}, 3)
    x = layers.MaxPooling2D(3, 2)(x)
    taps["64"] = _mean(x)
    x = builder.convolution(x, {"Conv2d_3b_1x1": 80}, 1, padding="valid")
    x = builder.convolution(x, {"Conv2d_4a_3x3": 192}, 3, padding="valid")
    x = layers.MaxPooling2D(3, 2)(x)
    taps["192"] = _mean(x)
    for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        x = builder.block_35(x, name, pooled)
    x = builder.reduction_17(x, "Mixed_6a")
    for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = builder.block_17(x, name, inner)
        if name == "Mixed_6d":
            # The graph's mixed_6/conv: the first branch.
            taps["sfid"] = layers.Flatten()(x[..., :7])
    taps["768"] = _mean(x)
    x = builder.reduction_8(x, "Mixed_7a")
    x = builder.block_8(x, "Mixed_7b", layers.AveragePooling2D)
    # The published graph takes maxima here, the paper and keras.applications means.
    x = builder.block_8(x, "Mixed_7c", layers.MaxPooling2D)
    taps["2048"] = _mean(x)
    taps["logits_unbiased"] = builder.dense(taps["2048"], "fc")
    taps["logits"] = taps["logits_unbiased"] + builder.take("fc.bias", (1008,))
    builder.finish()
    return keras.Model(images, taps, name="inception")


class _Builder:
    """Layers with their weights, each of which is taken once."""

    def __init__(self, weights: Weights) -> None:
        # A counter that PyTorch keeps in training.
        self.left = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}

    def take(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self.left:
            raise InputError(f"Inception weights lack {name}; expected the file of 2015-12-05 with 472 tensors")
        value = self.left.pop(name)
        if value.shape != shape:
            raise InputError(f"Inception weights: {name} has the shape {value.shape}, expected {shape}")
        return value.astype(np.float64)

    def finish(self) -> None:
        if self.left:
            raise InputError(f"Inception weights hold {len(self.left)} tensors too many, such as {min(self.left)}")

    def convolution(
        self,
        x: keras.KerasTensor,
        filters: dict[str, int],
        size: int | tuple[int, int],
        strides: int = 1,
        padding: str = "same",
    ) -> keras.KerasTensor:
        """Convolution, normalisation and ReLU; of several names side by side."""
        size = (size, size) if isinstance(size, int) else size
        parts = [self._folded(name, (count, x.shape[-1], *size)) for name, count in filters.items()]
        kernel, bias = (np.concatenate(arrays, -1).astype(np.float32) for arrays in zip(*parts, strict=True))
        name = "_".join(filters).replace(".", "_")
        layer = layers.Conv2D(len(bias), size, strides, padding, activation="relu", name=name)
        y = layer(x)
        layer.set_weights([kernel, bias])
        return y

    def branches(self, x: keras.KerasTensor, filters: dict[str, int]) -> list[keras.KerasTensor]:
        """1x1 convolutions of one input, computed as one."""
        joined = self.convolution(x, filters, 1)
        ends = np.cumsum(list(filters.values()))
        return [joined[..., end - width : end] for end, width in zip(ends, filters.values(), strict=True)]

    def _folded(self, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        kernel = self.take(f"{name}.conv.weight", shape).transpose(2, 3, 1, 0)
        moments = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (self.take(f"{name}.bn.{moment}", shape[:1]) for moment in moments)
        scale = gamma / np.sqrt(variance + _EPSILON)
        return kernel * scale, beta - mean * scale

    def dense(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        kernel = self.take(f"{name}.weight", (1008, 2048)).T
        layer = layers.Dense(1008, use_bias=False, name=name)
        y = layer(x)
        layer.set_weights([kernel.astype(np.float32)])
        return y

    def block_35(self, x: keras.KerasTensor, name: str, pooled: int) -> keras.KerasTensor:
        """Of 35x35 pixels."""
        starts = {f"{name}.branch1x1": 64, f"{name}.branch5x5_1": 48, f"{name}.branch3x3dbl_1": 64}
        one, five, three = self.branches(x, starts)
        five = self.convolution(five, {f"{name}.branch5x5_2": 64}, 5)
        three = self.convolution(three, {f"{name}.branch3x3dbl_2": 96}, 3)
        three = self.convolution(three, {f"{name}.branch3x3dbl_3": 96}, 3)
        pool = self._pooled(x, name, pooled, layers.AveragePooling2D)
        return layers.Concatenate()([one, five, three, pool])

    def reduction_17(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """From 35x35 to 17x17 pixels."""
        three = self.convolution(x, {f"{name}.branch3x3": 384}, 3, 2, "valid")
        double = self.convolution(x, {f"{name}.branch3x3dbl_1": 64}, 1)
        double = self.convolution(double, {f"{name}.branch3x3dbl_2": 96}, 3)
        double = self.convolution(double, {f"{name}.branch3x3dbl_3": 96}, 3, 2, "valid")
        return layers.Concatenate()([three, double, layers.MaxPooling2D(3, 2)(x)])

    def block_17(self, x: keras.KerasTensor, name: str, inner: int) -> keras.KerasTensor:
        """Of 17x17 pixels, with 7x7 convolutions in two steps."""
        starts = {f"{name}.branch1x1": 192, f"{name}.branch7x7_1": inner, f"{name}.branch7x7dbl_1": inner}
        one, seven, double = self.branches(x, starts)
        seven = self.convolution(seven, {f"{name}.branch7x7_2": inner}, (1, 7))
        seven = self.convolution(seven, {f"{name}.branch7x7_3": 192}, (7, 1))
        double = self.convolution(double, {f"{name}.branch7x7dbl_2": inner}, (7, 1))
        double = self.convolution(double, {f"{name}.branch7x7dbl_3": inner}, (1, 7))
        double = self.convolution(double, {f"{name}.branch7x7dbl_4": inner}, (7, 1))
        double = self.convolution(double, {f"{name}.branch7x7dbl_5": 192}, (1, 7))
        pool = self._pooled(x, name, 192, layers.AveragePooling2D)
        return layers.Concatenate()([one, seven, double, pool])

    def reduction_8(self, x: keras.KerasTensor, name: str) -> keras.KerasTensor:
        """From 17x17 to 8x8 pixels."""
        three, seven = self.branches(x, {f"{name}.branch3x3_1": 192, f"{name}.branch7x7x3_1": 192})
        three = self.convolution(three, {f"{name}.branch3x3_2": 320}, 3, 2, "valid")
        seven = self.convolution(seven, {f"{name}.branch7x7x3_2": 192}, (1, 7))
        seven = self.convolution(seven, {f"{name}.branch7x7x3_3": 192}, (7, 1))
        seven = self.convolution(seven, {f"{name}.branch7x7x3_4": 192}, 3, 2, "valid")
        return layers.Concatenate()([three, seven, layers.MaxPooling2D(3, 2)(x)])

    def block_8(self, x: keras.KerasTensor, name: str, pooling: type[layers.Layer]) -> keras.KerasTensor:
        """Of 8x8 pixels."""
        starts = {f"{name}.branch1x1": 320, f"{name}.branch3x3_1": 384, f"{name}.branch3x3dbl_1": 448}
        one, three, double = self.branches(x, starts)
        double = self.convolution(double, {f"{name}.branch3x3dbl_2": 384}, 3)
        ends = [
            self.convolution(start, {f"{name}.{branch}": 384}, size)
            for start, branch, size in (
                (three, "branch3x3_2a", (1, 3)),
                (three, "branch3x3_2b", (3, 1)),
                (double, "branch3x3dbl_3a", (1, 3)),
                (double, "branch3x3dbl_3b", (3, 1)),
            )
        ]
        return layers.Concatenate()([one, *ends, self._pooled(x, name, 192, pooling)])

    def _pooled(
        self, x: keras.KerasTensor, name: str, filters: int, pooling: type[layers.Layer]
    ) -> keras.KerasTensor:
        # Means leave the padding out, as in the published graph.
        return self.convolution(pooling(3, 1, "same")(x), {f"{name}.branch_pool": filters}, 1)


def _resized(images: tf.Tensor) -> tf.Tensor:
    """TensorFlow 1's bilinear rule: pixel i of the large image is pixel ``i * small / large`` of the small one."""
    large = tf.compat.v1.image.resize_bilinear(images, (SIDE, SIDE), align_corners=False, half_pixel_centers=False)
    return (large - 128.0) / 128.0


def _mean(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.GlobalAveragePooling2D()(x)
