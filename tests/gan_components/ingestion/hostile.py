"""Pictures as they are found: odd, mislabelled, damaged, malicious. Each with what must become of it.

All show the same nine blocks of colour, so that one comparison tells whether what was converted is right.
"""

import io
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, PngImagePlugin

# 3 x 3 blocks of 16 pixels: lossy formats keep their centres to some levels.
GREY = np.kron(np.array([[40, 90, 140], [60, 120, 180], [80, 160, 240]], np.uint8), np.ones((16, 16), np.uint8))
COLOUR = np.stack([GREY, GREY[::-1], GREY.T], -1)
SIDE = 48


@dataclass(frozen=True)
class Case:
    """A file and its fate.

    Attributes:
        name: of the file; bytes that are no UTF-8 as surrogates.
        content: its bytes.
        fate: the pixels that it becomes, uint8 ``[48, 48, 3]``; or a part of the reason in quarantine.
    """

    name: str
    content: bytes
    fate: np.ndarray | str


def cases() -> list[Case]:
    """The whole corpus."""
    return [
        *_kinds_of_png(),
        *_kinds_of_jpeg(),
        *_other_formats(),
        *_orientations(),
        *_sizes(),
        *_extensions(),
        *_names(),
        *_cut(),
        *_damaged(),
        *_huge(),
        *_no_pictures(),
    ]


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


RGB = Image.fromarray(COLOUR)
L = Image.fromarray(GREY)
GREY_RGB = np.stack([GREY] * 3, -1)
PNG = saved(RGB, "PNG")
JPEG = saved(RGB, "JPEG", quality=95, subsampling=0)
GIF = saved(RGB, "GIF")
WEBP = saved(RGB, "WEBP", lossless=True)
BMP = saved(RGB, "BMP")


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    rows: np.ndarray,
    *,
    depth: int,
    colour_type: int,
    before: bytes = b"",
    after: bytes = b"",
    size: tuple[int, int] = (SIDE, SIDE),
    interlace: int = 0,
) -> bytes:
    """A PNG file byte by byte.

    Args:
        rows: uint8 ``[H, bytes a row]``, or all bytes if it is flat.
        depth, colour_type: as in the header.
        before, after: chunks around the pixels.
        size: as in the header.
        interlace: as in the header.
    """
    data = np.pad(rows, ((0, 0), (1, 0))).tobytes() if rows.ndim == 2 else rows.tobytes()
    header = struct.pack(">2I5B", *size, depth, colour_type, 0, 0, interlace)
    middle = before + chunk(b"IDAT", zlib.compress(data)) + after
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + middle + chunk(b"IEND", b"")


def wide(pixels: np.ndarray) -> np.ndarray:
    """Rows of 16 bits a sample; the low byte says nothing."""
    return (pixels.astype(">u2") * 257).view(np.uint8).reshape(SIDE, -1)


