"""Features and logits for which the metrics are known: see metrics.md."""

import numpy as np

KID = {"kid_subsets": 20, "kid_subset_size": 200, "rng_seed": 2020}


def features(side: str) -> np.ndarray:
    """``generated``: 700, ``real``: 600 rows of 48 correlated, non-negative features, float32."""
    random = np.random.RandomState({"generated": 1, "real": 2}[side])
    mixing = np.random.RandomState(3).standard_normal((48, 48)) / 7
    rows = random.standard_normal(({"generated": 700, "real": 600}[side], 48)) @ mixing
    return np.maximum(rows + (0.6 if side == "real" else 0.5), 0).astype(np.float32)


def logits() -> np.ndarray:
    """Of 503 images and 40 classes, float32: no multiple of ten splits."""
    return (2 * np.random.RandomState(4).standard_normal((503, 40))).astype(np.float32)
