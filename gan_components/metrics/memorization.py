"""Did the generator memorize training images? Comparisons with held-out images.

Held-out images resemble training images too, some of them closely; an absolute threshold would call that
copying. Every number here is therefore set beside the same number for images that were never trained on,
and only an excess that chance does not explain fails. Aggregates cannot tell memorization from mode collapse
(Stein et al. 2023, https://arxiv.org/abs/2306.04675): the tests count single images.
"""

from dataclasses import dataclass

import numpy as np

from gan_components.metrics import copying, memorization_verdict, neighbours, rates, shifts
from gan_components.metrics.memorization_verdict import ALPHA, Name, Report, Test
from gan_components.metrics.rates import Rate

_CALIBRATED_NEIGHBOURS, _CALIBRATED_SHARE = 50, 0.5
_RATIO = 1 / 3
_REDRAWS = 4_999
_MATCHES = 5


@dataclass(frozen=True)
class Space:
    """Generated, training and held-out images in one space, rows in the same order in all spaces."""

    name: str
    generated: np.ndarray
    train: np.ndarray
    holdout: np.ndarray


@dataclass(frozen=True)
class Closest:
    """For each generated image: Carlini's score, and distance and row of the nearest training image."""

    scores: np.ndarray
    distances: np.ndarray
    indices: np.ndarray


def check(
    pixels: Space,
    embedding: Space | None,
    random: np.random.Generator,
    *,
    min_holdout: int = 1_000,
    max_copy_excess: float = 0.001,
    max_closeness_excess: float = 0.02,
    duplicates: tuple[int, int] | None = None,
    max_shift_pixels: int = 1,
    mirrored: bool = False,
) -> tuple[Report, Closest]:
    """Compares generated with held-out images by their distances to the training images.

    In pixels and in the embedding:

    * ``distance_ratio``: share of images with ``d1 / d2 < 1/3`` (Yoon et al. 2023);
    * ``closeness``: share of images closer to T' than to H, ties one half, where T' are as many training
      images as H holds. It is 1/2 if the generator treats them alike. Its bounds come from re-drawing which
      images of ``T' + H`` are called T': a binomial bound would ignore that few images decide for many.

    In pixels also:

    * ``exact_duplicates``: share of images at distance 0;
    * ``calibrated_distance``: share of images with ``d1 / (0.5 mean(d1 .. d50)) < 1``, the score by which Carlini
      et al. 2023 (https://arxiv.org/abs/2301.13188) find copies. Held-out images weigh as generated ones lie
      (:func:`_matching_weights`): mode collapse is another failure. In a trained embedding this score is left
      out: among held-out digits 2 to 5 % fall below 1 there, prototypical ones far more often, without copying.

    In pixels up to a shift, ``distance_ratio`` once more: a copy that moved by a pixel is far from its original in
    plain pixels. Images in rows without a shape have no shifts.

    Args:
        pixels: the images themselves.
        embedding: the same images in an extractor's space, if there is one.
        random: draws T' and the assignments.
        min_holdout: with fewer held-out images nothing can PASS.
        max_copy_excess: tolerated excess of the copy rates over the held-out images' rates.
        max_closeness_excess: tolerated excess of closeness over 1/2.
        duplicates: how many images of how many were exact copies in the source: the rate that honest drawing
            shows. Held-out images have none once the source is de-duplicated; None takes theirs all the same.
        max_shift_pixels: the largest shift that is looked at; 0: none.
        mirrored: whether mirror images count as copies, too.

    Returns:
        The report, and the nearest training image of each generated one, in pixels.
    """
    neighbour_count = min(_CALIBRATED_NEIGHBOURS, len(pixels.train))
    near = _nearest(pixels, neighbour_count)
    (generated, indices), (control, _) = near
    scores = _calibrated(generated)
    copies = Rate.of(generated[:, 0] == 0), Rate(*duplicates) if duplicates else Rate.of(control[:, 0] == 0)
    weights = _matching_weights(pixels.generated, pixels.holdout)
    close = Rate.of(scores < 1), Rate.of(_calibrated(control) < 1, weights)
    tests = [
        _excess("exact_duplicates", pixels.name, *copies, max_copy_excess),
        _excess("calibrated_distance", pixels.name, *close, max_copy_excess),
        _distance_ratio(pixels.name, generated, control, max_copy_excess),
        _closeness(pixels, random, max_closeness_excess),
    ]
    if max_shift_pixels and pixels.train.ndim == 4 and min(pixels.train.shape[1:3]) > 4 * max_shift_pixels:
        ours, theirs = (
            shifts.nearest_shifted(side, pixels.train, 2, reach=max_shift_pixels, mirrored=mirrored)[0]
            for side in (pixels.generated, pixels.holdout)
        )
        tests.append(_distance_ratio(f"{pixels.name}_shifted", ours, theirs, max_copy_excess))
    if embedding is not None:
        near = _nearest(embedding, 2)
        tests.append(_distance_ratio(embedding.name, near[0][0], near[1][0], max_copy_excess))
        tests.append(_closeness(embedding, random, max_closeness_excess))
    space = embedding or pixels
    evidence = copying.measure(space.name, space.generated, space.train, space.holdout, near, random)
    report = memorization_verdict.report(
        tests,
        num_generated=len(pixels.generated),
        num_train=len(pixels.train),
        num_holdout=len(pixels.holdout),
        min_holdout=min_holdout,
        evidence=evidence,
    )
    return report, Closest(scores, generated[:, 0], indices[:, 0])


