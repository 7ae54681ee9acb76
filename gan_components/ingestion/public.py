"""Data sets of TensorFlow Datasets: opened, dealt out and read."""

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module

from gan_components.errors import InputError
from gan_components.ingestion import files

logger = logging.getLogger(__name__)

EXAMPLES_PER_PART = 2048
# Still encoded. Each call looks through the whole shard: of one with 700,000 a record by itself takes 2.6 ms.
_RECORDS_AT_ONCE = 64


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


def read(builder: tfds.core.DatasetBuilder, part: str) -> Iterator[tuple[np.ndarray, int | None]]:
    """Pixels and class of each example of a sub-split, in stored order."""
    image, label = features(builder)
    if builder.info.file_format is tfds.core.FileFormat.ARRAY_RECORD:
        examples = _array_records(builder, part)
    else:
        examples = tfds.as_numpy(builder.as_dataset(split=part, shuffle_files=False))
    for example in examples:
        yield example[image], None if label is None else int(example[label])


def _array_records(builder: tfds.core.DatasetBuilder, part: str) -> Iterator[dict[str, Any]]:
    # Not by ``as_data_source``: it reads several at once in a thread of their own, of which each keeps what the C
    # library took for the shard's index, 300 MB in all.
    for shard in builder.info.splits[part].file_instructions:
        reader = array_record_module.ArrayRecordReader(str(shard.filename), "readahead_buffer_size:0")
        stop = shard.skip + shard.take
        for start in range(shard.skip, stop, _RECORDS_AT_ONCE):
            for record in reader.read(start, min(start + _RECORDS_AT_ONCE, stop)):
                yield builder.info.features.deserialize_example_np(record)
        reader.close()


def _only(builder: tfds.core.DatasetBuilder, kind: type, usual: str) -> str | None:
    """Name of the feature of a kind: the usual one, or the only one."""
    found = [name for name, feature in builder.info.features.items() if isinstance(feature, kind)]
    return usual if usual in found else found[0] if len(found) == 1 else None
