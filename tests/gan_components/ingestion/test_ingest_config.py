"""The section, and the recipe that `plan` computes."""

import os
import subprocess
import sys

import pytest
from pydantic import ValidationError

from gan_components.errors import InputError
from gan_components.ingestion import files
from gan_components.ingestion.config import BeamConfig, IngestConfig, recipe
from tests.gan_components.ingestion.folders import CONFIG, fill


def fingerprint(data, config=CONFIG, **options):
    return recipe(str(data), config, seed=0, **options).fingerprint


def test_imports_nothing_heavy():
    """Red if any of these is imported at the top of a module that the section needs."""
    heavy = ["tensorflow", "keras", "apache_beam", "tensorflow_datasets", "mlflow", "sklearn", "mlxtend"]
    code = (
        "import sys; from gan_components.ingestion.config import IngestConfig, recipe;"
        f"recipe(None, IngestConfig(), seed=0); print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_source_identity(tmp_path):
    """Red if the absolute path enters, or size, time or name of a file does not."""
    first = fingerprint(fill(tmp_path / "a", 4))
    moved = (tmp_path / "a").rename(tmp_path / "b")
    assert fingerprint(moved) == first
    verified = fingerprint(moved, verify=True)
    image = moved / "cat" / "000.png"
    os.utime(image, ns=(1, 1))
    assert fingerprint(moved) != first
    assert fingerprint(moved, verify=True) == verified
    image.rename(moved / "cat" / "x.png")
    assert fingerprint(moved, verify=True) != verified


def test_csv_counts_other_files_do_not(tmp_path):
    """Red if the label file is left out of the identity, or every file is in."""
    data = fill(tmp_path, 4)
    (data / "l.csv").write_text("file,label")
    with_csv = CONFIG.model_copy(update={"labels": "l.csv"})
    before, before_csv = fingerprint(data), fingerprint(data, with_csv)
    (data / "l.csv").write_text("file,label,more")
    assert fingerprint(data) == before
    assert fingerprint(data, with_csv) != before_csv


def test_runner_is_no_part(tmp_path):
    """Red if the Beam section enters the fingerprint: moving to a cluster would ingest and train again."""
    config = CONFIG.model_copy(update={"beam": BeamConfig(options=["--direct_num_workers=2"])})
    assert fingerprint(fill(tmp_path, 4), config) == fingerprint(tmp_path)


def test_links_that_leave_the_folder(tmp_path):
    """Red if links are followed wherever they lead, or their count is not told when nothing else is left."""
    fill(tmp_path / "outside", 2)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").symlink_to(tmp_path / "outside" / "cat" / "000.png")
    (tmp_path / "data" / "folder").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="1 symbolic links lead out"):
        fingerprint(tmp_path / "data")


def test_names_that_are_no_text(tmp_path):
    """Red if a name that is no UTF-8 reaches JSON, or a link in circles is resolved by pathlib."""
    fill(tmp_path, 1)
    (tmp_path / "cat" / "000.png").rename(tmp_path / "cat" / os.fsdecode(b"\xff.png"))
    (tmp_path / "circle.png").symlink_to(tmp_path / "circle.png")
    assert [file.name for file in files.images(tmp_path)] == ["cat/\\xff.png"]
    fingerprint(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist; check"),
        (lambda path: path.write_text("x"), "is a file; give the directory"),
        (lambda path: path.mkdir(), "holds no images"),
        (lambda path: (path / ".hidden").mkdir(parents=True), "holds no images"),
    ],
)
@pytest.mark.parametrize("source", ["image_folder", "idx"])
def test_bad_paths(tmp_path, make, message, source):
    """Red if a bad path reaches Beam, or shows a traceback. One line, and how to fix it."""
    make(tmp_path / "data")
    with pytest.raises(
        InputError, match=message if source != "idx" else message.replace("images", "train")
    ) as error:
        fingerprint(tmp_path / "data", IngestConfig(source=source))
    assert "\n" not in str(error.value)
    assert "--data" in str(error.value)


def test_data_and_source_must_go_together():
    """Red if --data is ignored by the embedded digits, or missing data is a TypeError."""
    with pytest.raises(InputError, match="takes no data"):
        recipe("/somewhere", IngestConfig(), seed=0)
    with pytest.raises(InputError, match="stacked_digits is built in and takes no data"):
        recipe("/somewhere", IngestConfig(source="stacked_digits", channels=3), seed=0)
    with pytest.raises(InputError, match="add --data"):
        recipe(None, CONFIG, seed=0)


@pytest.mark.parametrize(
    "section",
    [
        {"source": "digits", "holdout": {"split": "test"}},
        {"source": "idx", "holdout": {"split": "validation"}},
        {"source": "image_folder", "holdout": {"split": "train"}},
        {"source": "idx", "labels": "folders"},
        {"labels": "l.txt"},
        {"source": "stacked_digits", "channels": 1},
        {"source": "stacked_digits", "channels": 3, "holdout": {"split": "test"}},
        {"source": "stacked_digits", "channels": 3, "labels": "folders"},
        {"source": "digits", "num_images": 100},
        {"source": "image_folder", "image_field": "image"},
        {"source": "webdataset", "labels": "l.csv"},
        {"source": "arrays", "image_field": "x", "holdout": {"split": "test"}},
        {"source": "arrays", "label_field": "y", "holdout": {"split": "test"}},
        {"min_side_pixels": 0},
        {"expect": {"class_names": "cat"}},
        {"expect": {"num_images": {"least": 3}}},
        {"second_domain": "sketch"},
        {"source": "idx", "second_domain": "folder"},
        {"source": "image_folder", "second_domain": "folder", "holdout": {"split": "test"}},
        {"tfds_name": "mnist"},
        {"channels": 2},
        {"holdout": {"fraction": 1.0}},
        {"holdout": {"fraction": 0.1, "split": "test"}},
    ],
)
def test_refused_sections(section):
    """Red if the validator for it is removed."""
    with pytest.raises(ValidationError):
        IngestConfig(**section)
