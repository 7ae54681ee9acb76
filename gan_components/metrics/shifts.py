"""Nearest neighbours in pixels up to a shift and, if wanted, a mirror image: copies that moved."""

import itertools

import numpy as np
from scipy import ndimage

from gan_components.metrics import neighbours

_CANDIDATES = 32
# As many as stay in a processor's cache.
_BLOCK_NUMBERS = 2**18


def nearest_shifted(
    queries: np.ndarray, references: np.ndarray, k: int, *, reach: int = 1, mirrored: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest references of each query, each at the shift of the query at which it is nearest.

    The distance is over the reference's pixels that are at least `reach` from its border, so that nothing needs to
    be made up for what a shift brings in; a copy shifted by whole pixels is at exactly 0. The 32 references
    nearest in blurred images, which a small shift changes little, are compared at all shifts: what is found is at
    least as far as the true neighbour, for generated and held-out images alike.

    Args:
        queries: uint8 ``[N, H, W, C]``, H and W at least ``4 * reach + 1``.
        references: uint8 ``[M, H, W, C]``, M at least k.
        k: neighbours wanted, at most 32.
        reach: largest shift in pixels, along each axis.
        mirrored: whether queries are also compared as seen in a mirror (left and right).

    Returns:
        ``(distances, indices)``: float32 and int64 ``[N, k]``, nearest first.

    Raises:
        ValueError: images smaller than that.
    """
    height, width = references.shape[1:3]
    if min(height, width) < 4 * reach + 1:
        raise ValueError(f"shifts of {reach} pixels take images of {4 * reach + 1} or more, got {height}x{width}")
    count = min(_CANDIDATES, len(references))
    blurred = _blurred(references)
    inner = references[:, reach : height - reach, reach : width - reach].reshape(len(references), -1)
    best = np.full((len(queries), count), np.inf, np.float32)
    owners = np.zeros((len(queries), count), np.int64)
    views = [queries, queries[:, :, ::-1]] if mirrored else [queries]
    for view in views:
        _, candidates = neighbours.nearest(_blurred(view), blurred, count)
        found = _at_best_shift(view, inner, candidates, reach)
        merged = np.concatenate([best, found], axis=1)
        indices = np.concatenate([owners, candidates], axis=1)
        order = np.argsort(merged, axis=1, kind="stable")[:, :count]
        best, owners = (np.take_along_axis(each, order, axis=1) for each in (merged, indices))
    return best[:, :k], owners[:, :k]


def _at_best_shift(queries: np.ndarray, inner: np.ndarray, candidates: np.ndarray, reach: int) -> np.ndarray:
    """Distance of each query to each of its candidates, the least over all shifts: float32 ``[N, K]``."""
    _, height, width, _ = queries.shape
    offsets = list(itertools.product(range(2 * reach + 1), repeat=2))
    squares = np.empty(candidates.shape)
    rows = max(1, _BLOCK_NUMBERS // ((candidates.shape[1] + len(offsets)) * inner.shape[1]))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        targets = inner[candidates[block]].astype(np.float64)
        windows = np.stack(
            [
                queries[block, down : down + height - 2 * reach, right : right + width - 2 * reach]
                for down, right in offsets
            ],
            axis=1,
        )
        windows = windows.reshape(*windows.shape[:2], -1).astype(np.float64)
        # |t - w|^2 as |t|^2 + |w|^2 - 2 t.w: of whole numbers exact in float64.
        found = targets @ (-2 * windows).swapaxes(1, 2)
        found += np.einsum("ijk,ijk->ij", windows, windows)[:, None]
        squares[block] = found.min(axis=2) + np.einsum("ijk,ijk->ij", targets, targets)
    return np.sqrt(squares).astype(np.float32)


def _blurred(images: np.ndarray) -> np.ndarray:
    """Every second pixel of means over 5x5 pixels: float32 ``[N, ...]``."""
    means = ndimage.uniform_filter(images.astype(np.float32), (1, 5, 5, 1), mode="nearest")
    return np.ascontiguousarray(means[:, ::2, ::2])
