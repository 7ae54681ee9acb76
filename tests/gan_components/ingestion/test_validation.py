"""What is expected of the images, and what is unusual about them."""

import json
import logging

import numpy as np
import pytest
from PIL import Image

from gan_components.errors import InputError
from gan_components.ingestion import validation
from gan_components.ingestion.config import IngestConfig
from tests.gan_components.ingestion.folders import CONFIG, fill, make, save


def expecting(**expect):
    return IngestConfig.model_validate({**CONFIG.model_dump(), "expect": expect})


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """40 pictures of 8 x 8 pixels in two classes, and one of them once more."""
    data = fill(tmp_path_factory.mktemp("data"), 40)
    save(data / "cat" / "copy.png", 0)
    return data


def test_what_was_found_can_be_pinned(data, tmp_path):
    """Red if schema.json says something else than `expect` understands, or than holds."""
    schema = json.loads((make(data, tmp_path / "out").directory / "schema.json").read_text())
    assert schema["expect"] == {
        "num_images": {"min": 41, "max": 41},
        "side_pixels": {"min": 8, "max": 8},
        "source_channels": [3],
        "class_names": ["cat", "dog"],
    }
    make(data, tmp_path / "out", expecting(**schema["expect"]))


@pytest.mark.parametrize(
    ("expect", "message"),
    [
        ({"num_images": {"min": 42}}, "num_images: 41 images, expected at least 42"),
        ({"num_images": {"min": 1, "max": 40}}, "num_images: 41 images, expected at least 1 and at most 40"),
        ({"side_pixels": {"min": 9}}, "side_pixels: 8 to 8 pixels, expected at least 9"),
        ({"source_channels": [1]}, r"source_channels: 40 with 3, expected only \[1\]"),
        ({"class_names": ["cat", "cow"]}, r"class_names: missing \['cow'\], not expected \['dog'\]"),
        ({"class_names": ["dog", "cat"]}, "in this order"),
        ({"class_names": ["cow"], "num_images": {"max": 3}}, "num_images.*; class_names"),
    ],
)
def test_what_is_not_as_expected(data, tmp_path, expect, message):
    """Red if a key of `expect` is not looked at, or only the first violation is told."""
    with pytest.raises(InputError, match=message):
        make(data, tmp_path / "out", expecting(**expect))


def test_small_pictures_go_to_quarantine(tmp_path):
    """Red if the longer side is what counts, or the picture is refused without its size."""
    data = fill(tmp_path / "data", 40)
    Image.new("RGB", (100, 7)).save(data / "cat" / "long.png")
    made = make(data, tmp_path / "out", CONFIG.model_copy(update={"min_side_pixels": 8}))
    (line,) = (made.directory / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "file": "cat/long.png",
        "reason": "100 x 7 is smaller than ingest.min_side_pixels: 8",
    }


def test_anomalies_are_told(tmp_path, caplog):
    """Red if a nearly blank picture, a duplicate or a quarantined one is not told, or a sound one is."""
    data = fill(tmp_path / "data", 40)
    save(data / "cat" / "copy.png", 0)
    (data / "cat" / "text.png").write_text("no picture")
    faint = np.full((8, 8, 3), (10, 120, 250), np.uint8)
    faint[0, 0] += 5
    Image.fromarray(faint).save(data / "dog" / "faint.png")
    with caplog.at_level(logging.WARNING, "gan_components.ingestion.stage"):
        made = make(data, tmp_path / "out")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "1 images went to quarantine",
        "1 images have the same pixels as another one",
        "1 images are nearly blank",
    ]
    rows = [json.loads(line) for line in (made.directory / "index.jsonl").read_text().splitlines()]
    assert [row["sources"] for row in rows if row["near_blank"]] == [["dog/faint.png"]]
    assert json.loads((made.directory / "statistics.json").read_text())["num_near_blank"] == 1


def test_near_blank():
    """Red if the deviation is taken over channels too: a plain red picture would pass for a full one."""

    def is_near_blank(pixels: np.ndarray) -> bool:
        channels = pixels.reshape(-1, pixels.shape[-1]).astype(int)
        return validation.is_near_blank(channels.sum(0).tolist(), (channels**2).sum(0).tolist(), len(channels))

    assert is_near_blank(np.full((8, 8, 3), (255, 0, 0), np.uint8))
    half = np.zeros((8, 8, 1), np.uint8)
    half[:4] = 4
    assert not is_near_blank(half)
    assert is_near_blank(half // 2)
