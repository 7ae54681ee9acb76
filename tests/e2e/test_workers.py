"""Two workers of one training, as two commands on loopback."""

import subprocess

import pytest

from tests.commandline import command, environment
from tests.distributed.test_replicas import tf_configs

SETS = [
    "train.strategy=multi_worker",
    "train.num_steps=20",
    "train.network.base_channels=16",
    "train.batch_size=32",
    "train.log_interval_steps=10",
]


@pytest.mark.long
def test_two_workers_train_one_model(tmp_path):
    """The chief runs the chain and writes; the worker joins its training and ends with its code.

    Red if the worker takes a lock, writes, or leaves before the chief has ended; or if anything the chief does
    alone between steps needs the worker.
    """
    root = tmp_path / "root"
    line = command("run", "digits", "--run-id", "night", "--until", "train", root=root, sets=SETS)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    chief, worker = (
        subprocess.Popen(line, env=environment(root) | {"TF_CONFIG": config}, **pipes) for config in tf_configs(2)
    )
    _, chief_errors = chief.communicate(timeout=500)
    _, worker_errors = worker.communicate(timeout=100)
    assert chief.returncode == 0, chief_errors
    assert worker.returncode == 0, worker_errors
    assert "training together with the chief of run night" in worker_errors
    (trained,) = (root / "artifacts" / "train").glob("*/manifest.json")
    assert len((trained.parent / "history.jsonl").read_text().splitlines()) == 2
