"""A training that is killed at any step, again and again, ends with the same bits as one that is not."""

import multiprocessing
import signal
from pathlib import Path

import numpy as np
import pytest

from gan_components import randomness
from gan_components.networks.config import Progan
from gan_components.training.config import Growth, TrainConfig
from tests.gan_components.training import toy_training
from tests.gan_components.training.toy_training import CONFIG, assert_same_run


@pytest.mark.slow
def test_killed_at_twenty_random_steps(tmp_path):
    """One run, killed again and again: between checkpoints, right after one, in the middle of a window.

    Red if any of these is left out of the checkpoint: an optimizer, the average, the step, the windows; or if the
    order of the data or a random stream starts anew in a process.
    """
    config = CONFIG.model_copy(update={"num_steps": 60, "checkpoint_interval_steps": 3})
    steps = sorted(randomness.numpy_generator(0, "kills").choice(np.arange(1, 60), 20, replace=False))
    _assert_survives(tmp_path, config, steps)


@pytest.mark.long
def test_killed_in_every_phase_of_growing(tmp_path):
    """4x4 alone, 8x8 fading in, alone, 16x16 fading in, alone, and at the seams between them.

    Red if a resume begins a phase anew, forgets the weight of the new level, or empties the optimizers once more.
    """
    changes = {
        "network": Progan(base_channels=4, max_channels=8),
        "growth": Growth(stable_steps=4, fade_steps=4),
        "num_steps": 24,
        "checkpoint_interval_steps": 1,
    }
    _assert_survives(tmp_path, CONFIG.model_copy(update=changes), [2, 4, 6, 8, 10, 12, 14, 16, 20])


def _assert_survives(tmp_path: Path, config: TrainConfig, steps: list[int]) -> None:
    """A run that is killed at each of `steps` in turn ends like one that is not."""
    # Forked from a process that has imported TensorFlow and not used it: a start costs no import.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([toy_training.__name__])
    for step in steps:
        child = context.Process(
            target=toy_training.train_until_killed, args=(tmp_path / "killed", config, int(step))
        )
        child.start()
        child.join(120)
        assert child.exitcode == -signal.SIGKILL, step
    killed = toy_training.train(tmp_path / "killed", config)
    assert_same_run(killed, toy_training.train(tmp_path / "whole", config))
