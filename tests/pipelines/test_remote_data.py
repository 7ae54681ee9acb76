"""--data that is an address: what a run copies, what it takes for unchanged, and what it calls things.

Each test names the one-line change that turns it red.
"""

import json

import fsspec
import pytest

from gan_components.artifacts import no_progress
from gan_components.errors import InputError
from pipelines import chain, config, planning, remote_data
from pipelines.outcome import Outcome, Request
from pipelines.workspace import Workspace
from tests.gan_components.ingestion.folders import fill

SETTINGS = ["ingest.size=8", "ingest.beam.options=[--direct_num_workers=1]"]


@pytest.fixture
def store():
    """fsspec's store in memory, which all of this process share: empty before and after."""
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    yield memory
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def upload(store, tmp_path):
    """Puts pictures of two classes, numbered from `first`, below a path of the store."""

    def put(path: str, count: int, *, first: int = 0) -> None:
        local = fill(tmp_path / "pictures" / path, count, first=first)
        store.put(str(local), f"/{path}", recursive=True)

    return put


@pytest.fixture
def workspace(tmp_path):
    return Workspace.at(tmp_path / "root")


def localize(data, workspace, *settings: str) -> remote_data.LocalData:
    section = config.load("folder", [*SETTINGS, *settings]).ingest
    return remote_data.localize(data, section, workspace, refresh=True, progress=no_progress)


def planned(data: str, workspace, **flags) -> tuple[str, str]:
    (step,) = planning.plan(config.load("folder", SETTINGS), workspace, Request(data, "ingest", **flags))
    return step.status, step.reason


def ingested(data: str, workspace, name: str, **flags) -> Outcome:
    outcome = Outcome(name)
    chain.Run(config.load("folder", SETTINGS), workspace, Request(data, "ingest", **flags), outcome).execute()
    return outcome


@pytest.mark.slow
def test_a_run_from_an_address(upload, workspace, store):
    """Red if the chain gives stages the address, or copies get new times, or what was added is not looked for."""
    upload("bucket/photos", 24)
    address = "memory://bucket/photos/"
    assert planned(address, workspace)[0] == "miss"
    first = ingested(address, workspace, "first")
    assert [step.status for step in first.steps] == ["ran"]
    manifest = (first.made["ingest"] / "manifest.json").read_text()
    assert str(workspace.cache) not in manifest
    assert json.loads(manifest)["properties"]["class_names"] == ["cat", "dog"]
    assert planned(address, workspace)[0] == "hit"
    assert [step.status for step in ingested(address, workspace, "second").steps] == ["hit"]
    # A lost cache is copied anew, and nothing else happens.
    workspace.cache.rename(workspace.root / "lost")
    assert planned(address, workspace)[0] == "hit"
    assert planned(address, workspace, verify=True)[0] == "miss"  # known by its bytes it was not ingested yet
    store.copy("/bucket/photos/cat/000.png", "/bucket/photos/cat/more.png")
    assert planned(address, workspace) == ("miss", "input changed: source")
    # A task of a scheduled run sees what its first one saw.
    assert [step.status for step in ingested(address, workspace, "first", run_id="first").steps] == ["hit"]


def test_errors_name_the_address(store, workspace):
    """Red if a message names the mirror, in the error or in the failed step."""
    store.pipe("/bucket/photos/readme.txt", b"no image")
    address = "memory://bucket/photos"
    with pytest.raises(InputError, match=f"^{address} holds no images"):
        planned(address, workspace)
    outcome = Outcome("fails")
    workspace.create()
    with pytest.raises(InputError, match=f"^{address} holds no images"):
        chain.Run(config.load("folder", SETTINGS), workspace, Request(address, "ingest"), outcome).execute()
    assert [(step.stage, step.status) for step in outcome.steps] == [("ingest", "failed")]
    assert outcome.steps[0].reason.startswith(address)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ftp://bucket/photos", "is no address of a store; expected s3://BUCKET/PATH"),
        ("memory://bucket/nothing", "holds no objects"),
        ("memory://bucket/{SPAN}", "memory://bucket holds no objects"),
        ("memory://bucket/{YYYY}", "must hold {SPAN} once, or"),
    ],
)
def test_addresses_that_are_refused(store, workspace, address, message):
    """Red if the case is not looked for, or is no InputError."""
    with pytest.raises(InputError, match=message):
        planned(address, workspace)


def test_sources_that_take_no_address(store, workspace):
    """Red if images are copied for a source that is built in, or into a directory that TFDS writes to."""
    digits = config.load("digits").ingest
    given = remote_data.localize("memory://b/c", digits, workspace, refresh=True, progress=no_progress)
    assert given.path == "memory://b/c"  # which the source refuses
    with pytest.raises(InputError, match=r"without ingest\.tfds_name"):
        localize("memory://b/c", workspace, "ingest.source=tfds", "ingest.tfds_name=cifar10")
    assert not workspace.root.exists()


def test_paths_stay_what_they_are(workspace):
    """Red if a path of this machine is looked for in a store."""
    for data in (None, "pictures", "/data/{SPAN}"):
        assert localize(data, workspace).path == data


@pytest.mark.parametrize(
    ("spans", "copied"),
    [
        ("null", ["11"]),
        ("{window: 3}", ["09", "11"]),
        ("{range: [2, 9]}", ["09", "7"]),
    ],
)
def test_only_the_wanted_spans_are_copied(upload, workspace, spans, copied):
    """Red if the fixed part's other folders are copied too, or spans are compared as text."""
    for number, span in enumerate(("7", "09", "11", "old")):
        upload(f"bucket/data/{span}/images", 2, first=2 * number)
    upload("bucket/data/12", 2, first=8)  # without images/: no span yet
    data = localize("memory://bucket/data/{SPAN}/images/", workspace, f"ingest.spans={spans}")
    mirrored = data.path.removesuffix("/{SPAN}/images/")
    assert sorted(path.name for path in workspace.cache.glob("objects/*/files/*")) == copied
    assert mirrored.startswith(str(workspace.cache))
    section = config.load("folder", [*SETTINGS, f"ingest.spans={spans}"])
    (step,) = planning.plan(section, workspace, Request("memory://bucket/data/{SPAN}/images/", "ingest"))
    assert step.status == "miss"


def test_a_moved_window_leaves_nothing_behind(upload, workspace):
    """Red if the mirror keeps the spans that the window left."""
    upload("bucket/2026-11-01", 2)
    path = localize("memory://bucket/{YYYY}-{MM}-{DD}", workspace).path
    upload("bucket/2026-11-02", 2, first=2)
    assert localize("memory://bucket/{YYYY}-{MM}-{DD}", workspace).path == path
    assert [folder.name for folder in workspace.cache.glob("objects/*/files/*")] == ["2026-11-02"]
