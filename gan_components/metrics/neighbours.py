"""Exact nearest neighbours by Euclidean distance, in bounded memory."""

import itertools

import numpy as np

# Rows of the two sides whose distances stand in memory at once (2048 x 8192 float32 are 64 MB), and the most
# numbers that a tile of references may hold.
_QUERY_TILE, _REFERENCE_TILE, _TILE_NUMBERS = 2048, 8192, 2**25
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
    bound says that a row outside the candidates might belong inside, the row is done again in float64.

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
    # Both sides are moved by the same rounded centre, which changes no distance.
    precision = np.result_type(queries, references, np.float32)
    centre = references.mean(axis=0, dtype=np.float64).astype(precision)
    distances = np.empty((len(queries), k))
    indices = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), _QUERY_TILE):
        rows = np.arange(start, min(start + _QUERY_TILE, len(queries)))
        for dtype in (np.float32, np.float64):
            selves = rows if exclude_self else None
            candidates, floor = _candidates(queries[rows], references, centre, k + _SPARE, dtype, selves)
            found = _ranked(queries[rows], references, candidates, k)
            distances[rows], indices[rows] = found
            rows = rows[found[0][:, -1] ** 2 > floor]
            if not len(rows):
                break
    return distances, indices


def _candidates(
    queries: np.ndarray,
    references: np.ndarray,
    centre: np.ndarray,
    count: int,
    dtype: type[np.floating],
    selves: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Indices ``[n, count]`` of the apparently nearest rows, and what all other rows' squared distances exceed.

    Rows of which there are not enough are filled up with index -1.
    """
    queries = (queries - centre).astype(dtype)
    # |q|^2 is the same for the whole row and decides nothing; one product gives |r|^2 - 2 q.r.
    factors = np.concatenate([-2 * queries, np.ones((len(queries), 1), dtype)], axis=1)
    best = np.full((len(queries), count), np.inf, dtype)
    indices = np.full((len(queries), count), -1)
    largest = 0.0
    tile_rows = max(1, min(_REFERENCE_TILE, _TILE_NUMBERS // max(1, references.shape[1])))
    # A small tile first: what it finds spares most of the numbers of the others a closer look.
    starts = [0, *range(max(1, tile_rows // 8), len(references), tile_rows)]
    for start, end in itertools.pairwise([*starts, len(references)]):
        tile = np.empty((end - start, references.shape[1] + 1), dtype)
        np.subtract(references[start:end], centre, out=tile[:, :-1], casting="unsafe")
        tile[:, -1] = np.einsum("ij,ij->i", tile[:, :-1], tile[:, :-1])
        largest = max(largest, float(tile[:, -1].max()))
        scores = factors @ tile.T
        if selves is not None:
            inside = (start <= selves) & (selves < start + len(tile))
            scores[np.flatnonzero(inside), selves[inside] - start] = np.inf
        picked = _below(scores, best.max(axis=1), count)
        merged = np.concatenate([best, np.take_along_axis(scores, picked, axis=1)], axis=1)
        merged[:, count:][picked < 0] = np.inf
        owners = np.concatenate([indices, picked + start], axis=1)
        kept = _smallest(merged, count)
        best, indices = (np.take_along_axis(all_, kept, axis=1) for all_ in (merged, owners))
    indices[~np.isfinite(best)] = -1
    lengths = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
    # The error of a dot product is at most d units of rounding times |q||r| (Higham 2002, section 3.1); the
    # squares and the centring, rounded once more, cost a few more.
    unit = (queries.shape[1] + 8) * np.finfo(dtype).eps / 2
    error = unit * (2 * np.sqrt(lengths * largest) + largest + lengths)
    return indices, best.max(axis=1).astype(np.float64) + lengths - error


def _below(scores: np.ndarray, limits: np.ndarray, count: int) -> np.ndarray:
    """Columns of each row that may be among its `count` smallest of all tiles; -1 where a row has fewer of them.

    Once a tile has been seen, few scores are below a row's limit, the largest of its best so far: to find these is
    one comparison a number, where a partition of the row is some twenty.
    """
    if scores.shape[1] <= count:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    if np.isinf(limits).any():
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
