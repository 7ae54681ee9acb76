"""A picture's identity is that of its pixels, and decides on which side of the split it lies."""

import hashlib
import struct

import numpy as np


def pixel_key(pixels: np.ndarray) -> bytes:
    """SHA-256 over shape and bytes of uint8 ``[H, W, C]`` pixels: a picture's identity."""
    return hashlib.sha256(struct.pack("<3I", *pixels.shape) + pixels.tobytes()).digest()


def is_held_out(key: bytes, fraction: float) -> bool:
    """Whether the picture of this key belongs to the `fraction` that is held out, as by a coin throw."""
    # Other bytes than those that choose the bucket: each bucket holds its share of both splits.
    return int.from_bytes(key[-8:]) < fraction * 2**64
