"""Diversity by structural similarity: a generator that repeats itself draws images that look alike."""

import numpy as np
import tensorflow as tf

from gan_components.metrics.estimate import Estimate

# Wang et al. 2003: the weights of the scales, each half as large as the one before.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_WINDOW = 11
_BATCH_SIZE = 128


def estimate(images: np.ndarray) -> Estimate:
    """Mean multi-scale structural similarity of pairs of images, each image in one pair: 1 if all are equal.

    Wang et al. 2003, https://doi.org/10.1109/ACSSC.2003.1292216; between generated images of one class it was
    proposed as a measure of their variety by Odena et al. 2017, https://arxiv.org/abs/1610.09585. It sees large
    losses of variety only, and means something beside the value of real images alone.

    Images whose halved side would be smaller than the window of 11 pixels take part in fewer than the paper's five
    scales, with the weights of those that are left scaled to sum to 1: 28x28 pixels have two.

    Args:
        images: uint8 ``[N, H, W, C]``, N at least 4, sides of at least 11; rows 2i and 2i + 1 are a pair.

    Returns:
        The mean, with the standard error over the pairs, which share no image.

    Raises:
        ValueError: fewer or smaller images.

    Example:
        >>> estimate(np.zeros((4, 28, 28, 1), np.uint8)).value
        1.0
    """
    side = min(images.shape[1:3])
    if len(images) < 4 or side < _WINDOW:
        raise ValueError(f"ms_ssim takes at least 4 images of at least 11 x 11, got {list(images.shape)}")
    scales = min(len(_WEIGHTS), 1 + int(np.log2(side / _WINDOW)))
    weights = np.array(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    count = len(images) // 2 * 2
    parts = []
    for start in range(0, count, 2 * _BATCH_SIZE):
        rows = images[start : min(start + 2 * _BATCH_SIZE, count)]
        similar = tf.image.ssim_multiscale(
            rows[::2], rows[1::2], 255, power_factors=weights.tolist(), filter_size=_WINDOW
        )
        parts.append(similar.numpy())
    values = np.concatenate(parts).astype(np.float64)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))
