"""What a server sees at an address: whole versions, settings that name no other, and nobody else's things lost."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from gan_components.errors import InputError
from gan_components.export import production, server_settings, serving_directory, serving_mirror
from gan_components.export.destination import Destination
from gan_components.export.errors import MirrorError
from tests import object_stores
from tests.commandline import call
from tests.gan_components.export.test_export_stage import QUICK, export, state

FILES = {
    "saved_model.pb": b"graph",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"x" * 1000,
    "assets.extra/tf_serving_warmup_requests": b"warm",
}
WHOLE = {*FILES, "assets.extra/push.json"}


class Unplugged(BaseException):
    """Ends the process as far as the code under test can tell: nothing catches it."""


@pytest.fixture
def memory():
    """The store of ``memory://``, which is one for the process."""
    store = fsspec.filesystem("memory")
    store.rm("/", recursive=True)
    yield store
    store.rm("/", recursive=True)


@pytest.fixture
def saved_model(tmp_path) -> Path:
    for name, data in FILES.items():
        path = tmp_path / "saved_model" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "saved_model"


@pytest.fixture
def place(tmp_path, memory) -> Destination:
    return Destination("digits", tmp_path / "serving", tmp_path, "sqlite://", serving_address="memory://bucket/a")


def push(place: Destination, saved_model: Path, name: str) -> int:
    """As a run does it: push, update, list, update."""
    root, model = place.serving_root, place.model_name
    above = serving_mirror.highest_version(place)
    version = serving_directory.push(saved_model, root, model, name, provenance={}, above=above)
    server_settings.write(place, (1, 8))
    serving_mirror.update(place)
    serving_directory.write_models_config(root, model, [version])
    serving_mirror.update(place)
    return version


def tree(store, path: str = "/bucket/a") -> dict[str, set[str]]:
    """The files of each version at an address."""
    versions: dict[str, set[str]] = {}
    for name in store.find(path):
        if found := re.fullmatch(r"([^/]+/\d+)/(.+)", name.removeprefix(f"{path}/")):
            versions.setdefault(found[1], set()).add(found[2])
    return versions


def listed(store, path: str = "/bucket/a") -> dict[str, tuple[str, list[int]]]:
    """What ``models.config`` at an address has a server serve: base path and versions by name."""
    config = model_server_config_pb2.ModelServerConfig()
    if store.exists(f"{path}/models.config"):
        text_format.Parse(store.cat_file(f"{path}/models.config"), config)
    return {
        entry.name: (entry.base_path, list(entry.model_version_policy.specific.versions))
        for entry in config.model_config_list.config
    }


@pytest.fixture
def watched(memory, monkeypatch) -> list[str]:
    """Looks at the store after every change of it, as the fastest server could; the changes, in order."""
    changes: list[str] = []

    def watch(name: str) -> None:
        original = getattr(MemoryFileSystem, name)

        def changed(self, *arguments, **options):
            result = original(self, *arguments, **options)
            path = str(arguments[0 if name != "put_file" else 1])
            changes.append(f"{name} {path.removeprefix('/bucket/a/')}")
            versions = tree(memory)
            loadable = {version for version, files in versions.items() if "saved_model.pb" in files}
            assert all(versions[version] >= WHOLE for version in loadable), changes[-5:]
            for model, (_, numbers) in listed(memory).items():
                assert {f"{model.removesuffix('_canary')}/{number}" for number in numbers} <= loadable, changes[
                    -5:
                ]
            return result

        monkeypatch.setattr(MemoryFileSystem, name, changed)

    for name in ("put_file", "pipe_file", "rm_file"):
        watch(name)
    return changes


