"""Differentiable augmentation of what the discriminator sees, so that it cannot learn few images by heart.

Real and generated images pass through the same distribution of transforms, and gradients pass through the
transforms: the generator learns the images behind the augmentation. What is drawn for an image depends on the
key and on its row in the global batch alone, so that one device and many augment alike. Real and generated
images are two calls with two keys.

All transforms take and give float32 ``[N, H, W, C]`` of one static shape and are affine in the images, so that
gradients of gradients (penalties) are exact. Results may leave [-1, 1]: clipping would cut the gradient. The
images of two domains, behind one another in the channels, are transformed alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from gan_components import randomness
from gan_components.training.augment_config import ADA_TRANSFORMS, DIFFAUGMENT_POLICIES

_PLACING = {"flip", "rotate90", "translation", "scaling", "rotation"}
_RESAMPLING = {"scaling", "rotation"}


def diffaugment(
    images: tf.Tensor, *, key: tf.Tensor, batch_size: int, policy: Sequence[str] = DIFFAUGMENT_POLICIES
) -> tf.Tensor:
    """Colour, translation and cutout, on every image.

    Zhao et al. 2020, https://arxiv.org/abs/2006.10738, with the numbers of the authors' code:

    * ``color``: brightness ``x + U(-1/2, 1/2)``; saturation ``m + U(0, 2) (x - m)``, m the mean over a pixel's
      channels; contrast ``m + U(1/2, 3/2) (x - m)``, m the mean of the image. Saturation needs three channels
      and is left out with any other number.
    * ``translation``: by whole pixels, up to an eighth of the side each way; what comes in is 0 (mid-grey).
    * ``cutout``: a square of half the side is set to 0; its centre lies anywhere in the image, so that a part
      of it may fall outside.

    Args:
        images: float32 ``[N, H, W, C]`` in [-1, 1], this replica's rows of the global batch.
        key: int32 ``[2]``, of this step and of this batch.
        batch_size: of the global batch: N times the number of replicas.
        policy: names of :data:`DIFFAUGMENT_POLICIES`, applied in the order there.

    Returns:
        float32 ``[N, H, W, C]``.

    Raises:
        TypeError: images are not float32 ``[N, H, W, C]``.
        ValueError: an unknown name, or N is not this replica's share of `batch_size`.

    Example:
        >>> key = tf.constant([1, 2])
        >>> diffaugment(tf.zeros((4, 8, 8, 1)), key=key, batch_size=4, policy=["translation"]).shape
        TensorShape([4, 8, 8, 1])
    """
    _require_images(images)
    _require_known(policy, DIFFAUGMENT_POLICIES)
    draws = _Draws(key, batch_size, images.shape[0])
    if "color" in policy:
        images += draws.uniform("brightness", -0.5, 0.5)
        if images.shape[-1] == 3:
            images = _spread(images, draws.uniform("saturation", 0.0, 2.0), axis=[3])
        images = _spread(images, draws.uniform("contrast", 0.5, 1.5), axis=[1, 2, 3])
    if "translation" in policy:
        for axis in (1, 2):
            images = _shifted(images, draws, axis)
    if "cutout" in policy:
        images *= 1.0 - _cut(images.shape, draws, 1) * _cut(images.shape, draws, 2)
    return images


def ada(
    images: tf.Tensor,
    *,
    key: tf.Tensor,
    batch_size: int,
    p: "tf.Tensor | float",
    transforms: Sequence[str] = ADA_TRANSFORMS,
) -> tf.Tensor:
    """A chain of transforms, each applied to an image with probability `p`, independently.

    Karras et al. 2020, https://arxiv.org/abs/2006.06676, appendix B, in this order:

    * pixel blitting: ``flip`` (mirrors every other image it is applied to), ``rotate90`` (by 0 to 3 quarter
      turns), ``translation`` (by whole pixels, up to an eighth of the side);
    * geometry: ``scaling`` by ``2^N(0, 0.2^2)``, ``rotation`` by ``U(-pi, pi)``, about the centre;
    * colour: ``brightness`` ``x + N(0, 0.2^2)``, ``contrast`` ``2^N(0, 0.5^2) x``, ``saturation``
      ``m + 2^N(0, 1) (x - m)``, m the mean over a pixel's channels. Saturation needs three channels and is left
      out with any other number.

    Blitting and geometry together sample the image once, between mirrored edges and bilinearly; the paper
    samples at twice the resolution between low-pass filters. Of the paper's 18 transforms, anisotropic scaling,
    fractional translation, luma inversion and hue are left out, and the three groups that helped little there:
    filters, noise and cutout.

    An image that no transform is applied to comes out bit for bit; with p = 0 that is every image. As long as p
    stays below 0.8 the paper sees no leak into the generated images: the unchanged image remains the likeliest.

    Args:
        images: float32 ``[N, H, W, C]`` in [-1, 1], this replica's rows of the global batch.
        key: int32 ``[2]``, of this step and of this batch.
        batch_size: of the global batch: N times the number of replicas.
        p: float32 scalar in [0, 1].
        transforms: names of :data:`ADA_TRANSFORMS`, applied in the order there. ``flip`` and ``rotate90`` only
            for data that bears them: a mirrored digit is none.

    Returns:
        float32 ``[N, H, W, C]``.

    Raises:
        TypeError: images are not float32 ``[N, H, W, C]``.
        ValueError: an unknown name, ``rotate90`` of images that are not square, or N is not this replica's
            share of `batch_size`.
    """
    _require_images(images)
    _require_known(transforms, ADA_TRANSFORMS)
    if "rotate90" in transforms and images.shape[1] != images.shape[2]:
        raise ValueError(
            f"rotate90 takes square images, got {images.shape[1]}x{images.shape[2]}; "
            "leave it out of the transforms"
        )
    draws = _Draws(key, batch_size, images.shape[0])
    applied = {
        name: draws.uniform(f"{name} applied") < p
        for name in transforms
        if name != "saturation" or images.shape[-1] == 3
    }
    if not applied:
        return images
    augmented = images
    if applied.keys() & _PLACING:
        x, y = _sources(images.shape, applied, draws)
        augmented = _bilinear(images, x, y) if applied.keys() & _RESAMPLING else _nearest(images, x, y)
    if "brightness" in applied:
        augmented += tf.where(applied["brightness"], 0.2 * draws.normal("brightness"), 0.0)
    if "contrast" in applied:
        augmented *= tf.where(applied["contrast"], 2.0 ** (0.5 * draws.normal("contrast")), 1.0)
    if "saturation" in applied:
        factor = tf.where(applied["saturation"], 2.0 ** draws.normal("saturation"), 1.0)
        augmented = _spread(augmented, factor, axis=[3])
    touched = tf.reduce_any(tf.stack(list(applied.values())), axis=0)
    # As rows: the same choice in four dimensions takes six times as long on a CPU.
    rows = [images.shape[0], -1]
    chosen = tf.where(touched[:, 0, 0], tf.reshape(augmented, rows), tf.reshape(images, rows))
    return tf.reshape(chosen, images.shape)


@dataclass(frozen=True)
class _Draws:
    """Random numbers ``[N, 1, 1, 1]`` for this replica's images, independent from name to name."""

    key: tf.Tensor
    batch_size: int
    count: int

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> tf.Tensor:
        return low + (high - low) * self._rows(randomness.uniform(self._key(name), (self.batch_size, 1, 1, 1)))

    def normal(self, name: str) -> tf.Tensor:
        return self._rows(randomness.normal(self._key(name), (self.batch_size, 1, 1, 1)))

    def integer(self, name: str, count: int) -> tf.Tensor:
        """0 to ``count - 1``, int32."""
        return tf.cast(tf.floor(self.uniform(name, 0.0, count)), tf.int32)

    def _key(self, name: str) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(self.key, randomness.integer(0, f"augment/{name}"))

    def _rows(self, rows: tf.Tensor) -> tf.Tensor:
        if rows.shape[0] != self.count:
            raise ValueError(
                f"this replica's share of batch_size {self.batch_size} is {rows.shape[0]} images, got "
                f"{self.count}; augment real and generated images each by a call of their own"
            )
        return rows


