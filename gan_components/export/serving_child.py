"""Loads a SavedModel as TF Serving does and answers requests with it. Runs as a script in a process of its own.

TF Serving calls ``tensorflow::LoadSavedModel`` and ``Session::Run``; so does TensorFlow's C API, which the
TensorFlow wheel exports. This process never imports the Python package: what needs it (``tf.numpy_function``,
operations registered from Python) fails here exactly as it would in the server.

    python -P serving_child.py JOB

`JOB` is a directory with ``job.json`` and ``inputs.npz`` (see ``infra_validation.py``, which writes them); the
answers go to ``answers.json`` and ``answers.npz`` there. A crash of this process is an answer too.
"""

import base64
import ctypes
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# TF_DataType of the C API.
_NUMPY_TYPES = {1: np.float32, 2: np.float64, 3: np.int32, 4: np.uint8, 9: np.int64, 10: np.bool_}
_TF_TYPES = {np.dtype(numpy_type): tf_type for tf_type, numpy_type in _NUMPY_TYPES.items()}
_TF_STRING = 7
_TF_STRING_SIZE = 24  # sizeof(TF_TString)

_POINTER = ctypes.c_void_p


class _Output(ctypes.Structure):
    _fields_ = [("operation", _POINTER), ("index", ctypes.c_int)]


# Result and arguments of each function. Without them ctypes would cut pointers to 32 bits.
_FUNCTIONS = {
    "TF_NewStatus": (_POINTER, []),
    "TF_GetCode": (ctypes.c_int, [_POINTER]),
    "TF_Message": (ctypes.c_char_p, [_POINTER]),
    "TF_NewGraph": (_POINTER, []),
    "TF_NewSessionOptions": (_POINTER, []),
    "TF_LoadSessionFromSavedModel": (
        _POINTER,
        [
            _POINTER,
            _POINTER,
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_char_p),
            ctypes.c_int,
            _POINTER,
            _POINTER,
            _POINTER,
        ],
    ),
    "TF_GraphOperationByName": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "TF_SessionRun": (
        None,
        [
            _POINTER,
            _POINTER,
            ctypes.POINTER(_Output),
            ctypes.POINTER(_POINTER),
            ctypes.c_int,
            ctypes.POINTER(_Output),
            ctypes.POINTER(_POINTER),
            ctypes.c_int,
            _POINTER,
            ctypes.c_int,
            _POINTER,
            _POINTER,
        ],
    ),
    "TF_AllocateTensor": (
        _POINTER,
        [ctypes.c_int, ctypes.POINTER(ctypes.c_int64), ctypes.c_int, ctypes.c_size_t],
    ),
    "TF_DeleteTensor": (None, [_POINTER]),
    "TF_TensorData": (_POINTER, [_POINTER]),
    "TF_TensorByteSize": (ctypes.c_size_t, [_POINTER]),
    "TF_TensorType": (ctypes.c_int, [_POINTER]),
    "TF_NumDims": (ctypes.c_int, [_POINTER]),
    "TF_Dim": (ctypes.c_int64, [_POINTER, ctypes.c_int]),
    "TF_StringGetDataPointer": (_POINTER, [_POINTER]),
    "TF_StringGetSize": (ctypes.c_size_t, [_POINTER]),
}


