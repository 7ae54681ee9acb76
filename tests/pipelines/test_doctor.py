"""What `doctor` finds: each check against a machine that lacks something."""

import os

import fsspec
import pytest

from gan_components.export import serving_child
from pipelines import doctor
from pipelines.workspace import Workspace
from tests.commandline import call


def _finding(name: str, workspace: Workspace) -> doctor.Finding:
    return next(finding for finding in doctor.findings(workspace) if finding.check == name)


def test_this_machine_can_run_a_pipeline(tmp_path):
    """Also infra validation, by a SavedModel that a server answers. Red if a check raises."""
    result = call("doctor", root=tmp_path / "root", sets=[])
    assert result.code == 0, result.stderr
    found = {finding["check"]: finding for finding in result.document["findings"]}
    assert {finding["status"] for finding in found.values()} <= {"ok", "limited"}
    assert found["infra validation"]["status"] == "ok"
    assert "makes one" in found["registry"]["text"]
    assert not list((tmp_path / "root").glob("*.db"))


def test_a_root_that_cannot_be_written_to(tmp_path):
    """Red if `doctor` ends with the first error instead of telling all."""
    (tmp_path / "file").touch()
    found = list(doctor.findings(Workspace.at(tmp_path / "file" / "root")))
    assert [finding.check for finding in found if finding.status == "broken"] == ["root"]
    assert len(found) > 5


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    """Red if the child's failure counts as an answer."""
    script = tmp_path / "child.py"
    script.write_text("raise SystemExit('no libtensorflow_cc.so.2')")
    monkeypatch.setattr(serving_child, "__file__", str(script))
    finding = _finding("infra validation", Workspace.at(tmp_path / "root"))
    assert finding.status == "broken"
    assert "no libtensorflow_cc.so.2" in finding.text


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}', "waits for the chief"),
        ('{"cluster": {}}', "to be a JSON object with"),
    ],
)
def test_workers(tmp_path, monkeypatch, config, text):
    """Red if a TF_CONFIG that `run` refuses is called ok."""
    monkeypatch.setitem(os.environ, "TF_CONFIG", config)
    assert text in _finding("workers", Workspace.at(tmp_path)).text


def test_a_serving_root_at_an_address(tmp_path):
    """Red if `doctor` does not look there, leaves something behind, or calls another root's address ok."""
    store = fsspec.filesystem("memory")
    workspace = Workspace.at(tmp_path, serving_root="memory://doctor/serving")
    assert _finding("serving root", workspace).status == "ok"
    assert store.find("/doctor") == []
    store.pipe_file("/doctor/serving/.owner", b"another")
    try:
        finding = _finding("serving root", workspace)
    finally:
        store.rm("/doctor", recursive=True)
    assert finding.status == "broken"
    assert "belongs to the root another" in finding.text
