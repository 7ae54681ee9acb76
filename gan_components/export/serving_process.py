"""The parent's side of `serving_child.py`: requests out, answers in, a crash told in words."""

import base64
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue
from tensorflow.core.protobuf import meta_graph_pb2

from gan_components.export import metagraph, serving_child
from gan_components.export.errors import InfraValidationError


@dataclass(frozen=True)
class Request:
    """A request of a signature; an input is an array, or the key of an earlier answer."""

    name: str
    signature: str
    inputs: Mapping[str, np.ndarray | str]


@dataclass(frozen=True)
class Answers:
    """What a server answered; keys are ``request/output``.

    Attributes:
        failed: the request that got no answer (``load`` before the first), and why; nothing after it was asked.
        arrays: numeric outputs.
        strings: string outputs, one bytes object an element.
    """

    failed: tuple[str, str] | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    strings: dict[str, list[bytes]] = field(default_factory=dict)


def ask(
    saved_model: Path,
    signatures: dict[str, meta_graph_pb2.SignatureDef],
    requests: list[Request],
    timeout_seconds: float,
) -> Answers:
    """Has a fresh process load the SavedModel and answer the requests in order."""
    with tempfile.TemporaryDirectory(prefix="infra-validation-") as directory:
        job = Path(directory)
        _write_job(job, saved_model, signatures, requests)
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        try:
            # -P: the script's directory must not shadow modules that NumPy imports.
            child = subprocess.run(  # noqa: S603 (our own script)
                [sys.executable, "-P", serving_child.__file__, str(job)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Answers(failed=("load", f"no answer within {timeout_seconds:g} s; it was stopped"))
        if child.returncode < 0:
            name = signal.Signals(-child.returncode).name
            return Answers(failed=("load", f"the serving process was killed by {name}"))
        if child.returncode:
            last = (child.stderr.strip().splitlines() or ["no message"])[-1]
            return Answers(failed=("load", f"the serving process failed: {last}"))
        answer = json.loads((job / "answers.json").read_text())
        refused = answer["refused"]
        return Answers(
            failed=(refused["at"], refused["reason"]) if refused else None,
            arrays=dict(np.load(job / "answers.npz", allow_pickle=False)),
            strings={key: [base64.b64decode(s) for s in texts] for key, texts in answer["strings"].items()},
        )


def try_out(timeout_seconds: float = 60.0) -> None:
    """Has a fresh process load and ask the smallest SavedModel there is.

    Raises:
        InfraValidationError: it gave no answer, or a wrong one.
    """
    import tensorflow as tf

    class Increment(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
        def __call__(self, number: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"next": number + 1}

    with tempfile.TemporaryDirectory(prefix="try-out-") as directory:
        module = Increment()
        tf.saved_model.save(module, directory, {"serving_default": module.__call__})
        signatures = metagraph.signatures(metagraph.read(Path(directory)))
        request = Request("first", "serving_default", {"number": np.array([41])})
        answers = ask(Path(directory), signatures, [request], timeout_seconds)
    if answers.failed:
        raise InfraValidationError(f"a SavedModel is not served here: {': '.join(answers.failed)}")
    if answers.arrays["first/next"].tolist() != [42]:
        raise InfraValidationError(f"a served x + 1 says {answers.arrays['first/next']} for 41")


def _write_job(
    job: Path,
    saved_model: Path,
    signatures: dict[str, meta_graph_pb2.SignatureDef],
    requests: list[Request],
) -> None:
    arrays: dict[str, np.ndarray] = {}
    written: list[JsonValue] = []
    for request in requests:
        signature = signatures[request.signature]
        inputs: dict[str, JsonValue] = {}
        for name, value in request.inputs.items():
            key = value if isinstance(value, str) else f"{request.name}/{name}"
            if not isinstance(value, str):
                arrays[key] = value
            inputs[signature.inputs[name].name] = key
        outputs: dict[str, JsonValue] = {name: info.name for name, info in signature.outputs.items()}
        written.append({"name": request.name, "inputs": inputs, "outputs": outputs})
    np.savez(job / "inputs.npz", **arrays)  # type: ignore[arg-type]
    (job / "job.json").write_text(json.dumps({"saved_model": str(saved_model), "requests": written}))
