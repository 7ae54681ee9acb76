"""What is collected, and above all what is not. Each test names the one-line change that turns it red."""

import json
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from gan_components.artifacts import MANIFEST, Manifest
from gan_components.export import promotions, registry, serving_directory
from gan_components.fingerprints import Recipe
from pipelines import gc
from pipelines.workspace import Workspace
from tests.commandline import call

KINDS = {"ingest": "Examples", "train": "TrainedModel", "evaluate": "Evaluation", "export": "PushedModel"}


def manifest(stage: str, name: str, age: int, **inputs: str) -> Manifest:
    """The older, the smaller its time; its content digest is ``content of NAME``."""
    return Manifest(
        schema_version=1,
        kind=KINDS[stage],
        fingerprint=name,
        content_digest=f"content of {name}",
        recipe=Recipe(
            stage=stage,
            config={},
            inputs={key: f"content of {value}" for key, value in inputs.items()},
            seed=0,
            code={},
            libraries={},
        ),
        created_at=f"2026-01-{28 - age:02}T00:00:00+00:00",
        properties={},
        files={},
    )


def stay(artifacts: dict[str, Manifest | None], in_use: dict[str, str], keep: int) -> dict[str, str]:
    paths = {Path("artifacts") / name: one for name, one in artifacts.items()}
    return {path.name: why for path, why in gc.reached(paths, in_use, keep=keep).items()}


def test_what_a_model_was_made_from_stays_with_it():
    """Red if the closure stops after one step, or the record of a model that stays goes."""
    artifacts = {
        "ingest/e1": manifest("ingest", "e1", 9),
        "ingest/e2": manifest("ingest", "e2", 8),
        "ingest/e3": manifest("ingest", "e3", 1),
        "train/t1": manifest("train", "t1", 9, examples="e1"),
        "train/t2": manifest("train", "t2", 8, examples="e2"),
        "train/t3": manifest("train", "t3", 1, examples="e3"),
        "evaluate/v1": manifest("evaluate", "v1", 9, model="t1", examples="e1"),
        "evaluate/v3": manifest("evaluate", "v3", 1, model="t3", examples="e3"),
        "export/p1": manifest("export", "p1", 9, model="t1", evaluation="v1"),
        "export/p3": manifest("export", "p3", 1, model="t3", evaluation="v3"),
        "train/damaged": None,
        "train/damaged_champion": None,
    }
    why = stay(artifacts, {"t1": "champion", "damaged_champion": "previous"}, keep=1)
    assert set(why) == {"e1", "e3", "t1", "t3", "v1", "v3", "p1", "p3", "damaged_champion"}
    assert why["t1"] == "champion"
    assert why["p1"] == "record of TrainedModel t1"
    assert why["v1"] == "input of PushedModel p1"
    assert why["e1"].startswith("input of ")
    assert why["t3"] == "among the 1 newest"


def put(root: Path, stage: str, name: str, age: int, **inputs: str) -> None:
    directory = root / "artifacts" / stage / name
    directory.mkdir(parents=True)
    (directory / "weights").write_bytes(b"x" * 1000)
    (directory / MANIFEST).write_text(manifest(stage, name, age, **inputs).model_dump_json())


def promotion(number: int) -> promotions.Promotion:
    return promotions.Promotion(
        when=f"2026-01-0{number}T00:00:00.000000+00:00",
        who="test",
        model="digits",
        from_version=None,
        to_version=number,
        registry_version=str(number),
        generator_digest="g",
        model_fingerprint=f"promoted{number}",
        evaluation_fingerprint="",
        metric="fd",
        protocol="fd",
        extractor="pixels",
        value=1.0,
        why="test",
    )


def pushed(directory: Path, fingerprint: str) -> None:
    path = directory / serving_directory.PUSH
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"fingerprint": "f", "version": 1, "model_fingerprint": fingerprint}))


