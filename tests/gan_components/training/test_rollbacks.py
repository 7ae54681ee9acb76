"""What is remembered of a return to a checkpoint, and a training that diverges and goes on."""

import dataclasses
import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from gan_components.artifacts import TrainedModel
from gan_components.errors import DivergedError
from gan_components.training import players, rollbacks
from gan_components.training.config import TrainConfig
from gan_components.training.gan import GAN
from tests.gan_components.training import toy_training
from tests.gan_components.training.toy_training import CONFIG


def _checkpoints(work, *steps: int) -> None:
    for step in steps:
        (work / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    (work / "checkpoints" / ".partial").mkdir(exist_ok=True)


def test_a_training_without_roll_backs_has_none(tmp_path):
    """Red if a missing file is an error: most trainings have none."""
    assert rollbacks.read(tmp_path) == []


def test_each_roll_back_names_retry_step_and_reason(tmp_path):
    """Red if the oldest checkpoint is named, the retry not counted, or the list not written."""
    _checkpoints(tmp_path, 500, 750)
    first = rollbacks.record(tmp_path, ValueError("d_loss = nan at step 760"))
    assert first == [{"retry": 1, "step": 750, "reason": "d_loss = nan at step 760"}]
    both = rollbacks.record(tmp_path, ValueError("again"))
    assert both == [*first, {"retry": 2, "step": 750, "reason": "again"}]
    assert rollbacks.read(tmp_path) == both


def test_without_a_checkpoint_it_goes_back_to_the_start(tmp_path):
    """Red if the largest of no steps is asked for."""
    assert rollbacks.record(tmp_path, ValueError("at once"))[0]["step"] == 0


def test_a_kill_while_writing_leaves_the_list_before(tmp_path, monkeypatch):
    """Red if the file is written in place: a torn list would lose the retry number."""
    taken = rollbacks.record(tmp_path, ValueError("once"))

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            rollbacks.record(tmp_path, ValueError("twice"))
    assert rollbacks.read(tmp_path) == taken


class _Builds:
    """Stands in for ``players.build``: notes what it builds, and spoils the losses of chosen retries.

    Args:
        diverging: finished steps at which the losses are not finite, by retry number.
    """

    def __init__(self, monkeypatch, diverging: dict[int, int]) -> None:
        self.diverging, self.build = diverging, players.build
        self.gans: list[GAN] = []
        self.retries: list[int] = []
        self.orders: list[int] = []
        monkeypatch.setattr(players, "build", self)
        monkeypatch.setattr(toy_training, "batches", functools.partial(self._batches, toy_training.batches))

    def __call__(self, description, config, *, seed: int, retry: int = 0) -> GAN:
        gan = self.build(description, config, seed=seed, retry=retry)
        if retry in self.diverging:
            loss = gan.objective.loss

            def spoiled(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
                factor = tf.where(gan.step.value == self.diverging[retry], float("nan"), 1.0)
                return tuple(factor * value for value in loss(real_logits, fake_logits))

            gan.objective = dataclasses.replace(gan.objective, loss=spoiled)
        self.gans.append(gan)
        self.retries.append(retry)
        return gan

    def _batches(self, batches, examples, *, seed: int, **arguments) -> tf.data.Dataset:
        self.orders.append(seed)
        return batches(examples, seed=seed, **arguments)


def _config(max_rollbacks: int) -> TrainConfig:
    return toy_training.CONFIG.model_copy(update={"max_rollbacks": max_rollbacks})


@pytest.fixture(scope="module")
def rolled_back(tmp_path_factory):
    """A training that diverges at step 7 and goes back to step 4, once: what was built, and the model."""
    with pytest.MonkeyPatch.context() as patch:
        builds = _Builds(patch, {0: 6})
        return builds, toy_training.train(tmp_path_factory.mktemp("rolled back"), _config(1))


@pytest.mark.slow
def test_it_goes_on_with_half_the_rates_and_other_numbers(rolled_back):
    """Red if the rates stay, or latents, labels or the order of the data are those that diverged."""
    builds, _ = rolled_back
    assert builds.retries == [0, 1]
    rates = [
        [gan.d_optimizer._learning_rate.learning_rate, gan.g_optimizer._learning_rate.learning_rate]
        for gan in builds.gans
    ]
    assert rates[0] == [CONFIG.d_learning_rate, CONFIG.g_learning_rate]
    assert rates[1] == [CONFIG.d_learning_rate / 2, CONFIG.g_learning_rate / 2]
    before, after = (gan.draw(tf.constant(6)) for gan in builds.gans)
    assert before.keys() == after.keys()
    for name in before:
        assert np.any(before[name] != after[name]), name
    assert builds.orders[0] != builds.orders[1]


@pytest.mark.slow
def test_a_roll_back_is_in_manifest_history_and_warnings(rolled_back):
    """The history has each window once, with numbers only.

    Red if the manifest does not tell of it, or the history keeps a line of the steps that were given up.
    """
    _, model = rolled_back
    (taken,) = TrainedModel.open(model.directory).properties["rollbacks"]
    assert (taken["retry"], taken["step"]) == (1, 4)
    assert "diverged at step 7:" in taken["reason"]
    assert "d_loss = nan" in taken["reason"]
    assert rollbacks.read(model.directory) == [taken]
    history = [json.loads(line) for line in (model.directory / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in history] == [5, 10]
    assert all(np.isfinite(list(line.values())).all() for line in history)
    (warning,) = [json.loads(line) for line in (model.directory / "warnings.jsonl").read_text().splitlines()]
    assert (warning["step"], warning["warning"]) == (4, "rollback")


@pytest.mark.long
def test_killed_after_a_roll_back_it_ends_alike(rolled_back, tmp_path, monkeypatch):
    """With the bits of the run that was not killed. Red if the retry number is not kept in the work directory."""
    builds = _Builds(monkeypatch, {0: 6})

    def dies(done: int, total: int, text: str) -> None:
        if done == 10:
            raise OSError("the machine went away")

    with pytest.raises(OSError, match="the machine went away"):
        toy_training.train(tmp_path, _config(1), progress=dies)
    model = toy_training.train(tmp_path, _config(1))
    assert builds.retries == [0, 1, 1]
    expected = rolled_back[1]
    assert model.content_digest == expected.content_digest
    for name in ("history.jsonl", "warnings.jsonl", "rollbacks.json"):
        assert (model.directory / name).read_bytes() == (expected.directory / name).read_bytes(), name


def test_without_roll_backs_a_divergence_ends_the_training(tmp_path, monkeypatch):
    """The default. Red if one roll-back is always granted."""
    builds = _Builds(monkeypatch, {0: 2})
    with pytest.raises(DivergedError, match="diverged at step 3"):
        toy_training.train(tmp_path, _config(0))
    assert builds.retries == [0]
    assert not list(tmp_path.glob(f"*/{rollbacks.FILE}"))


@pytest.mark.long
def test_the_divergence_after_the_last_roll_back_ends_the_training(tmp_path, monkeypatch):
    """Two are granted, the third divergence is an error, also for who tries again.

    Red if retries are counted from the start of the process.
    """
    builds = _Builds(monkeypatch, {0: 2, 1: 6, 2: 5})
    with pytest.raises(DivergedError, match="diverged at step 6"):
        toy_training.train(tmp_path, _config(2))
    assert builds.retries == [0, 1, 2]
    (work,) = tmp_path.glob(".work-*")
    assert [taken["step"] for taken in rollbacks.read(work)] == [0, 4]
    with pytest.raises(DivergedError, match="diverged at step 6"):
        toy_training.train(tmp_path, _config(2))
    assert builds.retries == [0, 1, 2, 2]
    assert len(rollbacks.read(work)) == 2
