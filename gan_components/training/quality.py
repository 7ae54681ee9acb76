"""Quality while training: the Fréchet distance of the averaged generator to training images, and the best so far.

``best/quality.jsonl`` holds every measurement, ``best/weights-<step>.npz`` the weights of the best. Held-out
images are never looked at: choosing by them would spoil the evaluation.
"""

import io
import json
import logging
import os
from pathlib import Path
from typing import TypedDict

import keras
import numpy as np
import tensorflow as tf

from gan_components import artifacts, images, randomness
from gan_components import examples as examples_reader
from gan_components.artifacts import Examples
from gan_components.errors import ConfigError
from gan_components.examples import Properties
from gan_components.generators import Description
from gan_components.metrics import features, frechet
from gan_components.training import rollbacks
from gan_components.training.gan import GAN

logger = logging.getLogger(__name__)

LEAST_IMAGES = 200
"""Of the reference: about twice the features of an image (96 of ``random_conv``, 64 of ``classifier``). With fewer
images than features the covariance is singular, and noise decides which generator is called the best."""

_FILE = "quality.jsonl"
_BATCH_SIZE = 256


class Measurement(TypedDict):
    """A line of ``quality.jsonl``.

    Attributes:
        step: finished steps.
        metric: ``fd_classifier`` or ``fd_random_conv``; smaller is better.
        value: to six digits.
    """

    step: int
    metric: str
    value: float


