"""Does a trained discriminator reach the optimum that Goodfellow et al. 2014 proved?

With the generator fixed, the best discriminator is ``D*(x) = p_data(x) / (p_data(x) + p_g(x))`` (proposition 1 of
https://arxiv.org/abs/1406.2661), the value function there is ``V(D*, G) = -log 4 + 2 JSD(p_data | p_g)``
(theorem 1), and at the equilibrium, where p_g = p_data, D* is 1/2 and V is -log 4. On one-dimensional Gaussians
all of it is known, so a small network trained with `losses.minimax` on samples can be compared with it, point by
point.

    python benchmarks/theory.py [--quick] [--picture docs/theory.png]

First the generator is a fixed `P_G`, other than the data; then it has learnt the data, and the same discriminator,
right about the old generator, goes on. It learns of the densities from samples alone.
"""

import argparse
import itertools
import json
import math
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from scipy.special import rel_entr
from scipy.stats import norm

from gan_components import randomness
from gan_components.training import losses

BATCH_SIZE = 1024
NUM_STEPS = 1_500
LEARNING_RATE = 1e-2
MEASURED_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)

GRID = np.linspace(-12.0, 14.0, 26_001)
"""More than eight standard deviations to all sides."""

MIN_DENSITY = 0.02
"""The support: where ``p_data + p_g`` is at least this. Of all samples, 99 % lie there."""

MAX_ERROR = 0.03
"""Of a probability, over the support."""

MAX_VALUE_GAP = 0.001
"""In nats. An error e of D everywhere in the support takes ``e**2 / 2`` times the integral of
``(p_data + p_g) / (D* (1 - D*))`` from V, here 10 e^2: 0.001 is an error of 0.01, and 1/200 of ``2 JSD``."""


@dataclass(frozen=True)
class Gaussian:
    """A distribution on the line, and the fixed generator that samples it from standard normal latents."""

    mean: float
    deviation: float

    def density(self, x: np.ndarray) -> np.ndarray:
        return norm.pdf(x, self.mean, self.deviation)

    def quantiles(self) -> np.ndarray:
        """``2**14`` points, each with the same share of the probability around it."""
        return norm.ppf((np.arange(2**14) + 0.5) / 2**14, self.mean, self.deviation)

    def __call__(self, latents: tf.Tensor) -> tf.Tensor:
        return self.mean + self.deviation * latents


P_DATA = Gaussian(0.0, 1.0)
# Also wider than the data, so that D* is more than a step: it rises to 0.69 and falls to 0.001 within the support.
P_G = Gaussian(1.0, 1.5)


def best_discriminator(p_data: Gaussian, p_g: Gaussian) -> np.ndarray:
    """``D*`` on the grid."""
    real, fake = p_data.density(GRID), p_g.density(GRID)
    return real / (real + fake)


def jensen_shannon_divergence(p_data: Gaussian, p_g: Gaussian) -> float:
    """``(KL(p_data | m) + KL(p_g | m)) / 2`` with ``m = (p_data + p_g) / 2``, in nats, by the trapezoidal rule."""
    real, fake = p_data.density(GRID), p_g.density(GRID)
    middle = (real + fake) / 2
    return float(np.trapezoid(rel_entr(real, middle) + rel_entr(fake, middle), GRID)) / 2


def support(p_data: Gaussian, p_g: Gaussian) -> np.ndarray:
    """Mask of the grid."""
    return p_data.density(GRID) + p_g.density(GRID) >= MIN_DENSITY


def network(seed: int) -> keras.Model:
    """A number to a logit."""

    def dense(units: int, name: str, activation: str | None = None) -> keras.layers.Layer:
        initializer = keras.initializers.GlorotUniform(seed=randomness.integer(seed, name))
        return keras.layers.Dense(units, activation, kernel_initializer=initializer, name=name)

    x = keras.Input((1,))
    hidden = dense(32, "hidden2", "swish")(dense(32, "hidden1", "swish")(x))
    return keras.Model(x, dense(1, "logits")(hidden), name="discriminator")


@dataclass(frozen=True)
class Trained:
    """What became of a discriminator against a fixed generator.

    Attributes:
        p_g: the generator.
        before: D on the grid before the first step.
        probabilities: D on the grid after the last.
        steps: at which the value function was measured.
        values: V(D, G) there.
    """

    p_g: Gaussian
    before: np.ndarray
    probabilities: np.ndarray
    steps: np.ndarray
    values: np.ndarray

    def largest_error(self, probabilities: np.ndarray) -> float:
        """``max |D - D*|`` over the support."""
        return float(np.abs(probabilities - best_discriminator(P_DATA, self.p_g))[support(P_DATA, self.p_g)].max())


def on_grid(discriminator: keras.Model) -> np.ndarray:
    """Probabilities, float64."""
    logits = discriminator(tf.constant(GRID[:, None], tf.float32))
    return tf.sigmoid(logits).numpy()[:, 0].astype(np.float64)


def value(discriminator: Callable[[tf.Tensor], tf.Tensor], p_g: Gaussian) -> float:
    """``V = -d_loss`` of :func:`losses.minimax` on a batch that is no sample but all quantiles of both densities.

    Their mean is the midpoint rule for the expectation; ``D*`` itself tells how exact it is.
    """
    real, fake = (tf.constant(density.quantiles()[:, None], tf.float32) for density in (P_DATA, p_g))
    d_loss, _ = losses.minimax(discriminator(real)[:, 0], discriminator(fake)[:, 0])
    return -float(d_loss)


