"""Exact nearest neighbours by Euclidean distance, in bounded memory."""

import functools
import itertools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from gan_components.metrics.scores import Bfloat16Scores, FloatScores, Scores, bfloat16_is_faster

# Rows of the two sides whose scores stand in memory at once (4096 x 8192 float32 are 128 MB), the most
# numbers that a tile of references may hold, and that are prepared of the queries.
_QUERY_TILE, _REFERENCE_TILE, _TILE_NUMBERS, _QUERY_NUMBERS = 4096, 8192, 2**25, 2**25
_SPARE = 8
# More than so many scores of a row that need a closer look are looked at by partition.
_MOST_BELOW = 1024


def nearest(
    queries: np.ndarray, references: np.ndarray, k: int, *, exclude_self: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest rows of `references` for each row of `queries`.

    Distances expanded as ``|q|^2 + |r|^2 - 2 q.r`` run at the speed of a matrix product but lose the small
    ones: in float32, exact copies of 0..255 images come out up to 5.7 apart. Here the expansion, centred,
    only proposes k + 8 candidates, which direct float64 differences then rank. Where the rounding error's
    bound says that a row outside the candidates might belong inside, the row is done again more precisely:
    in bfloat16 (uint8 rows, where the processor is faster with it), float32, float64.

    Args:
        queries: ``[N, ...]``, any real dtype; trailing axes are flattened.
        references: ``[M, ...]``, M at least k (k + 1 with `exclude_self`).
        k: neighbours wanted.
        exclude_self: `queries` are `references`; row i is no neighbour of itself.

    Returns:
        ``(distances, indices)``: float64 and int64 ``[N, k]``, nearest first. A copy is at exactly 0; equal
        distances are ordered by index.
    """
    queries, references = (rows.reshape(len(rows), -1) for rows in (queries, references))
    available = len(references) - exclude_self
    if available < k:
        raise ValueError(f"{k} neighbours were asked for among {available} references")
    kinds = _kinds(queries, references)
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), np.int64)
    rows_at_once = max(1, _QUERY_NUMBERS // max(1, queries.shape[1]))
    for start in range(0, len(queries), rows_at_once):
        rows = np.arange(start, min(start + rows_at_once, len(queries)))
        for kind in kinds:
            tiles = [
                _Candidates(kind(queries[own]), k + _SPARE, own if exclude_self else None)
                for own in np.split(rows, range(_QUERY_TILE, len(rows), _QUERY_TILE))
            ]
            for first, end in _tiles(references):
                prepared = tiles[0].scoring.prepared(references[first:end])
                for tile in tiles:
                    tile.see(prepared, first, end)
            candidates = np.concatenate([tile.indices for tile in tiles])
            distances[rows], indices[rows] = _ranked(queries[rows], references, candidates, k)
            floor = np.concatenate([tile.floor() for tile in tiles])
            rows = rows[distances[rows, -1] ** 2 > floor]
            if not len(rows):
                break
    return distances, indices


def _kinds(queries: np.ndarray, references: np.ndarray) -> list[Callable[[np.ndarray], Scores]]:
    """The kinds of scores, the most precise last; each takes queries."""
    whole = queries.dtype == references.dtype == np.uint8
    precision = np.result_type(queries, references, np.float32)
    # Both sides are moved by the same rounded centre, which changes no distance.
    centre = references.mean(axis=0, dtype=np.float64)
    centre = (np.rint(centre) if whole else centre).astype(precision)
    largest = 0.0
    for start, end in _tiles(references):
        tile = references[start:end] - centre
        largest = max(largest, float(np.einsum("ij,ij->i", tile, tile, dtype=np.float64).max()))
    kinds: list[Callable[[np.ndarray], Scores]] = [
        functools.partial(FloatScores, centre=centre, largest=largest, dtype=dtype)
        for dtype in (np.float32, np.float64)
    ]
    if whole and bfloat16_is_faster(references.shape[1]):
        kinds.insert(0, functools.partial(Bfloat16Scores, centre=centre, largest=largest))
    return kinds


def _tiles(references: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where tiles of the references begin and end.

    A small tile first: what it finds spares most of the numbers of the others a closer look.
    """
    rows = max(1, min(_REFERENCE_TILE, _TILE_NUMBERS // max(1, references.shape[1])))
    starts = [0, *range(max(1, rows // 8), len(references), rows)]
    return itertools.pairwise([*starts, len(references)])


class _Candidates:
    """The apparently nearest references of a tile of queries, so far.

    Attributes:
        scoring: of the n queries.
        indices: ``[n, count]``; -1 where a query was shown fewer references.
    """

    def __init__(self, scoring: Scores, count: int, own: np.ndarray | None) -> None:
        """Begins with none.

        Args:
            scoring: of the n queries.
            count: candidates of each query.
            own: the reference ``[n]`` that each query is itself, to be left out; None: they are none.
        """
        self.scoring, self._own = scoring, own
        self._scores = np.full((len(scoring), count), scoring.farthest)
        self.indices = np.full((len(scoring), count), -1)

    def see(self, prepared: np.ndarray | tf.Tensor, start: int, end: int) -> None:
        """Takes in what is near of the references from `start` to `end`."""
        count, farthest = self.indices.shape[1], self.scoring.farthest
        scores = self.scoring.of(prepared)
        if self._own is not None and (inside := (start <= self._own) & (self._own < end)).any():
            scores = scores.copy()
            scores[np.flatnonzero(inside), self._own[inside] - start] = farthest
        picked = _below(scores, self._scores.max(axis=1), farthest, count)
        found = np.take_along_axis(scores, picked, axis=1)
        found[picked < 0] = farthest
        all_scores = np.concatenate([self._scores, found], axis=1)
        all_indices = np.concatenate([self.indices, np.where(found == farthest, -1, picked + start)], axis=1)
        kept = _smallest(all_scores, count)
        self._scores = np.take_along_axis(all_scores, kept, axis=1)
        self.indices = np.take_along_axis(all_indices, kept, axis=1)

    def floor(self) -> np.ndarray:
        """What the squared distances of all other references are not below: float64 ``[n]``."""
        return self.scoring.floor(self._scores.max(axis=1))


def _below(scores: np.ndarray, limits: np.ndarray, farthest: np.generic, count: int) -> np.ndarray:
    """Columns of each row that may be among its `count` smallest of all tiles; -1 where a row has fewer of them.

    Once a tile has been seen, few scores are below a row's limit, the largest of its best so far: to find these is
    one comparison a number, where a partition of the row is some twenty.
    """
    if scores.shape[1] <= count:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    if (limits == farthest).any():
        return _smallest(scores, count)
    rows, columns = np.divmod(np.flatnonzero(scores < limits[:, None]), scores.shape[1])
    per_row = np.bincount(rows, minlength=len(scores))
    if per_row.max() > max(_MOST_BELOW, count):
        return _smallest(scores, count)
    picked = np.full((len(scores), max(1, per_row.max())), -1)
    picked[rows, np.arange(len(rows)) - np.repeat(np.cumsum(per_row) - per_row, per_row)] = columns
    return picked


def _smallest(scores: np.ndarray, count: int) -> np.ndarray:
    return np.argpartition(scores, count - 1, axis=1)[:, :count]


def _ranked(
    queries: np.ndarray, references: np.ndarray, candidates: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each row's candidates by direct float64 differences."""
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), np.int64)
    # As many as stay in a processor's cache.
    rows_at_once = max(1, 2**18 // (candidates.shape[1] * queries.shape[1]))
    for start in range(0, len(queries), rows_at_once):
        rows = slice(start, start + rows_at_once)
        # Sorted by index first: the stable sort below then orders equal distances by index.
        owners = np.sort(candidates[rows], axis=1)
        differences = references[owners].astype(np.float64) - queries[rows, None]
        squares = np.einsum("ijk,ijk->ij", differences, differences)
        squares[owners < 0] = np.inf
        order = np.argsort(squares, axis=1, kind="stable")[:, :k]
        distances[rows] = np.sqrt(np.take_along_axis(squares, order, axis=1))
        indices[rows] = np.take_along_axis(owners, order, axis=1)
    return distances, indices
