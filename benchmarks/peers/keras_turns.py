"""A Keras training that goes on only when it is its turn."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from peers.turns import Turns


class TakesTurns(keras.callbacks.Callback):
    """Between two batches of one long ``fit``: answers, and waits for the next question.

    ========================================= ============================================================
    question                                  answer
    ========================================= ============================================================
    ``{"do": "train", "steps": n}``           after n steps: seconds of them, the step, the losses
    ``{"do": "train", "until_seconds": s}``   the same, after the first step with which all trainings of this
                                              process together took s
    ``{"do": "sample", "count": n, ...}``     after writing n images to the ``.npy`` file ``path``
    ``{"do": "save"}``                        after `save`
    ========================================= ============================================================

    A training that has come to its end says ``finished`` and goes on answering. Without further questions the
    training stops. Waiting, sampling and saving are not training time; tracing the graph is.

    Args:
        turns: the pipe.
        sample: ``count -> uint8 [count, H, W, C]``.
        save: keeps what a resume needs.
    """

    def __init__(
        self,
        turns: Turns,
        *,
        sample: Callable[[int], np.ndarray] | None = None,
        save: Callable[[], object] | None = None,
    ) -> None:
        super().__init__()
        self.turns, self.sample, self.save = turns, sample, save
        self.steps = self.until_step = 0
        self.seconds = self.cpu_seconds = self.until_seconds = self.started = self.cpu_started = 0.0
        self.losses: dict[str, float] = {}
        self.finished = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._wait()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self.steps += 1
        seconds = self.seconds + time.perf_counter() - self.started
        if self.steps >= self.until_step and seconds >= self.until_seconds:
            # Read, because the step may still be running.
            self.losses = {name: float(np.mean(value)) for name, value in (logs or {}).items()}
            self._answer()
            self._wait()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        self.finished = True
        if not self.model.stop_training:
            self._answer()
            self._wait()

    def _answer(self) -> None:
        seconds, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu_started
        self.seconds, self.cpu_seconds = self.seconds + seconds, self.cpu_seconds + cpu
        self.turns.answer(
            seconds=seconds,
            cpu_seconds=cpu,
            total_seconds=self.seconds,
            steps=self.steps,
            losses=self.losses,
            finished=self.finished,
        )

    def _wait(self) -> None:
        for question in self.turns:
            if question["do"] == "train":
                self.started, self.cpu_started = time.perf_counter(), time.process_time()
                if not self.finished:
                    self.until_step = self.steps + question.get("steps", 1)
                    self.until_seconds = question.get("until_seconds", 0.0)
                    return
                self._answer()
            elif question["do"] == "sample" and self.sample:
                images = self.sample(question["count"])
                np.save(Path(question["path"]), images)
                self.turns.answer(shape=images.shape)
            elif question["do"] == "save" and self.save:
                self.save()
                self.turns.answer(saved=True)
            else:
                raise ValueError(f"this training cannot do {question}")
        self.model.stop_training = True
