"""One device and two compute the same training."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def runs() -> dict:
    """Five steps by strategy. In a process of its own: devices are split before TensorFlow starts."""
    child = [sys.executable, "-m", "tests.distributed.two_replicas"]
    root = Path(__file__).parents[2]
    result = subprocess.run(child, cwd=root, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.slow
def test_weights_after_five_steps(runs):
    """Relative to each tensor's norm 1e-5: float32 sums run in another order on two devices.

    Red without the division by the replicas, without synchronized=True, or with per-replica draws.
    """
    assert runs["mirrored"]["replicas"] == 2
    assert runs["mirrored"]["step"] == 5
    for name, expected in runs["none"]["weights"].items():
        difference = np.linalg.norm(np.subtract(runs["mirrored"]["weights"][name], expected))
        assert difference <= 1e-5 * np.linalg.norm(expected), name


@pytest.mark.slow
def test_logs_are_those_of_one_device(runs):
    """Means of eight numbers a replica: 1e-5. Red if the scaled loss is logged: it would be half."""
    for got, expected in zip(runs["mirrored"]["logs"], runs["none"]["logs"], strict=True):
        assert got == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_replicas_draw_the_rows_of_one_global_batch(runs):
    """Red if every replica keeps all rows, or takes the first ones."""
    (whole,) = runs["none"]["latents"]
    first, second = runs["mirrored"]["latents"]
    assert first != second
    assert first + second == whole