class RefusedError(Exception):
    """TensorFlow's own refusal: its status code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"status {code}: {message}")


class Server:
    """A SavedModel in a session, without Python under it.

    Raises:
        RefusedError: it cannot be loaded.
    """

    def __init__(self, saved_model: str) -> None:
        self._library = _load_library()
        self._status = self._library["TF_NewStatus"]()
        self._graph = self._library["TF_NewGraph"]()
        self._session = self._library["TF_LoadSessionFromSavedModel"](
            self._library["TF_NewSessionOptions"](),
            None,
            saved_model.encode(),
            (ctypes.c_char_p * 1)(b"serve"),
            1,
            self._graph,
            None,
            self._status,
        )
        self._check()  # using the session of a failed load would kill this process

    def run(self, inputs: dict[str, np.ndarray], outputs: list[str]) -> list[np.ndarray | list[bytes]]:
        """Feeds and fetches tensors by their names in the graph (``operation:index``)."""
        given = (_POINTER * len(inputs))(*(self._tensor(array) for array in inputs.values()))
        got = (_POINTER * len(outputs))()
        self._library["TF_SessionRun"](
            self._session,
            None,
            (_Output * len(inputs))(*map(self._end_point, inputs)),
            given,
            len(inputs),
            (_Output * len(outputs))(*map(self._end_point, outputs)),
            got,
            len(outputs),
            None,
            0,
            None,
            self._status,
        )
        try:
            self._check()
            return [self._value(tensor) for tensor in got if tensor]
        finally:
            for tensor in [*given, *got]:
                if tensor:
                    self._library["TF_DeleteTensor"](tensor)

    def _check(self) -> None:
        code = self._library["TF_GetCode"](self._status)
        if code:
            raise RefusedError(code, self._library["TF_Message"](self._status).decode(errors="replace"))

    def _end_point(self, name: str) -> _Output:
        operation, _, index = name.rpartition(":")
        pointer = self._library["TF_GraphOperationByName"](self._graph, operation.encode())
        if not pointer:
            raise RefusedError(5, f"the graph has no operation {operation!r}")
        return _Output(pointer, int(index))

    def _tensor(self, array: np.ndarray) -> int:
        array = np.ascontiguousarray(array)
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = self._library["TF_AllocateTensor"](_TF_TYPES[array.dtype], shape, array.ndim, array.nbytes)
        ctypes.memmove(self._library["TF_TensorData"](tensor), array.ctypes.data, array.nbytes)
        return tensor

    def _value(self, tensor: int) -> np.ndarray | list[bytes]:
        library = self._library
        shape = [library["TF_Dim"](tensor, i) for i in range(library["TF_NumDims"](tensor))]
        data = library["TF_TensorData"](tensor)
        tf_type = library["TF_TensorType"](tensor)
        if tf_type == _TF_STRING:
            strings = [data + _TF_STRING_SIZE * i for i in range(int(np.prod(shape)))]
            # By size, not up to the first zero byte: a PNG is full of them.
            return [
                ctypes.string_at(library["TF_StringGetDataPointer"](s), library["TF_StringGetSize"](s))
                for s in strings
            ]
        raw = ctypes.string_at(data, library["TF_TensorByteSize"](tensor))
        return np.frombuffer(raw, _NUMPY_TYPES[tf_type]).reshape(shape)


def main(job: Path) -> None:
    """Answers every request of a job; stops at the first refusal, which makes the rest meaningless."""
    task = json.loads((job / "job.json").read_text())
    given = np.load(job / "inputs.npz", allow_pickle=False)
    arrays: dict[str, np.ndarray] = {}
    strings: dict[str, list[str]] = {}
    refused = None
    at = "load"
    try:
        server = Server(task["saved_model"])
        for request in task["requests"]:
            at = request["name"]
            # An input is an array of the job or an earlier request's answer.
            inputs = {
                tensor: given[key] if key in given else arrays[key] for tensor, key in request["inputs"].items()
            }
            values = server.run(inputs, list(request["outputs"].values()))
            for output, value in zip(request["outputs"], values, strict=True):
                if isinstance(value, list):
                    strings[f"{at}/{output}"] = [base64.b64encode(item).decode() for item in value]
                else:
                    arrays[f"{at}/{output}"] = value
    except RefusedError as error:
        refused = {"at": at, "reason": str(error)}
    if "tensorflow" in sys.modules:
        raise RuntimeError("this process imported the tensorflow package; its answers prove nothing")
    np.savez(job / "answers.npz", **arrays)  # type: ignore[arg-type]
    (job / "answers.json").write_text(json.dumps({"refused": refused, "strings": strings}))


def _load_library() -> dict[str, Callable[..., Any]]:
    # find_spec names the package's directory without running the package.
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.origin is None:
        raise RuntimeError("the tensorflow package is not installed for this interpreter")
    package = Path(spec.origin).parent
    # The framework first and globally: the other library looks for its symbols there.
    framework = ctypes.CDLL(str(package / "libtensorflow_framework.so.2"), mode=ctypes.RTLD_GLOBAL)
    runtime = ctypes.CDLL(str(package / "libtensorflow_cc.so.2"))
    functions = {}
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(runtime, name, None) or getattr(framework, name)
        function.restype, function.argtypes = result, arguments
        functions[name] = function
    return functions


if __name__ == "__main__":
    main(Path(sys.argv[1]))
