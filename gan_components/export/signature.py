"""What a served model takes and gives, as TF Serving's metadata tells it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

_METHOD = "tensorflow/serving/predict"

TYPES = {"DT_FLOAT": np.float32, "DT_INT64": np.int64, "DT_UINT8": np.uint8, "DT_STRING": np.object_}
"""Of what served generators take and give, by the protos' names; text is an array of bytes objects."""


@dataclass(frozen=True)
class Rows:
    """The tensors of one name: any number of rows.

    Attributes:
        dtype: one of :data:`TYPES`, or another that no generator has.
        shape: of one row; −1 where it is not known beforehand.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        """Size of one row; 0 where it is not known beforehand."""
        if -1 in self.shape or self.dtype == "DT_STRING":
            return 0
        return math.prod(self.shape) * np.dtype(TYPES.get(self.dtype, np.float64)).itemsize

    def fits(self, array: np.ndarray) -> bool:
        """Whether an array is such rows."""
        same = self.dtype in TYPES and array.dtype == TYPES[self.dtype] and array.ndim == len(self.shape) + 1
        return same and all(a in (-1, b) for a, b in zip(self.shape, array.shape[1:], strict=True))

    def __str__(self) -> str:
        sizes = ["N", *("any" if size == -1 else str(size) for size in self.shape)]
        return f"{self.dtype.removeprefix('DT_').lower()} [{', '.join(sizes)}]"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs by name."""

    inputs: Mapping[str, Rows]
    outputs: Mapping[str, Rows]

    @classmethod
    def of(cls, definition: Mapping[str, Any]) -> Self:
        """Reads a SignatureDef in protobuf's JSON form, which is what REST answers."""
        return cls(
            *({name: _rows(info) for name, info in definition[side].items()} for side in ("inputs", "outputs"))
        )


def by_name(definitions: Mapping[str, Mapping[str, Any]]) -> dict[str, Signature]:
    """The signatures that answer Predict requests."""
    return {
        name: Signature.of(definition)
        for name, definition in sorted(definitions.items())
        if definition.get("method_name") == _METHOD
    }


def _rows(info: Mapping[str, Any]) -> Rows:
    dimensions = info.get("tensor_shape", {}).get("dim", [])
    # Protobuf's JSON writes int64 as text.
    return Rows(info["dtype"], tuple(int(dimension.get("size", 0)) for dimension in dimensions[1:]))
