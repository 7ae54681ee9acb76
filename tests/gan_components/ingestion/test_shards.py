"""Images inside other files: NumPy arrays, Parquet columns, TFRecord features."""

import gzip
import io
import json
import struct
import zipfile

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow as tf

from gan_components import examples
from gan_components.errors import InputError
from gan_components.images import png
from gan_components.ingestion import archives, arrays, files, parquet, sources, tfrecord
from gan_components.ingestion.config import IngestConfig, NamedSplit
from gan_components.pictures import UnreadableError
from tests.gan_components.ingestion.folders import make, picture

COUNT = 40
IMAGES = np.stack([picture(number) for number in range(COUNT)])
LABELS = np.arange(COUNT) % 3
CLASS_OF = {image.tobytes(): int(label) for image, label in zip(IMAGES, LABELS, strict=True)}


def config(source, **section):
    return IngestConfig(source=source, size=8, channels=3, **section)


def check(made, *, class_names, num_holdout=None):
    """All forty images are there, each with its own label."""
    known = examples.Properties.of(made)
    assert (known.num_train + known.num_holdout, known.num_quarantined) == (COUNT, 0)
    assert known.class_names == class_names
    if num_holdout is not None:
        assert known.num_holdout == num_holdout
    for split in ("train", "holdout"):
        found = examples.read(made, split)
        expected = [CLASS_OF[image.tobytes()] for image in found.images]
        if class_names:
            np.testing.assert_array_equal(found.labels, expected)
        else:
            assert found.labels is None


@pytest.mark.parametrize(
    ("names", "save"),
    [
        (("images", "labels"), np.savez),
        (("x", "y"), np.savez_compressed),
        (("arr_0", "arr_1"), np.savez),
        (("train_images", "train_labels"), np.savez),
        (("pixels", "kind"), np.savez),
    ],
)
def test_npz(tmp_path, names, save, monkeypatch):
    """Red if a usual pair of names is not known, given ones are ignored, or labels are shifted between chunks."""
    monkeypatch.setattr(arrays, "IMAGES_PER_CHUNK", 16)
    save(tmp_path / "a.npz", **{names[0]: IMAGES, names[1]: LABELS[:, None]}, other=np.zeros(3))
    fields = {"image_field": "pixels", "label_field": "kind"} if names[0] == "pixels" else {}
    check(make(tmp_path / "a.npz", tmp_path / "out", config("arrays", **fields)), class_names=["0", "1", "2"])


def test_splits_of_an_npz(tmp_path):
    """Red if the split held out is trained on. Names as in Keras' mnist.npz, texts as labels."""
    texts = np.array(["a", "b", "c"])[LABELS]
    np.savez(tmp_path / "a.npz", x_train=IMAGES[:30], y_train=texts[:30], x_test=IMAGES[30:], y_test=texts[30:])
    made = make(tmp_path / "a.npz", tmp_path / "out", config("arrays", holdout=NamedSplit(split="test")))
    check(made, class_names=["a", "b", "c"], num_holdout=10)


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy(tmp_path, order, monkeypatch):
    """Red if a mapped array is read in another order, or a chunk carries its pixels along."""
    monkeypatch.setattr(arrays, "IMAGES_PER_CHUNK", 16)
    data = tmp_path / "data"
    data.mkdir()
    np.save(data / "images.npy", np.asarray(IMAGES, order=order))
    check(make(data / "images.npy", tmp_path / "out", config("arrays")), class_names=[])
    np.save(data / "labels.npy", LABELS)
    check(make(data, tmp_path / "out", config("arrays")), class_names=["0", "1", "2"])
    source = sources.open_source(str(data), config("arrays"), seed=0)
    held = [argument for chunk in source.chunks for argument in chunk.args]
    assert not any(isinstance(argument, np.ndarray) for argument in held)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ({"images": IMAGES / 255}, r"float64, expected uint8.*255 \* x"),
        ({"images": IMAGES.astype(np.int64)}, "int64, expected uint8"),
        ({"images": np.moveaxis(IMAGES, -1, 1)}, "if channels come second"),
        ({"images": IMAGES[0, 0]}, "has the shape"),
        ({"images": IMAGES, "labels": LABELS[:-1]}, "expected the classes of 40 images"),
        ({"images": IMAGES, "labels": np.eye(3)[LABELS]}, "argmax"),
        ({"images": IMAGES, "labels": LABELS.astype(object)}, "Python objects"),
        ({"images": IMAGES[:0]}, "cannot be read"),
        ({"a": IMAGES, "b": IMAGES}, r"of the arrays a, b none .* or set ingest\.image_field"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, stored, message):
    """Red if one of them is converted by guesswork, or an object is unpickled."""
    np.savez(tmp_path / "a.npz", **stored)
    with pytest.raises(InputError, match=message):
        sources.open_source(str(tmp_path / "a.npz"), config("arrays"), seed=0)


