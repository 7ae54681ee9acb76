"""Where Inception's weights come from: a file of the user's, or the published one, downloaded once.

The published network of 2015-12-05 is a frozen TensorFlow graph; torch-fidelity publishes the same numbers as a
PyTorch file, with the first eight digits of its SHA-256 in its name. Both kinds are read.
"""

import hashlib
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from gan_components.errors import InputError
from gan_components.metrics.features import torch_file

URL = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
DIGEST_START = "6726825d"
_TIMEOUT_SECONDS = 60.0


def load(path: Path | None, cache: Path) -> tuple[dict[str, np.ndarray], str]:
    """The weights by the names of the PyTorch file, and the SHA-256 of the file they were read from.

    Args:
        path: a `.pth` file, or the frozen graph as a `.pb` file; None: the published `.pth` file.
        cache: root of the shared caches; the published file lies in ``weights/`` below it.

    Raises:
        InputError: no such file, no network, another digest than published, or something else in the file.
    """
    path = _published(cache) if path is None else path
    if not path.is_file():
        raise InputError(f"there is no file {path} with Inception's weights; give one with --weights FILE")
    content = path.read_bytes() if path.suffix == ".pb" else b""
    weights = _of_graph(path, content) if path.suffix == ".pb" else torch_file.read(path)
    return weights, _sha256(path)


def _published(cache: Path) -> Path:
    path = cache / "weights" / URL.rsplit("/", 1)[1]
    if not path.exists():
        _download(path)
    if not (digest := _sha256(path)).startswith(DIGEST_START):
        raise InputError(
            f"{path} has the SHA-256 {digest}, published is {DIGEST_START}...; remove it to download it again"
        )
    return path


def _download(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            with urllib.request.urlopen(URL, timeout=_TIMEOUT_SECONDS) as response:
                while block := response.read(1 << 20):
                    file.write(block)
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            Path(file.name).unlink()
            raise InputError(
                f"Inception's weights are not at {path}, and {URL} cannot be read: {error}. Download that file "
                "elsewhere and give it with --weights FILE, or choose features that need none: classifier, "
                "random_conv or pixels"
            ) from error
    digest = _sha256(Path(file.name))
    if not digest.startswith(DIGEST_START):
        Path(file.name).unlink()
        raise InputError(f"{URL} gave a file with the SHA-256 {digest}, published is {DIGEST_START}...; not used")
    Path(file.name).replace(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _of_graph(path: Path, content: bytes) -> dict[str, np.ndarray]:
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(content)
    except DecodeError as error:
        raise InputError(f"{path} is no TensorFlow graph: {error}") from error
    constants = {node.name: node.attr["value"].tensor for node in graph.node if node.op == "Const"}

    def constant(name: str) -> np.ndarray:
        if name not in constants:
            raise InputError(f"{path} is another graph than Inception's of 2015-12-05: it has no constant {name}")
        return tf.make_ndarray(constants[name])

    weights = {"fc.weight": constant("softmax/weights").T, "fc.bias": constant("softmax/biases")}
    for name, scope in SCOPES.items():
        weights[f"{name}.conv.weight"] = constant(f"{scope}/conv2d_params").transpose(3, 2, 0, 1)
        for moment, of_graph in _MOMENTS.items():
            weights[f"{name}.bn.{moment}"] = constant(f"{scope}/batchnorm/{of_graph}")
    return weights


_MOMENTS = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _chain(branch: str, tower: str, length: int) -> dict[str, str]:
    """``branch_1``, ``branch_2``, ... are ``tower/conv``, ``tower/conv_1``, ..."""
    return {f"{branch}_{i + 1}": f"{tower}/conv{f'_{i}' if i else ''}" for i in range(length)}


_ENDS = {"branch1x1": "conv", "branch_pool": "tower_2/conv"}
_OF_35 = _ENDS | _chain("branch5x5", "tower", 2) | _chain("branch3x3dbl", "tower_1", 3)
_OF_17 = _ENDS | _chain("branch7x7", "tower", 3) | _chain("branch7x7dbl", "tower_1", 5)
_OF_8 = (
    _ENDS
    | _chain("branch3x3", "tower", 1)
    | {"branch3x3_2a": "tower/mixed/conv", "branch3x3_2b": "tower/mixed/conv_1"}
    | _chain("branch3x3dbl", "tower_1", 2)
    | {"branch3x3dbl_3a": "tower_1/mixed/conv", "branch3x3dbl_3b": "tower_1/mixed/conv_1"}
)
_BLOCKS = {
    "Mixed_5b": ("mixed", _OF_35),
    "Mixed_5c": ("mixed_1", _OF_35),
    "Mixed_5d": ("mixed_2", _OF_35),
    "Mixed_6a": ("mixed_3", {"branch3x3": "conv"} | _chain("branch3x3dbl", "tower", 3)),
    "Mixed_6b": ("mixed_4", _OF_17),
    "Mixed_6c": ("mixed_5", _OF_17),
    "Mixed_6d": ("mixed_6", _OF_17),
    "Mixed_6e": ("mixed_7", _OF_17),
    "Mixed_7a": ("mixed_8", _chain("branch3x3", "tower", 2) | _chain("branch7x7x3", "tower_1", 4)),
    "Mixed_7b": ("mixed_9", _OF_8),
    "Mixed_7c": ("mixed_10", _OF_8),
}
SCOPES = {
    "Conv2d_1a_3x3": "conv",
    "Conv2d_2a_3x3": "conv_1",
    "Conv2d_2b_3x3": "conv_2",
    "Conv2d_3b_1x1": "conv_3",
    "Conv2d_4a_3x3": "conv_4",
} | {
    f"{block}.{branch}": f"{scope}/{conv}"
    for block, (scope, branches) in _BLOCKS.items()
    for branch, conv in branches.items()
}
"""The graph's name of each convolution with its normalisation, by the PyTorch file's."""