def _spread(images: tf.Tensor, factor: tf.Tensor, axis: list[int]) -> tf.Tensor:
    """Moves values away from their mean over `axis` by a factor."""
    mean = tf.reduce_mean(images, axis=axis, keepdims=True)
    return mean + factor * (images - mean)


def _shifted(images: tf.Tensor, draws: _Draws, axis: int) -> tf.Tensor:
    length = images.shape[axis]
    most = length // 8
    shift = draws.integer(f"shift {axis}", 2 * most + 1)[:, 0, 0] - most
    source = tf.range(length) - shift
    rows = tf.gather(images, tf.clip_by_value(source, 0, length - 1), axis=axis, batch_dims=1)
    inside = tf.cast((source >= 0) & (source < length), images.dtype)
    return rows * tf.expand_dims(tf.expand_dims(inside, 3 - axis), 3)


def _cut(shape: tf.TensorShape, draws: _Draws, axis: int) -> tf.Tensor:
    """1 where the square lies by this axis, else 0: ``[N, H, 1, 1]`` or ``[N, 1, W, 1]``."""
    size = shape[axis] // 2
    # An even square has its centre between pixels, so that it can lie in one place more.
    first = draws.integer(f"cut {axis}", shape[axis] + 1 - size % 2) - size // 2
    place = tf.reshape(tf.range(shape[axis]), [-1 if other == axis else 1 for other in range(4)])
    return tf.cast((place >= first) & (place < first + size), tf.float32)


