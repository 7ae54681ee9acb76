"""Any set of images that can be scored: a folder, an array file, a TFDS directory, a generator.

Images come in batches, so that their number does not bound what can be read. All of a collection have one number
of channels: if some are coloured, grey ones are repeated into red, green and blue. Nothing else is changed unless
it is asked for.
"""

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from gan_components import pictures
from gan_components.errors import InputError
from gan_components.generators import DESCRIPTION, Generator

_BATCH_SIZE = 256


@dataclass(frozen=True)
class Collection:
    """Images that can be read again and again, in one order.

    Attributes:
        name: as the user gave it.
        count: N.
        shapes: the ``(H, W)`` that occur.
        coloured: whether any image has three channels.
        read: gives them one by one, uint8 ``[H, W, C]``, C 1 or 3.
    """

    name: str
    count: int
    shapes: frozenset[tuple[int, int]]
    coloured: bool
    read: Callable[[], Iterator[np.ndarray]]

    def batches(self, *, coloured: bool, size: int | None = None) -> Iterator[np.ndarray]:
        """The images in order, uint8 ``[n, H, W, C]``, each batch of one shape.

        Args:
            coloured: repeat grey images into three channels.
            size: cut the centre square of each image and resize it to this side; None: leave it.
        """
        batch: list[np.ndarray] = []
        for pixels in self.read():
            if size is None:
                one = pixels
            else:
                picture = pictures.from_array(pixels)
                one = pictures.canonical(picture, size=size, channels=pixels.shape[-1], fit="crop")
            one = np.repeat(one, 3, axis=-1) if coloured and one.shape[-1] == 1 else one
            if batch and (len(batch) == _BATCH_SIZE or one.shape != batch[0].shape):
                yield np.stack(batch)
                batch = []
            batch.append(one)
        yield np.stack(batch)


def collect(text: str, *, num_samples: int) -> Collection:
    """The collection at a path.

    Args:
        text: a folder of pictures, sub-folders included; an ``.npz`` or ``.npy`` file of uint8 ``[N, H, W]`` or
            ``[N, H, W, C]``; a prepared TFDS directory, with ``:SPLIT`` behind it if it has several; a generator's
            SavedModel.
        num_samples: images that a generator draws, from the seeds 0 to N - 1.

    Raises:
        InputError: nothing there, nothing that can be read, or fewer than two images.
    """
    path, _, split = text.rpartition(":") if ":" in text and not Path(text).exists() else (text, "", "")
    place = Path(path).expanduser()
    if not place.exists():
        raise InputError(
            f"{text} does not exist; expected a folder of images, .npz, .npy, a TFDS directory or a SavedModel"
        )
    if (place / DESCRIPTION).is_file():
        found = _drawn(text, place, num_samples)
    elif (place / "dataset_info.json").is_file():
        found = _records(text, place, split)
    elif place.is_dir():
        found = _folder(text, place)
    elif place.suffix in (".npz", ".npy"):
        found = _array(text, place)
    else:
        raise InputError(
            f"{text} is a file of another kind than .npz and .npy; give the folder that holds the images"
        )
    if found.count < 2:
        raise InputError(f"{text} holds {found.count} image(s); a comparison takes at least two")
    return found


def _folder(name: str, root: Path) -> Collection:
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in pictures.SUFFIXES and path.is_file())
    if not files:
        raise InputError(
            f"{name} holds no images; expected files that end in {', '.join(sorted(pictures.SUFFIXES))}"
        )
    shapes, coloured = set(), False
    for path in files:
        picture = _opened(path, f"{path}")
        shapes.add((picture.height, picture.width))
        coloured |= picture.mode == "RGB"

    def read() -> Iterator[np.ndarray]:
        for path in files:
            yield _pixels(_opened(path, f"{path}"))

    return Collection(name, len(files), frozenset(shapes), coloured, read)


def _opened(file: Path | bytes, name: str) -> Image.Image:
    try:
        return pictures.read(file)
    except pictures.UnreadableError as error:
        raise InputError(f"{name} cannot be read as a picture ({error}); remove or replace it") from None


def _pixels(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _array(name: str, path: Path) -> Collection:
    try:
        content = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(content, np.ndarray):
            array = content
        else:
            if len(content.files) != 1 and "images" not in content.files:
                raise InputError(f"{name} holds the arrays {', '.join(content.files)}; name one of them `images`")
            array = content["images" if "images" in content.files else content.files[0]]
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{name} cannot be read as an array file: {error}") from None
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[-1] not in (1, 3)):
        raise InputError(
            f"{name} holds {array.dtype} {list(array.shape)}; expected uint8 [N, H, W], [N, H, W, 1] or "
            "[N, H, W, 3] with values from 0 to 255"
        )
    array = array if array.ndim == 4 else array[..., None]
    _, height, width, channels = array.shape
    return Collection(
        name, len(array), frozenset({(height, width)}), channels == 3, lambda: map(np.asarray, array)
    )


def _records(name: str, path: Path, split: str) -> Collection:
    try:
        builder = tfds.builder_from_directory(path)
    except (ValueError, OSError, KeyError, tf.errors.OpError) as error:
        raise InputError(f"{name} is no prepared TFDS directory: {error}") from None
    splits = sorted(builder.info.splits)
    if not split and len(splits) == 1:
        (split,) = splits
    if split not in splits:
        raise InputError(f"{name} has the splits {', '.join(splits)}; choose one, such as {path}:{splits[0]}")
    features = builder.info.features
    if not isinstance(features, tfds.features.FeaturesDict) or "image" not in features:
        raise InputError(f"{name} has no feature `image`")
    feature = features["image"]

    def read() -> Iterator[np.ndarray]:
        records = builder.as_data_source(split, decoders={"image": tfds.decode.SkipDecoding()})
        for place, record in enumerate(records):
            yield _pixels(_opened(record["image"], f"image {place} of {name}"))

    height, width, channels = feature.shape
    known = None not in (height, width)
    shapes = frozenset({(height, width)}) if known else frozenset(one.shape[:2] for one in read())
    return Collection(name, builder.info.splits[split].num_examples, shapes, channels != 1, read)


def _drawn(name: str, path: Path, num_samples: int) -> Collection:
    generator = Generator.load(path)
    height, width, channels = generator.description.image_shape

    def read() -> Iterator[np.ndarray]:
        for start in range(0, num_samples, _BATCH_SIZE):
            yield from generator.images(range(start, min(start + _BATCH_SIZE, num_samples)))

    return Collection(name, num_samples, frozenset({(height, width)}), channels == 3, read)
