import subprocess
import sys

import pytest
from pydantic import ValidationError

from gan_components.training.config import TrainConfig


def test_reading_a_configuration_imports_no_tensorflow():
    """`plan` and `--help` must be quick. Red with an import of keras in config.py."""
    code = (
        "import sys, gan_components.training.config; "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "section", [{"num_step": 5}, {"batch_size": 0}, {"r1_gamma": 0.0}, {"loss": "hinge"}, {"beta1": 1.0}]
)
def test_what_cannot_be_meant_is_refused(section):
    """Red without extra="forbid" or a bound."""
    with pytest.raises(ValidationError):
        TrainConfig(**section)


def test_a_window_without_a_penalty_is_refused():
    """Red without the validator: the log would show r1 = 0."""
    with pytest.raises(ValidationError, match="could hold no penalty"):
        TrainConfig(log_interval_steps=3, r1_interval_steps=4)
    TrainConfig(log_interval_steps=3, r1_interval_steps=4, r1_gamma=None)
