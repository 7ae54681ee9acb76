"""Animations hold the frames that were given, and repeat."""

import io

import av
import numpy as np
import pytest
from PIL import Image

from gan_components.errors import InputError
from gan_components.export import animation


def ramps(channels: int, count: int = 7) -> list[np.ndarray]:
    """Smooth frames of 9x10 pixels, each lighter than the one before: H.264 keeps them nearly as they are."""
    rows, columns = np.mgrid[:9, :10]
    return [np.stack([10 * rows + columns + 20 * i] * channels, -1).astype(np.uint8) for i in range(count)]


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_holds_the_frames_and_repeats(channels):
    """Red if frames are left out or `loop` is not set."""
    frames = ramps(channels)
    with Image.open(io.BytesIO(animation.gif(frames, scale=2))) as file:
        assert (file.n_frames, file.size, file.info["loop"], file.info["duration"]) == (7, (20, 18), 0, 50)
        for i, frame in enumerate(frames):
            file.seek(i)
            got = np.asarray(file.convert("RGB"))[::2, ::2]
            # 90 pixels have at most 90 colours, so that none is lost.
            np.testing.assert_array_equal(got, np.broadcast_to(frame, (9, 10, 3)))


@pytest.mark.parametrize("channels", [1, 3])
def test_mp4_holds_the_frames(channels):
    """Red if the encoder is not emptied at the end, or a side stays odd."""
    frames = ramps(channels)
    with av.open(io.BytesIO(animation.mp4(frames, scale=3))) as file:
        got = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert file.streams.video[0].average_rate == animation.FRAMES_A_SECOND
    assert [frame.shape for frame in got] == [(28, 30, 3)] * 7  # 27 rows and a black one
    for frame, expected in zip(got, frames, strict=True):
        whole = expected.repeat(3, axis=0).repeat(3, axis=1)
        # Lossy; the next frame is 20 levels away.
        assert np.abs(frame[:24, :27].astype(int) - whole[:24, :27]).mean() < 6


def test_mp4_without_its_library_names_the_extra(monkeypatch):
    """Red if an ImportError reaches the user."""
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'gan-pipelines\[video\]'"):
        animation.mp4(ramps(1))
