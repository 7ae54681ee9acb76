"""Proves before a push that a server can load a SavedModel and that it answers with the trained images.

That a SavedModel loads proves little: without its ``variables/`` it loads and fails at the first request. So
every signature is asked, through the loader of TF Serving (`serving_child.py`), and the answers are compared
with one another and with the trained generator.
"""

import io
import logging
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image
from pydantic import BaseModel
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import predict_pb2

from gan_components import randomness
from gan_components.errors import ArtifactError
from gan_components.export import metagraph, serving_process, warmup
from gan_components.export.errors import InfraValidationError
from gan_components.export.serving_process import Answers, Request
from gan_components.generators import DESCRIPTION, Description, Generator

_log = logging.getLogger(__name__)

_ROWS = 8
# Kernels may sum in another order for another batch size: a float near a half rounds to the next level.
_LEVELS = 1


class Check(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One condition, whether it holds, and why in words."""

    name: str
    passed: bool
    reason: str


class Record(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What infra validation found. No times in it: equal generators give equal records."""

    checks: list[Check]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failures(self) -> str:
        return "; ".join(f"{check.name}: {check.reason}" for check in self.checks if not check.passed)


def validate(saved_model: Path, trained: Path, *, seed: int, timeout_seconds: float) -> Record:
    """Checks a SavedModel that is about to be pushed.

    Args:
        saved_model: the copy to be pushed, with its warm-up file.
        trained: the trained generator, which the copy must repeat.
        seed: chooses the seeds whose images are compared.
        timeout_seconds: for all requests together.

    Raises:
        InfraValidationError: this platform cannot validate at all.
    """
    if sys.platform != "linux":
        raise InfraValidationError(
            f"infra validation needs the Linux libraries of TensorFlow, this is {sys.platform}; "
            "export.infra_validation: false pushes without it"
        )
    try:
        meta_graph = metagraph.read(saved_model)
        description = Description.model_validate_json((saved_model / DESCRIPTION).read_bytes())
    except (ArtifactError, OSError, ValueError) as error:
        return Record(checks=[Check(name="graph", passed=False, reason=str(error))])
    signatures = metagraph.signatures(meta_graph)
    checks = [_graph_check(meta_graph), _signatures_check(signatures, description)]
    if not checks[-1].passed:
        return Record(checks=checks)
    replay, warmup_check = _replay(saved_model, signatures)
    golden = _golden_inputs(description, seed)
    requests = _requests(signatures, description, golden)
    began = time.monotonic()
    answers = serving_process.ask(saved_model, signatures, [*requests, *replay], timeout_seconds)
    _log.info("infra validation: %d requests in %.1f s", len(requests + replay), time.monotonic() - began)
    if answers.failed and not answers.failed[0].startswith("warm-up"):
        at, reason = answers.failed
        return Record(checks=[*checks, Check(name="answers", passed=False, reason=f"{at}: {reason}")])
    if answers.failed:
        warmup_check = Check(
            name="warm-up",
            passed=False,
            reason=f"{answers.failed[0]} makes the server refuse this version: {answers.failed[1]}",
        )
    return Record(
        checks=[
            *checks,
            Check(name="answers", passed=True, reason=f"{', '.join(signatures)} answer without Python"),
            _images_check(answers, description),
            _png_check(answers),
            _batch_check(answers),
            _trained_check(answers, golden, trained),
            *_same_images_checks(answers),
            warmup_check,
        ]
    )


def _graph_check(meta_graph: meta_graph_pb2.MetaGraphDef) -> Check:
    found = metagraph.unservable(meta_graph)
    reason = "; ".join(found) or "no Python operations, no functions that XLA must compile"
    return Check(name="graph", passed=not found, reason=reason)


def _signatures_check(signatures: dict[str, meta_graph_pb2.SignatureDef], description: Description) -> Check:
    """Every signature of a served generator is there and takes and gives exactly what it should."""
    label = {"label"} if description.class_names else set()
    images = {"images", "images2"} if description.num_domains == 2 else {"images"}
    encoded = {f"{name.replace('images', 'image')}_bytes" for name in images}
    expected: dict[str, tuple[set[str], set[str]]] = {
        "serving_default": ({"seed"} | label, encoded),
        "images": ({"seed"} | label, images),
        "latents": ({"seed"}, {"latents"}),
        "from_latents": ({"latents"} | label, images),
    }
    if description.truncation:
        expected["truncated"] = ({"seed", "truncation"} | label, images)
    if description.num_style_layers:
        expected["mixed"] = ({"seed", "style_seed", "style_layer"} | label, images)
    problems = [f"{name!r} is missing" for name in expected if name not in signatures]
    for name, signature in signatures.items():
        inputs, outputs = expected.get(name, (set(signature.inputs), set(signature.outputs)))
        if set(signature.inputs) != inputs:
            problems.append(f"{name!r} takes {sorted(signature.inputs)}, expected {sorted(inputs)}")
        if set(signature.outputs) != outputs:
            problems.append(f"{name!r} gives {sorted(signature.outputs)}, expected {sorted(outputs)}")
        try:
            metagraph.example_inputs(signature, 1)
        except ArtifactError as error:
            problems.append(f"{name!r}: {error}")
    return Check(
        name="signatures", passed=not problems, reason="; ".join(problems) or f"{', '.join(signatures)} are there"
    )


def _golden_inputs(description: Description, seed: int) -> dict[str, np.ndarray]:
    seeds = randomness.numpy_generator(seed, "export/golden_seeds").integers(0, 2**31, _ROWS)
    seeds[-2:] = [-1, 2**62]  # int64 is promised, not only what a counter reaches
    if not description.num_classes:
        return {"seed": seeds}
    return {"seed": seeds, "label": np.arange(_ROWS) % (description.num_classes + 1) - 1}  # -1: drawn


def _requests(
    signatures: dict[str, meta_graph_pb2.SignatureDef], description: Description, golden: dict[str, np.ndarray]
) -> list[Request]:
    # `from_latents` cannot draw labels, so the images to compare with it are asked with labels.
    label = {"label": np.arange(_ROWS) % description.num_classes} if description.num_classes else {}
    requests = [
        Request("images", "images", golden),
        *(
            Request(f"image {row} alone", "images", {key: golden[key][row : row + 1] for key in golden})
            for row in range(_ROWS)
        ),
        Request("serving_default", "serving_default", golden),
        Request("latents", "latents", {"seed": golden["seed"]}),
        Request("images of given labels", "images", {"seed": golden["seed"], **label}),
        Request("from_latents", "from_latents", {"latents": "latents/latents", **label}),
    ]
    if description.truncation:
        whole = {"truncation": np.ones(_ROWS, np.float32)}
        requests.append(Request("truncated", "truncated", golden | whole))
    if description.num_style_layers:
        own = {"style_seed": golden["seed"][::-1], "style_layer": np.full(_ROWS, description.num_style_layers)}
        requests.append(Request("mixed", "mixed", golden | own))
    asked = {request.signature for request in requests}
    requests += [
        Request(f"example of {name}", name, metagraph.example_inputs(signature, _ROWS))
        for name, signature in signatures.items()
        if name not in asked
    ]
    return requests


def _pictures(answers: Answers, request: str) -> dict[str, np.ndarray]:
    """A request's image outputs by name: ``images``, and ``images2`` of a generator with two domains."""
    start = f"{request}/"
    return {
        key.removeprefix(start): value for key, value in answers.arrays.items() if key.startswith(f"{start}images")
    }


def _images_check(answers: Answers, description: Description) -> Check:
    expected = (_ROWS, *description.image_shape)
    problems = [
        f"{request!r} gives {name!r} as {value.dtype} {value.shape}, expected uint8 {expected}"
        for request in ("images", "from_latents", "truncated", "mixed")
        for name, value in _pictures(answers, request).items()
        if value.dtype != np.uint8 or value.shape != expected
    ]
    return Check(name="images", passed=not problems, reason="; ".join(problems) or f"uint8 {expected}")


def _png_check(answers: Answers) -> Check:
    problems = []
    for name, expected in _pictures(answers, "images").items():
        encoded = f"{name.replace('images', 'image')}_bytes"
        pictures = answers.strings.get(f"serving_default/{encoded}", [])
        if len(pictures) != len(expected):
            problems.append(f"{len(pictures)} {encoded} for {len(expected)} {name}")
        for row, (picture, image) in enumerate(zip(pictures, expected, strict=False)):
            try:
                pixels = np.asarray(Image.open(io.BytesIO(picture), formats=["PNG"]))
            except OSError as error:
                problems.append(f"{encoded} {row} is no PNG: {error}")
                continue
            if not np.array_equal(pixels, image.squeeze(-1) if image.shape[-1] == 1 else image):
                problems.append(f"{encoded} {row} shows other pixels than {name}")
    reason = "; ".join(problems) or "the PNG pictures show the pixels of 'images'"
    return Check(name="png", passed=not problems, reason=reason)


def _batch_check(answers: Answers) -> Check:
    alone = [_pictures(answers, f"image {row} alone") for row in range(_ROWS)]
    return _equal_images(
        "batch",
        _pictures(answers, "images"),
        {name: np.concatenate([pictures[name] for pictures in alone]) for name in alone[0]},
        f"images drawn alone and in a batch of {_ROWS}",
    )


def _trained_check(answers: Answers, golden: dict[str, np.ndarray], trained: Path) -> Check:
    # On the CPU, as the child: a GPU's reduced-precision convolutions may differ by more than a level.
    with tf.device("CPU:0"):
        generator = Generator.load(trained)
        if generator.description.num_domains == 2:
            expected = dict(
                zip(("images", "images2"), generator.pairs(golden["seed"], golden.get("label")), strict=True)
            )
        else:
            expected = {"images": generator.images(golden["seed"], golden.get("label"))}
    return _equal_images(
        "trained_model", _pictures(answers, "images"), expected, "served images and the trained generator's"
    )


def _same_images_checks(answers: Answers) -> list[Check]:
    """Where a signature must draw what `images` draws; of the signatures that this generator has."""
    return [
        _equal_images(name, pictures, _pictures(answers, other), f"{what} and images(seed)")
        for name, request, other, what in (
            ("latents", "from_latents", "images of given labels", "from_latents(latents(seed))"),
            ("truncation", "truncated", "images", "truncated(seed, 1)"),
            ("mixing", "mixed", "images", "mixed(seed, another seed, past the last layer)"),
        )
        if (pictures := _pictures(answers, request))
    ]


def _equal_images(name: str, a: dict[str, np.ndarray], b: dict[str, np.ndarray], what: str) -> Check:
    shapes = [{key: value.shape for key, value in images.items()} for images in (a, b)]
    if shapes[0] != shapes[1]:
        return Check(name=name, passed=False, reason=f"{what} have the shapes {shapes[0]} and {shapes[1]}")
    worst = max(int(np.abs(a[key].astype(int) - b[key].astype(int)).max()) for key in a)
    return Check(
        name=name,
        passed=worst <= _LEVELS,
        reason=f"{what} differ by at most {worst} of 255 levels, allowed {_LEVELS}",
    )


def _replay(saved_model: Path, signatures: dict[str, meta_graph_pb2.SignatureDef]) -> tuple[list[Request], Check]:
    """The warm-up file as requests, checked as the server checks a request before it runs one."""
    try:
        requests = [
            _warmup_request(number, request, signatures) for number, request in enumerate(warmup.read(saved_model))
        ]
    except ArtifactError as error:
        return [], Check(name="warm-up", passed=False, reason=f"the server would refuse this version: {error}")
    return requests, Check(name="warm-up", passed=True, reason=f"{len(requests)} records replayed")


def _warmup_request(
    number: int, request: predict_pb2.PredictRequest, signatures: dict[str, meta_graph_pb2.SignatureDef]
) -> Request:
    name = request.model_spec.signature_name or "serving_default"
    if name not in signatures:
        raise ArtifactError(f"record {number} asks for the unknown signature {name!r}")
    expected = {key: tf.as_dtype(info.dtype).name for key, info in signatures[name].inputs.items()}
    given = {key: tf.as_dtype(tensor.dtype).name for key, tensor in request.inputs.items()}
    if given != expected:
        raise ArtifactError(f"record {number} gives {given} to {name!r}, which takes {expected}")
    arrays = {key: tf.make_ndarray(tensor) for key, tensor in request.inputs.items()}
    return Request(f"warm-up record {number} ({name})", name, arrays)