def half_transparent(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An alpha channel that hides the left block column, and what is seen then: black there."""
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:, :16] = 0
    return alpha, pixels * (alpha[..., None] > 0)


def interlaced(pixels: np.ndarray) -> np.ndarray:
    """The bytes of Adam7: seven small pictures behind one another."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [pixels[top::down, left::right] for top, left, down, right in passes]
    rows = [np.pad(part.reshape(len(part), -1), ((0, 0), (1, 0))).ravel() for part in parts]
    return np.concatenate(rows)


def _kinds_of_png() -> list[Case]:
    alpha, seen = half_transparent(COLOUR)
    _, grey_seen = half_transparent(GREY_RGB)
    indexed = RGB.quantize(9)
    two = (GREY > 100).astype(np.uint8)
    two_seen = np.stack([two * 255] * 3, -1)
    few = GREY // 64
    palette = Image.fromarray(two)
    palette.putpalette([255, 0, 0, 10, 200, 30])
    palette_seen = np.where(two[..., None] == 1, np.array([10, 200, 30], np.uint8), np.uint8(0))
    frames = [RGB, Image.fromarray(255 - COLOUR)]
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 1000)
    bomb = b"Comment\0\0" + zlib.compress(bytes(50_000_000))
    return [
        Case("grey.png", saved(L, "PNG"), GREY_RGB),
        Case("rgb.png", PNG, COLOUR),
        Case("16-bit-grey.png", saved(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"), GREY_RGB),
        Case("16-bit-rgb.png", png(wide(COLOUR), depth=16, colour_type=2), COLOUR),
        Case("16-bit-rgba.png", png(wide(np.dstack([COLOUR, alpha])), depth=16, colour_type=6), seen),
        Case("16-bit-la.png", png(wide(np.dstack([GREY, alpha])), depth=16, colour_type=4), grey_seen),
        Case("1-bit.png", saved(Image.fromarray(two * 255).convert("1"), "PNG"), two_seen),
        Case("2-bit.png", png(np.packbits(unpacked(few, 2), axis=1), depth=2, colour_type=0), spread(few, 85)),
        Case("4-bit.png", png(np.packbits(unpacked(few, 4), axis=1), depth=4, colour_type=0), spread(few, 17)),
        Case("palette.png", saved(indexed, "PNG"), COLOUR),
        Case(
            "palette-1-bit.png",
            saved(palette, "PNG", bits=1),
            np.where(two[..., None], [10, 200, 30], [255, 0, 0]),
        ),
        Case("palette-alpha.png", saved(palette, "PNG", transparency=bytes([0, 255])), palette_seen),
        Case("palette-colour-key.png", saved(palette, "PNG", transparency=0), palette_seen),
        Case("rgb-colour-key.png", saved(RGB, "PNG", transparency=(40, 80, 40)), COLOUR * key_seen()),
        Case("grey-colour-key.png", saved(L, "PNG", transparency=40), GREY_RGB * (GREY != 40)[..., None]),
        Case("la.png", saved(Image.fromarray(np.dstack([GREY, alpha])), "PNG"), grey_seen),
        Case("rgba.png", saved(Image.fromarray(np.dstack([COLOUR, alpha])), "PNG"), seen),
        Case("pa.png", saved(Image.fromarray(np.dstack([COLOUR, alpha])).quantize(16), "PNG"), seen),
        Case("interlaced.png", png(interlaced(COLOUR), depth=8, colour_type=2, interlace=1), COLOUR),
        Case("interlaced-black.png", png(interlaced(0 * COLOUR), depth=8, colour_type=2, interlace=1), 0 * COLOUR),
        Case(
            "black-below.png",
            saved(Image.fromarray(COLOUR * (np.arange(SIDE) < 30)[:, None, None]), "PNG"),
            COLOUR * (np.arange(SIDE) < 30)[:, None, None],
        ),
        Case("1-bit-black.png", saved(Image.new("1", (SIDE, SIDE)), "PNG"), 0 * COLOUR),
        Case("animated.png", saved(RGB, "PNG", save_all=True, append_images=frames[1:]), COLOUR),
        Case("comment.png", saved(RGB, "PNG", pnginfo=text), COLOUR),
        Case(
            "gamma.png",
            png(COLOUR.reshape(SIDE, -1), depth=8, colour_type=2, before=chunk(b"gAMA", b"\0\0\0\1")),
            COLOUR,
        ),
        Case("profile.png", saved(RGB, "PNG", icc_profile=b"no profile at all"), COLOUR),
        Case(
            "text-bomb.png",
            png(COLOUR.reshape(SIDE, -1), depth=8, colour_type=2, before=chunk(b"zTXt", bomb)),
            "too large",
        ),
        Case("no-end.png", PNG[:-12], COLOUR),
        Case("trailing-zip.png", PNG + a_zip(), COLOUR),
        Case(
            "unknown-chunk.png",
            png(COLOUR.reshape(SIDE, -1), depth=8, colour_type=2, before=chunk(b"gaNs", b"?")),
            COLOUR,
        ),
    ]


def unpacked(samples: np.ndarray, bits: int) -> np.ndarray:
    """Samples as single bits, the highest first."""
    shifts = np.arange(bits - 1, -1, -1)
    return ((samples[..., None] >> shifts) & 1).reshape(SIDE, -1).astype(np.uint8)


def spread(samples: np.ndarray, factor: int) -> np.ndarray:
    return np.stack([samples * factor] * 3, -1).astype(np.uint8)


def key_seen() -> np.ndarray:
    """Where COLOUR is not the transparent (40, 80, 40)."""
    return ~(COLOUR == [40, 80, 40]).all(-1, keepdims=True)


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", PNG)
    return buffer.getvalue()


def _kinds_of_jpeg() -> list[Case]:
    cmyk = RGB.convert("CMYK")
    exif = Image.Exif()
    exif[0x010E] = "x" * 5000
    return [
        Case("rgb.jpg", JPEG, COLOUR),
        Case("grey.jpg", saved(L, "JPEG", quality=95), GREY_RGB),
        Case("cmyk.jpg", saved(cmyk, "JPEG", quality=95), COLOUR),
        Case("progressive.jpg", saved(RGB, "JPEG", quality=95, progressive=True, subsampling=0), COLOUR),
        Case("subsampled.jpg", saved(RGB, "JPEG", quality=95, subsampling=2), COLOUR),
        Case("no-subsampling-name.JPeG", saved(RGB, "JPEG", quality=95, subsampling=1), COLOUR),
        Case("long-exif.jpg", saved(RGB, "JPEG", quality=95, subsampling=0, exif=exif), COLOUR),
        Case(
            "broken-exif.jpg", saved(RGB, "JPEG", quality=95, subsampling=0, exif=b"Exif\0\0MM\0*\xff\xff"), COLOUR
        ),
        Case("comment.jpg", saved(RGB, "JPEG", quality=95, subsampling=0, comment=b"<script>" * 1000), COLOUR),
        Case("profile.jpg", saved(RGB, "JPEG", quality=95, subsampling=0, icc_profile=b"none"), COLOUR),
        Case("trailing-html.jpg", JPEG + b"<html><script>alert(1)</script></html>" * 100, COLOUR),
        Case("two-pictures.jpg", JPEG + saved(Image.fromarray(255 - COLOUR), "JPEG"), COLOUR),
        Case(
            "multi-picture.jpg",
            saved(RGB, "MPO", save_all=True, append_images=[L.convert("RGB")], quality=95, subsampling=0),
            COLOUR,
        ),
    ]


def _other_formats() -> list[Case]:
    alpha, seen = half_transparent(COLOUR)
    rgba = Image.fromarray(np.dstack([COLOUR, alpha]))
    other = Image.fromarray(255 - COLOUR)
    top_down = bytearray(saved(Image.fromarray(COLOUR[::-1].copy()), "BMP"))
    top_down[22:26] = struct.pack("<i", -SIDE)
    return [
        Case("a.webp", WEBP, COLOUR),
        Case("lossy.webp", saved(RGB, "WEBP", quality=95), COLOUR),
        Case("alpha.webp", saved(rgba, "WEBP", lossless=True), seen),
        Case("animated.webp", saved(RGB, "WEBP", save_all=True, append_images=[other], lossless=True), COLOUR),
        Case("a.gif", GIF, COLOUR),
        Case("interlaced.gif", saved(RGB, "GIF", interlace=True), COLOUR),
        Case("animated.gif", saved(RGB, "GIF", save_all=True, append_images=[other] * 3), COLOUR),
        Case("transparent.gif", saved(rgba, "GIF"), seen),
        Case("a.bmp", BMP, COLOUR),
        Case("grey.bmp", saved(L, "BMP"), GREY_RGB),
        Case("palette.bmp", saved(RGB.quantize(9), "BMP"), COLOUR),
        Case(
            "1-bit.bmp",
            saved(Image.fromarray((GREY > 100) * np.uint8(255)).convert("1"), "BMP"),
            spread(GREY > 100, 255),
        ),
        Case("top-down.bmp", bytes(top_down), COLOUR),
        Case("rle.bmp", rle_bmp(), GREY_RGB),
    ]


def rle_bmp() -> bytes:
    """Run-length encoded, as scanners of the nineties wrote it; the last row first."""
    runs = b"".join(b"".join(bytes([16, level]) for level in row[::16]) + b"\0\0" for row in GREY[::-1]) + b"\0\1"
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    start = 14 + 40 + len(palette)
    header = struct.pack("<2sI2HI", b"BM", start + len(runs), 0, 0, start)
    return header + struct.pack("<I2i2H6I", 40, SIDE, SIDE, 1, 8, 1, len(runs), 0, 0, 256, 0) + palette + runs


def _orientations() -> list[Case]:
    """EXIF's eight ways to hold a camera, then values that mean nothing."""
    upright = [
        COLOUR,
        COLOUR[:, ::-1],
        COLOUR[::-1, ::-1],
        COLOUR[::-1],
        COLOUR.transpose(1, 0, 2),
        np.rot90(COLOUR, -1),
        COLOUR[::-1, ::-1].transpose(1, 0, 2),
        np.rot90(COLOUR),
    ]
    found = [
        Case(f"exif-{value}.jpg", saved(RGB, "JPEG", quality=95, subsampling=0, exif=orientation(value)), seen)
        for value, seen in enumerate(upright, 1)
    ]
    found += [
        Case(f"exif-{value}.jpg", saved(RGB, "JPEG", quality=95, subsampling=0, exif=orientation(value)), COLOUR)
        for value in (0, 9, 65535)
    ]
    found.append(Case("exif-6.png", saved(RGB, "PNG", exif=orientation(6)), upright[5]))
    found.append(Case("exif-6.webp", saved(RGB, "WEBP", lossless=True, exif=orientation(6)), upright[5]))
    return found


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def _sizes() -> list[Case]:
    """Small and long pictures of one colour: the centre is cut out and resized."""
    plain = np.full((SIDE, SIDE, 3), (200, 100, 50), np.uint8)
    found = [
        Case(f"{width}x{height}.png", saved(Image.new("RGB", (width, height), (200, 100, 50)), "PNG"), plain)
        for width, height in ((1, 1), (1, 50), (50, 1), (2, 3), (20_000, 1), (47, 49), (500, 300))
    ]
    found.append(Case("1x1.gif", saved(Image.new("RGB", (1, 1), (200, 100, 50)), "GIF"), plain))
    return found


def _extensions() -> list[Case]:
    """The content counts, not the name."""
    return [
        Case("png-inside.jpg", PNG, COLOUR),
        Case("jpeg-inside.png", JPEG, COLOUR),
        Case("gif-inside.bmp", GIF, COLOUR),
        Case("webp-inside.gif", WEBP, COLOUR),
        Case("bmp-inside.webp", BMP, COLOUR),
        Case("UPPER.PNG", PNG, COLOUR),
        Case("two.tar.png", PNG, COLOUR),
    ]


def _names() -> list[Case]:
    """Names are text for reports, and nothing else."""
    names = [
        "猫.png",
        "кошка.png",
        "قطة.png",
        "\N{CAT FACE}.png",
        "a\u0308-combined.png",
        "\u202egnp.exe.png",
        "with space.png",
        "new\nline.png",
        "tab\t.png",
        "quote\"'.png",
        "-rf.png",
        "$(reboot).png",
        "%2e%2e%2f.png",
        "c'; drop table images; --.png",
        "x" * 200 + ".png",
        "\udcff\udcfe-no-utf-8.png",
        "deep/" * 30 + "a.png",
    ]
    return [Case(name, PNG, COLOUR) for name in names]


def _cut() -> list[Case]:
    """The beginning of files. Where decoders would fill the rest with grey, the file is refused instead."""
    found = [Case(f"empty.{suffix}", b"", "cannot identify") for suffix in ("png", "jpg", "gif", "webp", "bmp")]
    whole = {"png": PNG, "jpg": JPEG, "gif": GIF, "webp": WEBP, "bmp": BMP}
    for suffix, content in whole.items():
        for share in (1, 10, 50, 80):
            found.append(Case(f"cut-{share}.{suffix}", content[: len(content) * share // 100], ""))
    return found


def _damaged() -> list[Case]:
    broken = {
        "header-checksum": PNG[:29] + b"\0\0\0\0" + PNG[33:],
        "no-pixels": PNG[:33] + chunk(b"IEND", b""),
        "no-deflate": PNG[:33] + chunk(b"IDAT", b"no deflate") + chunk(b"IEND", b""),
        "few-pixels": png(COLOUR.reshape(SIDE, -1)[:20], depth=8, colour_type=2),
        "few-interlaced-pixels": png(interlaced(COLOUR)[:6000], depth=8, colour_type=2, interlace=1),
        "no-size": png(COLOUR.reshape(SIDE, -1), depth=8, colour_type=2, size=(0, 0)),
        "no-height": png(COLOUR.reshape(SIDE, -1), depth=8, colour_type=2, size=(SIDE, 0)),
        "depth-3": png(COLOUR.reshape(SIDE, -1), depth=3, colour_type=2),
        "colour-type-5": png(COLOUR.reshape(SIDE, -1), depth=8, colour_type=5),
        "no-palette": png(GREY, depth=8, colour_type=3),
    }
    found = [Case(f"{name}.png", content, "") for name, content in broken.items()]
    found.append(Case("header-length.png", PNG[:8] + struct.pack(">I", 2**31) + PNG[12:], ""))
    found.append(Case("fill-bytes.jpg", b"\xff\xd8" + b"\xff" * 1_000_000, ""))
    found.append(Case("no-tables.jpg", JPEG[:2] + JPEG[JPEG.index(b"\xff\xc0") :], ""))
    return found


def _huge() -> list[Case]:
    """Headers of 20,000 x 20,000 and more pixels, in front of almost nothing."""
    jpeg = bytearray(JPEG)
    place = JPEG.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">2H", 20_000, 20_000)
    gif = bytearray(GIF)
    gif[6:10] = struct.pack("<2H", 20_000, 20_000)
    bmp = bytearray(BMP)
    bmp[18:26] = struct.pack("<2i", 20_000, 20_000)
    webp = bytearray(WEBP)
    place = WEBP.index(b"VP8L") + 9
    # 14 bits each: 16,384 is the format's limit.
    webp[place : place + 4] = struct.pack("<I", 16_383 | 16_383 << 14)
    row = np.zeros((1, 2500), np.uint8)
    return [
        Case("20000x20000.png", png(row, depth=1, colour_type=0, size=(20_000, 20_000)), "64 megapixels"),
        Case("2e31.png", png(row, depth=1, colour_type=0, size=(2**31 - 1, 2**31 - 1)), "64 megapixels"),
        Case("9000x8000.png", png(row, depth=1, colour_type=0, size=(9_000, 8_000)), "64 megapixels"),
        Case("20000x20000.jpg", bytes(jpeg), "64 megapixels"),
        Case("20000x20000.gif", bytes(gif), "64 megapixels"),
        Case("20000x20000.bmp", bytes(bmp), "64 megapixels"),
        Case("16384x16384.webp", bytes(webp), ""),
    ]


def _no_pictures() -> list[Case]:
    """Other things under the name of a picture, formats among them that Pillow would open if it were asked to."""
    tiff, ico, tga, ppm, pdf, eps = (saved(RGB, kind) for kind in ("TIFF", "ICO", "TGA", "PPM", "PDF", "EPS"))
    contents = {
        "text.png": b"no picture",
        "page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "vector.png": b'<svg xmlns="http://www.w3.org/2000/svg" width="48" height="48"/>',
        "entity.png": b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><svg>&a;</svg>',
        "pickle.jpg": pickle.dumps(COLOUR),
        "program.jpg": b"\x7fELF\2\1\1" + bytes(1000),
        "script.png": b"#!/bin/sh\nrm -rf /\n",
        "postscript.png": eps,
        "document.jpg": pdf,
        "archive.png": a_zip(),
        "tiff.png": tiff,
        "icon.png": ico,
        "targa.png": tga,
        "pixmap.png": ppm,
        "zeros.jpg": bytes(10_000),
        "ones.jpg": b"\xff" * 10_000,
        "pointer.png": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100),
    }
    return [Case(name, content, "cannot identify") for name, content in contents.items()]
