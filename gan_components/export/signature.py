"""What a served model takes and gives, as TF Serving's metadata tells it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

_METHOD = "tensorflow/serving/predict"

# Of the types that served generators use; text has no size of its own.
_ITEM_BYTES = {"DT_FLOAT": 4, "DT_INT64": 8, "DT_UINT8": 1, "DT_STRING": 0}


@dataclass(frozen=True)
class Rows:
    """The tensors of one name: any number of rows.

    Attributes:
        dtype: as the protos name it, such as ``DT_INT64``.
        shape: of one row; −1 where it is not known beforehand.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * _ITEM_BYTES.get(self.dtype, 8) if -1 not in self.shape else 0

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is such rows."""
        same = len(shape) == len(self.shape) + 1
        return same and all(a in (-1, b) for a, b in zip(self.shape, shape[1:], strict=True))


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