def test_a_server_never_sees_half_a_version(place, saved_model, memory, watched):
    """Red if `_upload` does not send saved_model.pb last, `_remove` not first, or models.config goes first."""
    for number in range(1, 26):
        assert push(place, saved_model, f"f{number}") == number
        serving_directory.remove_old(place.serving_root / "digits", keep=3, named={number})
        serving_mirror.update(place)
    assert tree(memory) == {f"digits/{number}": WHOLE for number in (23, 24, 25)}
    assert listed(memory) == {"digits": ("memory://bucket/a/digits", [25])}
    top = {name for name in memory.find("/bucket/a") if name.count("/") == 3}
    assert {Path(name).name for name in top} == {".owner", "models.config", "batching.config", "monitoring.config"}
    num_changes = len(watched)
    assert num_changes > 25 * len(WHOLE) * 1.8
    serving_mirror.update(place)
    assert len(watched) == num_changes  # nothing to do, nothing written


@pytest.mark.parametrize("after", range(6))
def test_an_interrupted_upload_is_completed(place, saved_model, memory, watched, monkeypatch, after):
    """Red if a version counts as uploaded because something of it is there."""
    push(place, saved_model, "f1")
    plug = MemoryFileSystem.put_file
    left = [after]

    def unplug(self, *arguments, **options):
        if left[0] == 0:
            raise Unplugged
        left[0] -= 1
        return plug(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "put_file", unplug)
        if after < len(WHOLE):
            with pytest.raises(Unplugged):
                push(place, saved_model, "f2")
            assert listed(memory)["digits"][1] == [1]
            assert "saved_model.pb" not in tree(memory).get("digits/2", set())
    assert push(place, saved_model, "f2") == 2
    assert tree(memory) == {"digits/1": WHOLE, "digits/2": WHOLE}
    assert listed(memory)["digits"][1] == [2]


def test_an_interrupted_removal_is_completed(place, saved_model, memory, watched, monkeypatch):
    """Red if only versions with a saved_model.pb count as versions."""
    push(place, saved_model, "f1")
    push(place, saved_model, "f2")
    serving_directory.remove_old(place.serving_root / "digits", keep=1, named=set())
    remove = MemoryFileSystem.rm_file

    def once(self, path):
        remove(self, path)
        raise Unplugged

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "rm_file", once)
        with pytest.raises(Unplugged):
            serving_mirror.update(place)
    assert tree(memory)["digits/1"] == WHOLE - {"saved_model.pb"}
    serving_mirror.update(place)
    assert tree(memory) == {"digits/2": WHOLE}


def test_what_somebody_took_away_comes_back(place, saved_model, memory, watched):
    """Red if saved_model.pb alone counts as whole, or stays while the other files come back."""
    serving_directory.push(saved_model, place.serving_root, "digits", "f1", provenance={})
    serving_mirror.update(place)
    memory.store.pop("/bucket/a/digits/1/variables/variables.index")
    serving_mirror.update(place)
    assert tree(memory) == {"digits/1": WHOLE}
    assert watched[-3:] == [
        "rm_file digits/1/saved_model.pb",
        "put_file digits/1/variables/variables.index",
        "put_file digits/1/saved_model.pb",
    ]
    memory.store.clear()  # a lost store
    serving_directory.write_models_config(place.serving_root, "digits", [1])
    serving_mirror.update(place)
    assert tree(memory) == {"digits/1": WHOLE}
    assert listed(memory)["digits"][1] == [1]


def test_only_settings_that_changed_are_written_and_paths_stay_where_they_are(place, saved_model, memory, watched):
    """Red if settings are always written, or the local models.config names the address: `gc` follows its paths."""
    push(place, saved_model, "f1")
    (place.serving_root / "batching.config").write_text("# mine\n")
    other = 'config { name: "faces" base_path: "/models/faces" model_platform: "tensorflow" }'
    local = place.serving_root / "models.config"
    local.write_text(local.read_text().replace("model_config_list {", f"model_config_list {{ {other}"))
    watched.clear()
    serving_mirror.update(place)
    assert watched == ["pipe_file batching.config", "pipe_file models.config"]
    assert memory.cat_file("/bucket/a/batching.config") == b"# mine\n"
    assert listed(memory)["faces"] == ("/models/faces", [])
    (directory,) = serving_directory.provenances(place.serving_root)
    assert directory == place.serving_root / "digits" / "1"


