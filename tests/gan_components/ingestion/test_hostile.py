"""What is found in folders and archives of pictures: each file is converted as documented or quarantined."""

import json
import os

import numpy as np
import pytest

from gan_components import examples
from gan_components.ingestion.config import IngestConfig
from tests.gan_components.ingestion import hostile
from tests.gan_components.ingestion.folders import make
from tests.gan_components.ingestion.test_archives import write_tar, write_zip

CONFIG = IngestConfig(source="image_folder", size=hostile.SIDE, channels=3, labels=None, max_quarantined_share=1.0)
CASES = hostile.cases()


def printed(name):
    """A name as reports have it."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def as_folder(root):
    folder = root / "data"
    for case in CASES:
        path = folder / case.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(case.content)
    # Circles, and ways out: none of them may be followed.
    (folder / "circle.png").symlink_to("circle.png")
    (folder / "ping.png").symlink_to("pong.png")
    (folder / "pong.png").symlink_to("ping.png")
    (folder / "up").symlink_to("..")
    (folder / "passwd.png").symlink_to("/etc/passwd")
    (folder / "broken.png").symlink_to("nowhere.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "a-folder.png").mkdir()
    return folder


def as_zip(root):
    return write_zip(root / "data.zip", [(case.name, case.content) for case in CASES if is_text(case.name)])


def as_tar(root):
    return write_tar(root / "data.tar", [(case.name, case.content) for case in CASES])


def is_text(name):
    """Whether a name can be written as UTF-8, as names in a zip are."""
    return name == printed(name)


@pytest.fixture(scope="module", params=[as_folder, as_zip, as_tar])
def fates(request, tmp_path_factory):
    """Of each name in the reports: its pixels, or the reason."""
    root = tmp_path_factory.mktemp("hostile")
    made = make(request.param(root), root / "out", CONFIG)
    images = {}
    for split in ("train", "holdout"):
        read = examples.read(made, split)
        images |= dict(zip(read.ids, read.images, strict=True))
    index = [json.loads(line) for line in (made.directory / "index.jsonl").read_text().splitlines()]
    rejected = [json.loads(line) for line in (made.directory / "quarantine.jsonl").read_text().splitlines()]
    found = [(name, images[row["id"]]) for row in index for name in row["sources"]]
    found += [(row["file"], row["reason"]) for row in rejected]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_there_are_enough():
    """Red if cases share a name, or fewer than a hundred are left."""
    assert len({case.name for case in CASES}) == len(CASES) >= 100


def test_each_meets_its_fate(fates):
    """Red if a file vanishes, a link is followed, or one is converted to other pixels
    than it shows, or refused for another reason."""
    wrong = []
    cases = [case for case in CASES if printed(case.name) in fates]
    assert len(cases) == len(fates) >= sum(is_text(case.name) for case in CASES)
    for case in cases:
        fate = fates[printed(case.name)]
        if isinstance(case.fate, str):
            if not isinstance(fate, str) or case.fate not in fate:
                wrong.append((case.name, case.fate, fate if isinstance(fate, str) else "converted"))
        elif not isinstance(fate, np.ndarray):
            wrong.append((case.name, "converted", fate))
        else:
            # In the centre of each block, what lossy formats may change.
            distance = np.abs(fate[8::16, 8::16].astype(int) - case.fate[8::16, 8::16].astype(int)).max()
            if distance > 8:
                wrong.append((case.name, "converted", f"off by {distance} levels"))
    assert not wrong
