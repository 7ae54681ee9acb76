"""Reads tensors from a PyTorch file without PyTorch, and without running what the file says.

A `.pth` file is a pickle, and a pickle is a program: it may call anything that can be imported. This reader knows
ordered dictionaries, storages and the one function that makes a tensor of a storage; any other name is refused.

Two layouts exist. Since PyTorch 1.6 a file is a zip archive with the pickle in ``<name>/data.pkl`` and each
storage in ``<name>/data/<key>``. Before, it was five pickles (a magic number, a version, the machine, the object,
the list of the storages' keys) and the storages one after another, each behind the number of its elements.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gan_components.errors import InputError

_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# No network of this project's comes near: a file that asks for more is broken or hostile.
_MAX_ELEMENTS = 2**27
_MAX_INDEX_BYTES = 2**26
# What a broken pickle raises is nearly anything: the pickle machine checks little.
_BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    EOFError,
    ArithmeticError,
    LookupError,
    MemoryError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
)


class _Storage:
    """Numbers of one dtype, filled once they are read."""

    def __init__(self, dtype: str, count: int) -> None:
        if not 0 <= count <= _MAX_ELEMENTS:
            raise pickle.UnpicklingError(f"a storage of {count} elements")
        self.dtype, self.count = np.dtype(dtype), count
        self.values: np.ndarray | None = None

    @property
    def nbytes(self) -> int:
        return self.count * self.dtype.itemsize


class _Tensor:
    """A view of a storage that may not be filled yet."""

    def __init__(
        self, storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
    ) -> None:
        numbers = [offset, *shape, *strides]
        if not isinstance(storage, _Storage) or len(shape) != len(strides):
            raise pickle.UnpicklingError("a tensor without a storage")
        if not all(isinstance(number, int) and 0 <= number <= _MAX_ELEMENTS for number in numbers):
            raise pickle.UnpicklingError(f"a tensor of shape {shape} with strides {strides} at {offset}")
        last, elements = offset, 1
        for size, stride in zip(shape, strides, strict=True):
            last, elements = last + (size - 1) * stride, elements * size
        if elements > _MAX_ELEMENTS or (elements and last >= storage.count):
            raise pickle.UnpicklingError(
                f"a tensor of shape {shape} beyond its storage of {storage.count} elements"
            )
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def array(self) -> np.ndarray:
        values, size = self.storage.values, self.storage.dtype.itemsize
        if values is None:
            raise pickle.UnpicklingError("a tensor whose storage is not in the file")
        strides = [stride * size for stride in self.strides]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides, writeable=False).copy()


class _Unpickler(pickle.Unpickler):
    """Knows the names below and no others: ``find_class`` is the only way from a pickle to code."""

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self.storages = storages

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise pickle.UnpicklingError(f"the name {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        # ("storage", kind, key, device, number of elements[, view of another storage])
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage":
            raise pickle.UnpicklingError("a reference that is no storage")
        _, dtype, key, _, count, *view = pid
        known = isinstance(dtype, str) and dtype in _DTYPES.values() and isinstance(count, int)
        if not known or not isinstance(key, str) or any(view):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        return self.storages.setdefault(key, _Storage(dtype, count))


def read(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a state dictionary, by name.

    Args:
        path: a `.pth` file in the zip or the legacy layout.

    Raises:
        InputError: the file is no dictionary of tensors, or holds anything else; says what.

    Example:
        >>> sorted(read(Path("weights-inception-2015-12-05-6726825d.pth")))[0]
        'Conv2d_1a_3x3.bn.bias'
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                found = _read_zip(file)
            else:
                file.seek(0)
                found = _read_legacy(file)
        if not isinstance(found, dict) or not found:
            raise pickle.UnpicklingError("an object that is no dictionary")
        if not all(isinstance(name, str) and isinstance(value, _Tensor) for name, value in found.items()):
            raise pickle.UnpicklingError("a dictionary of other things than tensors")
        return {name: value.array() for name, value in found.items()}
    except _BROKEN as error:
        raise InputError(
            f"{path} is no plain PyTorch state dictionary: it holds {error}. Expected a file of named tensors "
            "alone, as torch.save(model.state_dict(), ...) writes it; nothing of it was run"
        ) from error


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        (index,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if archive.getinfo(index).file_size > _MAX_INDEX_BYTES:
            raise pickle.UnpicklingError(f"an index of {archive.getinfo(index).file_size} bytes")
        storages: dict[str, _Storage] = {}
        found = _Unpickler(io.BytesIO(archive.read(index)), storages).load()
        for key, storage in storages.items():
            entry = archive.getinfo(f"{index.removesuffix('.pkl')}/{key}")
            if entry.file_size != storage.nbytes:
                raise pickle.UnpicklingError(f"{entry.file_size} bytes of {storage.nbytes} for the storage {key}")
            storage.values = np.frombuffer(archive.read(entry), storage.dtype)
    return found


def _read_legacy(file: BinaryIO) -> Any:
    storages: dict[str, _Storage] = {}
    if _Unpickler(file, storages).load() != _MAGIC_NUMBER:
        raise pickle.UnpicklingError("another magic number than PyTorch's")
    for _ in ("protocol version", "machine"):
        _Unpickler(file, storages).load()
    found = _Unpickler(file, storages).load()
    for key in _Unpickler(file, storages).load():
        storage = storages[key]
        count = int.from_bytes(file.read(8), "little", signed=True)
        if count != storage.count:
            raise pickle.UnpicklingError(f"{count} elements of {storage.count} for the storage {key}")
        storage.values = np.frombuffer(file.read(storage.nbytes), storage.dtype)
    return found
