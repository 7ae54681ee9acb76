"""From a picture file or array to canonical pixels: square, uint8, grey or RGB.

The rules: EXIF orientation is applied; transparency is composited on black, the colour of ``fit: pad``;
16 bits are rounded to 8; CMYK and palettes become RGB; of an animation the first frame counts; embedded
colour profiles are ignored.
"""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from gan_components import images

# Of the formats that Pillow knows, only these are tried: its rarer decoders are a way in for hostile files.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})
MAX_PIXELS = 64_000_000
_TOO_LARGE = "more than 64 megapixels"

# What Pillow raises on damaged files: OSError for most, the others from inside single decoders and of EXIF.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    AssertionError,
    struct.error,
    zlib.error,
)


class UnreadableError(Exception):
    """A picture that goes to quarantine; the message is the reason."""


def read(file: Path | bytes) -> Image.Image:
    """Opens and decodes the picture at a path or in bytes: upright, mode ``L`` or ``RGB``.

    Raises:
        UnreadableError: it is no picture of a known format, damaged, or larger than 64 megapixels.
    """
    try:
        with Image.open(BytesIO(file) if isinstance(file, bytes) else file, formats=_FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                raise UnreadableError(f"{width} x {height} is {_TOO_LARGE}")
            picture.load()
            if picture.format == "PNG" and _ends_early(picture, file):
                raise UnreadableError("its pixels end before its last row")
            ImageOps.exif_transpose(picture, in_place=True)
            return _plain(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UnreadableError(_TOO_LARGE) from None
    except _DAMAGED as error:
        reason = f"{type(error).__name__}: {error}"
        raise UnreadableError(reason.replace(str(file), file.name) if isinstance(file, Path) else reason) from None


def _ends_early(picture: Image.Image, file: Path | bytes) -> bool:
    """Whether a PNG file holds fewer rows than it declares. Pillow leaves the rest black and says nothing."""
    width, height = picture.size
    if np.asarray(picture.crop((0, height - 1, width, height))).any():
        return False
    png = file if isinstance(file, bytes) else file.read_bytes()
    bits = png[24] * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[png[25]]
    missing = height * (1 + -(-width * bits // 8))
    inflate, place = zlib.decompressobj(), 8
    while missing > 0 and place + 12 <= len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        if kind == b"IDAT":
            missing -= len(inflate.decompress(png[place + 8 : place + 8 + length], missing))
        place += length + 12
    return missing > 0


def from_array(pixels: np.ndarray) -> Image.Image:
    """A picture, mode ``L`` or ``RGB``, of uint8 or uint16 ``[H, W]`` or ``[H, W, C]`` with 1 to 4 channels."""
    if pixels.dtype == np.uint16:
        pixels = _to_8_bits(pixels)
    return _plain(Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels))


def canonical(
    picture: Image.Image, *, size: int, channels: Literal[1, 3], fit: Literal["crop", "pad"]
) -> np.ndarray:
    """Canonical pixels: uint8 ``[size, size, channels]``. What fits already passes through bit for bit.

    Args:
        picture: of mode ``L`` or ``RGB``.
        size, channels, fit: as in the ``ingest`` section.

    Raises:
        UnreadableError: padded, it would have more than 64 megapixels (a very long picture).
    """
    if fit == "pad" and max(picture.size) ** 2 > MAX_PIXELS:
        raise UnreadableError(f"{picture.width} x {picture.height} padded to a square is {_TOO_LARGE}")
    picture = _in_mode(picture, "L" if channels == 1 else "RGB")
    return np.asarray(images.fit(picture, size, fit)).reshape(size, size, channels)


def _plain(picture: Image.Image) -> Image.Image:
    """The picture in mode ``L`` or ``RGB``."""
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips at 255.
        return Image.fromarray(_to_8_bits(np.asarray(picture, np.uint16)))
    if picture.has_transparency_data:
        background = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        background.alpha_composite(picture.convert("RGBA"))
        return background.convert("RGB")
    return _in_mode(picture, "L" if picture.mode in ("1", "L") else "RGB")


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    """The decoded picture in a mode; the same one if it has it, of which ``convert`` would make a copy."""
    if picture.mode != mode:
        return picture.convert(mode)
    picture.load()
    return picture


def _to_8_bits(pixels: np.ndarray) -> np.ndarray:
    """Rounds 0..65535 to 0..255: ``v / 257``."""
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
