"""A tiny training over 160 drawn images: imported by tests, and run as a child process that gets killed.

``python toy_training.py DIRECTORY [--signal NAME STEP] [--kill-in-save STEP]`` trains in
DIRECTORY and prints the digest of the result.
"""

import argparse
import os
import signal
import unittest.mock
from pathlib import Path

import numpy as np
import tensorflow as tf

from gan_components import artifacts, randomness
from gan_components import examples as examples_reader
from gan_components.artifacts import Examples, Progress, TrainedModel, no_progress
from gan_components.fingerprints import Recipe
from gan_components.networks.config import Dcgan
from gan_components.training import monitors, stage
from gan_components.training.config import TrainConfig

CONFIG = TrainConfig(
    latent_dim=8,
    network=Dcgan(base_channels=4),
    batch_size=16,
    num_steps=12,
    penalty_interval_steps=2,
    log_interval_steps=5,
    sample_interval_steps=6,
    checkpoint_interval_steps=4,
)
FREQUENCIES = [0.5, 0.25, 0.25]


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """Images whose brightness says their class: uint8 [160, 16, 16, 1], int64 [160]."""
    labels = np.repeat(np.arange(3), (80, 40, 40))
    noise = randomness.numpy_generator(0, "toy").integers(0, 60, (160, 16, 16, 1))
    return (noise + 90 * labels[:, None, None, None]).astype(np.uint8), labels


def batches(examples: Examples, *, batch_size: int, seed: int, start_step: int, num_steps: int) -> tf.data.Dataset:
    """Stands in for the reader of real artifacts: a pure function of the seed and the step."""

    def rows(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = randomness.at_step(randomness.stream(seed, "toy order"), step)
        chosen = tf.random.stateless_uniform((batch_size,), key, 0, 160, tf.int32, alg="philox")
        return tf.gather(images, chosen), tf.gather(labels, chosen)

    images, labels = arrays()
    return tf.data.Dataset.range(start_step, start_step + num_steps).map(rows)


def examples(directory: Path, *, labelled: bool = True) -> Examples:
    """An Examples artifact with the properties that training reads."""
    recipe = Recipe(stage="ingest", config={}, inputs={}, seed=0, code={}, libraries={})
    artifacts.work_directory(directory, recipe)
    properties = {
        "image_shape": [16, 16, 1],
        "class_names": ["dark", "grey", "bright"] if labelled else [],
        "class_frequencies": FREQUENCIES if labelled else [],
        "num_train": 160,
        "num_holdout": 0,
    }
    return Examples.seal(directory, recipe, properties=properties, content_digest="toy")


def train(
    directory: Path,
    config: TrainConfig = CONFIG,
    *,
    labelled: bool = True,
    progress: Progress = no_progress,
    initial: TrainedModel | None = None,
) -> TrainedModel:
    """Trains in ``directory/trained``, or goes on there."""
    with unittest.mock.patch.object(examples_reader, "batches", batches):
        return stage.train(
            examples(directory / "examples", labelled=labelled),
            config,
            out=directory / "trained",
            seed=3,
            cache=directory / "cache",
            progress=progress,
            initial=initial,
        )


def train_until_killed(directory: Path, config: TrainConfig, step: int) -> None:
    """Dies by SIGKILL after `step`, before its checkpoint if there is one."""

    def report(self: monitors.Report, batch: int, logs: dict) -> None:
        if int(self.model.step.numpy()) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with unittest.mock.patch.object(monitors.Report, "on_train_batch_end", report):
        train(directory, config)


def _state(model: TrainedModel) -> dict[str, np.ndarray]:
    (last,) = (model.directory / "checkpoints").glob("step-*")
    reader = tf.train.load_checkpoint(str(last / "state"))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH"
    }


def assert_same_run(model: TrainedModel, other: TrainedModel) -> None:
    """Every bit of every weight, slot and counter; history and pictures byte for byte."""
    assert model.content_digest == other.content_digest
    state, expected = _state(model), _state(other)
    assert state.keys() == expected.keys()
    for name in state:
        np.testing.assert_array_equal(state[name], expected[name], err_msg=name)
    names = {path.name for path in (other.directory / "samples").iterdir()}
    assert names == {path.name for path in (model.directory / "samples").iterdir()}
    for name in ["history.jsonl", *(f"samples/{name}" for name in names)]:
        assert (model.directory / name).read_bytes() == (other.directory / name).read_bytes(), name


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--signal", nargs=2, metavar=("NAME", "STEP"))
    parser.add_argument("--kill-in-save", type=int)
    arguments = parser.parse_args()

    def progress(done: int, total: int, text: str) -> None:
        if arguments.signal and done == int(arguments.signal[1]):
            os.kill(os.getpid(), signal.Signals[arguments.signal[0]])

    if arguments.kill_in_save is not None:
        write = tf.train.Checkpoint.write

        def torn(self: tf.train.Checkpoint, path: str) -> None:
            write(self, path)
            if int(self.step.numpy()) == arguments.kill_in_save:
                data = next(Path(path).parent.glob("*.data*"))
                data.write_bytes(data.read_bytes()[:1000])
                os.kill(os.getpid(), signal.SIGKILL)

        tf.train.Checkpoint.write = torn

    print(train(arguments.directory, progress=progress).content_digest)


if __name__ == "__main__":
    _main()
