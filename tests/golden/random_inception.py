"""Random weights and images for which Inception's features are known: see inception.md."""

import zlib

import numpy as np

SIZES = {"32x32": (32, 32), "28x31": (28, 31), "299x299": (299, 299), "400x300": (400, 300)}


def weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """He-normal convolutions, normalisations near the identity.

    PyTorch's own initial weights would give features of 1e-8, which any network reproduces to 1e-4.
    """
    return {name: _weight(name, shape) for name, shape in shapes.items()}


def images(name: str) -> np.ndarray:
    """Two images of a size, uint8 ``[2, H, W, 3]``: noise on a slope, so that no pixel equals its neighbours."""
    height, width = SIZES[name]
    noise = _random(f"images {name}").randint(0, 128, (2, height, width, 3))
    slope = np.linspace(0, 127, width)[:, None] * np.linspace(0, 1, height)[:, None, None]
    return (noise + slope).astype(np.uint8)


def _weight(name: str, shape: list[int]) -> np.ndarray:
    random = _random(name)
    if name.endswith((".bn.weight", ".running_var")):
        return random.uniform(0.75, 1.25, shape).astype(np.float32)
    if name.endswith((".bias", ".running_mean")):
        return (0.1 * random.standard_normal(shape)).astype(np.float32)
    gain = 1.0 if name == "fc.weight" else 2.0
    return (np.sqrt(gain / np.prod(shape[1:])) * random.standard_normal(shape)).astype(np.float32)


def _random(name: str) -> np.random.RandomState:
    # Of NumPy's generators the one whose numbers will never change.
    return np.random.RandomState(zlib.crc32(name.encode()))
