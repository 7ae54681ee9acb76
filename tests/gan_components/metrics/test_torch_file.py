"""Files as PyTorch writes them, made here without it; and files that it would not write."""

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from gan_components.errors import InputError
from gan_components.metrics.features import torch_file

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bn.num_batches_tracked": np.array(7, np.int64),
    "bn.bias": np.linspace(0, 1, 5),
}


class _Storage:
    def __init__(self, key: str, kind: type, count: int) -> None:
        self.pid = ("storage", kind, key, "cpu", count)


class _Pickler(pickle.Pickler):
    """Names storages as PyTorch does: by references that its own reader resolves."""

    legacy = False

    def persistent_id(self, value: object):
        if not isinstance(value, _Storage):
            return None
        return (*value.pid, None) if self.legacy else value.pid


class _Tensor:
    """What stands in a pickle for a tensor: a call of ``_rebuild_tensor_v2``."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


@pytest.fixture(autouse=True)
def torch(monkeypatch) -> types.ModuleType:
    """As much of PyTorch's names as a pickle refers to."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in torch_file._DTYPES:
        setattr(module, name, type(name, (), {"__module__": "torch"}))
    utils._rebuild_tensor_v2 = _named("_rebuild_tensor_v2", "torch._utils")
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


def _named(name: str, module: str):
    def function(*_: object) -> None:
        raise AssertionError("called")

    function.__name__ = function.__qualname__ = name
    function.__module__ = module
    return function


def _state(torch, arrays: dict[str, np.ndarray]) -> OrderedDict:
    kinds = {"float32": torch.FloatStorage, "int64": torch.LongStorage, "float64": torch.DoubleStorage}
    return OrderedDict(
        (name, _tensor(_Storage(str(key), kinds[str(array.dtype)], array.size), array.shape))
        for key, (name, array) in enumerate(arrays.items())
    )


def _tensor(storage: _Storage, shape: tuple[int, ...], offset: int = 0) -> _Tensor:
    strides = tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))
    return _Tensor(storage, offset, shape, strides, False, OrderedDict())


def _write_zip(path: Path, found: object, arrays: dict[str, np.ndarray]) -> None:
    index = io.BytesIO()
    _Pickler(index, 2).dump(found)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data.pkl", index.getvalue())
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"weights/data/{key}", array.tobytes())


def _write_legacy(path: Path, found: object, arrays: dict[str, np.ndarray]) -> None:
    with path.open("wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(head, file, 2)
        pickler = _Pickler(file, 2)
        pickler.legacy = True
        pickler.dump(found)
        pickle.dump([str(key) for key in range(len(arrays))], file, 2)
        for array in arrays.values():
            file.write(array.size.to_bytes(8, "little") + array.tobytes())


@pytest.mark.parametrize("write", [_write_zip, _write_legacy])
def test_both_layouts_give_the_arrays(torch, tmp_path, write):
    """Bit for bit. Red if strides count bytes, or storages are read in another order."""
    write(tmp_path / "w.pth", _state(torch, ARRAYS), ARRAYS)
    found = torch_file.read(tmp_path / "w.pth")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_views_of_one_storage(torch, tmp_path):
    """A transposed view of a part. Red if the offset or the strides are ignored."""
    base = np.arange(12, dtype=np.float32)
    storage = _Storage("0", torch.FloatStorage, 12)
    view = _Tensor(storage, 2, (2, 3), (1, 3), False, OrderedDict())
    _write_zip(tmp_path / "w.pth", OrderedDict(view=view), {"base": base})
    np.testing.assert_array_equal(torch_file.read(tmp_path / "w.pth")["view"], [[2, 5, 8], [3, 6, 9]])


class _Call:
    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("write", [_write_zip, _write_legacy])
@pytest.mark.parametrize("hidden", ["os.system", "builtins.eval", "numpy"])
def test_no_other_name_is_called(torch, tmp_path, write, hidden):
    """The file says what to run; nothing of it runs. Red if find_class falls back to the import."""
    trace = tmp_path / "ran"
    calls = {
        "os.system": _Call(os.system, f"touch {trace}"),
        "builtins.eval": _Call(eval, f"open({str(trace)!r}, 'w')"),
        "numpy": np.zeros(3),
    }
    write(tmp_path / "w.pth", OrderedDict(weight=calls[hidden]), {})
    with pytest.raises(InputError, match="it holds the name"):
        torch_file.read(tmp_path / "w.pth")
    assert not trace.exists()


def test_tensors_stay_inside_their_storage(torch, tmp_path):
    """Red without the bound: a view would read other memory of the process."""
    storage = _Storage("0", torch.FloatStorage, 12)
    for shape, offset in (((13,), 0), ((12,), 1), ((2**40,), 0), ((-1,), 0), ((3, 5), 0)):
        _write_zip(tmp_path / "w.pth", {"a": _tensor(storage, shape, offset)}, {"a": np.zeros(12, np.float32)})
        with pytest.raises(InputError, match="it holds a tensor of shape"):
            torch_file.read(tmp_path / "w.pth")


@pytest.mark.parametrize(
    "content",
    [b"", b"GIF89a", pickle.dumps({"a": 1}), b"PK\x05\x06" + bytes(18), b"\x80\x02" + b"(" * 50],
    ids=["empty", "picture", "plain pickle", "empty zip", "broken pickle"],
)
def test_other_files_are_refused_by_name(tmp_path, content):
    """Red if an error of the pickle machine passes through."""
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.pth is no plain PyTorch state dictionary"):
        torch_file.read(tmp_path / "w.pth")


def test_truncated_files_are_refused(torch, tmp_path):
    """At every tenth byte, both layouts. Red if a short storage is padded."""
    for write in (_write_zip, _write_legacy):
        write(tmp_path / "whole.pth", _state(torch, ARRAYS), ARRAYS)
        whole = (tmp_path / "whole.pth").read_bytes()
        for length in range(0, len(whole) - 1, 10):
            (tmp_path / "w.pth").write_bytes(whole[:length])
            with pytest.raises(InputError):
                torch_file.read(tmp_path / "w.pth")
