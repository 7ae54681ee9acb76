"""WebDataset shards: tars in which the files of one sample share a name up to its first dot.

The picture is ``KEY.jpg`` or the like; its class stands in ``KEY.cls`` or under ``label`` in ``KEY.json``. The
convention: https://github.com/webdataset/webdataset.
"""

import json
from dataclasses import dataclass
from pathlib import PurePosixPath

from gan_components.ingestion import archives
from gan_components.ingestion.archives import Member
from gan_components.ingestion.files import File
from gan_components.pictures import UnreadableError

# More is no label and no description of one picture.
_MAX_LABEL_BYTES = 2**20


@dataclass(frozen=True)
class Sample:
    """A picture in a shard, and its label if it has one."""

    picture: Member
    label: str | None


def samples(shard: File) -> list[Sample]:
    """The pictures of a shard with their labels; reads the labels, not the pictures.

    Raises:
        InputError: see :func:`gan_components.ingestion.archives.members`.
    """
    found = archives.members(shard.path)
    described = [m for m in found if m.name.endswith((".cls", ".json")) and m.size <= _MAX_LABEL_BYTES]
    labels: dict[str, str] = {}
    for member, content in zip(described, archives.read(shard.path, described), strict=True):
        key = _key(member.name)
        if member.name.endswith(".cls"):
            labels[key] = _from_text(content)
        else:
            # KEY.cls goes before KEY.json.
            labels.setdefault(key, _from_json(content))
    return [Sample(member, labels.get(_key(member.name)) or None) for member in archives.pictures(found)]


def _key(name: str) -> str:
    path = PurePosixPath(name)
    return f"{path.parent}/{path.name.split('.')[0]}"


def _from_text(content: bytes | UnreadableError) -> str:
    """The text, or nothing if there is none."""
    return "" if isinstance(content, UnreadableError) else content.decode(errors="replace").strip()


def _from_json(content: bytes | UnreadableError) -> str:
    try:
        described = json.loads(_from_text(content))
    except (ValueError, RecursionError):
        return ""
    label = described.get("label") if isinstance(described, dict) else None
    return str(label) if isinstance(label, int | str) and not isinstance(label, bool) else ""
