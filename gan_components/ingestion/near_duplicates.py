"""Held-out images that look like a training image: no copy of one, but hardly independent of it either.

Equal pixels are caught by their key. A second JPEG compression or a small resize changes all keys and hardly
any thumbnail. It matters because the held-out split is the control of the memorization check, and a control
that was trained on proves nothing. Mirrored and recoloured copies are not found.
"""

import numpy as np
from PIL import Image

_SIDE = 8
# Root mean square over thumbnails, in levels. Of the first 300 of the 5,000 MNIST digits, JPEG at quality 75
# moves no thumbnail by more than 2.9; the closest two of the 5,000 (both a plain stroke) are 3.2 apart.
MAX_DISTANCE = 3.0
_ROWS_AT_ONCE = 1024


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Averages uint8 ``[H, W, C]`` pixels over an 8 x 8 raster: uint8 ``[64 * C]``."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(picture.resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()


def find(train: np.ndarray, holdout: np.ndarray) -> list[tuple[int, int, float]]:
    """Held-out thumbnails within :data:`MAX_DISTANCE` of a training one.

    Compares each with each: about ``2 * len(train) * len(holdout) * D`` operations.

    Args:
        train: uint8 ``[N, D]``.
        holdout: uint8 ``[M, D]``.

    Returns:
        ``(row of holdout, nearest row of train, distance)`` of each, by row.
    """
    found = []
    columns = train.shape[1]
    for start in range(0, len(holdout), _ROWS_AT_ONCE):
        rows = holdout[start : start + _ROWS_AT_ONCE].astype(np.float32)
        best = np.full(len(rows), np.inf, np.float32)
        nearest = np.zeros(len(rows), np.int64)
        for offset in range(0, len(train), _ROWS_AT_ONCE):
            others = train[offset : offset + _ROWS_AT_ONCE].astype(np.float32)
            squares = (rows**2).sum(1)[:, None] + (others**2).sum(1) - 2 * rows @ others.T
            closest = squares.argmin(1)
            values = squares[np.arange(len(rows)), closest]
            nearest = np.where(values < best, offset + closest, nearest)
            best = np.minimum(values, best)
        distances = np.sqrt(np.maximum(best, 0) / columns)
        found += [
            (start + int(row), int(nearest[row]), float(distances[row]))
            for row in np.flatnonzero(distances <= MAX_DISTANCE)
        ]
    return found
