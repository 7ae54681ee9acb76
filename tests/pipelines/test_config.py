"""A configuration is right or explained. Each test names the one-line change that turns it red."""

import pytest

from gan_components.errors import ConfigError
from pipelines import config


@pytest.mark.parametrize("name", config.presets())
def test_presets_load_and_survive_the_round_trip(name, tmp_path):
    """Red if a preset holds a key that no section knows, or `dump` loses one."""
    loaded = config.load(name)
    assert loaded.name == name
    path = tmp_path / "again.yaml"
    path.write_text(config.dump(loaded))
    assert config.load(str(path)) == loaded


@pytest.mark.parametrize("name", config.presets())
def test_presets_say_what_to_expect(name):
    """Red if a preset has no header: a preset is also a lab note (style: paper, score, time, command)."""
    header = config.presets()[name].read_text().split("schema:")[0]
    assert all(word in header for word in ("Source:", "Expected:", "Time:", "Command:"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.batch_sise=128", "unknown key 'train.batch_sise', did you mean 'train.batch_size'"),
        ("train.batch_size=many", "train.batch_size: .*integer.*'many'"),
        ("train.batch_size=1.5", "train.batch_size"),
        ("train.batch_size=0", "train.batch_size"),
        ("train.batch_size=true", "train.batch_size"),
        ("trian.batch_size=1", "unknown key 'trian', did you mean 'train'"),
        ("schema=0", "schema"),
        ("name=Has Spaces", "name"),
        ("name=digits_canary", "name: .*must not end in _canary"),
        ("train", "KEY=VALUE"),
        ("name.first=x", "'name' is not a section"),
        ("seed=[", "not valid YAML"),
    ],
)
def test_wrong_overrides_are_explained(override, message):
    """Red without extra='forbid', strict=True, or the nearest-name hint."""
    with pytest.raises(ConfigError, match=message):
        config.load("digits", [override])


def test_override_reaches_nested_keys():
    """Red if `_apply` writes the dotted text as one key."""
    assert config.load("digits", ["train.batch_size=32", "seed=7"]).train.batch_size == 32
    assert config.load("digits", ["seed=7"]).seed == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x\n", "aliases are not allowed"),
        ("seed: 1\nseed: 2\n", "'seed' stands there twice"),
        ("- 1\n", "must hold a map"),
        ("a: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ("schema: 1\n", "'name' is missing"),
        ("schema: 2026-01-01\n", "not JSON serializable"),
    ],
)
def test_hostile_files_are_refused(tmp_path, text, message):
    """Red with yaml.load's full loader, or without the alias and repeated-key checks."""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        config.load(str(path))


def test_unknown_names_are_explained(tmp_path):
    """Red if a missing file ends in FileNotFoundError."""
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        config.load("digts")
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load(str(tmp_path))
