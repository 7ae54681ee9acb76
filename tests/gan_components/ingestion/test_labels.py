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
def test_what_users_expect(tmp_path, names, how, class_names, classes):
    """Red if one wrapping folder becomes a class, or numbers are sorted as text."""
    assert labels.read(tmp_path, names, how, depth=0) == (class_names, classes)


def test_files_outside_class_folders(tmp_path):
    """Red if images beside the class folders silently get some class."""
    with pytest.raises(InputError, match=r"1 file \(loose.png\) lie outside the class folders"):
        labels.read(tmp_path, [*CLASSES, "loose.png"], "auto", depth=0)


def test_csv(tmp_path):
    """Red if the byte order mark of spreadsheets spoils the first column's name, or ./ does not count."""
    (tmp_path / "l.csv").write_bytes("\ufefffile,label\r\n./a.png,dog\r\nb.png,cat\r\n".encode())
    assert labels.read(tmp_path, ["a.png", "b.png"], "l.csv", depth=0) == (["cat", "dog"], [1, 0])


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
def test_csv_that_does_not_fit(tmp_path, rows, message):
    """Red if a kind of misfit is not looked for, or the message does not name and count it."""
    (tmp_path / "l.csv").write_text("\n".join(["file,label", *rows]))
    with pytest.raises(InputError, match=message):
        labels.read(tmp_path, ["a.png", "b.png", "c.png"], "l.csv", depth=0)


@pytest.mark.parametrize("content", [b"name,class\na.png,x\n", b"", b"\xff\xfe\x00", b"file,label\n\x00"])
def test_csv_that_is_none(tmp_path, content):
    """Red if a wrong header or wrong bytes end in a KeyError or UnicodeDecodeError."""
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"l\.csv"):
        labels.read(tmp_path, ["a.png"], "l.csv", depth=0)


def test_named_split():
    """Red if the side is taken from another folder than the first."""
    assert labels.held_out(["test/a.png", "train/test.png"], "test") == [True, False]
    with pytest.raises(InputError, match=r"1 file \(val/a.png\) lie elsewhere"):
        labels.held_out(["train/a.png", "test/a.png", "val/a.png"], "test")
    with pytest.raises(InputError, match="found only train"):
        labels.held_out(["train/a.png"], "test")
