"""Frames as a GIF or MP4 file."""

import io
import itertools
from collections.abc import Iterable

import numpy as np

from gan_components import images
from gan_components.errors import InputError

FRAMES_A_SECOND = 20


def gif(frames: Iterable[np.ndarray], *, scale: int = 1) -> bytes:
    """Encodes uint8 ``[H, W, C]`` frames (C is 1 or 3) as GIF that repeats for ever; colours are cut to 256."""
    first, *others = (images.picture(frame, scale=scale) for frame in frames)
    buffer = io.BytesIO()
    # GIF counts in hundredths of a second.
    duration = 1000 // FRAMES_A_SECOND
    first.save(buffer, "GIF", save_all=True, append_images=others, loop=0, duration=duration)
    return buffer.getvalue()


def mp4(frames: Iterable[np.ndarray], *, scale: int = 1) -> bytes:
    """Encodes uint8 ``[H, W, C]`` frames (C is 1 or 3) as H.264, with sides made even by a black line.

    Raises:
        InputError: PyAV is not installed.
    """
    require_mp4()
    import av

    buffer = io.BytesIO()
    pictures = (_even(np.asarray(images.picture(frame, scale=scale).convert("RGB"))) for frame in frames)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND)
        # What players understand; it halves the colours' resolution, hence even sides.
        stream.pix_fmt = "yuv420p"
        first = next(pictures)
        stream.height, stream.width = first.shape[:2]
        for pixels in itertools.chain([first], pictures):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def require_mp4() -> None:
    """Raises InputError if :func:`mp4` cannot work here."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise InputError(
            "MP4 needs PyAV, which is not installed: pip install 'gan-pipelines[video]'; or choose .gif"
        ) from None


def _even(pixels: np.ndarray) -> np.ndarray:
    return np.pad(pixels, [(0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)])
