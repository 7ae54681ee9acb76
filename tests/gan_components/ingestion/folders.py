"""Image folders for the tests of ingestion."""

from pathlib import Path

import numpy as np
from PIL import Image

from gan_components.artifacts import Examples
from gan_components.ingestion.config import IngestConfig, recipe
from gan_components.ingestion.stage import ingest

CONFIG = IngestConfig(source="image_folder", size=8, channels=3)


def picture(number: int, *, side: int = 8) -> np.ndarray:
    """RGB noise uint8 ``[side, side, 3]``, another one for each number."""
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


def save(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(path)


def fill(root: Path, count: int, *, classes: tuple[str, ...] = ("cat", "dog"), first: int = 0) -> Path:
    """Writes pictures ``first .. first + count - 1``, the class by turns."""
    for number in range(first, first + count):
        save(root / classes[number % len(classes)] / f"{number:03d}.png", number)
    return root


def make(data: Path, out: Path, config: IngestConfig = CONFIG) -> Examples:
    """Ingests `data` into `out` under its fingerprint."""
    name = recipe(str(data), config, seed=0).fingerprint
    return ingest(str(data), config, out=out / name, seed=0, cache=out / "cache")
