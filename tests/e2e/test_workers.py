"""Two workers of one training, as two commands on loopback."""

import signal
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


def start(root, run_id: str, sets: list[str]) -> list[subprocess.Popen]:
    """The chief and a worker, as a user would start them."""
    line = command("run", "digits", "--run-id", run_id, "--until", "train", root=root, sets=sets)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen(line, env=environment(root) | {"TF_CONFIG": config}, **pipes) for config in tf_configs(2)
    ]


@pytest.mark.long
def test_two_workers_train_one_model(tmp_path):
    """The chief runs the chain and writes; the worker joins its training and ends with its code.

    Red if the worker takes a lock, writes, or leaves before the chief has ended; or if anything the chief does
    alone between steps needs the worker.
    """
    root = tmp_path / "root"
    chief, worker = start(root, "night", SETS)
    _, chief_errors = chief.communicate(timeout=500)
    _, worker_errors = worker.communicate(timeout=100)
    assert chief.returncode == 0, chief_errors
    assert worker.returncode == 0, worker_errors
    assert "training together with the chief of run night" in worker_errors
    (trained,) = (root / "artifacts" / "train").glob("*/manifest.json")
    assert len((trained.parent / "history.jsonl").read_text().splitlines()) == 2


@pytest.mark.long
def test_a_lost_worker_ends_the_training_and_a_restart_resumes(tmp_path):
    """SIGKILL for the worker in the middle: the chief says so and ends; started again, they resume.

    Red if the chief waits for ever, hides the reason, or begins from the start.
    """
    root = tmp_path / "root"
    sets = [*SETS, "train.num_steps=1500", "train.network.base_channels=4", "train.checkpoint_interval_steps=50"]
    chief, worker = start(root, "night", sets)
    said = []
    for line in chief.stderr:
        said.append(line)
        if "60/1,500" in line:
            worker.send_signal(signal.SIGKILL)
            break
    _, rest = chief.communicate(timeout=300)
    worker.communicate()
    assert chief.returncode == 1, [*said, rest]
    assert "a worker was lost" in rest and "start all workers again" in rest
    chief, worker = start(root, "night", sets)
    _, chief_errors = chief.communicate(timeout=500)
    _, worker_errors = worker.communicate(timeout=100)
    assert (chief.returncode, worker.returncode) == (0, 0), chief_errors + worker_errors
    assert "resuming from step" in chief_errors