def test_two_arrays_of_one_name(tmp_path):
    """Red if the second file silently takes the first one's place."""
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, images=IMAGES)
    with pytest.raises(InputError, match=r"a\.npz and .*b\.npz both hold an array images"):
        sources.open_source(str(tmp_path), config("arrays"), seed=0)


def npy(shape, *, descr="|u1"):
    """The header of an array of some shape, with 48 bytes behind it."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + bytes(48)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no array",
        npy((2**40, 28, 28)),
        npy((-3, -4, 4)),
        npy((3, 4, 5)),
        npy((3, 4, 3)),
        npy((3, 4, 4))[:-1],
        npy((3, 4, 4), descr="|O"),
        b"\x93NUMPY\x01\x00\x0a\x00__import__",
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_hostile_arrays(tmp_path, content, kind):
    """Red if a declared size is trusted, or NumPy's own errors come through."""
    path = tmp_path / f"images.{kind}"
    if kind == "npy":
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", content)
    with pytest.raises(InputError, match="cannot be read"):
        sources.open_source(str(path), config("arrays"), seed=0)


def test_no_bomb_is_unpacked(tmp_path, monkeypatch):
    """Red if an array is unpacked whatever its size; what fits the limit is."""
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((100, 10, 10), np.uint8))
    monkeypatch.setattr(arrays, "MAX_BYTES_FROM_NPZ", 10_000)
    with pytest.raises(InputError, match=r"unpacks to 10128 bytes, more than 10000; .* numpy\.save"):
        sources.open_source(str(tmp_path / "a.npz"), config("arrays"), seed=0)


def table(*, images=IMAGES, labels=LABELS, names=None):
    """A table as Hugging Face writes it."""
    pictures = [{"bytes": png(image), "path": "/etc/passwd"} for image in images]
    columns = {"image": pictures, **({} if labels is None else {"label": labels})}
    made = pyarrow.table(columns)
    if names:
        described = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        made = made.replace_schema_metadata({"huggingface": json.dumps(described)})
    return made


@pytest.mark.parametrize("names", [None, ["ant", "bee", "cat"]])
def test_parquet(tmp_path, names):
    """Red if a row group is left out, labels are shifted between groups, or class names are not read."""
    pyarrow.parquet.write_table(table(names=names), tmp_path / "a.parquet", row_group_size=7)
    made = make(tmp_path / "a.parquet", tmp_path / "out", config("parquet"))
    check(made, class_names=names or ["0", "1", "2"])


def test_parquet_shards(tmp_path):
    """Red if the side is not that of the shard's name."""
    data = tmp_path / "data"
    data.mkdir()
    for name, rows in (("train-00000-of-00002", slice(0, 20)), ("train-00001-of-00002", slice(20, 32))):
        pyarrow.parquet.write_table(table(images=IMAGES[rows], labels=LABELS[rows]), data / f"{name}.parquet")
    pyarrow.parquet.write_table(
        table(images=IMAGES[32:], labels=LABELS[32:]), data / "test-00000-of-00001.parquet"
    )
    made = make(data, tmp_path / "out", config("parquet", holdout=NamedSplit(split="test")))
    check(made, class_names=["0", "1", "2"], num_holdout=8)


