"""A model server for tests, over the official protos and TensorFlow's C API. It is NOT TF Serving.

What is TF Serving's own: the protos and their gRPC services, and the loader (`serving_child.Server` in a process
without Python TensorFlow). What is only imitated, after TF Serving's sources: the REST paths and JSON, status
codes, messages, which version answers. What is missing: batching, warm-up, the `instances` form of REST, several
models.
"""

import base64
import json
import pickle
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from gan_components.export import metagraph
from tests.ports import free_ports

ROOT = Path(__file__).parents[3]

_SESSION = """
import pickle, sys
from gan_components.export.serving_child import RefusedError, Server
server = Server(sys.argv[1])
while True:
    try:
        inputs, outputs = pickle.load(sys.stdin.buffer)
    except EOFError:
        break
    try:
        answer = server.run(inputs, outputs)
    except RefusedError as error:
        answer = str(error)
    assert "tensorflow" not in sys.modules
    pickle.dump(answer, sys.stdout.buffer)
    sys.stdout.buffer.flush()
"""

_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata|:predict)?")
_HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class StatusError(Exception):
    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class ModelServer:
    """Serves one version of one model; another one never ends loading.

    Attributes:
        rest_port, grpc_port: of 127.0.0.1, free before :meth:`start`.
        asked: signature and rows of each Predict request, those that were turned away too.
        num_busy: as many requests, of any kind, are turned away first.
        pause_seconds: before each answer.
    """

    def __init__(
        self, saved_model: Path, *, name: str = "tiny", version: int = 3, label: str = "stable", loading: int = 4
    ) -> None:
        self.name, self.version, self.label, self.loading = name, version, label, loading
        self.asked: list[tuple[str, int]] = []
        self.num_requests = self.num_busy = 0
        self.pause_seconds = 0.0
        self.rest_port, self.grpc_port = free_ports(2)
        self.definitions = metagraph.read(saved_model).signature_def
        self._child = subprocess.Popen(
            [sys.executable, "-c", _SESSION, str(saved_model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        self._lock = threading.Lock()

    @property
    def addresses(self) -> dict[str, str]:
        return {
            "rest": f"http://127.0.0.1:{self.rest_port}/{self.name}",
            "grpc": f"grpc://127.0.0.1:{self.grpc_port}/{self.name}",
        }

    def start(self) -> "ModelServer":
        self._rest = ThreadingHTTPServer(("127.0.0.1", self.rest_port), _rest_handler(self))
        threading.Thread(target=self._rest.serve_forever, daemon=True).start()
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        service = _Services(self)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, self._grpc)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(service, self._grpc)
        self._grpc.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        self._grpc.start()
        return self

    def stop(self) -> None:
        self._rest.shutdown()
        self._rest.server_close()
        self._grpc.stop(0).wait()
        self._child.stdin.close()
        self._child.wait(10)

    def received(self) -> None:
        """What happens to every request before it is looked at."""
        time.sleep(self.pause_seconds)
        self.num_requests += 1
        if self.num_busy:
            self.num_busy -= 1
            raise StatusError(grpc.StatusCode.UNAVAILABLE, "the batch scheduling queue is full")

    def require(self, name: str, version: int | None, label: str | None) -> None:
        if label and name == self.name and label != self.label:
            message = f"Unrecognized servable version label: {label}"
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)
        if name != self.name or version not in (None, self.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            raise StatusError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")

    def states(self, name: str) -> get_model_status_pb2.GetModelStatusResponse:
        if name != self.name:
            raise StatusError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {name}")
        state = get_model_status_pb2.ModelVersionStatus
        versions = [
            state(version=self.version, state=state.AVAILABLE),
            state(version=self.loading, state=state.LOADING),
        ]
        return get_model_status_pb2.GetModelStatusResponse(model_version_status=versions)

    def definition(self, signature: str):
        if signature not in self.definitions:
            message = f'Serving signature key "{signature}" not found.'
            raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, message)
        return self.definitions[signature]

    def predict(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        definition = self.definition(signature)
        expected = {key: tf.as_dtype(info.dtype).as_numpy_dtype for key, info in definition.inputs.items()}
        if {key: column.dtype for key, column in inputs.items()} != expected:
            message = f"input size or type does not match signature: {sorted(inputs)}"
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)
        self.asked.append((signature, len(next(iter(inputs.values())))))
        feeds = {definition.inputs[key].name: column for key, column in inputs.items()}
        with self._lock:
            pickle.dump((feeds, [info.name for info in definition.outputs.values()]), self._child.stdin)
            self._child.stdin.flush()
            answer = pickle.load(self._child.stdout)  # noqa: S301 (our own child)
        if isinstance(answer, str):
            code, message = re.fullmatch(r"status (\d+): (.*)", answer, re.DOTALL).groups()
            raise StatusError(_CODES[int(code)], message)
        values = [np.array(value, object) if isinstance(value, list) else value for value in answer]
        return dict(zip(definition.outputs, values, strict=True))


class _Services:
    """The gRPC services PredictionService and ModelService; what is not here is never asked."""

    Classify = Regress = MultiInference = HandleReloadConfigRequest = None

    def __init__(self, server: ModelServer) -> None:
        self._server = server

    def Predict(self, request, context):  # noqa: N802 (the proto's name)
        def answer():
            inputs = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
            outputs = self._server.predict(request.model_spec.signature_name or "serving_default", inputs)
            return predict_pb2.PredictResponse(
                outputs={key: tf.make_tensor_proto(value) for key, value in outputs.items()}
            )

        return self._answered(request, context, answer)

    def GetModelMetadata(self, request, context):  # noqa: N802
        def answer():
            metadata = get_model_metadata_pb2.GetModelMetadataResponse()
            definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=self._server.definitions)
            metadata.metadata["signature_def"].Pack(definitions)
            return metadata

        return self._answered(request, context, answer)

    def GetModelStatus(self, request, context):  # noqa: N802
        try:
            return self._server.states(request.model_spec.name)
        except StatusError as error:
            context.abort(error.code, str(error))

    def _answered(self, request, context, answer):
        spec = request.model_spec
        try:
            self._server.received()
            version = spec.version.value if spec.HasField("version") else None
            self._server.require(spec.name, version, spec.version_label)
            return answer()
        except StatusError as error:
            context.abort(error.code, str(error))


