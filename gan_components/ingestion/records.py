"""What a record is made of: a picture in PNG, and the ``tf.train.Example`` around it.

Written here by the formats' own rules, so that workers start without TensorFlow, and because Pillow takes four
times as long for a PNG of 28 x 28 pixels. The bytes are the same on every run.
"""

import functools
import struct
import zlib

import numpy as np

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR_TYPE = {1: 0, 3: 2}
_PNG_FILTER_UP = 2
# The quickest: pictures of a few pixels hardly shrink further.
_ZLIB_LEVEL = 1
_LENGTH_DELIMITED = 2


def png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 ``[H, W, C]`` pixels (C is 1 or 3) as PNG, each row as its difference to the row above.

    https://www.w3.org/TR/png-3/. One filter for all rows: choosing one for each takes longer than compressing.
    """
    height, width, channels = pixels.shape
    rows = pixels.reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _PNG_FILTER_UP
    filtered[0, 1:] = rows[0]
    # uint8 wraps around, as the format wants it.
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    header = struct.pack(">2I5B", width, height, 8, _PNG_COLOUR_TYPE[channels], 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(filtered.tobytes(), _ZLIB_LEVEL), b"IEND": b""}
    return _PNG_SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks.items()
    )


def example(key: str, label: int | None, encoded: bytes, encoded2: bytes | None) -> bytes:
    """A ``tf.train.Example`` as TFDS stores Text, Image and ClassLabel.

    The protocol-buffer encoding (https://protobuf.dev/programming-guides/encoding/) of
    ``{features: {feature: {name: {bytes_list | int64_list: {value}}}}}``.
    """
    features = {"id": _field(1, _field(1, key.encode())), "image": _field(1, _field(1, encoded))}
    if encoded2 is not None:
        features["image2"] = _field(1, _field(1, encoded2))
    if label is not None:
        features["label"] = _field(3, _field(1, _varint(label)))
    entries = [_field(1, name.encode()) + _field(2, feature) for name, feature in features.items()]
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | _LENGTH_DELIMITED]) + _varint(len(content)) + content


@functools.lru_cache(4096)
def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last byte have their top bit set."""
    groups = bytearray()
    while number > 0x7F:
        groups.append(number & 0x7F | 0x80)
        number >>= 7
    groups.append(number)
    return bytes(groups)