def _nearest(space: Space, k: int) -> tuple[copying.Nearest, copying.Nearest]:
    """Distances to the k nearest training images and their rows, of the generated and of the held-out images."""
    return neighbours.nearest(space.generated, space.train, k), neighbours.nearest(space.holdout, space.train, k)


def _distance_ratio(space: str, generated: np.ndarray, control: np.ndarray, allowed: float) -> Test:
    close = Rate.of(_ratio(generated) < _RATIO), Rate.of(_ratio(control) < _RATIO)
    return _excess("distance_ratio", space, *close, allowed)


def _calibrated(distances: np.ndarray) -> np.ndarray:
    """Carlini's score of each row of neighbour distances; 0 for an exact copy, also among equal images."""
    return _over(distances[:, 0], _CALIBRATED_SHARE * distances.mean(axis=1))


def _ratio(distances: np.ndarray) -> np.ndarray:
    return _over(distances[:, 0], distances[:, 1])


def _over(nearest: np.ndarray, scale: np.ndarray) -> np.ndarray:
    # A copied image that the training split holds twice has 0 / 0 and is a copy no less.
    return np.divide(nearest, scale, out=np.zeros_like(nearest), where=nearest > 0)


def _matching_weights(generated: np.ndarray, holdout: np.ndarray) -> np.ndarray:
    """Weights of the held-out images that put them where the generated ones lie.

    Some regions, such as that of the digit one or of trousers, have many close pairs. A generator that draws more
    of them than the data holds collapses, but copies nothing: it must be compared with held-out images there.
    Each generated image is matched with the five held-out images nearest to it, and these with as many as come
    (Abadie and Imbens 2006, https://doi.org/10.1111/j.1468-0262.2006.00655.x).

    Args:
        generated, holdout: images ``[N, ...]`` and ``[M, ...]``.

    Returns:
        float64 ``[M]``, sum 1.
    """
    _, matches = neighbours.nearest(generated, holdout, min(_MATCHES, len(holdout)))
    return np.bincount(matches.ravel(), minlength=len(holdout)) / matches.size


def _excess(name: Name, space: str, generated: Rate, control: Rate, allowed: float) -> Test:
    """Tests whether the generated images' rate exceeds the control's by more than `allowed`."""
    generated_low, generated_high = generated.bounds(ALPHA)
    control_low, control_high = control.bounds(ALPHA)
    return Test(
        name=name,
        space=space,
        generated=generated.value,
        generated_low=generated_low,
        generated_high=generated_high,
        control=control.value,
        control_low=control_low,
        control_high=control_high,
        excess_low=rates.excess_low(generated, control, ALPHA),
        allowed=allowed,
        p_value=rates.p_value(generated, control, allowed),
    )


def _closeness(space: Space, random: np.random.Generator, allowed: float) -> Test:
    """Tests whether more than half (and `allowed`) of the generated images are closer to T' than to H.

    Which side is closer is decided by the nearest image of the pool ``T' + H`` alone. So the share is the sum
    of weights over T', a weight being the share of generated images to which a pool image is nearest, and a
    re-draw of T' sums other weights.
    """
    size = min(len(space.train), len(space.holdout))
    train = space.train[random.permutation(len(space.train))[:size]]
    holdout = space.holdout[random.permutation(len(space.holdout))[:size]]
    distances, owners = neighbours.nearest(space.generated, np.concatenate([train, holdout]), 2)
    tied = distances[:, 0] == distances[:, 1]
    votes = np.stack([np.where(tied, 0.5, 1.0), np.where(tied, 0.5, 0.0)], axis=1)
    weights = np.bincount(owners.ravel(), votes.ravel(), minlength=2 * size) / len(space.generated)
    share = float(weights[:size].sum())
    redrawn = np.array([weights[random.permutation(2 * size)[:size]].sum() for _ in range(_REDRAWS)])
    spread = float(np.quantile(redrawn, 1 - ALPHA)) - 0.5
    # Sums in another order differ in their last digits; equal shares must count as equal.
    at_least = np.sum(redrawn + allowed >= share - 1e-9)
    return Test(
        name="closeness",
        space=space.name,
        generated=share,
        generated_low=max(share - spread, 0.0),
        generated_high=min(share + spread, 1.0),
        control=0.5,
        control_low=0.5,
        control_high=0.5,
        excess_low=share - spread - 0.5,
        allowed=allowed,
        p_value=float((1 + at_least) / (1 + _REDRAWS)),
    )
