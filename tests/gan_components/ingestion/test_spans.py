"""Spans: which folders a run reads. Each test names the one-line change that turns it red."""

import json

import pytest

from gan_components.errors import InputError
from gan_components.ingestion import spans
from gan_components.ingestion.config import IngestConfig, recipe
from gan_components.ingestion.spans import Range, Window
from tests.gan_components.ingestion.folders import CONFIG, fill, make


def chosen(data, choice=None) -> list[str]:
    return [folder.prefix for folder in spans.folders(str(data), choice)]


def days(first: str, last: str) -> Range:
    return Range.model_validate_json(json.dumps({"range": [first, last]}))


@pytest.fixture
def numbered(tmp_path):
    for name in ("2", "10", "09", "7", "x", "3.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()
    return tmp_path / "{SPAN}"


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (None, ["10/"]),
        (Window(window=1), ["10/"]),
        (Window(window=3), ["9/", "10/"]),
        (Window(window=1000), ["2/", "7/", "9/", "10/"]),
        (Range(range=(3, 9)), ["7/", "9/"]),
        (Range(range=(2, 2)), ["2/"]),
    ],
)
def test_numbers(numbered, choice, names):
    """Red if names are sorted as text, a window counts folders and not numbers, or an end is left out."""
    assert chosen(numbered, choice) == names


def test_dates_across_folders_and_below_them(tmp_path):
    """Red if a window of days ends with its month, or what follows the placeholders is not part of the pattern."""
    for day in ("2026/10/30", "2026/10/31", "2026/11/02", "2026/11/03"):
        (tmp_path / day / "images").mkdir(parents=True)
    (tmp_path / "2026" / "11" / "04").mkdir()  # no images/ yet: no span yet
    pattern = tmp_path / "{YYYY}" / "{MM}" / "{DD}" / "images"
    assert chosen(pattern) == ["2026-11-03/"]
    assert chosen(pattern, Window(window=4)) == ["2026-10-31/", "2026-11-02/", "2026-11-03/"]
    assert chosen(pattern, days("2026-10-01", "2026-10-31")) == ["2026-10-30/", "2026-10-31/"]


@pytest.mark.parametrize(
    ("folders", "pattern", "choice", "message"),
    [
        ([], "{SPAN}", None, "no folder fits"),
        (["7"], "plain", Window(window=2), "give a pattern such as"),
        (["1", "7"], "{SPAN}", Range(range=(2, 6)), "no span from 2 to 6, of 2 from 1 to 7"),
        (["7", "07"], "{SPAN}", None, "are the same span"),
        (["7"], "{SPAN}", days("2026-11-01", "2026-11-07"), r"numbered folders.*\[3, 9\]"),
        (["2026-11-01"], "{YYYY}-{MM}-{DD}", Range(range=(3, 9)), "dated folders.*2026-11-01"),
        (["2026-02-30"], "{YYYY}-{MM}-{DD}", None, "a day that does not exist"),
        (["2026-02"], "{YYYY}-{MM}", None, "must hold {SPAN} once, or"),
        (["7-7"], "{SPAN}-{SPAN}", None, "must hold {SPAN} once, or"),
    ],
)
def test_what_is_refused(tmp_path, folders, pattern, choice, message):
    """Red if the case is not looked for."""
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=message):
        chosen(tmp_path / pattern, choice)


def test_section():
    """Red if spans are accepted by sources that know none, or a range may run backwards."""
    assert IngestConfig.model_validate_json('{"source": "image_folder", "spans": {"window": 7}}').spans == Window(
        window=7
    )
    for section in ({"spans": {"window": 7}}, {"source": "image_folder", "spans": {"range": [9, 3]}}):
        with pytest.raises(ValueError, match=r"goes with source: image_folder|comes after the last"):
            IngestConfig.model_validate_json(json.dumps(section))


def test_nothing_new_is_nothing_to_do(tmp_path):
    """Red if spans outside the choice enter the identity, or a new one inside does not."""
    pattern = tmp_path / "{SPAN}"
    last_two = CONFIG.model_copy(update={"spans": Window(window=2)})

    def identity() -> str:
        return recipe(str(pattern), last_two, seed=0).fingerprint

    fill(tmp_path / "3", 8)
    fill(tmp_path / "4", 8, first=8)
    before = identity()
    fill(tmp_path / "2", 8, first=16)
    assert identity() == before
    fill(tmp_path / "5", 8, first=24)
    assert identity() != before


def test_several_spans_become_one_data_set(tmp_path):
    """Red if a span's folder is taken for a class, or files of one name in two spans for one file."""
    fill(tmp_path / "3", 12, classes=("cat",))
    fill(tmp_path / "4", 12, classes=("dog",), first=12)
    (tmp_path / "4" / "dog" / "012.png").rename(tmp_path / "4" / "dog" / "000.png")
    config = CONFIG.model_copy(update={"spans": Window(window=2)})
    examples = make(tmp_path / "{SPAN}", tmp_path / "out", config)
    assert examples.properties["class_names"] == ["cat", "dog"]
    lines = (examples.directory / "index.jsonl").read_text().splitlines()
    sources = {source for line in lines for source in json.loads(line)["sources"]}
    assert len(sources) == 24
    assert {"3/cat/000.png", "4/dog/000.png"} <= sources


def test_a_csv_of_labels_goes_with_one_span(tmp_path):
    """Red if the file of the first span is silently used for all."""
    for span in ("3", "4"):
        fill(tmp_path / span, 2)
        (tmp_path / span / "l.csv").write_text("file,label\ncat/000.png,a\ndog/001.png,b\n")
    config = CONFIG.model_copy(update={"labels": "l.csv"})
    recipe(str(tmp_path / "{SPAN}"), config, seed=0)
    with pytest.raises(InputError, match="one span at a time"):
        recipe(str(tmp_path / "{SPAN}"), config.model_copy(update={"spans": Window(window=2)}), seed=0)
