"""Phases of growing."""

import pytest
import tensorflow as tf

from gan_components.errors import ConfigError
from gan_components.training.growth import Phase, phases


def test_phases_cover_every_step_once():
    """Red if a level begins a step late or the last one ends early."""
    found = phases(num_levels=4, stable_steps=10, fade_steps=5, num_steps=100)
    assert [(phase.start_step, phase.end_step) for phase in found] == [(0, 10), (10, 25), (25, 40), (40, 100)]
    assert [phase.level for phase in found] == [0, 1, 2, 3]


@pytest.mark.parametrize("step, alpha", [(10, 0.0), (12, 0.4), (15, 1.0), (24, 1.0)])
def test_a_level_fades_in_over_the_first_steps_of_its_phase(step, alpha):
    """Red if alpha counts from the training's start, or never reaches 1."""
    assert float(Phase(10, 25, 1, 5).alpha(tf.constant(step))) == pytest.approx(alpha)


@pytest.mark.parametrize("phase", [Phase(0, 10, 0, 5), Phase(0, 10)])
def test_the_first_level_needs_no_fading(phase):
    """Red if 4x4 fades in from nothing: its first step would train nothing."""
    assert float(phase.alpha(tf.constant(0))) == 1.0


def test_the_last_level_must_have_faded_in():
    """10 + 2 * 15 + 5 = 45 steps are too few, 46 enough. Red if the served generator may be a mixture."""
    with pytest.raises(ConfigError, match="more than 45 steps"):
        phases(num_levels=4, stable_steps=10, fade_steps=5, num_steps=45)
    assert phases(num_levels=4, stable_steps=10, fade_steps=5, num_steps=46)[-1].end_step == 46
