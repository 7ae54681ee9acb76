import keras
import pytest

from gan_components.training.schedule import ConstantThenLinear


@pytest.mark.parametrize("step, rate", [(0, 2.0), (50, 2.0), (75, 1.0), (99, 0.04), (100, 0.0), (120, 0.0)])
def test_half_constant_then_to_zero(step, rate):
    """float32 near zero: 1e-6 absolute.

    Red without the clip, with the fraction counted from the start, or if the optimizer's
    own count of its steps is read.
    """
    schedule = ConstantThenLinear(2.0, step=keras.Variable(step, dtype="int64"), num_steps=100, decay_fraction=0.5)
    assert float(schedule(iterations=0)) == pytest.approx(rate, abs=1e-6)


def test_none_is_constant():
    """Red if None is read as 0 or 1."""
    schedule = ConstantThenLinear(2.0, step=keras.Variable(99, dtype="int64"), num_steps=100, decay_fraction=None)
    assert float(schedule(iterations=0)) == 2.0
