"""One device, two logical devices and two processes compute the same training."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.distributed.five_steps import CASES
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


def _start(name: str, cases: list[str], variables: dict[str, str]) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.distributed.five_steps", name, *cases]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, **pipes)


def _result(child: subprocess.Popen) -> dict:
    out, errors = child.communicate(timeout=900)
    assert child.returncode == 0, errors
    return json.loads(out)


def tf_configs(count: int) -> list[str]:
    """``TF_CONFIG`` of each of `count` workers on loopback."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    return [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]


# Part of `make test`; the others differ in what a replica computes, not in how replicas are joined.
SHORT = ["dcgan", "ada"]


@functools.cache
def run(name: str, *, short: bool) -> list[dict]:
    """Five steps of the cases under a strategy, in processes of their own: one result a process."""
    cases = SHORT if short else [case for case in CASES if case not in SHORT]
    if name == "multi_worker":
        workers = [_start(name, cases, {"TF_CONFIG": config}) for config in tf_configs(2)]
        return [_result(worker) for worker in workers]
    return [_result(_start(name, cases, {}))]


@pytest.fixture
def runs() -> Callable[[str, str], list[dict]]:
    """The results of a case under a strategy, one a process."""
    return lambda name, case: [result[case] for result in run(name, short=case in SHORT)]


RUNS = [
    *(pytest.param("mirrored", case, marks=() if case in SHORT else pytest.mark.long) for case in CASES),
    *(("multi_worker", case) for case in SHORT),
]


@pytest.mark.slow
@pytest.mark.parametrize("name, case", RUNS)
def test_weights_after_five_steps(runs, name, case):
    """Relative to each tensor's norm 1e-5: float32 sums run in another order on two devices.

    Red without the division by the replicas, without synchronized=True, with per-replica draws, with a penalty
    or augmentation of the replica's own numbers, or if a worker sees other rows than its share.
    """
    (expected,) = runs("none", case)
    for got in runs(name, case):
        assert got["replicas"] == 2
        assert got["step"] == 5
        for variable, weights in expected["weights"].items():
            difference = np.linalg.norm(np.subtract(got["weights"][variable], weights))
            assert difference <= 1e-5 * np.linalg.norm(weights) + 1e-7, variable


@pytest.mark.slow
@pytest.mark.parametrize("name, case", RUNS)
def test_logs_are_those_of_one_device(runs, name, case):
    """Means of eight numbers a replica: 1e-4 (gradient norms and spreads are means over replicas, see below).

    Red if the scaled loss is logged: it would be half.
    """
    per_replica = ("d_gradient_norm", "g_gradient_norm", "spread")
    (expected,) = runs("none", case)
    for result in runs(name, case):
        for got, one in zip(result["logs"], expected["logs"], strict=True):
            for key in one.keys() - set(per_replica):
                assert got[key] == pytest.approx(one[key], rel=1e-4, abs=1e-6), key


@pytest.mark.slow
def test_replicas_draw_the_rows_of_one_global_batch(runs):
    """Red if every replica keeps all rows, or takes the first ones."""
    (whole,) = runs("none", "dcgan")[0]["latents"]
    first, second = runs("mirrored", "dcgan")[0]["latents"]
    assert first != second
    assert first + second == whole
    assert [result["latents"][0] for result in runs("multi_worker", "dcgan")] == [first, second]


@pytest.mark.slow
def test_workers_end_with_equal_bits(runs):
    """Red if a worker applies its own gradients."""
    first, second = runs("multi_worker", "dcgan")
    assert first["weights"] == second["weights"]


@pytest.mark.slow
def test_adaptive_augmentation_was_on(runs):
    """Red if the case "ada" compares trainings without augmentation."""
    assert runs("none", "ada")[0]["ada_p"] > 0.1
