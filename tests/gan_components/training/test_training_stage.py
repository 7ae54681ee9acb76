"""The stage as a whole: what it writes, and that a killed run ends like an uninterrupted one."""

import functools
import json
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components.artifacts import TrainedModel
from gan_components.errors import ArtifactError, ConfigError, TrainingError
from gan_components.generators import Generator
from gan_components.training import checkpoints, monitors, players, stage
from gan_components.training.gan import GAN
from gan_components.training.windows import METRICS
from tests.gan_components.training import toy_training
from tests.gan_components.training.toy_training import CONFIG


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> TrainedModel:
    return toy_training.train(tmp_path_factory.mktemp("uninterrupted"))


def _child(directory: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, toy_training.__file__, str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_artifact_holds_what_it_promises(uninterrupted):
    """Red if a file or property is left out, or more than the last checkpoint kept."""
    opened = TrainedModel.open(uninterrupted.directory, verify=True)
    assert opened.properties["image_shape"] == [16, 16, 1]
    assert opened.properties["class_names"] == ["dark", "grey", "bright"]
    assert opened.properties["latent_dim"] == CONFIG.latent_dim
    assert opened.properties["num_steps"] == CONFIG.num_steps
    assert [p.name for p in (opened.directory / "checkpoints").iterdir()] == ["step-00000012"]
    assert sorted(p.name for p in (opened.directory / "samples").iterdir()) == [
        "step-00000006.png",
        "step-00000012.png",
    ]
    lines = [json.loads(line) for line in (opened.directory / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [5, 10]
    assert lines[0].keys() == {"step", "r1", *METRICS}


def test_served_generator_is_the_average(uninterrupted, tmp_path):
    """The SavedModel gives the images of the checkpoint's average. Red if the live generator is saved.

    Equal to one level: the same graph, but not the same fusion of operations.
    """
    generator = Generator.load(uninterrupted.generator_directory)
    description = generator.description
    gan = players.build(description, CONFIG, seed=99)
    checkpoints.restore_latest(gan, uninterrupted.directory / "checkpoints")
    latents = generator._signatures["latents"](seed=tf.range(6, dtype=tf.int64))["latents"]
    labels = tf.range(6, dtype=tf.int64) % 3
    served = generator.images(range(6), labels.numpy()).astype(int)

    def distance(network) -> int:
        images = np.round((network({"latents": latents, "labels": labels}, training=False).numpy() + 1) * 127.5)
        return np.abs(images - served).max()

    assert distance(gan.ema_generator) <= 1
    assert distance(gan.generator) > 1


@pytest.mark.slow
def test_resume_after_crashes(uninterrupted, tmp_path):
    """Dies twice, one and two steps after a checkpoint, with a history line beyond it, a window half full.

    Red if any of these is left out of the checkpoint: an optimizer, the average, the step, the windows.
    """
    for step in (5, 10):
        with pytest.raises(OSError, match="the machine went away"):
            toy_training.train(tmp_path, progress=functools.partial(_crash, step))
    toy_training.assert_same_run(toy_training.train(tmp_path), uninterrupted)


def _crash(step: int, done: int, total: int, text: str) -> None:
    if done == step:
        raise OSError("the machine went away")


@pytest.mark.slow
def test_resume_after_signals(uninterrupted, tmp_path):
    """SIGTERM at step 5, then SIGKILL with half of checkpoint 8 written, then to the end.

    Red if SIGTERM does not save (5 is no step of the interval), or checkpoints lack their partial name.
    """
    stopped = _child(tmp_path, "--signal", "SIGTERM", "5")
    assert stopped.returncode == 143, stopped.stderr
    (work,) = tmp_path.glob(".work-*")
    assert (work / "checkpoints" / "step-00000005").is_dir()
    assert not (tmp_path / "trained").exists()

    killed = _child(tmp_path, "--kill-in-save", "8")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    names = sorted(path.name for path in (work / "checkpoints").iterdir())
    assert names == [".partial", "step-00000004", "step-00000005"]
    toy_training.assert_same_run(toy_training.train(tmp_path), uninterrupted)


@pytest.mark.slow
def test_killed_between_the_last_step_and_the_seal(uninterrupted, tmp_path, monkeypatch):
    """Only the export is repeated, over its own remains. Red if `fit` is called with no steps left."""

    def full_disk(network, directory, description) -> None:
        directory.mkdir()
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(stage.generators, "save", full_disk)
        with pytest.raises(OSError, match="disk full"):
            toy_training.train(tmp_path)
    monkeypatch.setattr(GAN, "train_step", None)
    toy_training.assert_same_run(toy_training.train(tmp_path), uninterrupted)


@pytest.mark.slow
def test_unlabelled_examples(tmp_path):
    """Also with a dataset that yields labels. Red if the labels reach train_step."""
    config = CONFIG.model_copy(update={"num_steps": 2})
    model = toy_training.train(tmp_path, config, labelled=False)
    assert model.properties["class_names"] == []
    assert Generator.load(model.generator_directory).images(range(3)).shape == (3, 16, 16, 1)


def test_divergence_stops_with_step_and_loss(tmp_path):
    """A rate beyond float32 spoils the weights in step 1, so the losses of step 2. Red without the check."""
    config = CONFIG.model_copy(update={"d_learning_rate": 1e38, "g_learning_rate": 1e38})
    with pytest.raises(TrainingError, match=r"diverged at step 2: .*d_loss = (nan|inf)"):
        toy_training.train(tmp_path, config)


def test_classes_that_are_not_there_are_refused(tmp_path):
    """Red without the check: an unconditional generator would be served in silence."""
    unlabelled = toy_training.examples(tmp_path / "unlabelled", labelled=False)
    config = CONFIG.model_copy(update={"conditional": True})
    with pytest.raises(ConfigError, match="the examples have no classes"):
        stage.train(unlabelled, config, out=tmp_path / "out", seed=0, cache=tmp_path)


def test_a_checkpoint_of_another_state_is_an_error(uninterrupted):
    """An optimizer without slots would otherwise lose its state in silence. Red without assert_consumed."""
    description = Generator.load(uninterrupted.generator_directory).description
    gan = players.build(description, CONFIG, seed=0)
    gan.d_optimizer = keras.optimizers.Adam()
    with pytest.raises(ArtifactError, match="does not fit this training"):
        checkpoints.restore_latest(gan, uninterrupted.directory / "checkpoints")


def test_divergence_in_the_last_step_is_not_served(uninterrupted):
    """No later loss can tell of it. Red without the check before the export."""
    gan = players.build(Generator.load(uninterrupted.generator_directory).description, CONFIG, seed=0)
    monitors.check_finite(gan.ema_generator, step=1)
    gan.ema_generator.trainable_variables[-1].assign([float("nan")])
    with pytest.raises(TrainingError, match="generator_image/bias is not finite after step 1"):
        monitors.check_finite(gan.ema_generator, step=1)


def test_signals_wait_for_the_end_of_the_context():
    """Also one that comes after the last step. Red without the raise, or without putting the handler back."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as stop, monitors.stop_signals() as received:
        signal.raise_signal(signal.SIGINT)
        assert received == [signal.SIGINT]
    assert stop.value.code == 130
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_puts_the_signal_handlers_back():
    """Red without the finally: the caller's Ctrl-C would be lost."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(RuntimeError), monitors.stop_signals():
        raise RuntimeError
    assert signal.getsignal(signal.SIGTERM) is before
