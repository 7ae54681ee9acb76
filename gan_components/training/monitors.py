"""What watches a training: Keras callbacks, each of which acts after a finished step."""

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from gan_components import artifacts, images, randomness
from gan_components.artifacts import Progress
from gan_components.errors import DivergedError
from gan_components.generators import Description
from gan_components.training import checkpoints

KEEP = 2
"""Checkpoints kept while training: the newest, and the one before as a spare against a damaged disk."""


class StopOnNonFinite(keras.callbacks.Callback):
    """Ends the training at the first step with a logged value that is not finite: a loss, a norm, a penalty.

    Raises:
        DivergedError: naming the step and the value.
    """

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        bad = [f"{name} = {value}" for name, value in _numbers(logs).items() if not math.isfinite(value)]
        if bad:
            raise DivergedError(
                f"training diverged at step {_step(self)}: {', '.join(bad)}; finite values were expected; "
                "lower train.g_learning_rate and train.d_learning_rate or raise train.r1_gamma"
            )


class History(keras.callbacks.Callback):
    """Appends ``{"step": n, <mean of each metric since the last line>}`` to ``history.jsonl``.

    The file holds no times: that of a resumed run equals that of an uninterrupted one byte for byte.
    """

    def __init__(self, path: Path, *, interval_steps: int, start_step: int) -> None:
        super().__init__()
        self.path, self.interval_steps = path, interval_steps
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        # A killed run may have written further than its last checkpoint, the last line perhaps in part.
        finished = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= start_step]
        artifacts.write_atomically(path, b"".join(finished))

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        step = _step(self)
        if step % self.interval_steps == 0:
            line = {"step": step} | {name: float(f"{value:.6g}") for name, value in _numbers(logs).items()}
            with self.path.open("a") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                # On the disk before the checkpoint that says these steps are done.
                os.fsync(file.fileno())
            for window in self.model.windows.values():
                window.reset_state()


class Samples(keras.callbacks.Callback):
    """Draws the same latents with the averaged generator, now and at the end: ``samples/step-<n>.png``."""

    def __init__(
        self,
        directory: Path,
        *,
        inputs: dict[str, np.ndarray],
        channels: int,
        interval_steps: int,
        num_steps: int,
    ) -> None:
        super().__init__()
        directory.mkdir(exist_ok=True)
        self.directory, self.inputs, self.channels = directory, inputs, channels
        self.interval_steps, self.num_steps = interval_steps, num_steps

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        step = _step(self)
        if step % self.interval_steps == 0 or step == self.num_steps:
            pictures = images.to_uint8(self.model(self.inputs)).numpy()
            # The images of a pair side by side.
            domains = np.split(pictures, pictures.shape[-1] // self.channels, axis=-1)
            images.write_grid(self.directory / f"step-{step:08d}.png", np.concatenate(domains, axis=2), columns=10)


class Report(keras.callbacks.Callback):
    """Tells the progress callback the losses and the speed."""

    def __init__(self, progress: Progress, *, batch_size: int, num_steps: int, interval_steps: int) -> None:
        super().__init__()
        self.progress, self.batch_size, self.num_steps = progress, batch_size, num_steps
        self.interval_steps = interval_steps

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.last_step, self.last_time = _step(self), time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        step = _step(self)
        if step % self.interval_steps and step != self.num_steps:
            return
        now = time.monotonic()
        speed = (step - self.last_step) * self.batch_size / (now - self.last_time)
        self.last_step, self.last_time = step, now
        values = _numbers(logs)
        text = f"d_loss {values['d_loss']:.3f}  g_loss {values['g_loss']:.3f}  {speed:.0f} images/s"
        self.progress(step, self.num_steps, text)


class Checkpoints(keras.callbacks.Callback):
    """Saves a checkpoint every `interval_steps`, at the end, and when a signal asks to stop: then it ends `fit`.

    Comes last in the list of callbacks, so that a checkpoint follows what the others wrote for its step.
    """

    def __init__(
        self, directory: Path, *, interval_steps: int, num_steps: int, received: list[signal.Signals]
    ) -> None:
        super().__init__()
        self.directory, self.interval_steps, self.num_steps = directory, interval_steps, num_steps
        self.received = received

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        step = _step(self)
        if step % self.interval_steps == 0 or step == self.num_steps or self.received:
            # The losses tell of the weights before the step; what a roll-back restores must itself be sound.
            check_finite(self.model.generator, step=step)
            check_finite(self.model.discriminator, step=step)
            checkpoints.save(self.model, self.directory, keep=KEEP)
        if self.received:
            self.model.stop_training = True


def check_finite(network: keras.Model, *, step: int) -> None:
    """Raises DivergedError if a weight of `network` is not finite after `step` steps."""
    for variable in network.variables:
        if not np.all(np.isfinite(variable.numpy())):
            raise DivergedError(
                f"{network.name}'s {variable.path} is not finite after step {step}; lower train.g_learning_rate "
                "and train.d_learning_rate or raise train.r1_gamma"
            )


@contextlib.contextmanager
def stop_signals() -> Iterator[list[signal.Signals]]:
    """Within this context SIGTERM and SIGINT only append themselves to the list that it gives.

    At its end the handlers before are put back. Outside the main thread, where Python allows no handlers, the
    list stays empty.

    Raises:
        SystemExit: at the end, if a signal came: 128 + its number, 143 or 130.
    """
    received: list[signal.Signals] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    stopping = (signal.SIGTERM, signal.SIGINT)
    previous = [
        signal.signal(number, lambda number, _: received.append(signal.Signals(number))) for number in stopping
    ]
    try:
        yield received
    finally:
        for number, handler in zip(stopping, previous, strict=True):
            signal.signal(number, handler)
    if received:
        raise SystemExit(128 + received[0])


def sample_inputs(description: Description, *, seed: int) -> dict[str, np.ndarray]:
    """Inputs of the generator for :class:`Samples`: a stream of its own, labels 0, 1, 2, ... in turn."""
    random = randomness.numpy_generator(seed, "samples")
    shape = (80, description.latent_dim)
    if description.latent_distribution == "normal":
        latents = random.standard_normal(shape, np.float32)
    else:
        latents = random.uniform(-1, 1, shape).astype(np.float32)
    labels = {"labels": np.arange(80) % description.num_classes} if description.num_classes else {}
    return {"latents": latents, **labels}


def _step(callback: keras.callbacks.Callback) -> int:
    return int(callback.model.step.numpy())


def _numbers(logs: dict) -> dict[str, float]:
    """The logs as floats: they come in the shape (1,)."""
    return {name: float(np.reshape(value, ())) for name, value in logs.items()}