def train(discriminator: keras.Model, p_g: Gaussian, *, seed: int, num_steps: int = NUM_STEPS) -> Trained:
    """Adam on ``d_loss`` of fresh samples at every step; the rate falls to 0, which averages the noise away."""
    weights = discriminator.trainable_variables
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, num_steps))
    optimizer.build(weights)
    keys = [randomness.stream(seed, name) for name in ("real", "latents")]

    @tf.function
    def run(first: tf.Tensor, last: tf.Tensor) -> None:
        for step in tf.range(first, last):
            real, latents = (randomness.normal(randomness.at_step(key, step), (BATCH_SIZE, 1)) for key in keys)
            with tf.GradientTape() as tape:
                d_loss, _ = losses.minimax(
                    discriminator(P_DATA(real))[:, 0], discriminator(tf.stop_gradient(p_g(latents)))[:, 0]
                )
            optimizer.apply(tape.gradient(d_loss, weights), weights)

    steps = np.array([0, *(step for step in MEASURED_STEPS if step < num_steps), num_steps], np.int32)
    before, values = on_grid(discriminator), [value(discriminator, p_g)]
    for first, last in itertools.pairwise(steps):
        run(tf.constant(first), tf.constant(last))
        values.append(value(discriminator, p_g))
    return Trained(p_g, before, on_grid(discriminator), steps, np.array(values))


def theoretical_value(p_g: Gaussian) -> float:
    """``-log 4 + 2 JSD(p_data | p_g)``."""
    return -math.log(4.0) + 2.0 * jensen_shannon_divergence(P_DATA, p_g)


def experiment(seed: int) -> tuple[Trained, Trained]:
    """Against `P_G`, and then, with the same discriminator, against a generator that has reached the data."""
    discriminator = network(seed)
    return (
        train(discriminator, P_G, seed=randomness.integer(seed, "fixed")),
        train(discriminator, P_DATA, seed=randomness.integer(seed, "equilibrium")),
    )


def draw(fixed: Trained, equilibrium: Trained, path: Path) -> None:
    """Both discriminators over their densities, and the value function on its way."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    for panel, result, title in (
        (panels[0], fixed, f"G fixed: p_g = N({P_G.mean:g}, {P_G.deviation:g}²)"),
        (panels[1], equilibrium, "Equilibrium: p_g = p_data"),
    ):
        inside = support(P_DATA, result.p_g)
        panel.fill_between(
            GRID, P_DATA.density(GRID), color="tab:blue", alpha=0.25, lw=0, label="p_data = N(0, 1)"
        )
        panel.fill_between(GRID, result.p_g.density(GRID), color="tab:orange", alpha=0.25, lw=0, label="p_g")
        panel.plot(GRID[inside], result.before[inside], color="0.65", lw=1.2, label="D before training")
        panel.plot(GRID[inside], result.probabilities[inside], color="tab:purple", lw=3, label="D trained")
        best = best_discriminator(P_DATA, result.p_g)
        panel.plot(
            GRID[inside], best[inside], color="black", lw=1.2, ls="--", label="D* = p_data / (p_data + p_g)"
        )
        panel.set(title=title, xlabel="x", xlim=(-4.0, 5.5), ylim=(0.0, 1.0))
    panels[0].set_ylabel("probability, density")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower left", ncols=5, frameon=False)
    for result, color, game, name in (
        (fixed, "tab:purple", "G fixed", "−log 4 + 2 JSD"),
        (equilibrium, "tab:green", "equilibrium", "−log 4"),
    ):
        theory = theoretical_value(result.p_g)
        panels[2].plot(result.steps, result.values, color=color, lw=3)
        panels[2].axhline(theory, color="black", lw=1.2, ls="--")
        text = f"{game}: {name} = −{-theory:.4f}"
        panels[2].annotate(text, (NUM_STEPS, theory), (0, 5), textcoords="offset points", ha="right")
    panels[2].set(title="Value function V(D, G)", xlabel="steps", ylabel="nats", ylim=(-1.6, -1.1))
    panels[2].set_xscale("symlog", linthresh=1)
    panels[2].set_xlim(0, NUM_STEPS)
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--picture", type=Path, help="draw the first seed's discriminators here")
    parser.add_argument("--quick", action="store_true", help="one seed instead of three")
    arguments = parser.parse_args()

    runs = [experiment(seed) for seed in range(1 if arguments.quick else 3)]
    if arguments.picture:
        draw(*runs[0], arguments.picture)
    claims = []
    for results, target, value_name in (
        ([fixed for fixed, _ in runs], "D*(x)", "-log 4 + 2 JSD"),
        ([equilibrium for _, equilibrium in runs], "1/2 where p_g = p_data", "-log 4 there"),
    ):
        errors = [result.largest_error(result.probabilities) for result in results]
        claims.append((f"largest distance of D(x) from {target}", errors, "probability", MAX_ERROR))
        gaps = [abs(theoretical_value(result.p_g) - float(result.values[-1])) for result in results]
        claims.append((f"distance of V(D, G) from {value_name}", gaps, "nats", MAX_VALUE_GAP))
    print(
        json.dumps(
            {
                "benchmark": "theory",
                "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
                "p_data": [P_DATA.mean, P_DATA.deviation],
                "p_g": [P_G.mean, P_G.deviation],
                "jensen_shannon_divergence": jensen_shannon_divergence(P_DATA, P_G),
                "support": GRID[support(P_DATA, P_G)][[0, -1]].round(3).tolist(),
                "seeds": len(runs),
                "claims": [
                    {
                        "claim": claim,
                        "value": float(np.median(measured)),
                        "range": [min(measured), max(measured)],
                        "unit": unit,
                        "bound": f"<= {bound}",
                        # Every seed keeps it, not only the median.
                        "holds": max(measured) <= bound,
                    }
                    for claim, measured, unit, bound in claims
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
