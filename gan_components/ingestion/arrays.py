"""NumPy files: images as one uint8 array, their labels as another. Pickled objects are never loaded.

An ``.npy`` file is mapped into memory and may be larger than it; from an ``.npz`` an array is read whole.
"""

import functools
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, cast

import numpy as np
from numpy.lib import format as npy_format

from gan_components.errors import InputError
from gan_components.ingestion import labels
from gan_components.ingestion.config import IngestConfig
from gan_components.ingestion.files import File
from gan_components.ingestion.items import Chunk, Item, Source

# Enough that dealing a chunk out costs nothing beside encoding its images.
IMAGES_PER_CHUNK = 512
MAX_BYTES_FROM_NPZ = 4 * 2**30

# How Keras, MedMNIST, OpenAI and others name images and labels; the last two are NumPy's names for unnamed ones.
_NAMES = [("images", "labels"), ("x", "y"), ("arr_0", "arr_1")]
_NAMES_OF_A_SPLIT = [("{}_images", "{}_labels"), ("images_{}", "labels_{}"), ("x_{}", "y_{}")]

_DAMAGED = (OSError, EOFError, ValueError, LookupError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def source(found: list[File], config: IngestConfig) -> Source:
    """The images in some files.

    Raises:
        InputError: damaged files, or arrays that hold no images or labels.
    """
    opened = _find(found)
    splits = {None: None} if config.holdout_split is None else {"train": False, config.holdout_split: True}
    parts: list[tuple[str, np.ndarray, bool | None]] = []
    texts: list[str | None] = []
    for split, side in splits.items():
        image, label = _names_of(list(opened), split, image=config.image_field, label=config.label_field)
        pixels = _images(image, _array(opened[image], image))
        parts.append((image, pixels, side))
        if label and config.labels:
            texts += _texts_of(label, _array(opened[label], label), len(pixels))
        else:
            texts += [None] * len(pixels)
    names = [f"{name}#{place}" for name, pixels, _ in parts for place in range(len(pixels))]
    class_names, classes = labels.given(names, texts, config.labels, where="the arrays")
    dealt: list[Chunk] = []
    start = 0
    for name, pixels, side in parts:
        dealt += chunks(name, pixels, classes[start : start + len(pixels)], side)
        start += len(pixels)
    return Source(class_names, len(texts), dealt)


def chunks(name: str, pixels: np.ndarray, classes: Sequence[int | None], held_out: bool | None) -> list[Chunk]:
    """Chunks of the images in an array.

    Args:
        name: goes before the place of each.
        pixels: uint8 ``[N, H, W]`` or ``[N, H, W, C]``.
        classes: of each image.
        held_out: whether they are in the split that the source holds out; None: it holds out none.
    """
    # Of a file mapped into memory, chunks carry the place and not the pixels.
    path = Path(pixels.filename) if isinstance(pixels, np.memmap) and pixels.filename else None
    return [
        functools.partial(
            _items,
            name,
            start,
            functools.partial(_rows, path, start, stop) if path else pixels[start:stop],
            classes[start:stop],
            held_out,
        )
        for start in range(0, len(pixels), IMAGES_PER_CHUNK)
        for stop in [start + IMAGES_PER_CHUNK]
    ]


def _items(
    name: str,
    start: int,
    pixels: np.ndarray | Callable[[], np.ndarray],
    classes: Sequence[int | None],
    held_out: bool | None,
) -> Iterator[Item]:
    rows = pixels() if callable(pixels) else pixels
    for offset, (picture, label) in enumerate(zip(rows, classes, strict=True)):
        yield Item(f"{name}#{start + offset}", picture, label, held_out)


def _find(found: list[File]) -> dict[str, Path]:
    """Which file holds each array, by the array's name: in an ``.npz`` its own, otherwise that of its file.

    Raises:
        InputError: a file is damaged, or two arrays have one name.
    """
    arrays: dict[str, Path] = {}
    for path in (file.path for file in found):
        for name in [path.stem] if _is_npy(path) else _members(path):
            if name in arrays:
                raise InputError(
                    f"{arrays[name]} and {path} both hold an array {name}; give one of them as --data"
                )
            arrays[name] = path
    return arrays


def _members(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except _DAMAGED as error:
        raise InputError(f"{path} cannot be read ({error}); write it again with numpy.savez") from None


def _is_npy(path: Path) -> bool:
    return path.suffix.lower() == ".npy"


def _array(path: Path, name: str) -> np.ndarray:
    return _mapped(path) if _is_npy(path) else _unpacked(path, name)


def _names_of(
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
    for images, usual in [(image, label)] if image else known:
        if images in arrays and label in (None, *arrays):
            return images, label or (usual if usual in arrays else None)
    raise InputError(
        f"of the arrays {', '.join(arrays)} none is known to hold the images"
        + (f" of {split}" if split else "")
        + f"; name them {' or '.join(images for images, _ in known)}, or set ingest.image_field and label_field"
    )


def _images(name: str, array: np.ndarray) -> np.ndarray:
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


def _texts_of(name: str, array: np.ndarray, count: int) -> list[str]:
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


def _mapped(path: Path) -> np.memmap:
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


def _rows(path: Path, start: int, stop: int) -> np.ndarray:
    """Some rows of the array in an ``.npy`` file."""
    return _mapped(path)[start:stop]


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


def _header(stream: BinaryIO, size: int) -> tuple[tuple[int, ...], Literal["C", "F"], np.dtype]:
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
