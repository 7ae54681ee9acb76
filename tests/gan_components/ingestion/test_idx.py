"""IDX files, honest and hostile."""

import gzip
import struct

import numpy as np
import pytest

from gan_components.errors import InputError
from gan_components.ingestion import files, idx


def write(root, name, array, *, header=None, compress=False):
    start = header or struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    data = start + array.astype(np.uint8).tobytes()
    path = root / (name + (".gz" if compress else ""))
    path.write_bytes(gzip.compress(data) if compress else data)
    return files.describe(path, root)


IMAGES = np.arange(4 * 3 * 3).reshape(4, 3, 3)
LABELS = np.array([1, 0, 2, 1])


@pytest.mark.parametrize("compress", [False, True])
def test_round_trip(tmp_path, compress):
    """Red if sizes are read as little-endian, or gzip is not unpacked."""
    write(tmp_path, "train-images-idx3-ubyte", IMAGES, compress=compress)
    write(tmp_path, "train-labels-idx1-ubyte", LABELS, compress=compress)
    images, labels = idx.read(*idx.find(tmp_path, test=False)["train"])
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_counts_must_agree(tmp_path):
    """Red without the comparison of the two counts."""
    images = write(tmp_path, "i", IMAGES)
    labels = write(tmp_path, "l", LABELS[:3])
    with pytest.raises(InputError, match=r"holds 4 images, .* 3 labels"):
        idx.read(images, labels)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("header", "message"),
    [
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "fewer"),
        (struct.pack(">HBB3I", 0, 8, 3, 5, 3, 3), "fewer"),
        (struct.pack(">HBB3I", 0, 8, 3, 3, 3, 3), "more"),
        (struct.pack(">HBB3I", 0, 8, 3, 0, 3, 3), "no entries"),
        (struct.pack(">HBB3I", 0, 13, 3, 4, 3, 3), "begins with 00000d03"),
        (b"\0\0\x08", "begins with"),
    ],
)
def test_hostile_headers(tmp_path, header, message, compress):
    """Red if a declared size is trusted: the first would ask for 2**96 bytes."""
    labels = write(tmp_path, "l", LABELS)
    content = IMAGES if len(header) > 4 else np.zeros(0)
    with pytest.raises(InputError, match=message):
        idx.read(write(tmp_path, "i", content, header=header, compress=compress), labels)


def test_damaged_gzip(tmp_path):
    """Red if gzip's errors are not caught: cut, turned, and not gzip at all."""
    file = write(tmp_path, "i", IMAGES, compress=True)
    whole = file.path.read_bytes()
    for damaged in (whole[:-12], whole[:30] + b"\xff\xff" + whole[32:], b"no gzip"):
        file.path.write_bytes(damaged)
        with pytest.raises(InputError, match="fetch it again"):
            idx.read(file, file)


def test_missing_files(tmp_path):
    """Red if the test files are not asked for."""
    write(tmp_path, "train-images-idx3-ubyte", IMAGES)
    write(tmp_path, "train-labels-idx1-ubyte", LABELS)
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte"):
        idx.find(tmp_path, test=True)
