"""The ``evaluate`` section: what it accepts, and that reading it stays cheap."""

import json
import subprocess
import sys
from unittest.mock import Mock

import pytest
from pydantic import ValidationError

from gan_components.errors import ConfigError, InputError
from gan_components.evaluation.config import EvaluateConfig, recipe, require_usable_weights


def read(**section) -> EvaluateConfig:
    return EvaluateConfig.model_validate_json(json.dumps(section))


def test_bounds_are_typed():
    """Red if bounds stay dictionaries; an int is a number too."""
    config = read(bounds={"fd_classifier": {"max": 20}, "coverage": {"min": 0.6}})
    assert config.bounds["fd_classifier"].max == 20.0
    assert config.bounds["coverage"].max is None


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"bounds": {"coverag": {"min": 0.6}}}, "did you mean coverage"),
        ({"bounds": {"coverage": {}}}, "needs `min`, `max` or both"),
        ({"bounds": {"coverage": {"min": 0.6, "max": 0.5}}}, "lies above"),
        ({"num_samples": "many"}, "valid integer"),
        ({"margin": -0.1}, "greater than or equal"),
        ({"feature": "auto"}, "not permitted"),
        ({"features": "inceptoin"}, "did you mean inception"),
        ({"features": "keras:"}, "are no features"),
    ],
)
def test_refusals(section, message):
    """Red if a validator is removed."""
    with pytest.raises(ValidationError, match=message):
        read(**section)


def test_weights_are_looked_at_before_training(tmp_path):
    """Red if either check is removed: hours later evaluation would end with the same error."""
    file = tmp_path / "weights.pt"
    with pytest.raises(InputError, match=r"there is no file .*weights\.pt"):
        require_usable_weights("inception", file)
    file.write_bytes(b"weights")
    require_usable_weights("keras:MobileNetV2", file)
    require_usable_weights("auto", None)
    with pytest.raises(ConfigError, match="auto reads no file"):
        require_usable_weights("auto", file)


def test_other_weights_are_another_evaluation(tmp_path):
    """Red if the weights' content does not reach the recipe."""
    file = tmp_path / "weights.pt"
    parts = Mock(content_digest="model"), Mock(content_digest="examples"), EvaluateConfig(features="inception")
    recipes = [recipe(*parts, seed=0)]
    for content in (b"one", b"two"):
        file.write_bytes(content)
        recipes.append(recipe(*parts, seed=0, weights=file))
    assert len({one.fingerprint for one in recipes}) == 3


def test_gate_and_config_import_nothing_heavy():
    """Planning and deciding start no TensorFlow; red if the gate imports the stage or a metric."""
    code = (
        "import sys; import gan_components.evaluation.gate, gan_components.evaluation.config; "
        "print([m for m in ('tensorflow', 'keras', 'numpy', 'scipy', 'sklearn') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
