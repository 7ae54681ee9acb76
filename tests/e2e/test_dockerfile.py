"""What the Dockerfile builds does a night's work as schedulers start it: without rights, on a read-only root.

No Docker engine is needed: `dockerfile.py` beside this file carries the steps out. Each test names the one-line
change that turns it red. The tests share one image and one volume and run in the order of the file.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commandline import QUICK, Result
from tests.e2e import dockerfile
from tests.e2e.dockerfile import Stage

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"
USER_ID = GROUP_ID = 10001
RUN = ["run", "digits", "--json", *(word for text in QUICK for word in ("--set", text))]


@pytest.fixture(scope="module")
def image(pytestconfig, tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("needs root: the steps of the Dockerfile are carried out in chroots")
    for program in ("debootstrap", "unshare"):
        if shutil.which(program) is None:
            pytest.skip(f"needs {program}")
    namespaces = subprocess.run(["unshare", "--mount", "--pid", "--fork", "mount", "-t", "proc", "proc", "/proc"])
    if namespaces.returncode:
        pytest.skip("needs mount and process namespaces")
    directory = tmp_path_factory.mktemp("image")
    probe = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(directory / "probe")]
    if subprocess.run([*probe, "setuptools"], capture_output=True).returncode:
        pytest.skip("needs a package index")
    try:
        base = dockerfile.debian(pytestconfig.cache.mkdir("debian"))
    except subprocess.CalledProcessError as error:
        pytest.skip(f"needs a mirror of Debian: {error.stderr.strip()}")
    yield dockerfile.build(DOCKERFILE, base, directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def volume(tmp_path_factory):
    directory = tmp_path_factory.mktemp("volume")
    os.chown(directory, USER_ID, GROUP_ID)
    return directory


def call(image: Stage, volume: Path, *arguments: str, entrypoint: list[str] | None = None) -> Result:
    command = dockerfile.run(image, *arguments, volume=volume, entrypoint=entrypoint)
    done = subprocess.run(command, capture_output=True, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "line", ["HEALTHCHECK NONE", "COPY --chown=1 a b", 'RUN ["true"]', "CMD run digits", "ENV A b"]
)
def test_what_is_not_known_is_an_error(tmp_path, line):
    """Red if `dockerfile.py` skips what it cannot carry out: the image tested would not be the image built."""
    (tmp_path / ".dockerignore").touch()
    (tmp_path / "Dockerfile").write_text(f"FROM {dockerfile.BASE}\n{line}\n")
    (tmp_path / "base").mkdir()
    with pytest.raises((NotImplementedError, LookupError, ValueError)):
        dockerfile.build(tmp_path / "Dockerfile", tmp_path / "base", tmp_path / "image")


def owners(tree: Path) -> dict[Path, tuple[int, int]]:
    """User and group of everything in the tree."""
    return {path: (path.lstat().st_uid, path.lstat().st_gid) for path in tree.rglob("*")}


def test_the_image_is_not_its_users(image):
    """Red without USER, or if /venv is copied with --chown or given away."""
    assert image.account()[:2] == (str(USER_ID), str(GROUP_ID))
    assert [path for path, ids in owners(image.root).items() if USER_ID in ids] == [image.root / "data"]


def test_help_needs_nothing_and_writes_nothing(image, volume):
    """Red if CMD, the entry point or the package's installation is broken."""
    shown = call(image, volume)
    assert shown.code == 0, shown.stderr
    assert "gan-pipelines" in shown.stdout
    assert list(volume.iterdir()) == []


def test_only_data_and_temporary_places_can_be_written(image, volume):
    """Red if the volume lies elsewhere; and without what makes the root read-only, in `dockerfile.py`."""
    script = "import os; print(*(place for place, _, _ in os.walk('/') if os.access(place, os.W_OK)))"
    found = call(image, volume, "-c", script, entrypoint=["python"])
    writable = [place for place in found.stdout.split() if not place.startswith("/proc/")]
    assert sorted(writable) == ["/data", "/dev/shm", "/tmp"], found.stderr  # noqa: S108 (the image's)


def test_a_run_pushes(image, volume):
    """Red if the root is set to a place that cannot be written, or a library of the system is missing."""
    first = call(image, volume, *RUN)
    assert first.code == 0, first.stderr
    assert first.document["verdict"] == "pushed"
    assert all(step["artifact"].startswith("/data/artifacts/") for step in first.document["stages"])
    assert (volume / "serving" / "digits" / "1" / "saved_model.pb").exists()
    [promotion] = (volume / "promotions" / "digits.jsonl").read_text().splitlines()
    assert json.loads(promotion)["who"].startswith("pipelines@")


def test_everything_made_belongs_to_the_user(volume):
    """Red without USER, or with a step that runs as root."""
    assert set(owners(volume).values()) == {(USER_ID, GROUP_ID)}


def test_the_next_night_hits(image, volume):
    """Red with the root in /tmp: what one container made is gone with it."""
    second = call(image, volume, *RUN)
    assert second.code == 0, second.stderr
    assert second.document["verdict"] == "unchanged"
    assert set(second.statuses.values()) == {"hit"}
