"""What a scheduler finds after a run. Blocked and pushed runs: where they are made, in test_pipeline.py."""

import pytest

from tests.commandline import call, summary

pytestmark = pytest.mark.slow


def test_each_task_leaves_its_summary_also_a_failed_one(tmp_path):
    """Red if only a success or a first task leaves one, or if it differs from ``--json``."""
    root, shared = tmp_path / "root", ("--run-id", "night-1")
    early = call("run", "digits", "--only", "train", *shared, root=root)
    assert (early.code, summary(early, root)) == (1, early.document)
    done = call("run", "digits", "--only", "ingest", *shared, root=root)
    assert (done.code, summary(done, root)) == (0, done.document)
    assert summary(done, root)["verdict"] == "stopped"
    wrong = call("run", "folder", "--data", str(tmp_path / "nowhere"), root=root, sets=[])
    assert (wrong.code, summary(wrong, root)) == (2, wrong.document)
    assert "nowhere" in summary(wrong, root)["error"]


def test_a_run_that_could_not_leave_a_summary_says_so(tmp_path):
    """Red if a scheduler could take an older summary, or none, for a success."""
    root = tmp_path / "root"
    (root / "runs" / "night-1" / "summary.json").mkdir(parents=True)
    done = call("run", "digits", "--only", "ingest", "--run-id", "night-1", root=root)
    assert done.code == 1
    assert done.document["verdict"] == "stopped"
    assert "summary.json" in done.stderr
