"""What a generator is asked to draw: images of seeds, truncated or mixed ones, a walk through its latents.

Everything is written once, in terms of the signatures that a model serves. Of a generator of two domains each
image is the pair, the second beside the first.
"""

from collections.abc import Iterator

import numpy as np

from gan_components import images, pictures
from gan_components.artifacts import Progress, no_progress
from gan_components.errors import InputError
from gan_components.export.client import Client
from gan_components.export.errors import ServerError

_DRAWN = -1
# What the signatures name the first and the second domain.
_PNG = ("image_bytes", "image2_bytes")
_PIXELS = ("images", "images2")


def draw(
    client: Client, seeds: np.ndarray, labels: np.ndarray | None = None, progress: Progress = no_progress
) -> np.ndarray:
    """Draws one image a seed.

    Args:
        client: the model.
        seeds: int64 ``[N]``, not negative.
        labels: int64 ``[N]``; None: drawn from the seeds, if the generator knows classes.
        progress: told of the images that are drawn.

    Returns:
        uint8 ``[N, H, W, C]``.
    """
    # As PNG, the smallest message; lossless.
    answer = _of_seeds(client, "serving_default", labels, progress, seed=seeds)
    return _beside([_decoded(answer[name]) for name in _PNG if name in answer])


def draw_truncated(
    client: Client,
    seeds: np.ndarray,
    psi: np.ndarray,
    labels: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> np.ndarray:
    """Draws one image a seed, its style drawn towards the mean: psi 1 changes nothing, 0 gives the mean image.

    Args:
        client: the model.
        seeds: int64 ``[N]``.
        psi: float32 ``[N]``.
        labels: as for :func:`draw`.
        progress: told of the images that are drawn.

    Returns:
        uint8 ``[N, H, W, C]``.

    Raises:
        InputError: the generator has no truncation.
    """
    if "truncated" not in client.signatures:
        raise InputError("this generator has no truncation: its model does not serve 'truncated'; StyleGAN's do")
    return _pixels(_of_seeds(client, "truncated", labels, progress, seed=seeds, truncation=psi))


def draw_mixed(
    client: Client,
    seeds: np.ndarray,
    style_seeds: np.ndarray,
    style_layers: np.ndarray,
    labels: np.ndarray | None = None,
    progress: Progress = no_progress,
) -> np.ndarray:
    """Draws one image a seed, the style of its later layers that of another seed.

    Args:
        client: the model.
        seeds: int64 ``[N]``.
        style_seeds: int64 ``[N]``.
        style_layers: int64 ``[N]``: the first layer with the other style, two layers a resolution from 4x4 on.
        labels: as for :func:`draw`.
        progress: told of the images that are drawn.

    Returns:
        uint8 ``[N, H, W, C]``.

    Raises:
        InputError: the generator has no styles.
    """
    if "mixed" not in client.signatures:
        raise InputError("this generator mixes no styles: its model does not serve 'mixed'; StyleGAN's do")
    columns = {"seed": seeds, "style_seed": style_seeds, "style_layer": style_layers}
    return _pixels(_of_seeds(client, "mixed", labels, progress, **columns))


def walk(
    client: Client,
    seeds: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    num_frames: int,
    progress: Progress = no_progress,
) -> Iterator[np.ndarray]:
    """Walks through the latents of the seeds, on arcs from each to the next and from the last to the first.

    Args:
        client: the model.
        seeds: int64 ``[N]``, at least two.
        labels: int64 ``[L]``: as many images in each frame, all at the same latents, each of its class.
        num_frames: from one seed to the next; the first frame of each leg is the image of its seed.
        progress: told of the legs that are done.

    Yields:
        N · `num_frames` frames, uint8 ``[H, W, C]``, or ``[rows * H, columns * W, C]`` with several labels.

    Raises:
        InputError: fewer than two seeds, or no labels for a generator that takes them.
    """
    if len(seeds) < 2:
        raise InputError(
            f"a walk goes through at least two seeds, got {len(seeds)}; give more --seeds, such as 0:8"
        )
    if labels is None and client.takes("from_latents", "label"):
        raise InputError(
            "this generator takes labels, and none can be drawn for what lies between two seeds; give --labels: "
            "each is shown beside the others"
        )
    latents = client.predict("latents", {"seed": seeds})["latents"]
    num_cells = 1 if labels is None else len(labels)
    times = np.arange(num_frames) / num_frames
    for leg, start in enumerate(latents):
        path = np.repeat(slerp(start, latents[(leg + 1) % len(latents)], times), num_cells, axis=0)
        cycled = None if labels is None else np.tile(labels, num_frames)
        answer = client.predict("from_latents", _columns(cycled, latents=path))
        for frame in np.split(_pixels(answer), num_frames):
            yield images.grid(frame, columns_of(num_cells))
        progress(leg + 1, len(latents), "seeds passed")


def slerp(start: np.ndarray, end: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Spherical interpolation (White 2016, https://arxiv.org/abs/1609.04468).

    Points between two normal draws then have the length that the generator was trained on; on the straight line
    they are too short.

    Args:
        start, end: float32 ``[D]``.
        times: ``[T]`` in [0, 1].

    Returns:
        float32 ``[T, D]``.

    Example:
        >>> slerp(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([0.0, 0.5])).round(3).tolist()
        [[1.0, 0.0], [0.7070000171661377, 0.7070000171661377]]
    """
    a, b = start.astype(np.float64), end.astype(np.float64)
    cosine = np.dot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), np.finfo(float).tiny)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    t = times[:, None]
    if np.sin(angle) < 1e-6:  # on one line through the origin there is no arc
        return ((1 - t) * a + t * b).astype(np.float32)
    return ((np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)).astype(np.float32)


def image_size(client: Client) -> tuple[int, int]:
    """Height and width of an image, as the model says before it draws; of a pair, both together."""
    outputs = client.signatures["images"].outputs.values() if "images" in client.signatures else []
    shapes = [rows.shape for rows in outputs]
    if not shapes or any(len(shape) != 3 or -1 in shape for shape in shapes):
        raise InputError("this is no generator of this package: its model does not serve `images` of one size")
    return shapes[0][0], sum(shape[1] for shape in shapes)


def columns_of(count: int) -> int:
    """Columns of a grid that is about as wide as high."""
    return int(np.ceil(np.sqrt(count)))


def _of_seeds(
    client: Client, signature: str, labels: np.ndarray | None, progress: Progress, **columns: np.ndarray
) -> dict[str, np.ndarray]:
    """Asks a signature that can draw labels from the seeds, where none are given."""
    if labels is None and client.takes(signature, "label"):
        labels = np.full(len(columns["seed"]), _DRAWN)
    return client.predict(signature, _columns(labels, **columns), progress)


def _columns(labels: np.ndarray | None, **columns: np.ndarray) -> dict[str, np.ndarray]:
    return columns | ({} if labels is None else {"label": labels})


def _pixels(answer: dict[str, np.ndarray]) -> np.ndarray:
    return _beside([answer[name] for name in _PIXELS if name in answer])


def _beside(domains: list[np.ndarray]) -> np.ndarray:
    if not domains:
        raise InputError("this is no generator of this package: its model answers without images")
    return np.concatenate(domains, axis=2)


def _decoded(encoded: np.ndarray) -> np.ndarray:
    try:
        pixels = np.stack([np.asarray(pictures.read(one)) for one in encoded])
    except (pictures.UnreadableError, ValueError) as error:
        raise ServerError(
            f"the model answered what is no picture, or pictures of several sizes: {error}"
        ) from None
    return pixels if pixels.ndim == 4 else pixels[..., None]
