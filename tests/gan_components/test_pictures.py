"""Every kind of picture that people have becomes the pixels that they see."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from gan_components import pictures

# 3 x 3 blocks of 16 pixels: JPEG keeps their centres to a few levels, so that colours can be compared.
RAMP = np.kron(np.array([[40, 90, 140], [60, 120, 180], [80, 160, 240]], np.uint8), np.ones((16, 16), np.uint8))
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP.T], -1)


def pixels(path, *, channels=3, size=48, fit="crop"):
    return pictures.canonical(pictures.read(path), size=size, channels=channels, fit=fit)


def centres(image):
    return image[8::16, 8::16].astype(int)


def test_grey_passes_bit_for_bit(tmp_path):
    """Red if a grey picture of the right size is resized or converted."""
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png", channels=1)[..., 0], RAMP)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), np.stack([RAMP] * 3, -1))


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bits_are_rounded_not_clipped(tmp_path, mode):
    """Red if 16 bits are converted by Pillow, which clips everything above 255 to white."""
    wide = RAMP.astype(np.uint16) * 257 + 100
    Image.frombytes(mode, (48, 48), wide.astype("<u2" if mode == "I;16" else ">u2").tobytes()).save(
        tmp_path / "a.png"
    )
    np.testing.assert_array_equal(pixels(tmp_path / "a.png", channels=1)[..., 0], RAMP)


def test_transparency_is_black(tmp_path):
    """Red if alpha is dropped, which shows the colour that editors leave under transparent pixels."""
    alpha = np.zeros((48, 48), np.uint8)
    alpha[:, 16:32], alpha[:, 32:] = 128, 255
    Image.fromarray(np.dstack([COLOUR, alpha])).save(tmp_path / "rgba.png")
    Image.fromarray(np.dstack([RAMP, alpha])).save(tmp_path / "la.png")
    for name, whole in (("rgba.png", COLOUR), ("la.png", np.stack([RAMP] * 3, -1))):
        seen = pixels(tmp_path / name)
        assert (seen[:, :16] == 0).all()
        # Pillow composites in integers, one level of rounding.
        assert np.abs(seen[:, 16:32] - whole[:, 16:32] * (128 / 255)).max() <= 1
        np.testing.assert_array_equal(seen[:, 32:], whole[:, 32:])


def test_palette_with_alpha(tmp_path):
    """Red if a palette's transparent entry is shown in its colour, or its numbers are taken for grey levels."""
    picture = Image.fromarray((RAMP > 100).astype(np.uint8), "P")
    picture.putpalette([255, 0, 0, 10, 200, 30])
    picture.save(tmp_path / "a.png", transparency=bytes([0, 255]))
    seen = pixels(tmp_path / "a.png")
    assert (seen[RAMP <= 100] == 0).all()
    assert (seen[RAMP > 100] == [10, 200, 30]).all()


def test_cmyk_jpeg(tmp_path):
    """Red if CMYK is taken as RGB with a fourth channel, or inverted. JPEG moves block centres by some levels."""
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(centres(pixels(tmp_path / "a.jpg")) - centres(COLOUR)).max() <= 6


def test_exif_orientation(tmp_path):
    """Red if EXIF orientation is not applied. JPEG moves block centres by some levels."""
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", quality=95, subsampling=0, exif=exif)
    assert np.abs(centres(pixels(tmp_path / "a.jpg")) - centres(np.rot90(COLOUR, -1))).max() <= 6


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_first_frame_of_an_animation(tmp_path, suffix):
    """Red if another frame than the first is taken."""
    frames = [Image.fromarray(np.full((48, 48), level, np.uint8)) for level in (50, 200)]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], lossless=True)
    assert (pixels(tmp_path / f"a.{suffix}") == 50).all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_more_than_64_megapixels_are_not_decoded(tmp_path):
    """Red without the check of the header: decoding these three would succeed or take gigabytes."""
    for width, height in ((8001, 8000), (12000, 12000), (40000, 40000)):
        buffer = io.BytesIO()
        Image.new("1", (width, 8)).save(buffer, "PNG")
        data = bytearray(buffer.getvalue())
        data[20:24] = height.to_bytes(4, "big")
        data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(pictures.UnreadableError, match="64 megapixels"):
            pictures.read(tmp_path / "a.png")


def test_long_pictures_are_not_padded_to_gigabytes(tmp_path):
    """Red without the check: the padded square of this small file would take 2.5 GB."""
    Image.new("L", (50_000, 2), 9).save(tmp_path / "a.png")
    with pytest.raises(pictures.UnreadableError, match="padded to a square"):
        pixels(tmp_path / "a.png", fit="pad")
    assert (pixels(tmp_path / "a.png") == 9).all()


def test_damaged_pictures_have_one_kind_of_error(tmp_path):
    """Red if _DAMAGED lacks SyntaxError or OSError. Each format, cut and with bytes turned, 200 times."""
    rng = np.random.default_rng(0)
    for suffix in ("png", "jpg", "webp", "bmp", "gif"):
        buffer = io.BytesIO()
        Image.fromarray(COLOUR).save(buffer, {"jpg": "JPEG"}.get(suffix, suffix.upper()))
        whole = buffer.getvalue()
        path = tmp_path / f"a.{suffix}"
        unreadable = 0
        for _ in range(200):
            damaged = bytearray(whole[: rng.integers(len(whole))])
            for place in rng.integers(max(len(damaged), 1), size=rng.integers(4)):
                if place < len(damaged):
                    damaged[place] = rng.integers(256)
            path.write_bytes(damaged)
            try:
                assert pixels(path).shape == (48, 48, 3)
            except pictures.UnreadableError as error:
                unreadable += 1
                assert str(tmp_path) not in str(error)
        assert unreadable > 50


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4)])
def test_arrays(shape):
    """Red if uint16 is truncated instead of rounded, or the last axis is not squeezed."""
    narrow = np.full(shape, 200, np.uint8)
    for array in (narrow, narrow.astype(np.uint16) * 257):
        seen = pictures.canonical(pictures.from_array(array), size=8, channels=1, fit="crop")
        # Alpha 200 of 255 over black.
        assert (seen == (157 if shape[-1] == 4 else 200)).all()