def test_another_roots_address_is_refused_until_it_is_taken_over(place, saved_model, memory, watched, tmp_path):
    """Red if `_require_own` lets an empty root in, a taken-over version goes, or a number is used twice."""
    push(place, saved_model, "f1")
    push(place, saved_model, "f2")
    before = {name: memory.cat_file(name) for name in memory.find("/bucket")}
    heir = replace(place, serving_root=tmp_path / "other" / "serving")
    with pytest.raises(InputError, match=r"belongs to the root .* one root owns one address") as refused:
        serving_mirror.update(heir)
    assert {name: memory.cat_file(name) for name in memory.find("/bucket")} == before
    owner = re.search("by writing ([0-9a-f]{32}) into memory://bucket/a/.owner", str(refused.value))[1]
    memory.pipe_file("/bucket/a/.owner", f"{owner}\n".encode())
    assert push(heir, saved_model, "f1") == 3
    serving_directory.remove_old(heir.serving_root / "digits", keep=1, named=set())
    serving_mirror.update(heir)
    assert tree(memory) == {f"digits/{number}": WHOLE for number in (1, 2, 3)}
    with pytest.raises(InputError, match="belongs to the root"):
        serving_mirror.update(place)


def test_things_of_nobody_are_refused(place, memory):
    """Red if an address without an owner counts as empty."""
    memory.pipe_file("/bucket/a/digits/1/saved_model.pb", b"by hand")
    with pytest.raises(InputError, match=r"holds things \(digits/1/saved_model.pb\) and belongs to nobody"):
        serving_mirror.update(place)
    assert memory.find("/bucket/a") == ["/bucket/a/digits/1/saved_model.pb"]


def test_a_taken_over_number_with_another_generator_is_refused(place, saved_model, memory, tmp_path):
    """Red if a version here and another one there of the same number count as one."""
    push(place, saved_model, "f1")
    heir = replace(place, serving_root=tmp_path / "other" / "serving")
    serving_directory.push(saved_model, heir.serving_root, "digits", "f2", provenance={})
    with pytest.raises(InputError, match="belongs to the root") as refused:
        serving_mirror.update(heir)
    memory.pipe_file("/bucket/a/.owner", re.search("[0-9a-f]{32}(?= into)", str(refused.value))[0].encode())
    with pytest.raises(InputError, match="digits/1 is another generator"):
        serving_mirror.update(heir)


def test_an_address_that_is_none(place):
    """Red if the address is not checked before it is used."""
    with pytest.raises(InputError, match="is no address of a store"):
        serving_mirror.update(replace(place, serving_address="ftp://host/path"))


@pytest.fixture
def there(destination, memory, tmp_path) -> Destination:
    """With a serving root of its own: an address gets all that stands in one."""
    return replace(destination, serving_root=tmp_path / "serving", serving_address="memory://bucket/a")


def test_a_push_that_fails_half_way_is_ended_by_promote(there, generator, memory, monkeypatch):
    """Red if a store's error gets through without a word of how to go on, or `settle` does not update."""
    name = there.model_name
    export(there, generator, name="one")
    pipe = MemoryFileSystem.pipe_file

    def full(self, path, *arguments, **options):
        if path.endswith("models.config") and 2 in serving_directory.listed(there.serving_root, name):
            raise OSError("no space")
        return pipe(self, path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MemoryFileSystem, "pipe_file", full)
        with pytest.raises(
            MirrorError, match=rf"writing models.config: OSError: no space.*promote {name} champion"
        ):
            export(there, generator, name="two")
    half = state(there)
    assert (half["champion"], half["served"], half["log"]) == ("2", [2], [(None, 1)])
    assert listed(memory)[name][1] == [1]
    assert production.promote(there, "2", why="again") is None
    assert state(there)["log"] == [(None, 1), (1, 2)]
    assert listed(memory)[name][1] == [2]


