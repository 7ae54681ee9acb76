"""The only place where images change range, size or arrangement.

Images are uint8 in [0, 255] at rest, in records and at the door of every metric. They are float32
in [-1, 1] only between :func:`to_float` and :func:`to_uint8`: most wrong Fréchet distances are
range or resize errors.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import tensorflow as tf


def to_float(images: "np.ndarray | tf.Tensor") -> "tf.Tensor":
    """Maps uint8 [0, 255] to float32 [-1, 1]: ``x / 127.5 - 1``.

    Args:
        images: uint8 array or tensor of any shape.

    Returns:
        float32 tensor of the same shape.

    Raises:
        TypeError: if `images` is not uint8.

    Example:
        >>> to_float(np.array([0, 255], np.uint8)).numpy().tolist()
        [-1.0, 1.0]
    """
    # Imported where tensors are met: ingestion workers use this module and need no TensorFlow.
    import tensorflow as tf

    if images.dtype != np.uint8:
        raise TypeError(f"to_float takes uint8 images in [0, 255], got {images.dtype}")
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def to_uint8(images: "np.ndarray | tf.Tensor") -> "tf.Tensor":
    """Maps float32 [-1, 1] to uint8 [0, 255]: rounds half to even and clips.

    Inverse of :func:`to_float` for all 256 values.

    Args:
        images: float32 array or tensor of any shape; values outside [-1, 1] are clipped.

    Returns:
        uint8 tensor of the same shape.

    Raises:
        TypeError: if `images` is not float32.
    """
    import tensorflow as tf

    if images.dtype != np.float32:
        raise TypeError(f"to_uint8 takes float32 images in [-1, 1], got {images.dtype}")
    return tf.cast(tf.clip_by_value(tf.round((images + 1.0) * 127.5), 0.0, 255.0), tf.uint8)


def fit(image: Image.Image, size: int, how: Literal["crop", "pad"]) -> Image.Image:
    """Makes a picture square, `size` pixels a side, with an antialiased (Lanczos) resize.

    Args:
        image: a PIL picture of mode ``L`` or ``RGB``.
        size: side of the result in pixels.
        how: ``crop`` cuts the centre square, ``pad`` adds black on the short side.

    Returns:
        A picture of the same mode. A picture that already fits is returned untouched, bit for bit.
    """
    width, height = image.size
    if width != height:
        side = min(width, height) if how == "crop" else max(width, height)
        # A crop box that reaches over the edge is filled with black by PIL: padding is the same cut.
        left, top = (width - side) // 2, (height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return image


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Lays images out in rows, left to right, top to bottom, without gaps.

    Args:
        images: uint8 ``[N, H, W, C]``.
        columns: images in a row; the last row is filled up with black.

    Returns:
        uint8 ``[ceil(N / columns) * H, columns * W, C]``.
    """
    if images.dtype != np.uint8 or images.ndim != 4:
        raise TypeError(f"grid takes uint8 [N, H, W, C], got {images.dtype} {images.shape}")
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count] = images
    cells = cells.reshape(rows, columns, height, width, channels)
    return cells.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def picture(image: np.ndarray, *, scale: int = 1) -> Image.Image:
    """One uint8 ``[H, W, C]`` image (C is 1 or 3) as PIL's, each pixel `scale` times as large."""
    small = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return small.resize((small.width * scale, small.height * scale), Image.Resampling.NEAREST)


def png(image: np.ndarray, *, scale: int = 1) -> bytes:
    """Encodes :func:`picture` as PNG."""
    buffer = io.BytesIO()
    picture(image, scale=scale).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_grid(path: Path, images: np.ndarray, *, columns: int, scale: int = 2) -> None:
    """Writes :func:`grid` of `images` to `path` as PNG."""
    path.write_bytes(png(grid(images, columns), scale=scale))
