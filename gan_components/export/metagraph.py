"""What a SavedModel says of itself, read from its file without loading it."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from gan_components import randomness
from gan_components.errors import ArtifactError

PREDICT_METHOD = "tensorflow/serving/predict"

# They call back into a Python interpreter, which a server does not have.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def read(directory: Path) -> meta_graph_pb2.MetaGraphDef:
    """The MetaGraphDef with the tag ``serve``: the one that a server loads.

    Raises:
        ArtifactError: ``saved_model.pb`` is missing, damaged, or holds no such graph.
    """
    path = directory / "saved_model.pb"
    try:
        saved_model = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except (FileNotFoundError, DecodeError) as error:
        raise ArtifactError(f"{path} cannot be read as a SavedModel: {error}") from None
    for meta_graph in saved_model.meta_graphs:
        if set(meta_graph.meta_info_def.tags) == {"serve"}:
            return meta_graph
    raise ArtifactError(f"{path} holds no graph with the tag 'serve'")


def signatures(meta_graph: meta_graph_pb2.MetaGraphDef) -> dict[str, meta_graph_pb2.SignatureDef]:
    """The signatures that answer Predict requests, by name."""
    return {
        name: signature
        for name, signature in sorted(meta_graph.signature_def.items())
        if signature.method_name == PREDICT_METHOD
    }


def unservable(meta_graph: meta_graph_pb2.MetaGraphDef) -> list[str]:
    """What in the graph a stock server cannot run, in words; empty if nothing."""
    library = meta_graph.graph_def.library.function
    nodes = [*meta_graph.graph_def.node, *(node for function in library for node in function.node_def)]
    found = [f"{node.name} is a {node.op}: it calls Python" for node in nodes if node.op in _PYTHON_OPS]
    # Servers start with XLA's just-in-time compiler off and refuse functions that insist on it.
    found += [
        f"{function.signature.name} must be compiled by XLA (jit_compile=True)"
        for function in library
        if function.attr["_XlaMustCompile"].b
    ]
    return found


def example_inputs(signature: meta_graph_pb2.SignatureDef, rows: int) -> dict[str, np.ndarray]:
    """A valid request of `rows` rows, by the names of the served generators' inputs.

    Raises:
        ArtifactError: an input that served generators do not have.
    """
    return {name: _example(name, info, rows) for name, info in sorted(signature.inputs.items())}


def _example(name: str, info: meta_graph_pb2.TensorInfo, rows: int) -> np.ndarray:
    shape = (rows, *(dimension.size for dimension in info.tensor_shape.dim[1:]))
    match name, tf.as_dtype(info.dtype), len(shape):
        case "seed" | "style_seed", tf.int64, 1:
            return np.arange(rows, dtype=np.int64)
        case "style_layer", tf.int64, 1:
            return np.zeros(rows, np.int64)
        case "label", tf.int64, 1:
            return np.zeros(rows, np.int64)  # not -1 (drawn): `from_latents` has no seed to draw from
        case "truncation", tf.float32, 1:
            return np.ones(rows, np.float32)
        case "latents", tf.float32, 2:
            return randomness.numpy_generator(0, "export/example_latents").standard_normal(shape, np.float32)
    raise ArtifactError(
        f"input {name!r} ({tf.as_dtype(info.dtype).name}, rank {len(shape)}) is not one of a served generator: "
        "seed, label, truncation, style_seed, style_layer, latents"
    )