def _rest_handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self._answer(None)

        def do_POST(self):
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def log_message(self, *arguments):
            pass

        def _answer(self, body: dict | None) -> None:
            try:
                status, answer = 200, _rest_answer(server, self.path, body)
            except StatusError as error:
                status, answer = _HTTP[error.code], {"error": str(error)}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    return Handler


def _rest_answer(server: ModelServer, path: str, body: dict | None) -> dict:
    found = _PATH.fullmatch(path)
    if not found or (body is None) == (found[4] == ":predict"):
        raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, f"Malformed request: {path}")
    name, version, label, what = found.groups()
    if what is None:
        return json_format.MessageToDict(server.states(name), preserving_proto_field_name=True)
    server.received()
    server.require(name, int(version) if version else None, label)
    if what == "/metadata":
        definitions = get_model_metadata_pb2.SignatureDefMap(signature_def=server.definitions)
        text = json_format.MessageToDict(
            definitions, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return {"model_spec": {"name": name}, "metadata": {"signature_def": text}}
    definition = server.definition(body["signature_name"])
    missing = set(definition.inputs) - set(body["inputs"])
    if missing:
        message = f"Missing named input: {missing.pop()} in 'inputs' object."
        raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)
    inputs = {
        key: np.array(body["inputs"][key], tf.as_dtype(info.dtype).as_numpy_dtype)
        for key, info in definition.inputs.items()
    }
    outputs = {key: _json(value) for key, value in server.predict(body["signature_name"], inputs).items()}
    return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}


def _json(value: np.ndarray) -> list:
    if value.dtype == object:  # their names end in `_bytes`
        return [{"b64": base64.b64encode(one).decode()} for one in value]
    return value.tolist()
