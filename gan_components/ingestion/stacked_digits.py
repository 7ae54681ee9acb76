"""StackedMNIST from the embedded digits: three of them as the channels of an RGB image, 1,000 modes.

Metz et al. 2016, https://arxiv.org/abs/1611.02163: a generator covers mode ``(i, j, k)`` if a digit classifier
reads i, j and k in the channels of one of its images, so that modes can be counted.

The digits are divided before they are stacked, by the rule of the source `digits`: a held-out stack shares no
channel with any training stack.
"""

import functools

import numpy as np

from gan_components.errors import InputError
from gan_components.ingestion import digits, identity


def draw(num_images: int, fraction: float, *, seed: int) -> dict[bool, np.ndarray]:
    """Draws the stacks of both sides: for each channel a class, then a digit of that class, both uniformly.

    So every mode has probability 1/1000 exactly, whatever the hash made of the classes' sizes.

    Args:
        num_images: stacks of both sides together.
        fraction: share of the digits, and of the stacks, that is held out.
        seed: of the draws; the division of the digits does not depend on it.

    Returns:
        Places in :func:`gan_components.ingestion.digits.read`, int64 ``[N, 3]``; ``True``: held out.

    Raises:
        InputError: one side has no digit of a class.
    """
    pixels, classes = _digits()
    held_out = np.array([identity.is_held_out(identity.pixel_key(digit[..., None]), fraction) for digit in pixels])
    num_held_out = round(num_images * fraction)
    return {
        False: _triples(classes, np.flatnonzero(~held_out), num_images - num_held_out, seed, "train"),
        True: _triples(classes, np.flatnonzero(held_out), num_held_out, seed, "holdout"),
    }


def stacks(triples: np.ndarray) -> np.ndarray:
    """The images of drawn triples: uint8 ``[N, 28, 28, 3]``."""
    return _digits()[0][triples].transpose(0, 2, 3, 1)


def _triples(classes: np.ndarray, places: np.ndarray, count: int, seed: int, side: str) -> np.ndarray:
    # Imported where numbers are drawn: it brings TensorFlow, and workers use this module without it.
    from gan_components import randomness

    generator = randomness.numpy_generator(seed, f"ingest/stacked_digits/{side}")
    drawn = generator.integers(0, len(digits.CLASS_NAMES), (count, 3))
    triples = np.empty((count, 3), np.int64)
    for label, name in enumerate(digits.CLASS_NAMES):
        of_class = places[classes[places] == label]
        if len(of_class) == 0:
            raise InputError(
                f"of the {len(classes)} digits, ingest.holdout leaves {len(places)} for {side} and no {name} "
                "among them; choose a fraction nearer to one half"
            )
        chosen = drawn == label
        triples[chosen] = generator.choice(of_class, chosen.sum())
    return triples


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    # Chunks carry places and not pixels: 50,000 stacks are 118 MB, the digits 4 MB, read once a process.
    return digits.read()
