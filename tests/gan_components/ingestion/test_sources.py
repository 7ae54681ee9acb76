"""Each source gives its images to `ingest`."""

import gzip
import itertools
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from gan_components import examples
from gan_components.errors import InputError
from gan_components.ingestion import arrays, digits, identity, public, records, sources, stacked_digits
from gan_components.ingestion.config import Fraction, IngestConfig, NamedSplit, recipe
from gan_components.ingestion.stage import ingest
from gan_components.pictures import UnreadableError
from tests.gan_components.ingestion.folders import fill, make


def images(count, first=0):
    return np.stack(
        [np.random.default_rng(number).integers(0, 256, (9, 9)) for number in range(first, first + count)]
    )


def write_idx(root, prefix, pixels, labels):
    for kind, array in (("images", pixels), ("labels", labels)):
        data = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
        (root / f"{prefix}-{kind}-idx{array.ndim}-ubyte.gz").write_bytes(gzip.compress(data))


def test_digits_are_the_5000_of_mnist():
    """Red if rows are reshaped wrongly or the label column is taken for pixels. 500 of each, strokes centred."""
    pixels, labels = digits.read()
    assert pixels.shape == (5000, 28, 28)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
    assert pixels[:, 10:18, 10:18].mean() > 3 * pixels[:, :6].mean()


def test_chunks_hold_everything_once(monkeypatch):
    """Red if chunks overlap, or the last, shorter one is lost."""
    monkeypatch.setattr(arrays, "IMAGES_PER_CHUNK", 999)
    source = sources.open_source(None, IngestConfig(), seed=0)
    items = [item for chunk in source.chunks for item in chunk()]
    assert len(source.chunks) == 6
    assert [item.name for item in items] == [f"digits#{place}" for place in range(5000)]
    np.testing.assert_array_equal([item.label for item in items], digits.read()[1])


def stacked(tmp_path, *, seed=0, **section):
    config = IngestConfig(source="stacked_digits", channels=3, num_images=600, **section)
    name = recipe(None, config, seed=seed).fingerprint
    return ingest(None, config, out=tmp_path / name, seed=seed, cache=tmp_path)


def test_stacks_show_digits_of_their_own_side(tmp_path):
    """Red if triples are drawn before the digits are divided, or the stacks' own hash decides the side.

    The sides of the digits are those of the source `digits`: by pixels, not by the seed.
    """
    fraction = Fraction(fraction=0.3)
    made = stacked(tmp_path, holdout=fraction)
    known = examples.Properties.of(made)
    assert (known.num_train, known.num_holdout, known.class_names) == (420, 180, [])
    pixels, _ = digits.read()
    held_out = np.array([identity.is_held_out(identity.pixel_key(one[..., None]), 0.3) for one in pixels])
    sides = {"train": pixels[~held_out], "holdout": pixels[held_out]}
    for name, own in sides.items():
        own = {digit.tobytes() for digit in own}
        images = examples.read(made, name).images
        assert images.shape[1:] == (28, 28, 3)
        assert all(image[..., channel].tobytes() in own for image in images for channel in range(3))
        # Three different digits, not one in three colours.
        assert np.mean([len({image[..., channel].tobytes() for channel in range(3)}) for image in images]) > 2.9


