"""Two folders with pictures of the same names become pairs."""

import json

import numpy as np
import pytest

from gan_components import examples
from gan_components.errors import InputError
from gan_components.ingestion import identity
from tests.gan_components.ingestion.folders import CONFIG, fill, make, picture, save
from tests.gan_components.ingestion.test_archives import pack

PAIRED = CONFIG.model_copy(update={"second_domain": "folder"})


@pytest.fixture
def data(tmp_path):
    """Forty pictures; the partner of picture n is picture n + 1000."""
    fill(tmp_path / "data" / "first", 40)
    for number in range(40):
        save(tmp_path / "data" / "second" / ("cat", "dog")[number % 2] / f"{number:03d}.png", number + 1000)
    return tmp_path / "data"


def test_pairs(data, tmp_path):
    """Red if a partner is another picture's, the folder first becomes a class, or partners become records."""
    made = make(data, tmp_path / "out", PAIRED)
    known = examples.Properties.of(made)
    assert (known.num_train + known.num_holdout, known.class_names) == (40, ["cat", "dog"])
    partners = {picture(number).tobytes(): picture(number + 1000) for number in range(40)}
    for name in ("train", "holdout"):
        split = examples.read(made, name)
        for image, image2 in zip(split.images, split.images2, strict=True):
            np.testing.assert_array_equal(image2, partners[image.tobytes()])


def test_equal_pictures_with_two_partners(data, tmp_path):
    """Red if the partner of the first copy that arrives is taken: it would be another one on another day."""
    expected = min(identity.pixel_key(picture(number)) for number in (1000, 2000, 3000)).hex()
    for number in (2000, 3000):
        save(data / "first" / "cat" / f"{number}.png", 0)
        save(data / "second" / "cat" / f"{number}.png", number)
    made = make(data, tmp_path / "out", PAIRED)
    rows = [json.loads(line) for line in (made.directory / "index.jsonl").read_text().splitlines()]
    (row,) = [row for row in rows if len(row["sources"]) == 3]
    assert row["id2"] == expected


def test_broken_partner(data, tmp_path):
    """Red if a broken partner stops the run, or the first picture stays without it."""
    (data / "second" / "dog" / "001.png").write_text("no picture")
    made = make(data, tmp_path / "out", PAIRED)
    (line,) = (made.directory / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["file"] == "first/dog/001.png"
    assert json.loads(line)["reason"].startswith("its partner in the second domain: ")


def test_alone(data, tmp_path):
    """Red if a picture without a partner is silently left out, on either side or beside both."""
    save(data / "first" / "x.png", 1)
    save(data / "second" / "y.png", 2)
    save(data / "z.png", 3)
    with pytest.raises(InputError, match=r"3 files \(first/x.png, second/y.png, z.png\) have no partner"):
        make(data, tmp_path / "out", PAIRED)
    with pytest.raises(InputError, match="pairs are not read from archives"):
        make(pack(data, tmp_path / "a.zip"), tmp_path / "out", PAIRED)
