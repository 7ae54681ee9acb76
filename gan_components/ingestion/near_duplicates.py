"""Images that look alike: no copies of one another, but hardly independent either.

Equal pixels are caught by their key. A second JPEG compression or a small resize changes all keys and hardly
any thumbnail. It matters most where a held-out image looks like a training image: the held-out split is the
control of the memorization check, and a control that was trained on proves nothing. Mirrored and recoloured
copies are not found.
"""

import functools

import numpy as np

_SIDE = 8
# Root mean square over thumbnails, in levels. Of the first 300 of the 5,000 MNIST digits, JPEG at quality 75
# moves no thumbnail by more than 2.9; the closest two of the 5,000 (both a plain stroke) are 3.2 apart.
MAX_DISTANCE = 3.0
_ROWS_AT_ONCE = 1024


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """Averages uint8 ``[S, S, C]`` pixels over an 8 x 8 raster: uint8 ``[64 * C]``."""
    size, _, channels = pixels.shape
    overlaps = _overlaps(size)
    columns = overlaps @ pixels.reshape(size, -1)
    cells = overlaps @ columns.reshape(_SIDE, size, channels)
    return np.rint(cells / size**2).astype(np.uint8).ravel()


@functools.cache
def _overlaps(size: int) -> np.ndarray:
    """How much of each of `size` pixels lies in each cell of the raster, in eighths of a pixel.

    Whole numbers, of which float64 makes exact sums: a thumbnail is the same on every machine.
    """
    cells, places = np.arange(_SIDE)[:, None] * size, np.arange(size) * _SIDE
    ends, starts = np.minimum(cells + size, places + _SIDE), np.maximum(cells, places)
    return np.maximum(ends - starts, 0).astype(np.float64)


def thumbnail_size(channels: int) -> int:
    """Bytes of a thumbnail."""
    return _SIDE * _SIDE * channels


def find(thumbnails: np.ndarray, rows: np.ndarray, references: np.ndarray) -> list[tuple[int, int, float]]:
    """Thumbnails within :data:`MAX_DISTANCE` of another one.

    Two thumbnails differ by at least the difference of their means, so that each is compared only with those of
    about its mean; the result is that of comparing each with each.

    Args:
        thumbnails: uint8 ``[N, D]``.
        rows: bool ``[N]``: whose like is looked for.
        references: bool ``[N]``: among which. A row that is among them itself is not its own like.

    Returns:
        ``(row, nearest reference, distance)`` of each, by row.
    """
    size = thumbnails.shape[1]
    totals = thumbnails.sum(1, dtype=np.int64)
    by_mean = np.argsort(totals, kind="stable")
    candidates, queries = by_mean[references[by_mean]], by_mean[rows[by_mean]]
    reach = MAX_DISTANCE * size
    found = []
    for start in range(0, len(queries), _ROWS_AT_ONCE):
        some = queries[start : start + _ROWS_AT_ONCE]
        ours = _centred(thumbnails[some])
        lowest, highest = totals[some[0]] - reach, totals[some[-1]] + reach
        near = candidates[slice(*np.searchsorted(totals[candidates], [lowest, highest]))]
        best = np.full(len(some), -np.inf, np.float32)
        nearest = np.zeros(len(some), np.int64)
        for offset in range(0, len(near), _ROWS_AT_ONCE):
            others = near[offset : offset + _ROWS_AT_ONCE]
            theirs = _centred(thumbnails[others])
            # |a - b|^2 = |a|^2 - (2 a.b - |b|^2): the nearest has the largest bracket.
            brackets = (2 * ours) @ theirs.T
            brackets -= (theirs**2).sum(1)
            brackets[some[:, None] == others] = -np.inf
            closest = brackets.argmax(1)
            values = brackets[np.arange(len(some)), closest]
            nearest = np.where(values > best, others[closest], nearest)
            best = np.maximum(values, best)
        distances = np.sqrt(((ours**2).sum(1) - best) / size)
        found += [
            (int(some[place]), int(nearest[place]), float(distances[place]))
            for place in np.flatnonzero(distances <= MAX_DISTANCE)
        ]
    return sorted(found)


def _centred(thumbnails: np.ndarray) -> np.ndarray:
    """As float32 around 0: of up to 192 numbers all sums stay below 2^24 and are exact, in any order."""
    return thumbnails.astype(np.float32) - 128
