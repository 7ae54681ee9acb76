"""Mirrors of what lies in object stores. Each test names the one-line change that turns it red."""

import contextlib
import datetime
import errno
import logging
import threading
import time

import fsspec
import pytest

from gan_components import locks, object_mirror
from gan_components.errors import InputError
from gan_components.ingestion.config import IngestConfig, recipe
from gan_components.object_mirror import mirror
from tests import object_stores
from tests.gan_components.ingestion.folders import fill

ADDRESS = "memory://bucket/photos"


@pytest.fixture
def store():
    """fsspec's store in memory, which all of this process share: empty before and after."""
    memory = fsspec.filesystem("memory")
    with contextlib.ExitStack() as stack:
        for container in (memory.store, memory.pseudo_dirs):
            stack.callback(container.clear)
        memory.store.clear()
        yield memory


@pytest.fixture
def copied(store, monkeypatch) -> list[str]:
    """The keys of all objects that were asked for."""
    keys: list[str] = []
    get = store.get

    def counted(rpath, lpath, **kwargs):
        keys.extend(rpath)
        return get(rpath, lpath, **kwargs)

    monkeypatch.setattr(store, "get", counted)
    return keys


def put(store, **contents: bytes) -> None:
    """Objects below the address; ``__`` in a name stands for ``/``, ``_`` for a dot."""
    for name, content in contents.items():
        store.pipe(f"/bucket/photos/{name.replace('__', '/').replace('_', '.')}", content)