def _sources(shape: tf.TensorShape, applied: dict[str, tf.Tensor], draws: _Draws) -> tuple[tf.Tensor, tf.Tensor]:
    """Where in the image each pixel of the result comes from: x and y in pixels, broadcast to ``[N, H, W, 1]``.

    The transforms' inverses from the last to the first, about the centre. All but scaling and rotation map pixels
    to pixels without rounding.
    """
    height, width = shape[1:3]
    x = tf.reshape(tf.range(width, dtype=tf.float32), [1, 1, -1, 1]) - (width - 1) / 2
    y = tf.reshape(tf.range(height, dtype=tf.float32), [1, -1, 1, 1]) - (height - 1) / 2
    if "rotation" in applied:
        angle = tf.where(applied["rotation"], draws.uniform("angle", -math.pi, math.pi), 0.0)
        x, y = _turned(x, y, tf.cos(angle), tf.sin(angle))
    if "scaling" in applied:
        factor = tf.where(applied["scaling"], 2.0 ** (0.2 * draws.normal("scale")), 1.0)
        x, y = x / factor, y / factor
    if "translation" in applied:
        shift_x, shift_y = (
            tf.where(applied["translation"], tf.round(side * draws.uniform(f"shift {axis}", -1 / 8, 1 / 8)), 0.0)
            for axis, side in (("x", width), ("y", height))
        )
        x, y = x - shift_x, y - shift_y
    if "rotate90" in applied:
        quarters = tf.where(applied["rotate90"], draws.integer("quarters", 4), 0)
        # Not by cosine and sine, which are not quite 0 and 1.
        x, y = _turned(
            x, y, tf.gather([1.0, 0.0, -1.0, 0.0], quarters), tf.gather([0.0, 1.0, 0.0, -1.0], quarters)
        )
    if "flip" in applied:
        mirrored = applied["flip"] & tf.equal(draws.integer("flip", 2), 1)
        x = tf.where(mirrored, -x, x)
    return x + (width - 1) / 2, y + (height - 1) / 2


def _turned(x: tf.Tensor, y: tf.Tensor, cosine: tf.Tensor, sine: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return cosine * x - sine * y, sine * x + cosine * y


def _nearest(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Pixels at whole coordinates."""
    height, width = images.shape[1:3]
    return _taken(images, _mirrored(x, width), _mirrored(y, height))


def _bilinear(images: tf.Tensor, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    height, width = images.shape[1:3]
    x, y = _mirrored(x, width), _mirrored(y, height)
    left, top = (tf.minimum(tf.floor(at), side - 2) for at, side in ((x, width), (y, height)))
    right, bottom = x - left, y - top
    upper = (1.0 - right) * _taken(images, left, top) + right * _taken(images, left + 1, top)
    lower = (1.0 - right) * _taken(images, left, top + 1) + right * _taken(images, left + 1, top + 1)
    return (1.0 - bottom) * upper + bottom * lower


def _taken(images: tf.Tensor, column: tf.Tensor, row: tf.Tensor) -> tf.Tensor:
    """``images[n, row, column]`` at whole places float32 ``[N, H, W, 1]`` inside the image."""
    count, height, width, channels = images.shape
    place = tf.reshape(tf.cast(row, tf.int32) * width + tf.cast(column, tf.int32), [count, height * width])
    found = tf.gather(tf.reshape(images, [count, height * width, channels]), place, batch_dims=1)
    return tf.reshape(found, images.shape)


def _mirrored(at: tf.Tensor, length: int) -> tf.Tensor:
    """Coordinates folded into [0, length - 1] at both ends, as often as need be; the edge is not repeated."""
    last = length - 1
    return last - tf.abs(last - tf.math.floormod(at, 2.0 * last))


def _require_images(images: tf.Tensor) -> None:
    if images.dtype != tf.float32 or images.shape.rank != 4:
        raise TypeError(f"augmentation takes float32 images [N, H, W, C], got {images.dtype} {images.shape}")


def _require_known(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is no augmentation; known are {', '.join(known)}")
