"""Where things lie, and why they must be made again. Each test names the one-line change that turns it red."""

import shutil
from collections import namedtuple

import pytest

from gan_components import artifacts
from gan_components.artifacts import Examples, TrainedModel
from gan_components.errors import InputError
from gan_components.fingerprints import Recipe
from pipelines.workspace import Workspace


def recipe(**config) -> Recipe:
    return Recipe(
        stage="ingest", config={"size": 28} | config, inputs={}, seed=0, code={"a.py": "1"}, libraries={}
    )


def make(workspace: Workspace, made: Recipe) -> Examples:
    out = workspace.artifact_path(made)
    (artifacts.work_directory(out, made) / "file").touch()
    return Examples.seal(out, made)


def test_finds_what_was_made(tmp_path):
    """Red if the fingerprint does not name the directory."""
    workspace = Workspace.at(tmp_path)
    made = make(workspace, recipe())
    found, reason = workspace.find(Examples, recipe())
    assert found and found.directory == made.directory
    assert reason.startswith("unchanged since 20")


def test_names_the_difference_to_the_most_alike(tmp_path):
    """Red with `max` in place of `min`: the reason would name three changes where one was made."""
    workspace = Workspace.at(tmp_path)
    assert workspace.find(Examples, recipe()) == (None, "never made in this root")
    make(workspace, recipe())
    make(workspace, recipe(size=64, channels=3, fit="pad"))
    assert workspace.find(Examples, recipe(channels=1)) == (None, "ingest.channels None → 1")


def test_damage_and_other_kinds_are_a_miss_with_the_reason(tmp_path):
    """Red if an ArtifactError ends the run instead of rebuilding."""
    workspace = Workspace.at(tmp_path)
    made = make(workspace, recipe())
    assert "holds Examples" in workspace.find(TrainedModel, recipe())[1]
    (made.directory / "file").write_text("more")
    found, reason = workspace.find(Examples, recipe())
    assert found is None
    assert "altered" in reason


def test_unfinished_work_is_named(tmp_path):
    """Red if `plan` keeps silent about what a crash left."""
    workspace = Workspace.at(tmp_path)
    artifacts.work_directory(workspace.artifact_path(recipe()), recipe())
    assert "unfinished work will be resumed" in workspace.find(Examples, recipe())[1]
    assert "unfinished work of other settings" in workspace.find(Examples, recipe(size=1))[1]


def test_a_root_that_cannot_be_made_is_refused(tmp_path):
    """Red if the OSError gets through."""
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--root"):
        Workspace.at(tmp_path / "file").create()


def test_a_full_disk_is_named_before_the_stage_starts(tmp_path, monkeypatch):
    """Red if the check is dropped."""
    usage = namedtuple("usage", "total used free")(1, 1, 100 * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="only 100 MiB are free"):
        Workspace.at(tmp_path).require_free_space()


def test_an_address_is_served_from_the_root(tmp_path):
    """Red if an address is taken for a path, or keeps its last slash: names would have two."""
    workspace = Workspace.at(tmp_path, serving_root="s3://models/serving/")
    assert workspace.serving_root == tmp_path / "serving"
    assert workspace.serving_address == "s3://models/serving"
    elsewhere = Workspace.at(tmp_path, serving_root=str(tmp_path / "elsewhere"))
    assert (elsewhere.serving_root, elsewhere.serving_address) == (tmp_path / "elsewhere", None)