def held(path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_folder_is_copied_once(store, copied, tmp_path):
    """Red if what stands in the index is copied again, or files go by their last name alone."""
    put(store, cat__1_png=b"one", dog__1_png=b"two", readme_txt=b"")
    first = mirror(ADDRESS, tmp_path)
    assert held(first) == {"cat/1.png": b"one", "dog/1.png": b"two", "readme.txt": b""}
    assert len(copied) == 3
    assert mirror(f"{ADDRESS}/", tmp_path) == first  # the same address
    assert len(copied) == 3


def test_only_what_changed_is_copied(store, copied, tmp_path):
    """Red if only sizes are compared, or what vanished stays, alone or as an empty folder."""
    put(store, cat__1_png=b"one", cat__2_png=b"two", dog__3_png=b"six")
    path = mirror(ADDRESS, tmp_path)
    copied.clear()
    put(store, cat__1_png=b"ONE", cat__4_png=b"new")
    store.rm_file("/bucket/photos/dog/3.png")
    mirror(ADDRESS, tmp_path)
    assert sorted(copied) == ["/bucket/photos/cat/1.png", "/bucket/photos/cat/4.png"]
    assert held(path) == {"cat/1.png": b"ONE", "cat/2.png": b"two", "cat/4.png": b"new"}
    assert [folder.name for folder in path.iterdir()] == ["cat"]


def test_a_file_becomes_a_folder_and_back(store, tmp_path):
    """Red if what is new is copied before what vanished is deleted."""
    for contents in ({"a": b"file"}, {"a__b": b"below"}, {"a": b"file"}):
        store.store.clear()
        put(store, other=b"", **contents)
        path = mirror(ADDRESS, tmp_path)
        (name,) = held(path).keys() - {"other"}
        assert {name.replace("/", "__"): held(path)[name]} == contents


def test_what_was_damaged_here_is_copied_again(store, copied, tmp_path):
    """Red if the index is believed without a look at the files, or a broken index ends the run."""
    put(store, a_png=b"one", b_png=b"two")
    path = mirror(ADDRESS, tmp_path)
    (path / "a.png").write_bytes(b"another")
    (path / "stray.png").write_bytes(b"of somebody else")
    copied.clear()
    mirror(ADDRESS, tmp_path)
    assert copied == ["/bucket/photos/a.png"]
    assert held(path) == {"a.png": b"one", "b.png": b"two"}
    (path.parent / "index.json").write_text("{")
    mirror(ADDRESS, tmp_path)
    assert len(copied) == 3


def test_the_identity_is_that_of_the_store(store, tmp_path):
    """Red if copies get the time at which they were made: a lost cache would ingest everything again."""
    fill(tmp_path / "pictures", 4)
    store.put(str(tmp_path / "pictures"), "/bucket/photos", recursive=True)
    config = IngestConfig(source="image_folder")
    ours, theirs = (
        recipe(str(mirror(ADDRESS, tmp_path / cache)), config, seed=0).fingerprint for cache in ("ours", "theirs")
    )
    assert ours == theirs
    put(store, cat__000_png=store.cat_file("/bucket/photos/cat/000.png") + b"!")
    assert recipe(str(mirror(ADDRESS, tmp_path / "ours")), config, seed=0).fingerprint != ours


def test_a_store_without_times(store, copied, tmp_path, monkeypatch):
    """Red if a missing time is taken for 1970 or for a change: the copy's own time stays."""
    monkeypatch.setattr(object_mirror, "_time_ns", lambda facts: None)
    put(store, a_png=b"one")
    path = mirror(ADDRESS, tmp_path) / "a.png"
    made = path.stat().st_mtime_ns
    mirror(ADDRESS, tmp_path)
    assert len(copied) == 1
    assert path.stat().st_mtime_ns == made > (time.time() - 3600) * 1e9


@pytest.mark.parametrize(
    ("facts", "time_ns"),
    [
        ({"LastModified": datetime.datetime(2026, 11, 22, 8, 0, 1, 5, datetime.UTC)}, 1_795_334_401_000_005_000),
        (
            {"mtime": datetime.datetime.max, "ctime": datetime.datetime(1970, 1, 1, 0, 0, 2, 0, datetime.UTC)},
            2 * 10**9,
        ),
        ({"created": 1_795_334_401.25}, 1_795_334_401_250_000_000),
        ({"size": 3}, None),
    ],
)
def test_times(facts, time_ns):
    """Red if Google's mtime, which metadata moves, goes before ctime, or a datetime becomes a rounded float."""
    assert object_mirror._time_ns(facts) == time_ns


def test_a_single_file_keeps_its_name(store, tmp_path):
    """Red if an archive is called after the mirror: sources know files by their endings."""
    put(store, cats_zip=b"PK")
    path = mirror(f"{ADDRESS}/cats.zip", tmp_path)
    assert (path.name, path.read_bytes()) == ("cats.zip", b"PK")
    assert mirror(f"{ADDRESS}/cats.zip", tmp_path, refresh=False) == path


HOSTILE = ["../out", "a/../../out", "a//out", "./out", "nul\0out", "x" * 256, "cat/", ".."]


def test_names_that_lead_out_are_passed_over(store, tmp_path, caplog):
    """Red if any part of a name is not looked at, or a folder's marker becomes a file."""
    put(store, cat__1_png=b"one", a__2_png=b"two")
    hostile = [*HOSTILE, str(tmp_path / "absolute-out")]
    for name in hostile:
        store.store[f"/bucket/photos/{name}"] = fsspec.implementations.memory.MemoryFile(store, "", b"out")
    cache = tmp_path / "deep" / "cache"
    path = mirror(ADDRESS, cache)
    assert held(path) == {"cat/1.png": b"one", "a/2.png": b"two"}
    assert not [file for file in tmp_path.rglob("*") if b"out" in file.name.encode()]
    (said,) = [line for line in caplog.messages if "passed over" in line]
    assert f"{len(hostile) - 1} objects" in said  # a marker is nothing to tell of


@pytest.mark.parametrize("folder", ["", "/"])
def test_nothing_there(store, tmp_path, folder):
    """Red if an address without objects makes an empty folder of images."""
    with pytest.raises(InputError, match=f"{ADDRESS}{folder} holds no objects"):
        mirror(ADDRESS + folder, tmp_path)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (FileNotFoundError("NoSuchBucket"), InputError, "is not there.*NoSuchBucket"),
        (PermissionError("AccessDenied"), InputError, "may not be read .AccessDenied.; check the credentials"),
        (
            RuntimeError("Unable to locate credentials"),
            InputError,
            "cannot be read .RuntimeError: Unable to locate",
        ),
        (OSError("Forbidden: photos"), InputError, "cannot be read .OSError: Forbidden"),
        (TimeoutError("too slow"), ConnectionError, "cannot be read .TimeoutError: too slow.; .*run again"),
        (RuntimeError("Bad gateway"), ConnectionError, "cannot be read .RuntimeError: Bad gateway"),
    ],
)
@pytest.mark.parametrize("call", ["find", "get"])
def test_what_stores_raise(store, tmp_path, monkeypatch, call, error, kind, message):
    """Red if an error of a store's own class passes through, or an outage is taken for a wrong setting."""
    put(store, a_png=b"one")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(store, call, fail)
    with pytest.raises(kind, match=f"{ADDRESS} {message}"):
        mirror(ADDRESS, tmp_path)


