"""What makes a stage run again, and what does not. Each test names the one-line change that turns it red."""

import json
import subprocess
import sys

import pytest

from gan_components import fingerprints
from gan_components.fingerprints import Recipe


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with the rooms `kitchen` (which imports tools and NumPy) and `garden` (which stands alone)."""
    root = tmp_path / "gan_components"
    for path, text in {
        "__init__.py": "",
        "kitchen/__init__.py": "",
        "kitchen/stage.py": "import numpy as np\nfrom gan_components import tools\ndef cook():\n    'doc'\n",
        "kitchen/page.jinja": "<p>",
        "tools.py": "import json\nKNIFE = 1\n",
        "garden/__init__.py": "",
        "garden/stage.py": "x = 1\n",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    monkeypatch.setattr(fingerprints, "_ROOT", root)
    fingerprints.closure.cache_clear()
    yield root
    fingerprints.closure.cache_clear()


def code(room: str) -> dict[str, str]:
    fingerprints.closure.cache_clear()
    return fingerprints.closure(room)[0]


def test_closure_follows_imports(package):
    """Red if `_imports` yields `a` but not `a.b` for ``from a import b``."""
    files, libraries = fingerprints.closure("kitchen")
    assert set(files) == {
        "__init__.py",
        "kitchen/__init__.py",
        "kitchen/page.jinja",
        "kitchen/stage.py",
        "tools.py",
    }
    assert set(libraries) == {"numpy"}


def test_libraries_that_share_a_package_are_told_apart(package):
    """``google`` is protobuf's, and that of Google's clients, which come with an extra and are not imported.

    Red if the first distribution that has the package is taken.
    """
    (package / "garden/stage.py").write_text("import json\nfrom google.protobuf.message import DecodeError\n")
    fingerprints.closure.cache_clear()
    assert list(fingerprints.closure("garden")[1]) == ["protobuf"]


def test_comments_and_docstrings_do_not_count(package):
    """Red if `_without_docstrings` is dropped."""
    before = code("kitchen")
    path = package / "kitchen/stage.py"
    path.write_text(path.read_text().replace("'doc'", "'another'") + "\n# a comment\n")
    assert code("kitchen") == before


@pytest.mark.parametrize("name", ["kitchen/stage.py", "kitchen/page.jinja", "tools.py"])
def test_code_and_templates_count(package, name):
    """Red if the closure leaves out imported modules or the files beside them; other rooms stay untouched."""
    kitchen, garden = code("kitchen"), code("garden")
    with (package / name).open("a") as file:
        file.write("\nextra = 2\n")
    assert {path for path in kitchen if kitchen[path] != code("kitchen")[path]} == {name}
    assert code("garden") == garden


def test_relative_imports_are_refused(package):
    """Red if a relative import is skipped: its module would change unseen."""
    (package / "garden/stage.py").write_text("from . import other\n")
    with pytest.raises(ValueError, match="import absolutely"):
        code("garden")


def make(**changes) -> Recipe:
    fields = {
        "stage": "train",
        "config": {"batch_size": 64, "bounds": {"max": 1.0}},
        "inputs": {"examples": "aa"},
        "seed": 0,
        "code": {"training/losses.py": "aa"},
        "libraries": {"tensorflow": "2.21.0"},
    }
    return Recipe(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"config": {"batch_size": 128, "bounds": {"max": 1.0}}}, "train.batch_size 64 → 128"),
        ({"config": {"batch_size": 64, "bounds": {"max": 2.0}}}, "train.bounds.max 1.0 → 2.0"),
        ({"seed": 1}, "seed 0 → 1"),
        ({"inputs": {"examples": "bb"}}, "input changed: examples"),
        ({"code": {"training/losses.py": "bb"}}, "code changed: gan_components/training/losses.py"),
        ({"libraries": {"tensorflow": "2.22.0"}}, "tensorflow 2.21.0 → 2.22.0"),
    ],
)
def test_every_part_counts_and_is_named(changes, reason):
    """Red if the part is left out of the fingerprint or of `differences`."""
    assert make(**changes).fingerprint != make().fingerprint
    assert make(**changes).differences(make()) == [reason]


def test_fingerprint_does_not_depend_on_key_order():
    """Red without `sort_keys`."""
    assert make(config={"bounds": {"max": 1.0}, "batch_size": 64}).fingerprint == make().fingerprint


def test_closures_need_no_tensorflow():
    """Red if computing a fingerprint imports the code that it describes."""
    script = (
        "import json, sys\n"
        "from gan_components import fingerprints\n"
        "rooms = {room: sorted(fingerprints.closure(room)[0]) for room in"
        " ('ingestion', 'training', 'evaluation', 'export')}\n"
        "print(json.dumps([rooms, 'tensorflow' in sys.modules]))"
    )
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    rooms, tensorflow = json.loads(printed)
    assert not tensorflow
    assert "training/gan.py" in rooms["training"]
    assert "generators.py" in rooms["evaluation"]
    # Stages exchange artifacts, never code: a change in one room re-runs no other.
    for room, files in rooms.items():
        others = {"ingestion", "training", "evaluation", "export"} - {room}
        assert not [file for file in files if file.split("/")[0] in others]
