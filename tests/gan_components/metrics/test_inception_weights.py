import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from gan_components.errors import InputError
from gan_components.metrics.features import inception_weights
from tests.golden import random_inception

SHAPES = json.loads((Path(__file__).parents[2] / "golden" / "inception_shapes.json").read_text())


def test_every_convolution_has_a_scope_of_its_own():
    """94 of them; those below are from torch-fidelity's converter. Red if a tower is numbered from 1."""
    convolutions = {name.removesuffix(".conv.weight") for name in SHAPES if name.endswith(".conv.weight")}
    assert set(inception_weights.SCOPES) == convolutions
    assert len(set(inception_weights.SCOPES.values())) == len(convolutions) == 94
    assert inception_weights.SCOPES["Conv2d_4a_3x3"] == "conv_4"
    assert inception_weights.SCOPES["Mixed_5b.branch3x3dbl_3"] == "mixed/tower_1/conv_2"
    assert inception_weights.SCOPES["Mixed_6a.branch3x3dbl_2"] == "mixed_3/tower/conv_1"
    assert inception_weights.SCOPES["Mixed_6b.branch7x7dbl_5"] == "mixed_4/tower_1/conv_4"
    assert inception_weights.SCOPES["Mixed_7a.branch7x7x3_4"] == "mixed_8/tower_1/conv_3"
    assert inception_weights.SCOPES["Mixed_7c.branch3x3dbl_3b"] == "mixed_10/tower_1/mixed/conv_1"


def graph_of(weights: dict[str, np.ndarray]) -> bytes:
    graph = tf.compat.v1.GraphDef()

    def add(name: str, value: np.ndarray) -> None:
        node = graph.node.add(name=name, op="Const")
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))

    add("softmax/weights", weights["fc.weight"].T)
    add("softmax/biases", weights["fc.bias"])
    for name, scope in inception_weights.SCOPES.items():
        add(f"{scope}/conv2d_params", weights[f"{name}.conv.weight"].transpose(2, 3, 1, 0))
        for ours, theirs in inception_weights._MOMENTS.items():
            add(f"{scope}/batchnorm/{theirs}", weights[f"{name}.bn.{ours}"])
    return graph.SerializeToString()


def test_a_graph_gives_the_arrays_of_the_pytorch_file(tmp_path):
    """Bit for bit. Red if a kernel is transposed another way."""
    expected = random_inception.weights(SHAPES)
    path = tmp_path / "classify_image_graph_def.pb"
    path.write_bytes(graph_of(expected))
    weights, digest = inception_weights.load(path, tmp_path)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(weights[name], value, err_msg=name)


@pytest.mark.parametrize(
    "content, message", [(b"\xff" * 40, "is no TensorFlow graph"), (b"", "no constant softmax/weights")]
)
def test_other_graphs_are_refused(tmp_path, content, message):
    """Red if the parser's error passes through."""
    (tmp_path / "graph.pb").write_bytes(content)
    with pytest.raises(InputError, match=message):
        inception_weights.load(tmp_path / "graph.pb", tmp_path)


def test_the_published_file_is_downloaded_once_and_checked(tmp_path, monkeypatch):
    """Another digest is refused before anything is read, also of a file that lies in the cache.

    Red without either check, or if a second load downloads again.
    """
    source = tmp_path / "weights-0.pth"
    source.write_bytes(b"not what was published")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setattr(inception_weights, "URL", source.as_uri())
    with pytest.raises(InputError, match=f"gave a file with the SHA-256 {digest}"):
        inception_weights.load(None, tmp_path / "cache")
    assert list((tmp_path / "cache" / "weights").iterdir()) == []

    monkeypatch.setattr(inception_weights, "DIGEST_START", digest[:8])
    monkeypatch.setattr(inception_weights.torch_file, "read", lambda path: {"read": path})
    weights, found = inception_weights.load(None, tmp_path / "cache")
    source.unlink()
    assert (weights, found) == inception_weights.load(None, tmp_path / "cache")
    assert found == digest
    weights["read"].write_bytes(b"damaged")
    with pytest.raises(InputError, match="remove it to download it again"):
        inception_weights.load(None, tmp_path / "cache")


def test_without_a_network_the_option_is_named(tmp_path, monkeypatch):
    """Red if the error of the connection passes through, or a partial file stays."""
    monkeypatch.setattr(inception_weights, "URL", (tmp_path / "nothing-here.pth").as_uri())
    with pytest.raises(InputError, match="give it with --weights FILE, or choose features that need none"):
        inception_weights.load(None, tmp_path / "cache")
    assert list((tmp_path / "cache" / "weights").iterdir()) == []
    with pytest.raises(InputError, match=r"there is no file .*gone\.pth"):
        inception_weights.load(tmp_path / "gone.pth", tmp_path)
