"""Parquet files with a column of encoded pictures, as Hugging Face writes them: struct{bytes, path} or binary.

https://huggingface.co/docs/datasets/image_dataset
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from gan_components.errors import InputError
from gan_components.ingestion.files import File
from gan_components.pictures import UnreadableError

MAX_GROUP_BYTES = 4 * 2**30
_ROWS_AT_ONCE = 64
_IMAGE, _LABEL = ("image", "img"), ("label", "labels")

_DAMAGED = (pyarrow.ArrowException, OSError)


@dataclass(frozen=True)
class Group:
    """A row group: its number, the name of its picture column and the labels of its rows."""

    place: int
    image: str
    labels: list[str | None]


def groups(shard: File, *, image: str | None, label: str | None) -> list[Group]:
    """The row groups of a file; reads the labels, not the pictures.

    Args:
        shard: the file.
        image, label: as in the ``ingest`` section.

    Raises:
        InputError: no Parquet file, a damaged one, or one without such columns.
    """
    try:
        with pyarrow.parquet.ParquetFile(shard.path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            image = _column(shard.path, _picture_columns(schema), image, _IMAGE, "image_field")
            if label is not None or set(_LABEL) & set(schema.names):
                label = _column(shard.path, schema.names, label, _LABEL, "label_field")
            parts = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
            if metadata.num_rows > shard.size or any(part.total_byte_size > MAX_GROUP_BYTES for part in parts):
                raise InputError(
                    f"{shard.path} declares {metadata.num_rows} rows in {shard.size} bytes, or a row group of "
                    f"more than {MAX_GROUP_BYTES} bytes; write it again with smaller row groups"
                )
            if label is None:
                return [Group(place, image, [None] * part.num_rows) for place, part in enumerate(parts)]
            names = _class_names(schema, label)
            return [
                Group(place, image, [_label(v, names) for v in file.read_row_group(place, [label])[0].to_pylist()])
                for place in range(len(parts))
            ]
    except _DAMAGED as error:
        raise InputError(f"{shard.path} cannot be read as Parquet ({error}); fetch it again") from None


def read(path: Path, group: Group) -> Iterator[bytes | UnreadableError]:
    """The encoded picture of each row of a group, or why there is none."""
    done = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE, [group.place], [group.image], use_threads=False):
                for value in batch.column(0).to_pylist():
                    content = value["bytes"] if isinstance(value, dict) else value
                    done += 1
                    yield content or UnreadableError("the row holds no bytes; paths in it are not followed")
    except _DAMAGED as error:
        for _ in range(done, len(group.labels)):
            yield UnreadableError(f"row group {group.place} is damaged: {error}")


def _picture_columns(schema: pyarrow.Schema) -> list[str]:
    kinds = {
        field.name: dict((part.name, part.type) for part in field.type).get("bytes")
        if pyarrow.types.is_struct(field.type)
        else field.type
        for field in schema
    }
    binary = (pyarrow.types.is_binary, pyarrow.types.is_large_binary)
    return [name for name, kind in kinds.items() if kind is not None and any(test(kind) for test in binary)]


def _column(path: Path, found: list[str], named: str | None, usual: tuple[str, ...], key: str) -> str:
    """The column that is named, one with a usual name, or the only one."""
    chosen = [named] if named else [name for name in usual if name in found][:1] or found
    if len(chosen) != 1 or chosen[0] not in found:
        raise InputError(f"{path}: of the columns {found or 'of pictures (none)'}, ingest.{key} must name one")
    return chosen[0]


def _class_names(schema: pyarrow.Schema, label: str) -> list[str]:
    """Class names that Hugging Face stores beside the schema; empty if there are none."""
    try:
        described = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        names = described["info"]["features"][label]["names"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return []
    return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else []


def _label(value: object, names: list[str]) -> str | None:
    if isinstance(value, int) and names:
        # Hugging Face's mark for "not known" is -1.
        return names[value] if 0 <= value < len(names) else None
    return str(value) if isinstance(value, int | str) and value != "" else None
