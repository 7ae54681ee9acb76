"""`gan-pipelines score` as its users type it."""

import numpy as np
import pytest
from PIL import Image

from tests.commandline import call

pytestmark = pytest.mark.slow


def _folder(path, count: int, *, seed: int, mode: str = "L", side: int = 16):
    path.mkdir()
    pixels = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).convert(mode).save(path / f"{number:03}.png")
    return str(path)


def test_two_folders_and_what_was_trained_on(tmp_path):
    """Other sizes and colours, resized as asked; copies of the training folder fail with 99.

    Red if the exit code does not follow the verdict, or stdout holds more than the document.
    """
    train = _folder(tmp_path / "train", 80, seed=0)
    others = _folder(tmp_path / "others", 60, seed=1, mode="RGB", side=20)
    arguments = ["--metrics", "distance,manifold", "--size", "16", "--train", train]
    done = call("score", train, others, *arguments, root=tmp_path / "root", sets=[])
    assert done.code == 99, done.stderr
    assert set(done.document["metrics"]) == {"fd_random_conv", "precision", "recall", "density", "coverage"}
    assert done.document["memorization"]["verdict"] == "FAIL"
    assert "repeated into red, green and blue" in done.stderr


def test_sizes_that_differ_are_one_clear_line(tmp_path):
    """Red if the images are resized unasked, or a traceback is shown."""
    first = _folder(tmp_path / "first", 50, seed=0)
    second = _folder(tmp_path / "second", 50, seed=1, side=20)
    done = call("score", first, second, root=tmp_path / "root", sets=[])
    assert done.code == 2
    assert "Give --size N" in done.document["error"]
    assert "Traceback" not in done.stderr
