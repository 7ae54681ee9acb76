"""The settings of discriminator augmentation: ``train.augment``. Imports no TensorFlow."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, Field, field_validator, model_validator

DiffAugmentPolicy = Literal["color", "translation", "cutout"]
AdaTransform = Literal[
    "flip", "rotate90", "translation", "scaling", "rotation", "brightness", "contrast", "saturation"
]

DIFFAUGMENT_POLICIES: tuple[DiffAugmentPolicy, ...] = get_args(DiffAugmentPolicy)
"""In the order in which they are applied."""

ADA_TRANSFORMS: tuple[AdaTransform, ...] = get_args(AdaTransform)
"""In the order in which they are applied: pixel blitting (the first three), geometry (two), colour (three)."""


class _Augmentation(BaseModel, frozen=True, strict=True, extra="forbid"):
    """A section ``augment: {kind: ..., ...}``."""


class DiffAugment(_Augmentation):
    """Every image is augmented: Zhao et al. 2020, https://arxiv.org/abs/2006.10738.

    CIFAR-10 with BigGAN, Fréchet Inception distance without and with it (10,000 samples, the authors' numbers):
    9.59 and 8.70 with all images, 21.58 and 14.04 with 20 %, 39.78 and 22.40 with 10 %.
    """

    kind: Literal["diffaugment"] = "diffaugment"
    policy: tuple[DiffAugmentPolicy, ...] = Field(DIFFAUGMENT_POLICIES, min_length=1, strict=False)

    @field_validator("policy")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(names)


class Ada(_Augmentation):
    """Each transform is applied with a probability p that follows how far the discriminator overfits.

    Karras et al. 2020, https://arxiv.org/abs/2006.06676. It reads the sign of the logits of real images, so that
    zero must mean "cannot tell": it does for the minimax, non-saturating and hinge losses. Relativistic and
    Wasserstein logits have no zero, and least-squares logits have theirs at 1/2.
    """

    kind: Literal["ada"] = "ada"
    # Of E[sign(D(real))]: 0 is a discriminator that cannot tell, 1 one that knows every training image.
    target: float = Field(0.6, gt=-1, lt=1)
    interval_steps: int = Field(4, gt=0)
    # Images after which p has gone from 0 to 1 if it only ever rises. A training of 2,000 steps of 64 shows
    # 128,000, so that p gets to 0.26 at most: lower this for short trainings.
    speed_images: int = Field(500_000, gt=0)
    # Without mirror images and quarter turns: a mirrored 2 is no digit. Name them for data that bears them.
    transforms: tuple[AdaTransform, ...] = Field(
        ("translation", "scaling", "rotation", "brightness", "contrast", "saturation"), min_length=1, strict=False
    )
    initial_p: float = Field(0.0, ge=0, le=1)
    # Up to 0.8 the paper found no augmentation that leaked into the generated images.
    max_p: float = Field(0.8, ge=0, le=1)

    @field_validator("transforms")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(names)

    @model_validator(mode="after")
    def _starts_in_range(self) -> Self:
        if self.initial_p > self.max_p:
            raise ValueError(f"initial_p {self.initial_p} lies above max_p {self.max_p}; lower it or raise max_p")
        return self


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{', '.join(repeated)} is named twice; each is applied once, in a fixed order")
    return names


AugmentConfig = Annotated[DiffAugment | Ada, Field(discriminator="kind")]
