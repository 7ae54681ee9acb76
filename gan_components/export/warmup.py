"""The warm-up file: requests that TF Serving answers for itself before it takes traffic.

The first request of each signature and batch size is slow. The server replays this file while it loads a
version, and *refuses the version* if one record fails; so infra validation replays it too.
"""

from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from gan_components.errors import ArtifactError
from gan_components.export import metagraph

REQUESTS = Path("assets.extra") / "tf_serving_warmup_requests"
MAX_RECORDS = 1000  # kWarmupRecordsLimit of TF Serving: a longer file makes the load fail


def write(saved_model: Path, batch_sizes: tuple[int, ...]) -> None:
    """Writes one request a signature and batch size into the SavedModel."""
    path = saved_model / REQUESTS
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, signature in metagraph.signatures(metagraph.read(saved_model)).items():
            for rows in batch_sizes:
                request = predict_pb2.PredictRequest()
                request.model_spec.signature_name = name
                for key, value in metagraph.example_inputs(signature, rows).items():
                    request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
                log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=request))
                writer.write(log.SerializeToString(deterministic=True))


def read(saved_model: Path) -> list[predict_pb2.PredictRequest]:
    """The requests of the warm-up file.

    Raises:
        ArtifactError: no file, or one that makes the server refuse the version.
    """
    path = saved_model / REQUESTS
    if not path.exists():
        raise ArtifactError(f"{path.name} is missing")
    requests = []
    try:
        for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
            if number == MAX_RECORDS:
                raise ArtifactError(f"{path.name} holds more than {MAX_RECORDS} records")
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if log.WhichOneof("log_type") != "predict_log":
                raise ArtifactError(f"record {number} is a {log.WhichOneof('log_type')}, not a predict_log")
            requests.append(log.predict_log.request)
    except (DecodeError, tf.errors.DataLossError) as error:
        raise ArtifactError(f"record {len(requests)} of {path.name} is damaged: {error}") from None
    return requests
