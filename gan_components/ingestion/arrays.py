"""NumPy files: images as one uint8 array, their labels as another. Pickled objects are never loaded.

An ``.npy`` file is mapped into memory and may be larger than it; from an ``.npz`` an array is read whole.
"""

import functools
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.lib import format as npy_format

from gan_components.errors import InputError
from gan_components.ingestion.files import File

MAX_BYTES_FROM_NPZ = 4 * 2**30

# How Keras, MedMNIST, OpenAI and others name images and labels; the last two are NumPy's names for unnamed ones.
_NAMES = [("images", "labels"), ("x", "y"), ("arr_0", "arr_1")]
_NAMES_OF_A_SPLIT = [("{}_images", "{}_labels"), ("images_{}", "labels_{}"), ("x_{}", "y_{}")]

_DAMAGED = (OSError, EOFError, ValueError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def find(found: list[File]) -> dict[str, Callable[[], np.ndarray]]:
    """What reads each array of some files, by its name: in an ``.npz`` its own, otherwise that of its file.

    Raises:
        InputError: a file is damaged.
    """
    arrays: dict[str, Callable[[], np.ndarray]] = {}
    for file in found:
        if file.path.suffix.lower() == ".npy":
            arrays[file.path.stem] = functools.partial(mapped, file.path)
        else:
            try:
                with zipfile.ZipFile(file.path) as archive:
                    names = [name.removesuffix(".npy") for name in archive.namelist()]
            except _DAMAGED as error:
                raise InputError(f"{file.path} cannot be read ({error}); write it again") from None
            arrays |= {name: functools.partial(_unpacked, file.path, name) for name in names}
    return arrays


def names_of(
    arrays: list[str], split: str | None, *, image: str | None, label: str | None
) -> tuple[str, str | None]:
    """Names of the images and of the labels of a split; no labels: None.

    Args:
        arrays: what there is.
        split: None: the data are not divided, or their ``train`` is all that is wanted.
        image, label: as in the ``ingest`` section.

    Raises:
        InputError: none that are known.
    """
    known = [] if split else list(_NAMES)
    known += [
        (images.format(split or "train"), labels.format(split or "train")) for images, labels in _NAMES_OF_A_SPLIT
    ]
    if image is None and split is None and len(arrays) == 1:
        image = arrays[0]
    for images, labels in [(image, label)] if image else known:
        labels = label or labels
        if images in arrays:
            if label is not None and label not in arrays:
                break
            return images, labels if labels in arrays else None
    raise InputError(
        f"of the arrays {', '.join(arrays)} none is known to hold the images"
        + (f" of {split}" if split else "")
        + f"; name them {' or '.join(images for images, _ in known)}, or set ingest.image_field and label_field"
    )


def images(name: str, array: np.ndarray) -> np.ndarray:
    """The array, if it holds images: uint8 ``[N, H, W]`` or ``[N, H, W, C]`` with 1 to 4 channels.

    Raises:
        InputError: it does not; says how to make it so.
    """
    if array.dtype != np.uint8:
        raise InputError(
            f"{name} holds {array.dtype}, expected uint8 with values from 0 to 255; if 1.0 is white, save "
            "np.round(255 * x).astype(np.uint8)"
        )
    if array.ndim not in (3, 4) or (array.ndim == 4 and not 1 <= array.shape[-1] <= 4):
        raise InputError(
            f"{name} has the shape {list(array.shape)}, expected [N, H, W] or [N, H, W, C] with 1 to 4 channels; "
            "if channels come second, save np.moveaxis(x, 1, -1)"
        )
    return array


def labels(name: str, array: np.ndarray, count: int) -> list[str]:
    """The labels in an array of whole numbers or texts ``[N]`` or ``[N, 1]``.

    Raises:
        InputError: it does not hold `count` of these.
    """
    if array.dtype.kind not in "iuU" or array.size != count or len(array) != count:
        raise InputError(
            f"{name} holds {array.dtype} {list(array.shape)}, expected the classes of {count} images as whole "
            f"numbers or texts [{count}]; of one-hot rows save np.argmax(y, 1)"
        )
    return [str(label) for label in array.ravel().tolist()]


def mapped(path: Path) -> np.memmap:
    """The array in an ``.npy`` file, mapped into memory.

    Raises:
        InputError: no such file, or a damaged one.
    """
    try:
        with path.open("rb") as stream:
            shape, order, dtype = _header(stream, path.stat().st_size)
            return np.memmap(path, dtype, "r", stream.tell(), shape, order)
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be read ({error}); write it again with numpy.save") from None


def rows(path: Path, start: int, stop: int) -> np.ndarray:
    """Some rows of the array in an ``.npy`` file."""
    return mapped(path)[start:stop]


def _unpacked(path: Path, name: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(f"{name}.npy")
            if info.file_size > MAX_BYTES_FROM_NPZ:
                raise InputError(
                    f"{path}: {name} unpacks to {info.file_size} bytes, more than {MAX_BYTES_FROM_NPZ}; save it "
                    "alone with numpy.save: an .npy file of any size can be read"
                )
            with archive.open(info) as stream:
                shape, order, dtype = _header(cast(BinaryIO, stream), info.file_size)
                content = stream.read(math.prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape, order=order)
    except (*_DAMAGED, RuntimeError) as error:
        raise InputError(f"{path}: {name} cannot be read ({error}); write it again with numpy.savez") from None


def _header(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], str, np.dtype]:
    """Shape, order and type that a file of `size` bytes declares, if they agree with its size.

    Raises:
        ValueError: they do not, or the array holds objects.
    """
    version = npy_format.read_magic(stream)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its format {version} is not 1.0 or 2.0")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never loaded")
    declared, held = math.prod(shape) * dtype.itemsize, size - stream.tell()
    if min(shape, default=0) < 1 or declared != held:
        raise ValueError(f"it declares {list(shape)} {dtype} = {declared} bytes and holds {held}")
    return shape, "F" if fortran else "C", dtype