def test_parquet_columns(tmp_path):
    """Red if one of several columns is taken by guesswork, or a named one is not."""
    columns = {"left": [png(image) for image in IMAGES], "right": [png(255 - image) for image in IMAGES]}
    pyarrow.parquet.write_table(pyarrow.table({**columns, "kind": LABELS}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"columns \['left', 'right'\], ingest.image_field must name one"):
        make(tmp_path / "a.parquet", tmp_path / "out", config("parquet"))
    fields = {"image_field": "left", "label_field": "kind"}
    check(make(tmp_path / "a.parquet", tmp_path / "out", config("parquet", **fields)), class_names=["0", "1", "2"])
    with pytest.raises(InputError, match="label_field must name one"):
        make(tmp_path / "a.parquet", tmp_path / "out", config("parquet", image_field="left", label_field="x"))


def test_damaged_parquet(tmp_path):
    """Red if a damaged group stops the others, or loses its rows without a word; or a path is followed."""
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(
        table(labels=None), path, row_group_size=20, compression="none", use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    place = data.index(png(IMAGES[25])) - 4
    data[place : place + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)
    found = parquet.parts(files.describe(path, tmp_path), image=None, label=None)
    contents = [list(part.read()) for part in found]
    assert contents[0] == [png(image) for image in IMAGES[:20]]
    assert len(contents[1]) == 20
    assert isinstance(contents[1][-1], UnreadableError)
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    rows = pyarrow.array([{"bytes": None, "path": "/etc/passwd"}] * 3, kind)
    only_path = pyarrow.table({"image": rows})
    pyarrow.parquet.write_table(only_path, path)
    (part,) = parquet.parts(files.describe(path, tmp_path), image="image", label=None)
    assert ["not followed" in str(one) for one in part.read()] == [True] * 3
    for content in (b"", b"PAR1", bytes(data[: len(data) // 2]), b"PAR1" + bytes(100) + b"PAR1"):
        path.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as Parquet"):
            sources.open_source(str(path), config("parquet"), seed=0)


def example(image, label, *, names=("image/encoded", "image/class/label")):
    features = {names[0]: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
    if label is not None:
        features[names[1]] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def write_records(path, records):
    with tf.io.TFRecordWriter(str(path), "GZIP" if path.suffix == ".gz" else "") as writer:
        for record in records:
            writer.write(record)
    return path


@pytest.mark.parametrize(
    ("names", "suffix"),
    [
        (("image/encoded", "image/class/label"), "tfrecord"),
        (("image", "label"), "tfrecord.gz"),
        (("a", "b"), "tfrecord-00000-of-00001"),
    ],
)
def test_tfrecord(tmp_path, names, suffix):
    """Red if usual names are not known, given ones ignored, or labels shifted."""
    records = [example(png(image), label, names=names) for image, label in zip(IMAGES, LABELS, strict=True)]
    path = write_records(tmp_path / f"a.{suffix}", records)
    fields = {"image_field": "a", "label_field": "b"} if names[0] == "a" else {}
    check(make(path, tmp_path / "out", config("tfrecord", **fields)), class_names=["0", "1", "2"])
    if fields:
        with pytest.raises(InputError, match=r"has the features \['a', 'b'\]; set ingest.image_field"):
            make(path, tmp_path / "out", config("tfrecord"))


def test_damaged_records(tmp_path):
    """Red if a record that is none ends in protobuf's error, or a picture's absence goes unnoticed."""
    records = [example(png(IMAGES[0]), None), b"no example", example(b"", None, names=("other", ""))]
    file = files.describe(write_records(tmp_path / "a.tfrecord", records), tmp_path)
    part = tfrecord.part(file, image=None, label=None)
    first, *others = part.read()
    assert first == png(IMAGES[0])
    assert [isinstance(one, UnreadableError) for one in others] == [True, True]
    assert part.labels == [None] * 3


def test_hostile_tfrecord(tmp_path):
    """Red if a length is trusted, a checksum is not looked at, or a cut goes unnoticed."""
    whole = write_records(tmp_path / "a.tfrecord", [example(png(image), 1) for image in IMAGES]).read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    contents = {
        "length": struct.pack("<Q", 2**62) + whole[8:],
        "checksum": bytes(flipped),
        "cut": whole[:-1],
        "cut in a header": whole + whole[:5],
        "text": b"no records at all",
        "nothing": b"",
    }
    for name, content in contents.items():
        for suffix, data in (("tfrecord", content), ("tfrecord.gz", gzip.compress(content))):
            path = tmp_path / f"b.{suffix}"
            path.write_bytes(data)
            with pytest.raises(InputError, match=r"b\.tfrecord") as error:
                sources.open_source(str(path), config("tfrecord"), seed=0)
            assert "\n" not in str(error.value), name


def test_no_bomb_of_records_is_read(tmp_path, monkeypatch):
    """Red if what a packed file unpacks to is not bounded."""
    monkeypatch.setattr(archives, "MAX_BYTES_AT_ANY_RATIO", 2**20)
    path = write_records(tmp_path / "a.tfrecord.gz", [example(bytes(2**20), 1)] * 2)
    with pytest.raises(InputError, match="which pictures do not"):
        sources.open_source(str(path), config("tfrecord"), seed=0)


def test_no_long_record_is_read(tmp_path, monkeypatch):
    """Red if TensorFlow is asked for a record of any length."""
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    path = write_records(tmp_path / "a.tfrecord", [bytes(1001)])
    with pytest.raises(InputError, match="a record of 1001 bytes"):
        sources.open_source(str(path), config("tfrecord"), seed=0)