def test_stacks_are_drawn_from_the_seed(tmp_path):
    """Red if the draw depends on anything else than the seed, or not on it."""
    first, again, other = (stacked(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first.content_digest == again.content_digest
    assert not set(examples.read(first, "train").ids) & set(examples.read(other, "train").ids)


def test_stacks_can_be_resized(tmp_path):
    """Red if the size of the section is ignored."""
    assert examples.read(stacked(tmp_path, size=16), "holdout").images.shape[1:] == (16, 16, 3)


def test_modes_are_uniform():
    """Red if digits are drawn whatever their class (the train side has 387 to 408 of each), or channels agree.

    Chi-square of 40,000 stacks over 1,000 modes: mean 999, deviation sqrt(2 * 999) = 45; six of these. A hundred
    times as many stacks, drawn as triples of classes alone, tell shares of 1/10 +- 0.3 % in each channel: there
    chi-square is 9 +- 4.2, six of these; a side's own shares would give 1,300.
    """
    _, classes = digits.read()
    triples = stacked_digits.draw(50_000, 0.2, seed=0)
    assert [len(triples[side]) for side in (False, True)] == [40_000, 10_000]
    modes = classes[triples[False]] @ [100, 10, 1]
    counts = np.bincount(modes, minlength=1000)
    assert abs(np.sum((counts - 40) ** 2 / 40) - 999) < 6 * 45
    many = classes[stacked_digits.draw(5_000_000, 0.2, seed=0)[False]]
    for channel in range(3):
        counts = np.bincount(many[:, channel], minlength=10)
        assert np.sum((counts - 400_000) ** 2 / 400_000) < 9 + 6 * 4.2


def test_too_few_digits_on_one_side():
    """Red if a class without digits ends in NumPy's error."""
    with pytest.raises(InputError, match=r"ingest\.holdout leaves \d+ for holdout and no \d among them"):
        stacked_digits.draw(100, 0.001, seed=0)


@pytest.mark.parametrize("split", [None, "test"])
def test_idx(tmp_path, split):
    """Red if the t10k files are trained on, or used although a fraction is held out."""
    data = tmp_path / "data"
    data.mkdir()
    write_idx(data, "train", images(12), np.arange(12) % 3)
    write_idx(data, "t10k", images(4, first=12), np.arange(4) % 3)
    config = IngestConfig(source="idx", size=9, **({"holdout": NamedSplit(split=split)} if split else {}))
    made = examples.Properties.of(make(data, tmp_path / "out", config))
    assert made.class_names == ["0", "1", "2"]
    if split:
        assert (made.num_train, made.num_holdout) == (12, 4)
    else:
        assert made.num_train + made.num_holdout == 12


def test_labels_can_be_left_out(tmp_path):
    """Red if `labels: null` leaves the classes of a source that has them."""
    config = IngestConfig(source="image_folder", size=8, channels=1, labels=None)
    made = make(fill(tmp_path / "data", 20), tmp_path / "out", config)
    assert examples.Properties.of(made).class_names == []
    assert examples.Properties.of(made).class_frequencies == []
    assert examples.read(made, "train").labels is None


@pytest.fixture
def mnist(tmp_path):
    """TFDS' MNIST as far as its metadata go: 40 images in train, 10 in test. The images are made up."""
    directory = tmp_path / "tfds" / "mnist" / "3.0.1"
    directory.mkdir(parents=True)
    infos = []
    for split, count in (("train", 40), ("test", 10)):
        template = tfds.core.ShardedFileTemplate(
            data_dir=directory, dataset_name="mnist", split=split, filetype_suffix="tfrecord"
        )
        infos.append(
            tfds.core.SplitInfo(name=split, shard_lengths=[count], num_bytes=0, filename_template=template)
        )
        infos[-1].filepaths[0].touch()
    features = {
        "image": tfds.features.Image(shape=(28, 28, 1)),
        "label": tfds.features.ClassLabel(names=[f"class {label}" for label in range(10)]),
    }
    tfds.folder_dataset.write_metadata(data_dir=directory, features=features, split_infos=infos, check_data=False)
    with tfds.testing.mock_data(data_dir=tmp_path / "tfds", as_dataset_fn=made_up):
        yield str(tmp_path / "tfds")


def made_up(self, split, **_):
    """The part of a split that is asked for, such as ``train[0:16]``: random images, labels by turns."""
    name, start, stop = re.fullmatch(r"(\w+)\[(\d+):(\d+)\]", str(split)).groups()
    places = np.arange(int(start), int(stop))
    pixels = images(len(places), first=int(start) + (10_000 if name == "test" else 0))
    return tf.data.Dataset.from_tensor_slices({"image": pixels.astype(np.uint8)[..., None], "label": places % 10})


@pytest.mark.parametrize("holdout", [{}, {"holdout": NamedSplit(split="test")}])
def test_tfds(mnist, tmp_path, holdout, monkeypatch):
    """Red if a part is left out or read twice, or the split named is not the one held out."""
    monkeypatch.setattr(public, "EXAMPLES_PER_PART", 16)
    config = IngestConfig(source="tfds", tfds_name="mnist", size=16, **holdout)
    known = examples.Properties.of(make(mnist, tmp_path / "out", config))
    assert known.class_names[9] == "class 9"
    assert known.num_duplicates == 0
    if holdout:
        assert (known.num_train, known.num_holdout) == (40, 10)
    else:
        assert known.num_train + known.num_holdout == 40


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"tfds_name": "no_such_set"}, "knows no no_such_set"),
        ({"tfds_name": "mnist", "holdout": NamedSplit(split="validation")}, "no split validation, it has .*test"),
        ({"tfds_name": "glue/cola"}, "no image feature"),
        ({}, "set ingest.tfds_name"),
    ],
)
def test_tfds_names_that_do_not_fit(mnist, tmp_path, section, message):
    """Red if TFDS' own errors come through."""
    with pytest.raises(InputError, match=message):
        make(mnist, tmp_path / "out", IngestConfig(source="tfds", **section))


