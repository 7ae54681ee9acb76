"""TFRecord files of ``tf.train.Example`` with encoded pictures."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from gan_components.errors import InputError
from gan_components.ingestion import archives
from gan_components.ingestion.files import File
from gan_components.pictures import UnreadableError

_IMAGE, _LABEL = ("image/encoded", "image"), ("image/class/label", "label")


@dataclass(frozen=True)
class Features:
    """Names of the features that hold the picture and the label; None: no labels."""

    image: str
    label: str | None


def labels(shard: File, *, image: str | None, label: str | None) -> tuple[Features, list[str | None]]:
    """Which features hold picture and label, and the label of each record; reads the whole file.

    Args:
        shard: the file.
        image, label: as in the ``ingest`` section.

    Raises:
        InputError: no records, a damaged file, or no features that are known.
    """
    _check_lengths(shard)
    found: list[str | None] = []
    named = None
    try:
        for record in _records(shard.path):
            example = _example(record)
            named = named or _features(shard, sorted(example or ()), image, label)
            found.append(_label(example, named.label))
    except tf.errors.OpError as error:
        raise InputError(f"{shard.path} cannot be read as TFRecord ({error.message}); fetch it again") from None
    if named is None:
        raise InputError(f"{shard.path} holds no records; check --data")
    return named, found


def _features(shard: File, found: list[str], image: str | None, label: str | None) -> Features:
    image = image or next((name for name in _IMAGE if name in found), None)
    if image not in found or label not in (None, *found):
        raise InputError(
            f"{shard.path}: the first record has the features {found}; set ingest.image_field and label_field to "
            "those that hold the encoded picture and its class"
        )
    return Features(image, label or next((name for name in _LABEL if name in found), None))


def read(path: Path, named: Features) -> Iterator[bytes | UnreadableError]:
    """The encoded picture of each record, or why there is none."""
    for record in _records(path):
        example = _example(record)
        values = example[named.image].bytes_list.value if example and named.image in example else ()
        if len(values) == 1:
            yield values[0]
        else:
            yield UnreadableError(f"the record is no tf.train.Example with one value of bytes in {named.image}")


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
