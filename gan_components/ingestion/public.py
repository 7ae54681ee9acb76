"""Data sets of TensorFlow Datasets: opened, dealt out and read."""

import contextlib
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from google.protobuf.message import DecodeError
from PIL import Image

from gan_components.errors import InputError
from gan_components.ingestion import files
from gan_components.pictures import UnreadableError

logger = logging.getLogger(__name__)

EXAMPLES_PER_PART = 2048
# Still encoded. Each call looks through the whole shard: a record by itself takes longer the more lie beside it.
_RECORDS_AT_ONCE = 64

# What TFDS and Pillow raise of a record whose bytes are whole and wrong.
_DAMAGED = (OSError, ValueError, TypeError, LookupError, SyntaxError, DecodeError, Image.DecompressionBombError)


def prepared(data: str | None, name: str | None) -> tfds.core.DatasetBuilder:
    """The data set, downloaded and prepared if it is not yet.

    Args:
        data: TFDS' directory of data sets (None: its default), or without `name` one prepared data set.
        name: such as ``cifar10``.

    Raises:
        InputError: there is no such data set, or it cannot be fetched.
    """
    if name is None:
        root = files.directory(data)
        files.dataset(root)
        return tfds.builder_from_directory(root)
    try:
        builder = tfds.builder(name, data_dir=data)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"TensorFlow Datasets knows no {name} ({reason}); check ingest.tfds_name") from None
    if not Path(builder.data_dir).is_dir():
        logger.warning("%s is not in %s: TensorFlow Datasets fetches it now", name, builder.data_dir)
        builder.download_and_prepare()
    return builder


def parts(builder: tfds.core.DatasetBuilder, split: str) -> list[tuple[str, int]]:
    """Sub-splits of `split` in TFDS' notation, with their sizes.

    Raises:
        InputError: the data set has no such split.
    """
    if split not in builder.info.splits:
        raise InputError(
            f"{builder.info.full_name} has no split {split}, it has {sorted(builder.info.splits)}; "
            "check ingest.holdout"
        )
    total = builder.info.splits[split].num_examples
    bounds = [*range(0, total, EXAMPLES_PER_PART), total]
    return [(f"{split}[{start}:{stop}]", stop - start) for start, stop in itertools.pairwise(bounds)]


def features(builder: tfds.core.DatasetBuilder) -> tuple[str, str | None]:
    """Names of the image feature and of the class feature (None: no labels).

    Raises:
        InputError: the data set has no image feature of 8 or 16 bits, or several to choose from.
    """
    image = _only(builder, tfds.features.Image, "image")
    if image is None or builder.info.features[image].np_dtype not in (np.uint8, np.uint16):
        raise InputError(
            f"{builder.info.full_name} has no image feature of 8 or 16 bits named image, and no single "
            f"other one; it has {dict(builder.info.features)}; choose another ingest.tfds_name"
        )
    return image, _only(builder, tfds.features.ClassLabel, "label")


def read(
    builder: tfds.core.DatasetBuilder, part: str
) -> Iterator[tuple[np.ndarray | UnreadableError, int | None]]:
    """Pixels and class of each example of a sub-split, in stored order; of array records, or why it has none."""
    image, label = features(builder)
    if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
        examples = _array_records(builder, part)
    else:
        examples = tfds.as_numpy(builder.as_dataset(split=part, shuffle_files=False))
    for example in examples:
        if isinstance(example, UnreadableError):
            yield example, None
        else:
            yield example[image], None if label is None else int(example[label])


def _array_records(builder: tfds.core.DatasetBuilder, part: str) -> Iterator[dict[str, Any] | UnreadableError]:
    for shard in builder.info.splits[part].file_instructions:
        for record in _stored(Path(shard.filename), shard.skip, shard.skip + shard.take):
            if isinstance(record, UnreadableError):
                yield record
                continue
            try:
                example = builder.info.features.deserialize_example_np(record)
            except _DAMAGED as error:
                example = UnreadableError(f"{type(error).__name__}: {error}")
            yield example


def _stored(path: Path, start: int, stop: int) -> Iterator[bytes | UnreadableError]:
    """Some records of a shard, still encoded, or why one cannot be read."""
    # Not by ``as_data_source``: it reads several at once in a thread of their own, of which each keeps what the C
    # library took for the shard's index.
    reader = array_record_module.ArrayRecordReader(str(path), "readahead_buffer_size:0")
    whole = reader.num_records()
    for first in range(start, min(stop, whole), _RECORDS_AT_ONCE):
        places = range(first, min(first + _RECORDS_AT_ONCE, stop, whole))
        try:
            yield from reader.read(places.start, places.stop)
        except RuntimeError:
            # Damage: one at a time, so that the others are not lost.
            yield from (_one(reader, place) for place in places)
    for _ in range(max(start, whole), stop):
        yield UnreadableError(f"{path.name} ends after {whole} records: it is missing, cut short or none")
    with contextlib.suppress(RuntimeError):
        reader.close()


def _one(reader: array_record_module.ArrayRecordReader, place: int) -> bytes | UnreadableError:
    try:
        return reader.read(place, place + 1)[0]
    except RuntimeError as error:
        return UnreadableError(str(error))


def _only(builder: tfds.core.DatasetBuilder, kind: type, usual: str) -> str | None:
    """Name of the feature of a kind: the usual one, or the only one."""
    found = [name for name, feature in builder.info.features.items() if isinstance(feature, kind)]
    return usual if usual in found else found[0] if len(found) == 1 else None
