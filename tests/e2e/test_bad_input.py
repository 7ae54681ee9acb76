"""Bad input: one clear line, the right exit code, nothing half-written.

Each case turns red if its check is dropped: the run would go on, or end in a traceback with exit code 1.
"""

import gzip
import struct
import threading

import numpy as np
import pytest
from PIL import Image

from tests.commandline import QUICK, Result, call

pytestmark = pytest.mark.slow

FOLDER = [*QUICK, "ingest.size=16"]


def folder(path, count: int, *, broken: int = 0):
    path.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 16, 16), np.uint8)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(path / f"{i}.png")
    for i in range(broken):
        (path / f"broken {i}.png").write_bytes(b"this is no picture")
    return path


def idx(path, images: int, labels: int):
    path.mkdir()
    for prefix in ("train", "t10k"):
        with gzip.open(path / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">IIII", 0x803, images, 28, 28) + bytes(range(256)) * (images * 784 // 256))
        with gzip.open(path / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 0x801, labels) + bytes(labels))
    return path


def refused(result: Result, root, code: int = 2) -> str:
    """The error's text, after checking that it is one line and that nothing was left behind."""
    assert result.code == code, result.stderr
    assert result.document["verdict"] == "failed"
    assert "Traceback" not in result.stderr
    message = result.document["error"]
    assert "\n" not in message
    assert not list(root.glob("artifacts/*/[0-9a-f]*"))
    assert not list(root.glob("artifacts/*/.work-*"))
    return message


def test_unknown_key(tmp_path):
    root = tmp_path / "root"
    message = refused(call("run", "digits", root=root, sets=["train.batch_sise=3"]), root)
    assert "did you mean 'train.batch_size'" in message
    assert not root.exists()


def test_wrong_type(tmp_path):
    root = tmp_path / "root"
    assert "batch_size" in refused(call("run", "digits", root=root, sets=["train.batch_size=big"]), root)
    assert not root.exists()


def test_missing_and_empty_folder(tmp_path):
    root = tmp_path / "root"
    missing = call("run", "folder", "--data", str(tmp_path / "nowhere"), root=root, sets=FOLDER)
    assert "nowhere" in refused(missing, root)
    (tmp_path / "empty").mkdir()
    empty = call("run", "folder", "--data", str(tmp_path / "empty"), root=root, sets=FOLDER)
    assert "empty" in refused(empty, root)


def test_folder_of_broken_images(tmp_path):
    root = tmp_path / "root"
    data = folder(tmp_path / "data", 0, broken=5)
    assert "5" in refused(call("run", "folder", "--data", str(data), root=root, sets=FOLDER), root)


def test_fewer_images_than_a_batch(tmp_path):
    root = tmp_path / "root"
    data = folder(tmp_path / "data", 20)
    result = call("run", "folder", "--data", str(data), root=root, sets=[*FOLDER, "train.batch_size=32"])
    assert result.code == 2, result.stderr
    assert "32" in result.document["error"]
    assert not list(root.glob("artifacts/train/[0-9a-f]*"))


def test_labels_that_do_not_fit(tmp_path):
    root = tmp_path / "root"
    data = idx(tmp_path / "data", images=64, labels=63)
    result = call("run", "fashion", "--data", str(data), root=root, sets=QUICK)
    message = refused(result, root)
    assert "64" in message
    assert "63" in message


def test_unwritable_root(tmp_path):
    """A file stands where the root should be: refused also for an administrator."""
    (tmp_path / "root").touch()
    root = tmp_path / "root"
    assert "--root" in refused(call("run", "digits", root=root), root)


def test_only_needs_what_comes_before(tmp_path):
    result = call("run", "digits", "--only", "train", root=tmp_path / "root")
    assert result.code == 1
    assert "--only train needs ingest" in result.document["error"]


@pytest.mark.long
def test_a_second_run_waits_then_hits(tmp_path):
    """Red without the lock: both would build, and one would find its work directory gone."""
    root = tmp_path / "root"
    results: list[Result] = []
    threads = [
        threading.Thread(target=lambda: results.append(call("run", "digits", "--until", "train", root=root)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.code for result in results] == [0, 0], results[0].stderr + results[1].stderr
    made = sorted(tuple(result.statuses.items()) for result in results)
    # Whoever was second waited and hit: each stage ran in exactly one of the two.
    assert [sum(dict(statuses)[stage] == "ran" for statuses in made) for stage in ("ingest", "train")] == [1, 1]
    assert "waiting" in results[0].stderr + results[1].stderr