def test_an_artifact_is_a_source(tmp_path):
    """Red if a prepared directory cannot be read again: the same pixels, labels and sides come out."""
    first = make(
        fill(tmp_path / "data", 20), tmp_path / "out", IngestConfig(source="image_folder", size=8, channels=3)
    )
    config = IngestConfig(source="tfds", size=8, channels=3, holdout=NamedSplit(split="holdout"))
    again = make(first.directory / "dataset", tmp_path / "again", config)
    assert again.content_digest == first.content_digest


def grey(level: int) -> bytes:
    """A record of 4x4 pixels of one level."""
    return records.example(str(level), None, records.png(np.full((4, 4, 1), level, np.uint8)), None)


def array_records(directory: Path, content: list[bytes], shard_lengths: list[int]) -> str:
    """A prepared data set of grey images of 4x4 pixels in shards of these lengths."""
    image = tfds.features.Image(shape=(4, 4, 1))
    template = tfds.core.ShardedFileTemplate(
        data_dir=directory, dataset_name="grey", split="train", filetype_suffix="array_record"
    )
    split = tfds.core.SplitInfo(name="train", shard_lengths=shard_lengths, num_bytes=0, filename_template=template)
    remaining = iter(content)
    for path, length in zip(split.filepaths, shard_lengths, strict=True):
        writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
        for record in itertools.islice(remaining, length):
            writer.write(record)
        writer.close()
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=tfds.features.FeaturesDict({"id": tfds.features.Text(), "image": image}),
        split_infos=[split],
        check_data=False,
    )
    return str(directory)


def test_parts_that_cut_shards(tmp_path, monkeypatch):
    """Parts of 7 over shards of 5, 1 and 9 records, read 3 at a time: each record once, in order.

    Red if a part begins at the beginning of its first shard, or ends at the end of its last.
    """
    monkeypatch.setattr(public, "EXAMPLES_PER_PART", 7)
    monkeypatch.setattr(public, "_RECORDS_AT_ONCE", 3)
    builder = public.prepared(array_records(tmp_path, [grey(level) for level in range(15)], [5, 1, 9]), None)
    parts = public.parts(builder, "train")
    assert [size for _, size in parts] == [7, 7, 1]
    read = [int(pixels.max()) for part, _ in parts for pixels, _ in public.read(builder, part)]
    assert read == list(range(15))


def test_damaged_records_go_to_quarantine(tmp_path):
    """A record that is no example, a picture that is none, a chunk with a wrong checksum, and a shard cut short.

    Red if a damaged record ends the run, takes its neighbours along, or is passed over without a word.
    """
    whole = [grey(level) for level in range(200)]
    whole[3] = b"\xff\xff"
    whole[5] = records.example("5", None, b"no picture", None)
    # Its bytes are found again in the file.
    whole[100] = records.example("wide" * 5000, None, records.png(np.zeros((4, 4, 1), np.uint8)), None)
    builder = public.prepared(array_records(tmp_path, whole, [150, 50]), None)
    first, second = map(Path, builder.info.splits["train"].filepaths)
    first.write_bytes(first.read_bytes().replace(b"wide" * 10, b"tide" * 10, 1))
    second.write_bytes(second.read_bytes()[:1000])
    read = [content for content, _ in public.read(builder, "train")]
    reasons = {place: str(one) for place, one in enumerate(read) if isinstance(one, UnreadableError)}
    assert list(reasons) == [3, 5, 100, *range(150, 200)]
    for place in set(range(150)) - reasons.keys():
        assert (read[place] == place).all()
    assert "hash mismatch" in reasons[100]
    assert "ends after 0 records" in reasons[150]
