"""Features of real images, computed once: they are the same in every evaluation over the same data."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gan_components.artifacts import write_atomically
from gan_components.fingerprints import digest_json
from gan_components.metrics.extractor import Identity

Arrays = dict[str, np.ndarray]


def stored(compute: Callable[[], Arrays], *, images_digest: str, identity: Identity, cache: Path) -> Arrays:
    """What `compute` gives, from the cache if it stands there: arrays by name.

    Args:
        compute: makes the features; called at most once.
        images_digest: identity of the images and their order.
        identity: of the extractor.
        cache: root of the shared caches; the arrays lie in ``features/<digest>.npz`` below it.
    """
    key = digest_json({"images": images_digest, "extractor": identity.key})
    path = cache / "features" / f"{key}.npz"
    if not path.exists():
        arrays, buffer = compute(), io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
        return arrays
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
