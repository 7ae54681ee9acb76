import subprocess
import sys

import pytest
from pydantic import ValidationError

from gan_components.networks.config import Mlp
from gan_components.training.config import TrainConfig


def test_reading_a_configuration_imports_no_tensorflow():
    """`plan` and `--help` must be quick. Red with an import of keras in config.py."""
    code = (
        "import sys, gan_components.training.config; "
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "section", [{"num_step": 5}, {"batch_size": 0}, {"r1_gamma": 0.0}, {"loss": "vanilla"}, {"beta1": 1.0}]
)
def test_what_cannot_be_meant_is_refused(section):
    """Red without extra="forbid" or a bound."""
    with pytest.raises(ValidationError):
        TrainConfig(**section)


def test_a_window_without_a_penalty_is_refused():
    """Red without the validator: the log would show r1 = 0."""
    with pytest.raises(ValidationError, match="could hold no penalty"):
        TrainConfig(log_interval_steps=3, penalty_interval_steps=4)
    TrainConfig(log_interval_steps=3, penalty_interval_steps=4, r1_gamma=None)


@pytest.mark.parametrize(
    "section, message",
    [
        ({"loss": "hinge", "label_smoothing": 0.1}, "label_smoothing goes with"),
        ({"growth": {"stable_steps": 5, "fade_steps": 5}}, "growth goes with"),
        ({"loss": "wasserstein", "augment": {"kind": "ada"}}, "augment ada goes with"),
        ({"network": "biggan"}, "does not match any of the expected tags"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(section, message):
    """Red without the validator: the setting would be accepted and ignored."""
    with pytest.raises(ValidationError, match=message):
        TrainConfig.model_validate(section)


def test_a_network_may_be_named_alone():
    """Red without the shorthand."""
    assert TrainConfig.model_validate({"network": "mlp"}).network == Mlp()


def test_yaml_lists_reach_the_augmentation():
    """YAML knows no tuples. Red if the section insists on one."""
    section = TrainConfig.model_validate({"augment": {"kind": "diffaugment", "policy": ["color", "cutout"]}})
    assert section.augment.policy == ("color", "cutout")
