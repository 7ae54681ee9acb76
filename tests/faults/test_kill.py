"""SIGKILL anywhere: the next run finishes, and its generator has the weights of an uninterrupted run.

Red if a stage seals before it is complete, if a resume misses any state, or if a push is repeated after a crash.
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from gan_components.generators import Generator
from tests.commandline import QUICK, call, command, environment

pytestmark = pytest.mark.slow

SETS = [*QUICK, "train.checkpoint_interval_steps=20"]
KILLER = str(Path(__file__).with_name("killer.py"))

# Where, and at which call; a `+` kills after the call instead of before it. Each run goes on where the last died.
KILLS = [
    ("gan_components.artifacts:Examples.seal", "1"),
    ("gan_components.training.monitors:StopOnNonFinite.on_train_batch_end", "37"),
    ("gan_components.training.checkpoints:sync", "2"),
    ("gan_components.generators:save", "1+"),
    ("gan_components.artifacts:Evaluation.seal", "1"),
    ("gan_components.export.serving_directory:push", "1+"),
    ("gan_components.export.registry:register", "1+"),
    ("gan_components.export.registry:promote", "1+"),
    ("gan_components.export.serving_directory:write_models_config", "1"),
    ("gan_components.export.promotions:append", "1"),
    ("gan_components.artifacts:PushedModel.seal", "1"),
]


def state(document: dict) -> dict[str, np.ndarray]:
    """Everything that training ends with: networks, average, optimizers."""
    directory = next(Path(step["artifact"]) for step in document["stages"] if step["stage"] == "train")
    (checkpoint,) = (directory / "checkpoints").glob("step-*")
    reader = tf.train.load_checkpoint(str(checkpoint / "state"))
    names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
    return {name: reader.get_tensor(name) for name in names}


@pytest.mark.long
def test_killed_and_still_the_same_generator(tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    expected = call("run", "digits", root=whole, sets=SETS)
    assert expected.code == 0, expected.stderr
    for target, count in KILLS:
        killed = subprocess.run(
            [sys.executable, KILLER, target, count, "--", *command("run", "digits", root=broken, sets=SETS)[3:]],
            capture_output=True,
            text=True,
            env=environment(broken),
            cwd=tmp_path,
            timeout=540,
        )
        assert killed.returncode == -signal.SIGKILL, f"{target} was never reached: {killed.stderr}"
        versions = [path for path in broken.glob("serving/digits/*") if path.name.isdecimal()]
        # Whatever a server sees at this moment is whole.
        assert all((version / "saved_model.pb").exists() for version in versions)
        assert len(versions) <= 1
    finished = call("run", "digits", root=broken, sets=SETS)
    assert finished.code == 0, finished.stderr
    assert [path.name for path in broken.glob("serving/digits/*") if path.name.isdecimal()] == ["1"]
    ours, theirs = state(finished.document), state(expected.document)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 50
    for name, value in ours.items():
        np.testing.assert_array_equal(value, theirs[name], err_msg=name)
    served = [Generator.load(root / "serving" / "digits" / "1").images(range(20)) for root in (broken, whole)]
    np.testing.assert_array_equal(*served)
    log = (broken / "promotions" / "digits.jsonl").read_text().splitlines()
    assert [json.loads(line)["to_version"] for line in log] == [1]
    registered = subprocess.run(
        [
            sys.executable,
            "-c",
            "from mlflow import MlflowClient\n"
            f"client = MlflowClient('sqlite:///{broken}/mlflow.db')\n"
            "print([str(v.version) for v in client.search_model_versions(\"name = 'digits'\")])",
        ],
        capture_output=True,
        text=True,
        env=environment(broken),
        check=True,
        cwd=tmp_path,
    )
    assert registered.stdout.strip() == "['1']"


def test_sigterm_saves_a_checkpoint_that_other_settings_may_take_over(tmp_path):
    """Red if the handler is left out: the process would die at once, with nothing saved.

    Red too if the stage's reason is a number, or the work of other settings is resumed unasked, or taken over
    without a word in the manifest.
    """
    root = tmp_path / "root"
    sets = [*QUICK, "train.num_steps=100000", "train.checkpoint_interval_steps=100000"]
    process = subprocess.Popen(
        command("run", "digits", "--until", "train", root=root, sets=sets),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(root),
        cwd=tmp_path,
    )
    said = []
    for line in process.stderr:
        said.append(line)
        if "d_loss" in line:
            process.send_signal(signal.SIGTERM)
            break
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 143, [*said, stderr]
    summary = json.loads(stdout)
    assert summary["verdict"] == "failed"
    assert summary["stages"][-1]["reason"] == "stopped by a signal"
    (checkpoint,) = root.glob("artifacts/train/.work-*/checkpoints/step-*")
    work = checkpoint.parents[1]
    steps = int(checkpoint.name.removeprefix("step-"))
    sets = [*sets, f"train.num_steps={steps + 2}", "train.log_interval_steps=4"]
    resumed = call("run", "digits", "--until", "train", "--resume-from", str(work), root=root, sets=sets)
    assert resumed.code == 0, resumed.stderr
    assert f"resuming from step {steps} of {steps + 2}" in resumed.stderr
    trained = Path(next(step["artifact"] for step in resumed.document["stages"] if step["stage"] == "train"))
    manifest = json.loads((trained / "manifest.json").read_text())
    assert manifest["properties"]["taken_over"] == work.name.removeprefix(".work-")
    again = call("run", "digits", "--until", "train", "--resume-from", str(work), root=root, sets=sets)
    assert again.code == 2 and "leave --resume-from out" in again.document["error"]
