"""What a feature extractor is, and how two of them are told apart."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel

from gan_components.fingerprints import digest_json


class Identity(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Everything that decides the features of an image. Numbers compare only under equal identities.

    Attributes:
        name: ``classifier``, ``random_conv``, ``pixels``, ``inception`` or ``keras_NAME``; distances are named
            after it.
        digest: SHA-256 of the weights with their configuration.
        preprocessing: what happens to the uint8 image first.
        layer: where the features are taken.
        dimension: of one feature vector.
    """

    name: str
    digest: str
    preprocessing: str
    layer: str
    dimension: int

    @property
    def key(self) -> str:
        """Short text that is equal for equal identities only, such as ``classifier:3f0c…``."""
        return f"{self.name}:{digest_json(self.model_dump(mode='json'))[:32]}"


@dataclass(frozen=True)
class Extractor:
    """Maps uint8 images ``[N, H, W, C]`` to float32 features ``[N, D]``.

    Attributes:
        identity: stored with every number computed from the features.
        features: the map; its result for an image does not depend on the images around it.
        predict: most likely class of each image, int64 ``[N]``; None if the extractor knows no classes.
        outputs: several layers in one pass, float32 ``[N, D]`` by name; None if only `features` are of use.
    """

    identity: Identity
    features: Callable[[np.ndarray], np.ndarray]
    predict: Callable[[np.ndarray], np.ndarray] | None = None
    outputs: Callable[[np.ndarray], dict[str, np.ndarray]] | None = None

    def layers(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """All that one pass gives, the features under the name of their layer."""
        return self.outputs(images) if self.outputs else {self.identity.layer: self.features(images)}


def require_same(first: Identity | None, second: Identity | None) -> None:
    """Refuses to compare features of two extractors.

    Raises:
        ValueError: they differ; names each field that does.
    """
    if first == second:
        return
    if first is None or second is None:
        raise ValueError("features of a named extractor cannot be compared with features of an unnamed one")
    fields = [
        f"{field} {getattr(first, field)} and {getattr(second, field)}"
        for field in Identity.model_fields
        if getattr(first, field) != getattr(second, field)
    ]
    raise ValueError(
        f"features of different extractors cannot be compared: {'; '.join(fields)}. "
        "Compute both sides with one extractor"
    )
