"""The ``train`` section, and the recipe of a training. Imports no TensorFlow."""

from typing import Literal, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from gan_components.artifacts import Examples
from gan_components.fingerprints import Recipe
from gan_components.networks.config import Dcgan, NetworkConfig
from gan_components.training.augment_config import Ada, AugmentConfig

SMOOTHABLE = ("minimax", "non_saturating", "least_squares")
# Their logits are zero where the discriminator cannot tell: what ADA reads.
SIGNED = ("minimax", "non_saturating", "hinge")
GROWING = ("progan", "stylegan")


class Growth(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Starts at 4x4 pixels and doubles; Karras et al. 2017, https://arxiv.org/abs/1710.10196, section 2."""

    # Steps of a resolution by itself.
    stable_steps: int = Field(gt=0)
    # Steps over which the next one fades in.
    fade_steps: int = Field(gt=0)


class TrainConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """How a generator is trained.

    The defaults are for 28x28 grey images and minutes on a CPU. Measured on 4,000 digits with 10 classes,
    2,000 steps of 64; 5,000 unfiltered samples read by a CNN that reads 98.4 % of held-out digits, and
    the Fréchet distance of its 64 features to the digits (4,000 real ones against 1,000 others: 0.040):

    ============================================ ================ ============ ========
    discriminator's label projection, decay      read as asked    worst class  distance
    ============================================ ================ ============ ========
    from 256 features, constant rate             99.1 %           97.4 %       0.201
    from the feature map itself, constant rate   98.5 %           96.6 %       0.137
    from 64 features, fraction 0.5 (default)     99.2 %           98.2 %       0.056
    the same, another seed and split             99.0 %           98.0 %       0.045
    ============================================ ================ ============ ========
    """

    network: NetworkConfig = Dcgan()
    # None: exactly if the examples have classes. Pairs of two domains have none.
    conditional: bool | None = None
    latent_dim: int = Field(100, gt=0)
    # normal: standard normal; uniform: on [-1, 1).
    latent_distribution: Literal["normal", "uniform"] = "normal"
    # Global: all replicas together.
    batch_size: int = Field(64, gt=0)
    num_steps: int = Field(2_000, gt=0)
    # For progan and stylegan; null: all resolutions at once.
    growth: Growth | None = None

    loss: Literal["minimax", "non_saturating", "least_squares", "wasserstein", "hinge", "relativistic"] = (
        "non_saturating"
    )
    # s: the discriminator is told 1 - s of real images; of minimax, non_saturating and least_squares.
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    # k of Algorithm 1: each takes a batch of its own.
    d_steps_per_g_step: int = Field(1, gt=0)
    # Gradient penalties; None is off. R1 and R2 (at real and at generated images) have the weight gamma / 2:
    # published values span 0.002 to 10, sweep them for new data. gp is WGAN-GP's, with the weight lambda.
    r1_gamma: float | None = Field(0.2, gt=0)
    r2_gamma: float | None = Field(None, gt=0)
    gp_lambda: float | None = Field(None, gt=0)
    # A penalty costs two more passes of the discriminator; every fourth step is nearly as good as all.
    penalty_interval_steps: int = Field(4, gt=0)
    # For small data; the discriminator sees real and generated images through it.
    augment: AugmentConfig | None = None

    # Adam, for both players. Rates are constant, then fall linearly to zero over the last fraction of the
    # steps; null: constant.
    g_learning_rate: float = Field(2e-3, gt=0)
    d_learning_rate: float = Field(2e-3, gt=0)
    learning_rate_decay_fraction: float | None = Field(0.5, gt=0, le=1)
    beta1: float = Field(0.0, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)
    # The images after which the averaged generator has forgotten half of what it was.
    ema_half_life_images: float = Field(9_000.0, gt=0)

    # mixed_bfloat16 computes in bfloat16 with float32 weights; the served generator is float32 either way.
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    # Slower than without on a CPU.
    xla: bool = False
    # mirrored: all local GPUs, each with its share of the batch; multi_worker: the workers of TF_CONFIG;
    # tpu: written to the documented interface, never run.
    strategy: Literal["none", "mirrored", "multi_worker", "tpu"] = "none"

    log_interval_steps: int = Field(50, gt=0)
    sample_interval_steps: int = Field(500, gt=0)
    checkpoint_interval_steps: int = Field(250, gt=0)
    # Measures a classifier's Fréchet distance to a fixed tenth of the training images, and serves the best
    # generator measured instead of the last; null: never.
    quality_interval_steps: int | None = Field(None, gt=0)
    # Starts from the networks of the generator in production, if they are alike, instead of random ones. No part
    # of the fingerprint: it is used when there is another reason to train, and is none itself.
    warm_start: bool = False
    # How often a training that diverged may go back to its last checkpoint and on with half the learning
    # rates and other random numbers.
    max_rollbacks: int = Field(0, ge=0, le=2)

    @field_validator("network", mode="before")
    @classmethod
    def _name_alone(cls, network: object) -> object:
        """``network: dcgan`` stands for ``network: {name: dcgan}``."""
        return {"name": network} if isinstance(network, str) else network

    @property
    def has_penalty(self) -> bool:
        return any(weight is not None for weight in (self.r1_gamma, self.r2_gamma, self.gp_lambda))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.has_penalty and self.log_interval_steps < self.penalty_interval_steps:
            raise ValueError(
                f"log_interval_steps {self.log_interval_steps} is shorter than penalty_interval_steps "
                f"{self.penalty_interval_steps}: a window could hold no penalty to log; choose at least as many"
            )
        if self.label_smoothing and self.loss not in SMOOTHABLE:
            raise ValueError(f"label_smoothing goes with the losses {', '.join(SMOOTHABLE)}, not with {self.loss}")
        if isinstance(self.augment, Ada) and self.loss not in SIGNED:
            raise ValueError(
                f"augment ada goes with the losses {', '.join(SIGNED)}, not with {self.loss}, whose logits have "
                "no zero that means 'cannot tell'; use diffaugment"
            )
        if self.warm_start and self.growth:
            raise ValueError("warm_start does not go with growth, which begins at 4x4 pixels; set growth to null")
        if self.warm_start and self.strategy == "multi_worker":
            raise ValueError(
                "warm_start does not go with strategy multi_worker; use mirrored, or warm_start: false"
            )
        if self.growth and self.network.name not in GROWING:
            raise ValueError(f"growth goes with the networks {', '.join(GROWING)}, not with {self.network.name}")
        return self


def recipe(examples: Examples, config: TrainConfig, *, seed: int) -> Recipe:
    """What decides the content of the TrainedModel that `config` makes of `examples`."""
    # What is in production enters no fingerprint.
    canonical = config.model_copy(update={"warm_start": False})
    return Recipe.of("train", "training", canonical, {"examples": examples.content_digest}, seed)