def test_with_a_server_that_is_asked_both_steps_are_seen(there, generator, memory, monkeypatch):
    """Red if the address is updated only at the end of a move, or not after the canary or retention."""
    there = replace(there, server="http://127.0.0.1:9")
    name = there.model_name
    seen = []
    monkeypatch.setattr(production, "_await", lambda *_: seen.append(listed(memory)[name][1]))
    for number in ("one", "two"):
        export(there, generator, name=number)
    assert seen == [[1, 2]]
    assert listed(memory) == {name: (f"memory://bucket/a/{name}", [2])}
    export(
        there, generator, name="three", config=QUICK.model_copy(update={"promote": "manual", "keep_versions": 1})
    )
    assert listed(memory)[f"{name}_canary"] == (f"memory://bucket/a/{name}", [3])
    production.promote(there, "3", why="better")
    assert seen == [[1, 2], [2, 3]]
    production.retire(there, keep=1)
    assert tree(memory).keys() == {f"{name}/2", f"{name}/3"}


@pytest.fixture(params=["s3", "gs"])
def remote(request) -> Iterator[tuple[str, dict[str, str]]]:
    """A store that speaks the real protocol, with the bucket `models`: the protocol, and the variables to it."""
    with object_stores.served(request.param) as variables:
        fsspec.filesystem(request.param).mkdir("models")
        yield request.param, variables


def test_push_promote_and_rollback_over_the_real_protocol(destination, generator, remote):
    """Red if a command takes the address for a path, or does not pass it on."""
    protocol, variables = remote
    address = f"{protocol}://models/serving"
    name = destination.model_name
    there = replace(destination, serving_address=address)
    export(there, generator, name="one")
    export(there, generator, name="two", config=QUICK.model_copy(update={"promote": "manual"}))
    store = fsspec.filesystem(protocol)

    def served() -> dict:
        store.invalidate_cache()
        # Other tests' models stand in this serving root too.
        entries = listed(store, "models/serving").items()
        return {entry: serves for entry, serves in entries if entry.startswith(name)}

    base_path = f"{address}/{name}"
    assert served() == {name: (base_path, [1]), f"{name}_canary": (base_path, [2])}
    commands = [(("promote", name, "candidate"), 2), (("rollback", name), 1)]
    for words, now in commands:
        done = call(*words, "--serving-root", f"{address}/", root=destination.root, sets=[], variables=variables)
        assert done.code == 0, done.stderr
        assert served()[name] == (base_path, [now])
        assert state(destination)["served"] == [now]
    files = {version: names for version, names in tree(store, "models/serving").items() if name in version}
    assert {version: "saved_model.pb" in names for version, names in files.items()} == {
        f"{name}/1": True,
        f"{name}/2": True,
    }
    local = destination.serving_root / name / "1"
    assert files[f"{name}/1"] == {
        path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_a_run_serves_from_an_address_and_the_next_mends_it(tmp_path, remote):
    """Red if `run` does not look at the address before it trains, or not when there is nothing to do."""
    root = tmp_path / "root"

    def run(address: str):
        return call("run", "digits", "--serving-root", address, root=root, variables=remote[1])

    nowhere = run("s3://no-such-bucket/serving")
    assert nowhere.code == 1
    assert nowhere.document["stages"] == []
    assert "s3://no-such-bucket/serving is not up to date" in nowhere.document["error"]
    first = run("s3://models/serving")
    assert first.code == 0, first.stderr
    assert first.document["pushed"]["address"] == "s3://models/serving/digits/1"
    store = fsspec.filesystem("s3")
    store.rm_file("models/serving/digits/1/saved_model.pb")
    second = run("s3://models/serving")
    assert (second.code, second.document["verdict"]) == (0, "unchanged")
    store.invalidate_cache()
    assert "saved_model.pb" in tree(store, "models/serving")["digits/1"]
