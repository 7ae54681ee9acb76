"""An artifact is whole or absent. Each test names the one-line change that turns it red."""

import json

import pytest
from pydantic import BaseModel

from gan_components import artifacts
from gan_components.artifacts import Examples, TrainedModel
from gan_components.errors import ArtifactError, InputError
from gan_components.fingerprints import Recipe


class Section(BaseModel, frozen=True):
    size: int = 28


def recipe(**changes) -> Recipe:
    made = Recipe(stage="ingest", config={"size": 28}, inputs={}, seed=0, code={}, libraries={})
    return made.model_copy(update=changes)


def sealed(out, text="content", **arguments) -> Examples:
    work = artifacts.work_directory(out, recipe())
    (work / "deep").mkdir()
    (work / "deep" / "file.txt").write_text(text)
    return Examples.seal(out, recipe(), **arguments)


def test_round_trip(tmp_path):
    """Red if `seal` forgets to rename the work directory."""
    made = sealed(tmp_path / "a", properties={"num_train": 3})
    opened = Examples.open(tmp_path / "a", verify=True)
    assert opened.manifest == made.manifest
    assert opened.properties["num_train"] == 3
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_refuses_without_manifest(tmp_path):
    """Red if `open` takes a directory without a manifest (a crashed copy)."""
    sealed(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match="no complete Examples"):
        Examples.open(tmp_path / "a")


@pytest.mark.parametrize("text", ["{}", "not json", '{"schema_version": 1}'])
def test_refuses_foreign_manifest(tmp_path, text):
    """Red if the manifest is not validated."""
    sealed(tmp_path / "a")
    (tmp_path / "a" / "manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match="not a manifest of schema 1"):
        Examples.open(tmp_path / "a")


def test_refuses_other_schema_and_kind(tmp_path):
    """Red if `schema_version` or `kind` is not compared."""
    sealed(tmp_path / "a")
    with pytest.raises(ArtifactError, match="holds Examples, expected TrainedModel"):
        TrainedModel.open(tmp_path / "a")
    path = tmp_path / "a" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 0}))
    with pytest.raises(ArtifactError, match="schema 0"):
        Examples.open(tmp_path / "a")


def test_finds_altered_and_missing_files(tmp_path):
    """Red if `_check` trusts a file whose size is unchanged but whose time moved."""
    sealed(tmp_path / "a", "content")
    file = tmp_path / "a" / "deep" / "file.txt"
    file.write_text("cOntent")
    with pytest.raises(ArtifactError, match="altered"):
        Examples.open(tmp_path / "a")
    file.write_text("content")  # the same bytes at another time: re-hashed and accepted
    Examples.open(tmp_path / "a")
    file.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        Examples.open(tmp_path / "a")


def test_verify_sees_what_time_hides(tmp_path):
    """Red if `verify` does not hash: a bit flipped on the disk leaves size and time as they were."""
    import os

    sealed(tmp_path / "a", "content")
    file = tmp_path / "a" / "deep" / "file.txt"
    before = file.stat()
    file.write_text("cOntent")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    Examples.open(tmp_path / "a")
    with pytest.raises(ArtifactError, match="altered"):
        Examples.open(tmp_path / "a", verify=True)


def test_rebuild_replaces(tmp_path):
    """Red if `seal` renames onto a directory that is not empty (OSError) or leaves the old one lying."""
    first = sealed(tmp_path / "a", "one")
    second = sealed(tmp_path / "a", "two")
    assert first.content_digest != second.content_digest
    assert (tmp_path / "a" / "deep" / "file.txt").read_text() == "two"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_content_digest_ignores_times(tmp_path):
    """Red if times enter the content digest: a re-run that yields equal files must be a hit downstream."""
    assert sealed(tmp_path / "a").content_digest == sealed(tmp_path / "b").content_digest


def test_work_directory_starts_empty_unless_resumed(tmp_path):
    """Red if `work_directory` ignores `resume`."""
    work = artifacts.work_directory(tmp_path / "a", recipe())
    (work / "left over").touch()
    assert (artifacts.work_directory(tmp_path / "a", recipe(), resume=True) / "left over").exists()
    assert not list(artifacts.work_directory(tmp_path / "a", recipe()).iterdir())


def test_unfinished_work_is_taken_over_once_and_told(tmp_path):
    """Red if the record is left out, or work of another place or work that would be lost is taken."""
    unfinished = artifacts.work_directory(tmp_path / "a", recipe(seed=1))
    (unfinished / "file.txt").touch()
    out = tmp_path / "b"
    with pytest.raises(InputError, match="no unfinished work"):
        artifacts.take_over(tmp_path / "elsewhere" / unfinished.name, out, recipe())
    artifacts.take_over(unfinished, out, recipe())
    work = artifacts.work_directory(out, recipe(), resume=True)
    assert (work / "file.txt").exists()
    assert artifacts.taken_over(work) == recipe(seed=1).fingerprint
    again = artifacts.work_directory(tmp_path / "a", recipe(seed=2))
    with pytest.raises(InputError, match="would be lost"):
        artifacts.take_over(again, out, recipe())
