"""Labels and splits of an image folder."""

import pytest

from gan_components.errors import InputError
from gan_components.ingestion import labels

CLASSES = ["10/a.png", "2/b.png", "2/deep/c.png"]


@pytest.mark.parametrize(
    ("names", "how", "class_names", "classes"),
    [
        (["a.png", "b.png"], "auto", [], [None, None]),
        (["images/a.png", "images/b.png"], "auto", [], [None, None]),
        (["images/a.png", "images/b.png"], "folders", ["images"], [0, 0]),
        (CLASSES, "auto", ["2", "10"], [1, 0, 0]),
        (CLASSES, None, [], [None, None, None]),
        (["b/x.png", "a/x.png"], "auto", ["a", "b"], [1, 0]),
    ],
)
def test_what_users_expect(names, how, class_names, classes):
    """Red if one wrapping folder becomes a class, or numbers are sorted as text."""
    assert labels.read(names, how, depth=0, where="data", table=None) == (class_names, classes)


def test_files_outside_class_folders():
    """Red if images beside the class folders silently get some class."""
    with pytest.raises(InputError, match=r"1 file \(loose.png\) lie outside the class folders"):
        labels.read([*CLASSES, "loose.png"], "auto", depth=0, where="data", table=None)


def from_table(content, where="l.csv", names=("a.png", "b.png", "c.png")):
    return labels.read(list(names), where, depth=0, where=where, table=content)


def test_csv():
    """Red if the byte order mark of spreadsheets spoils the first column's name, or ./ does not count."""
    table = "\ufefffile,label\r\n./a.png,dog\r\nb.png,cat\r\n".encode()
    assert from_table(table, names=["a.png", "b.png"]) == (["cat", "dog"], [1, 0])


@pytest.mark.parametrize(
    "table",
    [
        '{"labels": [["a.png", 10], ["b.png", 2], ["c.png", 10]]}',
        '{"labels": {"a.png": 10, "b.png": 2, "c.png": 10}}',
        '{"a.png": "10", "./b.png": "2", "c.png": 10}',
    ],
)
def test_json(table):
    """Red if one of the forms is not read, or numbers are sorted as text."""
    assert from_table(table.encode(), "l.json") == (["2", "10"], [1, 0, 1])


def test_stylegan_without_labels():
    """Red if the folders 00000, 00001 of an unlabelled StyleGAN data set become classes."""
    names = ["00000/a.png", "00001/b.png"]
    assert labels.table_name("auto", {"dataset.json"}) == "dataset.json"
    found = labels.read(names, "auto", depth=0, where="dataset.json", table=b'{"labels": null}')
    assert found == ([], [None, None])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("[]", "must be"),
        ('["a.png"]', "must be"),
        ('{"a.png": 1,', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ('{"a.png": [0.1, 0.2]}', "has the entry"),
        ('{"a.png": true}', "has the entry"),
        ('{"a.png": {"b.png": 1}}', "has the entry"),
        ('{"labels": 3}', "has the entry"),
        ('{"labels": [["a.png", 1, 2]]}', "has the entry"),
        ('{"a.png": 1, "b.png": 1, "c.png": 1, "a.png": 2}', r"1 file \(a.png\) are named more than once"),
    ],
)
def test_json_that_does_not_fit(table, message):
    """Red if a shape passes that is none of the two, or the second of two equal names counts."""
    with pytest.raises(InputError, match=message):
        from_table(table.encode(), "l.json")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["a.png,x", "b.png,x", "c.png,x", "z1.png,x", "z2.png,x"],
            r"2 files \(z1.png, z2.png\) named in it are no",
        ),
        (["a.png,x"], r"2 files \(b.png, c.png\) have no label"),
        (["a.png,x", "b.png,x", "c.png,"], r"1 file \(c.png\) have no label"),
        (["a.png,x", "a.png,y", "b.png,x", "c.png,x"], r"1 file \(a.png\) are named more than once"),
    ],
)
def test_csv_that_does_not_fit(rows, message):
    """Red if a kind of misfit is not looked for, or the message does not name and count it."""
    with pytest.raises(InputError, match=message):
        from_table("\n".join(["file,label", *rows]).encode())


@pytest.mark.parametrize("content", [b"name,class\na.png,x\n", b"", b"\xff\xfe\x00", b"file,label\n\x00"])
def test_csv_that_is_none(content):
    """Red if a wrong header or wrong bytes end in a KeyError or UnicodeDecodeError."""
    with pytest.raises(InputError, match=r"l\.csv"):
        from_table(content)


def test_labels_that_records_carry():
    """Red if a record without a label gets some class."""
    assert labels.given(["a", "b"], ["9", "10"], "auto", where="x") == (["9", "10"], [0, 1])
    assert labels.given(["a", "b"], [None, None], "auto", where="x") == ([], [None, None])
    assert labels.given(["a", "b"], ["9", None], None, where="x") == ([], [None, None])
    with pytest.raises(InputError, match=r"of 2 images, 1 file \(b\) have no label"):
        labels.given(["a", "b"], ["9", None], "auto", where="x")


def test_named_split():
    """Red if the side is taken from another folder than the first."""
    assert labels.held_out(["test/a.png", "train/test.png"], "test") == [True, False]
    with pytest.raises(InputError, match=r"1 file \(val/a.png\) lie elsewhere"):
        labels.held_out(["train/a.png", "test/a.png", "val/a.png"], "test")
    with pytest.raises(InputError, match="found only train"):
        labels.held_out(["train/a.png"], "test")


def test_named_split_of_shards():
    """Red if the beginning of a shard's name does not count as its folder does."""
    names = ["train-00000-of-00001.parquet#1", "test/7.tar/a.png", "test.tfrecord#0"]
    assert labels.held_out(names, "test", shards=True) == [False, True, True]
    with pytest.raises(InputError, match=r"or in files named train-\* and test-\*, but 1 file"):
        labels.held_out([*names, "validation-0.tar/a.png"], "test", shards=True)
