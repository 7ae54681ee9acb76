"""TF Serving over gRPC, by its own protos. They are part of TensorFlow, which is therefore imported."""

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from gan_components.errors import InputError
from gan_components.export import signature
from gan_components.export.errors import BusyError, ServerError
from gan_components.export.serving_address import Address

_REFUSED = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.OUT_OF_RANGE)
_BUSY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

_OPTIONS = [
    # gRPC's own limit of 4 MB would refuse a single row of a large generator; the client keeps below it otherwise.
    ("grpc.max_receive_message_length", 256 * 2**20),
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class GrpcTransport:
    """Asks the model of a `grpc` or `grpcs` address."""

    def __init__(self, address: Address, *, timeout_seconds: float) -> None:
        self._address = address
        self._timeout_seconds = timeout_seconds
        if address.scheme == "grpcs":
            self._channel = grpc.secure_channel(address.host, grpc.ssl_channel_credentials(), _OPTIONS)
        else:
            self._channel = grpc.insecure_channel(address.host, _OPTIONS)
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def signatures(self) -> dict[str, signature.Signature]:
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._model(), metadata_field=["signature_def"]
        )
        answer = self._asked(self._prediction.GetModelMetadata, request)
        definitions = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(definitions)
        found = json_format.MessageToDict(definitions, preserving_proto_field_name=True)
        return signature.by_name(found.get("signature_def", {}))

    def predict(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest(
            model_spec=self._model(name),
            inputs={key: tf.make_tensor_proto(column) for key, column in inputs.items()},
        )
        answer = self._asked(self._prediction.Predict, request)
        try:
            return {key: tf.make_ndarray(tensor) for key, tensor in answer.outputs.items()}
        except (TypeError, ValueError) as error:
            raise ServerError(f"what {self._address} answered cannot be read: {error}") from None

    def close(self) -> None:
        self._channel.close()

    def _model(self, signature_name: str = "") -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self._address.model, signature_name=signature_name)
        if self._address.version is not None:
            spec.version.value = self._address.version
        if self._address.label is not None:
            spec.version_label = self._address.label
        return spec

    def _asked(self, method: grpc.UnaryUnaryMultiCallable, request):
        try:
            return method(request, timeout=self._timeout_seconds)
        except grpc.RpcError as error:
            code, said = error.code(), error.details()
        if code is grpc.StatusCode.NOT_FOUND:
            raise self._address.not_found(self._states())
        if code in _REFUSED:
            raise InputError(f"{self._address} refused the request: {said}")
        kind = BusyError if code in _BUSY else ServerError
        raise kind(f"{self._address} answered {code.name}: {said}")

    def _states(self) -> dict[int, str] | None:
        request = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": self._address.model})
        try:
            answer = model_service_pb2_grpc.ModelServiceStub(self._channel).GetModelStatus(
                request, timeout=self._timeout_seconds
            )
        except grpc.RpcError:
            return None
        state = get_model_status_pb2.ModelVersionStatus.State
        return {one.version: state.Name(one.state) for one in answer.model_version_status}