def test_a_full_disk_is_not_the_stores_fault(store, tmp_path, monkeypatch):
    """Red if ENOSPC is told as a problem of the network, or the space is not looked at before."""
    put(store, a_png=b"one")

    def fail(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(store, "get", fail)
    with pytest.raises(OSError, match="No space left") as caught:
        mirror(ADDRESS, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.setattr(object_mirror, "_SPARE_BYTES", 2**62)
    with pytest.raises(InputError, match="free some space or choose another --root"):
        mirror(ADDRESS, tmp_path)


def test_a_failed_copy_is_gone_on_with(store, copied, tmp_path, monkeypatch):
    """Red if the index is only written when all went well, or an unfinished mirror is taken for complete."""
    monkeypatch.setattr(object_mirror, "_BATCH_FILES", 2)
    put(store, a_png=b"one", b_png=b"two", c_png=b"three")
    get = store.get_file

    def fails_at_c(rpath, lpath, **kwargs):
        if rpath.endswith("c.png"):
            raise TimeoutError("too slow")
        return get(rpath, lpath, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(ConnectionError, match="too slow"):
        patch.setattr(store, "get_file", fails_at_c)
        mirror(ADDRESS, tmp_path)
    copied.clear()
    path = mirror(ADDRESS, tmp_path, refresh=False)
    assert copied == ["/bucket/photos/c.png"]
    assert held(path) == {"a.png": b"one", "b.png": b"two", "c.png": b"three"}
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["files", "index.json"]


def test_an_object_that_changes_meanwhile(store, tmp_path, monkeypatch):
    """Red if the copy's size is not compared with the listing's."""
    put(store, a_png=b"one")
    find = store.find

    def then_changed(*args, **kwargs):
        found = find(*args, **kwargs)
        put(store, a_png=b"longer")
        return found

    monkeypatch.setattr(store, "find", then_changed)
    with pytest.raises(InputError, match=r"a.png changed while it was copied"):
        mirror(ADDRESS, tmp_path)


def test_a_complete_mirror_is_taken_as_it_is(store, tmp_path):
    """Red if `refresh` is ignored, or a mirror that was deleted is not made again."""
    put(store, a_png=b"one")
    path = mirror(ADDRESS, tmp_path)
    put(store, b_png=b"two")
    assert held(mirror(ADDRESS, tmp_path, refresh=False)) == {"a.png": b"one"}
    (path / "a.png").unlink()
    path.rmdir()
    assert held(mirror(ADDRESS, tmp_path, refresh=False)) == {"a.png": b"one", "b.png": b"two"}


def test_choices_do_not_disturb_one_another(store, tmp_path):
    """Red if two choices of one address share a directory, each deleting what the other copied."""
    put(store, a_png=b"one", b_png=b"two")
    paths = [
        mirror(ADDRESS, tmp_path, choose=lambda names, end=end: [n for n in names if n.endswith(end)], choice=end)
        for end in ("a.png", "b.png")
    ]
    assert [held(path) for path in paths] == [{"a.png": b"one"}, {"b.png": b"two"}]


def test_two_runs_take_turns(store, tmp_path):
    """Red without the lock: both would copy, into each other's unfinished files."""
    put(store, a_png=b"one")
    path = mirror(ADDRESS, tmp_path)
    put(store, b_png=b"two")
    directory = path.parent
    with locks.held(directory.with_name(f".lock-{directory.name}"), "copying"):
        other = threading.Thread(target=mirror, args=(ADDRESS, tmp_path))
        other.start()
        other.join(1)
        assert other.is_alive()
        assert held(path) == {"a.png": b"one"}
    other.join(60)
    assert held(path) == {"a.png": b"one", "b.png": b"two"}


def test_progress_and_a_line_in_the_log(store, tmp_path, caplog):
    """Red if the number of files told is not that of the files to copy."""
    put(store, a_png=b"one", b_png=b"two")
    mirror(ADDRESS, tmp_path)
    put(store, c_png=b"three")
    told: list[tuple[int, int]] = []
    caplog.set_level(logging.INFO)
    mirror(ADDRESS, tmp_path, progress=lambda done, total, text: told.append((done, total)))
    assert told == [(1, 1)]
    assert f"{ADDRESS}: copying 1 of 3 files (0.0 MiB), 0 vanished" in caplog.messages


@pytest.fixture(params=["s3", "gs"])
def remote(request):
    """A store that speaks the real protocol on loopback, and the protocol."""
    with object_stores.served(request.param):
        yield fsspec.filesystem(request.param, skip_instance_cache=True), request.param


@pytest.mark.slow
def test_over_the_real_protocol(remote, tmp_path):
    """Red if names are cut at the wrong place, a listing is remembered, or pages after the first are lost."""
    store, protocol = remote
    store.mkdir("pictures")
    store.pipe({f"pictures/day/{number % 2}/{number}.png": b"%d" % number for number in range(45)})
    store.pipe("pictures/day/empty/", b"")
    store.pipe("pictures/day/0", b"the name of a folder")
    store.pipe("pictures/daylight/no.png", b"of another prefix")
    store.pipe("pictures/day/with space+ä?#%41.png", b"odd")
    path = mirror(f"{protocol}://pictures/day", tmp_path / "cache")
    expected = {f"{number % 2}/{number}.png": b"%d" % number for number in range(45)}
    assert held(path) == expected | {"with space+ä?#%41.png": b"odd"}
    before = (path / "0" / "0.png").stat().st_mtime_ns
    assert (
        before == mirror(f"{protocol}://pictures/day", tmp_path / "other").joinpath("0/0.png").stat().st_mtime_ns
    )
    store.pipe("pictures/day/1/1.png", b"changed")
    store.rm_file("pictures/day/0/2.png")
    mirror(f"{protocol}://pictures/day", tmp_path / "cache")
    assert (path / "1" / "1.png").read_bytes() == b"changed"
    assert not (path / "0" / "2.png").exists()
    single = mirror(f"{protocol}://pictures/day/1/1.png", tmp_path / "cache")
    assert (single.name, single.read_bytes()) == ("1.png", b"changed")


@pytest.mark.slow
def test_missing_over_the_real_protocol(remote, tmp_path):
    """Red if a bucket that is not there is anything but an InputError that names the address."""
    store, protocol = remote
    for address in (f"{protocol}://no-such-bucket/photos", f"{protocol}://no-such-bucket"):
        with pytest.raises(InputError, match=f"{address} .*check the address"):
            mirror(address, tmp_path)
    store.mkdir("hollow")
    with pytest.raises(InputError, match=f"{protocol}://hollow/photos holds no objects"):
        mirror(f"{protocol}://hollow/photos", tmp_path)
