"""What became of the classes: whether the one asked for is drawn, and how often each is."""

import numpy as np
from pydantic import BaseModel

from gan_components.evaluation import score
from gan_components.metrics.estimate import Estimate
from gan_components.metrics.features import Identity


class ByClass(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What became of one class.

    Attributes:
        name: of the class.
        drawn: its share of the generated images, as the classifier reads them.
        real: its share of the held-out images, as the classifier reads them.
        agreement: share of the images asked for that are read as this class; None if classes cannot be asked for.
    """

    name: str
    drawn: float
    real: float
    agreement: float | None


def agreement(wanted: np.ndarray, found: np.ndarray, identity: Identity) -> score.Metric:
    """Share of images whose class, as the extractor's classifier sees it, is the one that was asked for.

    It cannot exceed the classifier's own accuracy by much, which is near 98 % for digits.
    """
    share = float(np.mean(wanted == found))
    error = (share * (1 - share) / len(wanted)) ** 0.5
    protocol = f"agreement{score.short(len(wanted))}_{identity.name}"
    return score.metric(Estimate(share, error), protocol, "higher", identity, (0.0, 1.0))


def by_class(
    names: list[str], drawn: np.ndarray, real: np.ndarray, asked: tuple[np.ndarray, np.ndarray] | None
) -> list[ByClass]:
    """What became of each class: a class that the generator forgot has a share near 0.

    Args:
        names: of the classes in order.
        drawn: classes that were read in the generated images, int ``[N]``.
        real: in the held-out images, int ``[M]``.
        asked: classes asked for and read, each int ``[K]``; None if none can be asked for.
    """
    shares = [np.bincount(read, minlength=len(names)) / len(read) for read in (drawn, real)]
    found: list[ByClass] = []
    for label, name in enumerate(names):
        agreed = float(np.mean(asked[1][asked[0] == label] == label)) if asked else None
        drawn_share, real_share = (float(share[label]) for share in shares)
        found.append(ByClass(name=name, drawn=drawn_share, real=real_share, agreement=agreed))
    return found