class Quality(keras.callbacks.Callback):
    """Measures the averaged generator every `interval_steps` and after the last step, and keeps the best weights.

    The Fréchet distance between a tenth of the training images, chosen by the seed, and as many generated ones,
    always from the same latents and labels: what differs from one measurement to the next is the generator
    alone. Features are those of the evaluation with ``features: auto``, whose trained extractor is shared through
    the cache. Of two domains the first is measured. A growing generator is measured once it is fully grown.

    Each measurement costs one forward pass a reference image: with a tenth of N images about as much as
    N / (30 batch_size) training steps.

    Args:
        directory: of the measurements and weights, in the work directory of the training; is made.
        examples: only the split ``train`` is read.
        description: of the generator.
        interval_steps: from one measurement to the next.
        num_steps: of the training.
        start_step: finished steps; measurements of later ones are forgotten.
        seed: chooses the reference, the latents and the labels.
        cache: root of what stages share.

    Raises:
        ConfigError: a tenth of the training images is fewer than :data:`LEAST_IMAGES`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        examples: Examples,
        description: Description,
        interval_steps: int,
        num_steps: int,
        start_step: int,
        seed: int,
        cache: Path,
    ) -> None:
        super().__init__()
        self.directory, self.interval_steps, self.num_steps = directory, interval_steps, num_steps
        num_train = Properties.of(examples).num_train
        if num_train // 10 < LEAST_IMAGES:
            raise ConfigError(
                f"train.quality_interval_steps measures on a tenth of the training images, which is "
                f"{num_train // 10} of {num_train}; at least {LEAST_IMAGES} are needed: set it to null, or give "
                f"{10 * LEAST_IMAGES} training images"
            )
        directory.mkdir(exist_ok=True)
        _forget_after(directory, start_step)
        train = examples_reader.read(examples, "train")
        num_classes = len(Properties.of(examples).class_names)
        # As in the evaluation, so that both find the same entry of the cache.
        self.extractor = features.extractor(
            "auto", train.images, train.labels, num_classes=num_classes, cache=cache
        )
        self.metric = f"fd_{self.extractor.identity.name}"
        self.channels = description.image_shape[-1]
        random = randomness.numpy_generator(seed, "quality/reference")
        chosen = np.sort(random.permutation(num_train)[: num_train // 10])
        self.reference = self.extractor.features(train.images[chosen])
        self.inputs = _inputs(description, len(chosen), seed=seed)

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        step = int(self.model.step.numpy())
        if (step % self.interval_steps == 0 or step == self.num_steps) and _is_grown(self.model, step):
            self._measure(step)

    def _measure(self, step: int) -> None:
        value = float(f"{frechet.distance_of_features(self.reference, self._generated()):.6g}")
        best = _best(_measurements(self.directory))
        logger.info(
            "step %d: %s %.4g%s",
            step,
            self.metric,
            value,
            f", best so far {best['value']:.4g} at step {best['step']}" if best else "",
        )
        if best is None or value < best["value"]:
            artifacts.write_atomically(_weights_path(self.directory, step), _packed(self.model.ema_generator))
        measurement = Measurement(step=step, metric=self.metric, value=value)
        with (self.directory / _FILE).open("a") as file:
            file.write(json.dumps(measurement) + "\n")
            file.flush()
            # On the disk before the checkpoint that says these steps are done.
            os.fsync(file.fileno())
        _keep_reachable(self.directory)

    def _generated(self) -> np.ndarray:
        """Features of images of the first domain, ``[n, d]``."""
        parts = []
        for start in range(0, len(self.reference), _BATCH_SIZE):
            rows = {name: tf.constant(value[start : start + _BATCH_SIZE]) for name, value in self.inputs.items()}
            pictures = self.model.ema_generator(rows, training=False)[..., : self.channels]
            parts.append(self.extractor.features(images.to_uint8(pictures).numpy()))
        return np.concatenate(parts)


def restore_best(gan: GAN, directory: Path) -> Measurement | None:
    """Loads the best weights that :class:`Quality` kept in `directory` into ``gan.ema_generator``.

    Deletes the weights of all others.

    Returns:
        The best measurement, of equal ones the first; None if there is no measurement.
    """
    best = _best(_measurements(directory))
    if best is None:
        return None
    with np.load(_weights_path(directory, best["step"]), allow_pickle=False) as weights:
        gan.ema_generator.set_weights([weights[name] for name in weights.files])
    _keep(directory, {best["step"]})
    return best


def _inputs(description: Description, count: int, *, seed: int) -> dict[str, np.ndarray]:
    """Latents and labels of a stream of their own, the labels by their share of the training images."""
    random = randomness.numpy_generator(seed, "quality/inputs")
    shape = (count, description.latent_dim)
    if description.latent_distribution == "normal":
        latents = random.standard_normal(shape, np.float32)
    else:
        latents = random.uniform(-1, 1, shape).astype(np.float32)
    if not description.num_classes:
        return {"latents": latents}
    frequencies = np.asarray(description.class_frequencies)
    # Frequencies of a file sum to 1 but for rounding, which NumPy refuses.
    labels = random.choice(description.num_classes, count, p=frequencies / frequencies.sum())
    return {"latents": latents, "labels": labels.astype(np.int64)}


def _is_grown(gan: GAN, step: int) -> bool:
    """Whether the last of the finished steps was one of the full resolution alone."""
    phase = gan.phase
    if phase.level is None:
        return True
    return phase.level == gan.generator.num_levels - 1 and float(phase.alpha(tf.constant(step - 1))) == 1.0


def _measurements(directory: Path) -> list[Measurement]:
    return [json.loads(line) for line in (directory / _FILE).read_text().splitlines()]


def _best(measurements: list[Measurement]) -> Measurement | None:
    return min(measurements, key=lambda measurement: measurement["value"], default=None)


def _forget_after(directory: Path, start_step: int) -> None:
    """Cuts what a killed or diverged run measured beyond the step that the training goes on from."""
    path = directory / _FILE
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    # The last line of a killed run may stand there in part.
    kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= start_step]
    artifacts.write_atomically(path, b"".join(kept))


def _keep_reachable(directory: Path) -> None:
    """Deletes all weights but those of the best now, and of the best at each step the training can go back to."""
    measurements = _measurements(directory)
    ends = rollbacks.reachable_steps(directory.parent)
    bests = [_best([m for m in measurements if m["step"] <= end]) for end in ends] + [_best(measurements)]
    _keep(directory, {best["step"] for best in bests if best})


def _keep(directory: Path, steps: set[int]) -> None:
    wanted = {_weights_path(directory, step) for step in steps}
    for path in directory.glob("*weights-*"):
        if path not in wanted:
            path.unlink()


def _weights_path(directory: Path, step: int) -> Path:
    return directory / f"weights-{step:08d}.npz"


def _packed(network: keras.Model) -> bytes:
    """All variables of a network in order: an uncompressed .npz, whose bytes are a function of them."""
    buffer = io.BytesIO()
    np.savez(buffer, *network.get_weights())
    return buffer.getvalue()
