"""TFRecord files of ``tf.train.Example`` with encoded pictures."""

import functools
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from gan_components.errors import InputError
from gan_components.ingestion import archives
from gan_components.ingestion.files import File
from gan_components.ingestion.shards import Part
from gan_components.pictures import UnreadableError

_IMAGE, _LABEL = ("image/encoded", "image"), ("image/class/label", "label")


def part(shard: File, *, image: str | None, label: str | None) -> Part:
    """The records of a file; reads all of it, for the labels and the checksums.

    Args:
        shard: the file.
        image, label: as in the ``ingest`` section.

    Raises:
        InputError: no records, a damaged file, or no features that are known.
    """
    _check_lengths(shard)
    labels: list[str | None] = []
    features: tuple[str, str | None] | None = None
    try:
        for record in _records(shard.path):
            example = _example(record)
            features = features or _features(shard, sorted(example or ()), image, label)
            labels.append(_label(example, features[1]))
    except tf.errors.OpError as error:
        raise InputError(f"{shard.path} cannot be read as TFRecord ({error.message}); fetch it again") from None
    if features is None:
        raise InputError(f"{shard.path} holds no records; check --data")
    return Part(shard.name, functools.partial(_read, shard.path, features[0]), labels)


def _features(shard: File, found: list[str], image: str | None, label: str | None) -> tuple[str, str | None]:
    """Names of the features that hold the picture and the label (None: no labels), told from the first record."""
    image = image or next((name for name in _IMAGE if name in found), None)
    if image not in found or label not in (None, *found):
        raise InputError(
            f"{shard.path}: the first record has the features {found}; set ingest.image_field and label_field to "
            "those that hold the encoded picture and its class"
        )
    return image, label or next((name for name in _LABEL if name in found), None)


def _read(path: Path, image: str) -> Iterator[bytes | UnreadableError]:
    """The encoded picture of each record, or why there is none."""
    for record in _records(path):
        example = _example(record)
        values = list(example[image].bytes_list.value) if example and image in example else []
        if len(values) == 1:
            yield values[0]
        else:
            yield UnreadableError(f"the record is no tf.train.Example with one value of bytes in {image}")


def _records(path: Path) -> Iterator[bytes]:
    return tf.data.TFRecordDataset(str(path), "GZIP" if path.suffix == ".gz" else "").as_numpy_iterator()


def _check_lengths(shard: File) -> None:
    """Walks from record to record. TensorFlow asks for as much memory as a record claims to be long."""
    packed = shard.path.suffix == ".gz"
    total = 0
    try:
        with gzip.open(shard.path) if packed else shard.path.open("rb") as stream:
            # Eight bytes of length, four of its checksum, the record, four of its checksum.
            while len(start := stream.read(12)) == 12:
                length = int.from_bytes(start[:8], "little")
                total += length + 16
                if length > archives.MAX_MEMBER_BYTES:
                    raise InputError(f"{shard.path} holds a record of {length} bytes; fetch it again")
                archives.refuse_bomb(shard.path, total)
                stream.seek(length + 4, 1)
            if start or (not packed and total != shard.size):
                raise InputError(f"{shard.path} ends inside a record; fetch it again")
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{shard.path} cannot be read ({error}); fetch it again") from None


def _example(record: bytes) -> dict[str, tf.train.Feature] | None:
    try:
        return dict(tf.train.Example.FromString(record).features.feature)
    except DecodeError:
        return None


def _label(example: dict[str, tf.train.Feature] | None, name: str | None) -> str | None:
    if not example or name not in example:
        return None
    texts = [value.decode(errors="replace") for value in example[name].bytes_list.value]
    values = [*map(str, example[name].int64_list.value), *texts]
    return values[0] if len(values) == 1 else None
