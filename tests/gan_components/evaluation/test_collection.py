"""Sets of images of every kind that `score` reads."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from gan_components import randomness
from gan_components.errors import InputError
from gan_components.evaluation.collection import collect

PIXELS = randomness.numpy_generator(0, "pixels").integers(0, 256, (5, 12, 14, 3), np.uint8)


def _joined(text: str, *, coloured: bool, size: int | None = None) -> np.ndarray:
    return np.concatenate(list(collect(text, num_samples=9).batches(coloured=coloured, size=size)))


def test_a_folder_in_the_order_of_its_names(tmp_path):
    """Sub-folders included. Red if files are taken as the file system lists them."""
    (tmp_path / "b").mkdir()
    for place, name in enumerate(("a.png", "b/a.png", "b/c.PNG", "c.bmp", "d.webp")):
        Image.fromarray(PIXELS[place]).save(tmp_path / name, lossless=True)
    (tmp_path / "notes.txt").write_text("no picture")
    found = collect(str(tmp_path), num_samples=9)
    assert (found.count, found.shapes, found.coloured) == (5, {(12, 14)}, True)
    np.testing.assert_array_equal(_joined(str(tmp_path), coloured=True), PIXELS)


def test_sizes_and_colours_that_differ(tmp_path):
    """A batch holds one shape; grey is repeated; `size` cuts and resizes. Red if any is left as it was."""
    Image.fromarray(PIXELS[0]).save(tmp_path / "a.png")
    Image.fromarray(PIXELS[1, ..., 0]).save(tmp_path / "b.png")
    Image.fromarray(PIXELS[2, :8, :8]).save(tmp_path / "c.png")
    found = collect(str(tmp_path), num_samples=9)
    assert found.shapes == {(12, 14), (8, 8)}
    first, second = found.batches(coloured=True)
    np.testing.assert_array_equal(first, np.stack([PIXELS[0], np.repeat(PIXELS[1, ..., :1], 3, -1)]))
    np.testing.assert_array_equal(second, PIXELS[2:3, :8, :8])
    np.testing.assert_array_equal(_joined(str(tmp_path), coloured=True, size=8)[2], PIXELS[2, :8, :8])


def test_array_files(tmp_path):
    """Red if [N, H, W] keeps three axes, or the array `images` is not preferred."""
    np.save(tmp_path / "a.npy", PIXELS[..., 0])
    np.savez(tmp_path / "b.npz", images=PIXELS, labels=np.arange(5))
    np.testing.assert_array_equal(_joined(str(tmp_path / "a.npy"), coloured=False), PIXELS[..., :1])
    np.testing.assert_array_equal(_joined(str(tmp_path / "b.npz"), coloured=True), PIXELS)


def test_a_tfds_directory(tmp_path):
    """Red if all splits are read, or a missing split is not told."""
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(12, 14, 3), encoding_format="png")})
    rows = {"train": PIXELS[:3], "test": PIXELS[3:]}
    tfds.dataset_builders.store_as_tfds_dataset(
        "noise",
        version="1.0.0",
        data_dir=tmp_path,
        features=features,
        file_format=tfds.core.FileFormat.ARRAY_RECORD,
        split_datasets={
            split: tf.data.Dataset.from_tensor_slices({"image": images}) for split, images in rows.items()
        },
        disable_shuffling=True,
    )
    directory = tmp_path / "noise" / "1.0.0"
    np.testing.assert_array_equal(_joined(f"{directory}:test", coloured=True), PIXELS[3:])
    with pytest.raises(InputError, match="has the splits test, train; choose one"):
        collect(str(directory), num_samples=9)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("gone", None, "does not exist"),
        ("a.csv", b"1,2", "is a file of another kind"),
        ("a.npz", b"PK\x03\x04", "cannot be read as an array file"),
        ("a.npy", b"\x93NUMPY", "cannot be read as an array file"),
    ],
)
def test_other_things_are_refused(tmp_path, name, content, message):
    """Red if an error of numpy or of the zip reader gets through."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        collect(str(tmp_path / name), num_samples=9)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.zeros((3, 8, 8), np.float32), r"holds float32 \[3, 8, 8\]; expected uint8"),
        (np.zeros((3, 8, 8, 4), np.uint8), "expected uint8"),
        (np.zeros((1, 8, 8), np.uint8), "holds 1 image"),
        (np.array([{}], dtype=object), "cannot be read as an array file"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, message):
    """The last is a pickle. Red with allow_pickle=True."""
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(InputError, match=message):
        collect(str(tmp_path / "a.npy"), num_samples=9)


def test_folders_that_cannot_be_read(tmp_path):
    """Red if a broken picture is skipped: the number would be of other images than the folder's."""
    with pytest.raises(InputError, match="holds no images"):
        collect(str(tmp_path), num_samples=9)
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"a.png cannot be read as a picture"):
        collect(str(tmp_path), num_samples=9)
