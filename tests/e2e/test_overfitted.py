"""The memorization check on generators that were really trained: one that learned by heart, one as shipped."""

import json
from pathlib import Path

import pytest

from tests.commandline import Result, call

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


def _memorization(result: Result) -> dict:
    artifact = next(step["artifact"] for step in result.document["stages"] if step["stage"] == "evaluate")
    return json.loads((Path(artifact) / "memorization.json").read_text())


def test_a_generator_overfitted_on_200_images_is_failed(tmp_path):
    """DCGAN sees each of some 200 digits a thousand times; the others are held out. Red with exact copies alone.

    The bounds of quality are taken away, so that nothing else blocks.
    """
    sets = ["ingest.holdout={fraction: 0.96}", "train.num_steps=3000", "evaluate.bounds={}"]
    result = call("run", "dcgan", root=tmp_path / "root", sets=sets, timeout_seconds=1500)
    assert result.code == 99, result.stderr
    report = _memorization(result)
    assert report["verdict"] == "FAIL"
    # A hash of the pixels decides: near a share of 4 % of 5,000.
    assert 180 <= report["num_train"] <= 220
    assert "memorization FAIL" in result.document["blessing"]["reason"]


def test_the_shipped_preset_passes(tmp_path):
    """Red if the preset `digits` is trained until it copies, or the tests fail honest generators."""
    result = call("run", "digits", root=tmp_path / "root", sets=[], timeout_seconds=1500)
    assert result.code == 0, result.stderr
    assert _memorization(result)["verdict"] == "PASS"
