"""What is trained, as plain numbers that every framework understands. Standard library only."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Case:
    """A training whose speed is compared: non-saturating loss, lazy R1, Adam, an averaged generator.

    Attributes:
        name: of the case, such as ``dcgan 28 px grey``.
        network: ``dcgan`` or ``stylegan``.
        side, channels: of the images.
        latent_dim: D of the latents.
        base_channels: of the largest feature map.
        max_channels, mapping_layers, style_mixing_probability: of ``stylegan``.
        batch_size: of every step.
        g_learning_rate, d_learning_rate, beta1, beta2: Adam's.
        r1_gamma, r1_interval_steps: of the lazy penalty.
        ema_decay: of the averaged generator, a step.
    """

    name: str
    network: str
    side: int
    channels: int
    latent_dim: int
    base_channels: int
    batch_size: int
    g_learning_rate: float
    d_learning_rate: float
    beta1: float
    beta2: float
    r1_gamma: float
    r1_interval_steps: int
    ema_decay: float
    max_channels: int = 0
    mapping_layers: int = 0
    style_mixing_probability: float = 0.0

    def dumps(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def loads(cls, text: str) -> Self:
        return cls(**json.loads(text))
