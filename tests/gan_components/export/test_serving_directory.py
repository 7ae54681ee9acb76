"""What TF Serving sees: whole versions with numbers of their own, and a configuration it can parse."""

import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from gan_components.errors import InputError
from gan_components.export import serving_directory
from tests.gan_components.export.poller import Poller

NUM_FILES = 2


@pytest.fixture
def saved_model(tmp_path) -> Path:
    directory = tmp_path / "saved_model"
    (directory / "variables").mkdir(parents=True)
    (directory / "saved_model.pb").write_bytes(b"graph")
    for i in range(NUM_FILES):
        (directory / "variables" / str(i)).write_bytes(b"x" * 1000)
    return directory


def push(saved_model: Path, root: Path, fingerprint: str, above: int = 0) -> int:
    return serving_directory.push(saved_model, root, "digits", fingerprint, provenance={"by": "test"}, above=above)


def test_numbers_rise_and_a_fingerprint_is_pushed_once(saved_model, tmp_path):
    """Red if `push` does not look for its fingerprint, or counts directories instead of taking the highest."""
    root = tmp_path / "serving"
    assert push(saved_model, root, "f1") == 1
    assert push(saved_model, root, "f1") == 1
    assert push(saved_model, root, "f2", above=6) == 7
    assert push(saved_model, root, "f3") == 8
    assert serving_directory.versions(root / "digits") == [1, 7, 8]
    pushed = json.loads((root / "digits" / "8" / serving_directory.PUSH).read_text())
    assert pushed == {"fingerprint": "f3", "version": 8, "by": "test"}


def test_a_number_is_not_used_again_when_its_directory_is_gone(saved_model, tmp_path):
    """Red if the next number comes from the directories alone."""
    root = tmp_path / "serving"
    push(saved_model, root, "f1")
    (root / "digits" / "1").rename(tmp_path / "collected")
    assert push(saved_model, root, "f2") == 2


def test_a_thousand_pushes_and_no_partial_version(saved_model, tmp_path):
    """Red if `push` copies to the version's own name, or `remove_old` deletes in place, instead of renaming."""
    root = tmp_path / "serving"
    with Poller(root, saved_model) as poller:
        for i in range(1000):
            push(saved_model, root, f"f{i}")
            serving_directory.remove_old(root / "digits", keep=3, named=set())
    assert serving_directory.versions(root / "digits") == [998, 999, 1000]
    assert poller.result["broken"] == []
    assert poller.result["num_seen"] > 100  # it did look while they came and went


def test_a_crashed_push_leaves_nothing_behind(saved_model, tmp_path, monkeypatch):
    """Red if leftovers are not removed: `copytree` would refuse the directory that stands there."""
    root = tmp_path / "serving"

    def crash(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(serving_directory, "sync", crash)
        with pytest.raises(KeyboardInterrupt):
            push(saved_model, root, "f1")
    assert serving_directory.versions(root / "digits") == []
    version = push(saved_model, root, "f1")
    assert serving_directory.versions(root / "digits") == [version]
    assert list((root / "digits").glob(".staging-*")) == []


def test_old_versions_go_but_none_that_is_named(saved_model, tmp_path):
    """Red if `named` is not looked at, the oldest are kept instead of the newest, or a number is used again."""
    root = tmp_path / "serving"
    for i in range(6):
        push(saved_model, root, f"f{i}")
    assert serving_directory.remove_old(root / "digits", keep=2, named={1, 3, 99}) == [2, 4]
    assert serving_directory.versions(root / "digits") == [1, 3, 5, 6]
    (root / "digits" / "6").rename(root / "digits" / ".removed-6")  # killed between the rename and the end
    assert serving_directory.remove_old(root / "digits", keep=9, named=set()) == []
    assert list((root / "digits").glob(".removed-*")) == []
    assert push(saved_model, root, "f7") == 7


def test_models_config_is_the_servers_proto_and_keeps_other_models(tmp_path):
    """Red if the entry is appended instead of replaced, or other entries are dropped."""
    (tmp_path / "models.config").write_text(
        'model_config_list { config { name: "faces" base_path: "/models/faces" '
        'model_version_policy { specific { versions: 4 } } version_labels { key: "stable" value: 4 } } }'
    )
    serving_directory.write_models_config(tmp_path, "digits", [1])
    serving_directory.write_models_config(tmp_path, "digits", [2], base_path="/models/digits")
    config = text_format.Parse(
        (tmp_path / "models.config").read_text(), model_server_config_pb2.ModelServerConfig()
    )
    digits, faces = config.model_config_list.config
    assert (digits.name, digits.base_path, digits.model_platform) == ("digits", "/models/digits", "tensorflow")
    assert list(digits.model_version_policy.specific.versions) == [2]
    assert (faces.base_path, faces.version_labels["stable"]) == ("/models/faces", 4)
    assert serving_directory.listed(tmp_path, "digits") == [2]
    serving_directory.write_models_config(tmp_path, "digits", [3])
    assert serving_directory.read_models_config(tmp_path).model_config_list.config[0].base_path == str(
        tmp_path / "digits"
    )


def test_a_canary_has_an_entry_of_its_own(tmp_path):
    """Red if the canary joins the model's entry, where its number would win, or stays when it is none any more."""

    def entries() -> dict[str, tuple[str, list[int]]]:
        config = serving_directory.read_models_config(tmp_path).model_config_list.config
        return {e.name: (e.base_path, list(e.model_version_policy.specific.versions)) for e in config}

    path = str(tmp_path / "digits")
    serving_directory.write_models_config(tmp_path, "digits", [1], canary=2)
    assert entries() == {"digits": (path, [1]), "digits_canary": (path, [2])}
    serving_directory.write_models_config(tmp_path, "digits", None, canary=3)
    assert entries() == {"digits": (path, [1]), "digits_canary": (path, [3])}
    serving_directory.write_models_config(tmp_path, "digits", [3])
    assert entries() == {"digits": (path, [3])}


def test_a_configuration_that_is_none_is_refused(tmp_path):
    """Red if a file that cannot be parsed is overwritten: other pipelines' models would be unloaded."""
    (tmp_path / "models.config").write_text("model_config_list {")
    with pytest.raises(InputError, match="is not a ModelServerConfig"):
        serving_directory.write_models_config(tmp_path, "digits", [1])