USED = {"champion", "previous", "stable", "promoted2", "promoted3", "served", "elsewhere", "newest", "newer"}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A root in which every kind of use reaches one training of its own, and nothing reaches three."""
    root = tmp_path_factory.mktemp("gc") / "root"
    for age, name in enumerate(
        ["newest", "newer", *sorted(USED - {"newest", "newer"}), "promoted1", "old", "older"]
    ):
        put(root, "ingest", f"examples of {name}", age)
        put(root, "train", name, age, examples=f"examples of {name}")
    uri = Workspace.at(root).tracking_uri
    client = registry.connect(uri)
    client.create_registered_model("digits")
    for number, alias in enumerate(["champion", "previous", "stable", "rebuilt"], 1):
        client.create_model_version("digits", source="file:///nowhere", tags={"model_fingerprint": alias})
        client.set_registered_model_alias("digits", alias, str(number))
    for number in (1, 2, 3):
        promotions.append(root, promotion(number))
    pushed(root / "serving" / "digits" / "7", "served")
    pushed(root.parent / "other" / "digits" / "4", "elsewhere")
    serving_directory.write_models_config(
        root / "serving", "digits", [4], base_path=str(root.parent / "other" / "digits")
    )
    # Killed in a forced rebuild: of one the new artifact stands, of the other nothing but this.
    for name in ("newest", "rebuilt"):
        (root / "artifacts" / "train" / f".replaced-{name}").mkdir()
    for name, days in (("young", 1), ("dead", 30)):
        directory = root / "artifacts" / "train" / f".work-{name}"
        directory.mkdir()
        (directory / "checkpoint").write_bytes(b"x" * 1000)
        for path in (directory / "checkpoint", directory):
            os.utime(path, (time.time() - days * 86400,) * 2)
    for days in range(4):
        directory = root / "runs" / f"run{days}"
        directory.mkdir(parents=True)
        os.utime(directory, (time.time() - days * 86400,) * 2)
    return root


def everything(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in [*root.glob("artifacts/*/*/"), *root.glob("runs/*")]}


def collect(root: Path, *arguments: str, **variables: str):
    return call("gc", "--keep", "2", *arguments, root=root, sets=[], variables=variables)


def test_nothing_goes_without_the_registrys_answer(root):
    """Red if an unreachable registry counts as one without aliases."""
    before = everything(root)
    result = collect(root, MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert result.code == 1
    assert "gave no usable answer" in result.document["error"]
    assert everything(root) == before
    result = call("gc", root=root.parent / "misspelt", sets=[])
    assert result.code == 2
    assert "there is no registry below" in result.document["error"]


def test_nothing_goes_while_a_run_is_at_work(root):
    """Red if locks are not tried: a training's data would go under its feet."""
    before = everything(root)
    with FileLock(root / "artifacts" / "train" / ".lock-busy"):
        result = collect(root)
    assert result.code == 1
    assert "another run is at work" in result.document["error"]
    assert everything(root) == before


def test_a_dry_run_says_what_goes_and_deletes_nothing(root):
    """Red if `--dry-run` is not looked at, or a kind of use is forgotten."""
    before = everything(root)
    document = collect(root, "--dry-run").document
    assert everything(root) == before
    gone = {Path(one["path"]).relative_to(root).as_posix() for one in document["deleted"]}
    unused = {"promoted1", "old", "older"}
    assert gone == {
        *(f"artifacts/train/{name}" for name in unused),
        *(f"artifacts/ingest/examples of {name}" for name in unused),
        "artifacts/train/.work-dead",
        "artifacts/train/.replaced-newest",
        "runs/run2",
        "runs/run3",
    }
    assert document["dry_run"] is True
    assert document["bytes"] == sum(one["bytes"] for one in document["deleted"]) > 7000
    assert {one["why"] for one in document["deleted"]} == {
        "nothing in use reaches it",
        "left by a crash",
        "unfinished, untouched for 30 days",
        "not among the 2 newest runs",
    }


def test_collected_is_what_was_said(root):
    """Red if deletion stops at a leftover of a killed one, or takes more than was named."""
    (root / "artifacts" / "train" / ".removed-killed").mkdir()
    before = everything(root)
    document = collect(root).document
    gone = {Path(one["path"]).relative_to(root).as_posix() for one in document["deleted"]}
    assert "artifacts/train/.removed-killed" in gone
    assert everything(root) == before - gone
    assert {path.name for path in root.glob("artifacts/train/*/") if not path.name.startswith(".")} == USED
    assert collect(root).document["deleted"] == []
