"""What orders references by their distance to queries: one matrix product, in one of several precisions.

Each kind also says what it vouches for, since a product rounds: how near a reference with a given score can be.
"""

import functools

import numpy as np
import tensorflow as tf

from gan_components import processor

_PARTS = 3
_BFLOAT16_ROUNDING = 2.0**-8
_PROBE_ROWS = 64


class FloatScores:
    """``|r|^2 - 2 q.r`` in float32 or float64."""

    def __init__(self, queries: np.ndarray, centre: np.ndarray, largest: float, dtype: type[np.floating]) -> None:
        """Prepares queries ``[n, d]``.

        Args:
            queries: of any real dtype.
            centre: moves both sides alike, which changes no distance.
            largest: of all references' ``|r - centre|^2``.
            dtype: of the product.
        """
        queries = (queries - centre).astype(dtype)
        self.farthest = dtype(np.inf)
        self._dtype, self._centre = dtype, centre
        self._lengths = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
        self._error = _error(queries.shape[1], float(np.finfo(dtype).eps) / 2, self._lengths, largest)
        # |q|^2 is the same for a whole row and decides nothing.
        self._factors = np.concatenate([-2 * queries, np.ones((len(queries), 1), dtype)], axis=1)

    def __len__(self) -> int:
        return len(self._lengths)

    def prepared(self, references: np.ndarray) -> np.ndarray:
        """References ``[m, d]`` as any scores with this centre take them."""
        tile = np.empty((len(references), references.shape[1] + 1), self._dtype)
        np.subtract(references, self._centre, out=tile[:, :-1], casting="unsafe")
        tile[:, -1] = np.einsum("ij,ij->i", tile[:, :-1], tile[:, :-1])
        return tile.T

    def of(self, prepared: np.ndarray) -> np.ndarray:
        """Scores of prepared references: `dtype` ``[n, m]``."""
        return self._factors @ prepared

    def floor(self, scores: np.ndarray) -> np.ndarray:
        """What the squared distance of any reference is that scores no less: float64 ``[n]``, a lower bound."""
        return scores.astype(np.float64) + self._lengths - self._error


class Bfloat16Scores:
    """``|q - r|^2`` of uint8 rows as bfloat16, of which the bits are ordered like the numbers: uint16.

    Differences to a whole centre are whole and at most 255, which bfloat16 holds exactly, and so are the products
    in float32. What is rounded is their sum, and what leaves the product; squared lengths enter in parts of
    8 bits each. A margin as large as the error of the sum keeps all results from being negative.
    """

    farthest = np.uint16(np.iinfo(np.uint16).max)

    def __init__(self, queries: np.ndarray, centre: np.ndarray, largest: float) -> None:
        """As for :class:`FloatScores`; `centre` whole numbers in [0, 255]."""
        queries = (queries - centre).astype(np.float32)
        self._centre = centre
        lengths = np.einsum("ij,ij->i", queries, queries, dtype=np.float64)
        self._margin = _error(queries.shape[1] + 2 * _PARTS, 2.0**-24, lengths, largest)
        ones = np.ones((len(queries), _PARTS), np.float32)
        self._factors = _bfloat16([-2 * queries, ones, _in_parts(lengths + self._margin)])

    def __len__(self) -> int:
        return len(self._margin)

    def prepared(self, references: np.ndarray) -> tf.Tensor:
        """As for :class:`FloatScores`, of uint8."""
        tile = np.subtract(references, self._centre, dtype=np.float32)
        lengths = np.einsum("ij,ij->i", tile, tile, dtype=np.float64)
        ones = np.ones((len(tile), _PARTS), np.float32)
        return _transposed(_bfloat16([tile, _in_parts(lengths), ones]))

    def of(self, prepared: tf.Tensor) -> np.ndarray:
        """Scores of prepared references: uint16 ``[n, m]``, not to be written to."""
        return _product(self._factors, prepared)

    def floor(self, scores: np.ndarray) -> np.ndarray:
        """As for :class:`FloatScores`."""
        return _numbers(scores) * (1 - _BFLOAT16_ROUNDING) - 2 * self._margin


Scores = FloatScores | Bfloat16Scores


@functools.cache
def bfloat16_is_faster(width: int) -> bool:
    """Whether this machine multiplies bfloat16 matrices fast, and adds up `width` products in float32.

    The second is tried: some libraries add up in bfloat16, where one added to 2^16 is lost.
    """
    if "amx_bf16" not in processor.instructions():
        return False
    row = np.ones((_PROBE_ROWS, width), np.float32)
    row[:, 0], row[:, -1] = 2.0**16, -(2.0**16)
    found = _numbers(_product(_bfloat16([row]), _transposed(_bfloat16([np.ones_like(row)]))))
    return bool(np.all(np.abs(found - (width - 2)) <= _BFLOAT16_ROUNDING * (width - 2)))


def _error(width: int, unit: float, lengths: np.ndarray, largest: float) -> np.ndarray:
    """Bound of the rounding error of ``|q|^2 + |r|^2 - 2 q.r``: float64 ``[n]``.

    That of a dot product is at most d units of rounding times ``|q||r|`` (Higham 2002, section 3.1); the squares
    and the centring, rounded once more, cost a few more.
    """
    return (width + 8) * unit * (2 * np.sqrt(lengths * largest) + largest + lengths)


def _in_parts(numbers: np.ndarray) -> np.ndarray:
    """Numbers ``[n]`` as sums of bfloat16 numbers, 24 bits in all: float32 ``[n, 3]``."""
    parts = []
    for _ in range(_PARTS):
        parts.append(numbers.astype(tf.bfloat16.as_numpy_dtype).astype(np.float64))
        numbers = numbers - parts[-1]
    return np.stack(parts, axis=1).astype(np.float32)


def _bfloat16(columns: list[np.ndarray]) -> tf.Tensor:
    with tf.device("CPU:0"):
        return tf.cast(np.concatenate(columns, axis=1), tf.bfloat16)


def _transposed(matrix: tf.Tensor) -> tf.Tensor:
    # The product of two matrices is slower if it has to do that itself.
    with tf.device("CPU:0"):
        return tf.transpose(matrix)


def _product(left: tf.Tensor, right: tf.Tensor) -> np.ndarray:
    """Bits of the bfloat16 product, without a copy."""
    with tf.device("CPU:0"):
        return np.asarray(memoryview(tf.bitcast(left @ right, tf.uint16)))


def _numbers(bits: np.ndarray) -> np.ndarray:
    """What bits of bfloat16 stand for: float64."""
    return (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
