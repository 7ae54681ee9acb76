"""What is kept of each record beside the shards: rows of a fixed size, in the order of the records.

They are all that grows with the data in the process that puts the artifact together: 105 bytes an image of grey
levels, 233 of RGB.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from gan_components.ingestion import near_duplicates
from gan_components.ingestion.config import IngestConfig
from gan_components.ingestion.spills import Converted

_KEY_BYTES = 32
_NO_LABEL = -1


def row(kept: Converted) -> bytes:
    """The row of a record."""
    label = _NO_LABEL if kept.label is None else kept.label
    return kept.key + (kept.key2 or b"") + struct.pack("<?q", kept.held_out, label) + kept.thumbnail


def read(paths: Iterable[Path], config: IngestConfig) -> np.ndarray:
    """The rows in some files, one after another.

    Returns:
        Structured array ``[N]``: ``key`` (uint8 ``[32]``), with a second domain ``key2``, ``held_out``, ``label``
        (-1 without labels) and ``thumbnail``.
    """
    keys = [("key", np.uint8, (_KEY_BYTES,)), ("key2", np.uint8, (_KEY_BYTES,))]
    described = np.dtype(
        [
            *keys[: 2 if config.second_domain else 1],
            ("held_out", np.bool_),
            ("label", "<i8"),
            ("thumbnail", np.uint8, (near_duplicates.thumbnail_size(config.channels),)),
        ]
    )
    return np.concatenate([np.fromfile(path, described) for path in paths])


def identities(rows: np.ndarray) -> Iterable[str]:
    """What identifies the content of each record: the keys of its images, and its label."""
    names = [name for name in ("key", "key2") if name in (rows.dtype.names or ())]
    for one in rows:
        keys = " ".join(one[name].tobytes().hex() for name in names)
        yield f"{keys} {None if one['label'] == _NO_LABEL else one['label']}"
