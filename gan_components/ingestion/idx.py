"""The IDX files in which MNIST and Fashion-MNIST were published: http://yann.lecun.com/exdb/mnist/."""

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from gan_components.errors import InputError
from gan_components.ingestion.files import File, describe

# Deflate cannot do better, so a header that declares more is wrong before a byte is unpacked.
_MAX_GZIP_RATIO = 1032

_PREFIX = {"train": "train", "test": "t10k"}


def find(root: Path, *, test: bool) -> dict[str, tuple[File, File]]:
    """The image and label file of ``train`` and, if asked for, of ``test``.

    Raises:
        InputError: one is missing.
    """
    splits = ["train", "test"] if test else ["train"]
    return {
        split: (_find(root, f"{_PREFIX[split]}-images", 3), _find(root, f"{_PREFIX[split]}-labels", 1))
        for split in splits
    }


def _find(root: Path, stem: str, rank: int) -> File:
    # Some copies of the files lost the hyphen to a dot when they were unpacked.
    names = [f"{stem}{dot}idx{rank}-ubyte{suffix}" for dot in "-." for suffix in ("", ".gz")]
    for name in names:
        if (root / name).is_file():
            return describe(root / name, root)
    raise InputError(f"{root} holds no {names[0]} (or {names[1]}); give the directory of the IDX files as --data")


def read(images: File, labels: File) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[N, H, W]`` and labels uint8 ``[N]``.

    Raises:
        InputError: a file is damaged, or the two do not hold as many entries.
    """
    pixels, classes = _array(images, 3), _array(labels, 1)
    if len(pixels) != len(classes):
        raise InputError(
            f"{images.path} holds {len(pixels)} images, {labels.path} {len(classes)} labels; "
            "the two must come from the same data set"
        )
    return pixels, classes


def _array(file: File, rank: int) -> np.ndarray:
    compressed = file.path.suffix == ".gz"
    try:
        with (gzip.open if compressed else open)(file.path, "rb") as stream:
            header = stream.read(4 + 4 * rank)
            if len(header) < 4 + 4 * rank or header[:4] != bytes([0, 0, 8, rank]):
                raise InputError(
                    f"{file.path} is not an IDX file of bytes with {rank} dimensions: it begins with "
                    f"{header[:4].hex() or 'nothing'}, expected 0000080{rank}; fetch it again"
                )
            shape = struct.unpack(f">{rank}I", header[4:])
            declared = math.prod(shape)
            possible = declared <= file.size * (_MAX_GZIP_RATIO if compressed else 1)
            # One byte more than declared tells a longer file.
            content = stream.read(declared + 1) if possible else b""
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file.path} cannot be read ({error}); fetch it again") from None
    if len(content) != declared or declared == 0:
        raise InputError(
            f"{file.path} declares {' x '.join(map(str, shape))} = {declared} bytes and holds "
            f"{'more' if len(content) > declared else 'fewer'}; fetch it again"
            if declared
            else f"{file.path} declares no entries (shape {shape}); fetch it again"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)
