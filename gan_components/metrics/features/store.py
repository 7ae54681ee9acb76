"""Arrays that are the same in every evaluation over the same data: computed once, whole on the disk or absent."""

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gan_components.fingerprints import closure, digest_json
from gan_components.metrics.extractor import Identity

Arrays = dict[str, np.ndarray]


def stored(compute: Callable[[], Arrays], *, images_digest: str, identity: Identity, cache: Path) -> Arrays:
    """Features of real images: what `compute` gives, from the cache if it stands there.

    Args:
        compute: makes the arrays by name; called at most once.
        images_digest: identity of the images, their order, and which layers are wanted.
        identity: of the extractor.
        cache: root of the shared caches; the arrays lie in ``features/<digest>.npz`` below it.
    """
    # An extractor's identity names its weights, not the code that runs them.
    code, libraries = closure("metrics/features")
    key: dict[str, Any] = {
        "images": images_digest,
        "extractor": identity.key,
        "code": code,
        "libraries": libraries,
    }
    path = cache / "features" / f"{digest_json(key)[:32]}.npz"
    if path.exists():
        return read(path)
    write(path, arrays := compute())
    return arrays


def read(path: Path) -> Arrays:
    """The arrays of a file that :func:`write` made, by name in their order."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def write(path: Path, arrays: Arrays) -> None:
    """Writes the file whole or not at all: another run may be reading or writing the same one."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    Path(file.name).replace(path)
