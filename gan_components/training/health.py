"""Warnings in words while a training goes wrong, each with its evidence and with what to try.

They read nothing but the lines of ``history.jsonl``. What they say is therefore a function of that file and of
``rollbacks.json``: a resumed run reads both and writes the same ``warnings.jsonl`` as an uninterrupted one.
"""

import collections
import json
import logging
import math
import os
import statistics
from pathlib import Path

import keras
import numpy as np
from pydantic import JsonValue

from gan_components import artifacts
from gan_components.training import rollbacks

logger = logging.getLogger(__name__)

Window = dict[str, float]
"""A line of ``history.jsonl``: the step and the mean of each logged value since the line before."""

Evidence = dict[str, float]

Finding = dict[str, JsonValue]
"""A line of ``warnings.jsonl``: ``{"step": n, "warning": kind, "text": ..., "evidence": {...}}``."""

# The discriminator ranks pairs of a real and a generated image. At 0.99 it tells nearly all apart, at 0.55 and
# below hardly any: the mean over 3,200 pairs of a coin's throws deviates by 0.009. Ranks mean the same for every
# loss, unlike d_real and d_fake, which have no fixed level for relativistic, Wasserstein and hinge losses.
_WINS, _LOSES = 0.99, 0.55
# Gradients vanish below this share of what they were. Healthy trainings of digits end at 0.2 to 0.4 of their
# first windows; a discriminator that wins against the minimax loss leaves the generator 0.03 after 100 steps.
_VANISHED = 0.05
# Windows of a contest to which gradients are compared: the recent ones, since scales drift and grow with levels.
_MEMORY = 20
# Of the generated images' standard deviation relative to the real ones'. Trainings of digits start at 0.3 to 0.7;
# a DCGAN is above 0.6 after 100 steps, a healthy fully connected one without penalty lingers at 0.3 for 300.
_NARROW = 0.3
# A generator has this long to spread out once; from then on narrowness is a loss.
_WARM_UP_STEPS, _WIDE = 1_000, 0.5
# How long the signs must last before a warning, and be gone before the next: single windows may be accidents.
_LASTS_STEPS = {"vanishing_generator_gradients": 100, "discriminator_collapse": 150, "mode_collapse": 100}


class Warnings(keras.callbacks.Callback):
    """Logs and appends to ``warnings.jsonl`` what :class:`Diagnosis` finds at the end of each window of the log.

    A roll-back has its line there too (``"warning": "rollback"``): ``history.jsonl`` holds numbers only.

    Args:
        path: of the file; ``history.jsonl`` and ``rollbacks.json`` lie beside it.
        interval_steps: length of a window.
        start_step: finished steps; what was written of later ones is forgotten.
    """

    def __init__(self, path: Path, *, interval_steps: int, start_step: int) -> None:
        super().__init__()
        self.path, self.interval_steps = path, interval_steps
        self.diagnosis = Diagnosis(interval_steps=interval_steps)
        windows = _windows(path.with_name("history.jsonl"), end_step=start_step)
        lines = [warning for window in windows for warning in self.diagnosis.observe(window)]
        lines += [_of_rollback(rollback) for rollback in rollbacks.read(path.parent)]
        # Stable: a roll-back follows what was seen at the step that it goes back to.
        lines.sort(key=lambda line: int(str(line["step"])))
        artifacts.write_atomically(path, "".join(json.dumps(line) + "\n" for line in lines).encode())

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        step = int(self.model.step.numpy())
        if step % self.interval_steps:
            return
        # Rounded as in history.jsonl: a resumed run judges by the same numbers.
        values = {name: float(f"{float(np.reshape(value, ())):.6g}") for name, value in logs.items()}
        for warning in self.diagnosis.observe({"step": step} | values):
            logger.warning("step %d: %s", step, warning["text"])
            with self.path.open("a") as file:
                file.write(json.dumps(warning) + "\n")
                file.flush()
                # On the disk before the checkpoint that says these steps are done.
                os.fsync(file.fileno())


class Diagnosis:
    """Tells three failures of a training by its windows, fed in order to :meth:`observe`.

    ``vanishing_generator_gradients``: the discriminator ranks nearly all pairs right, and the norm of the
    generator's gradient has fallen to a twentieth of what it was while there was a contest: Arjovsky & Bottou
    2017, https://arxiv.org/abs/1701.04862.

    ``discriminator_collapse``: the discriminator hardly tells pairs apart, and the norm of a player's gradient
    has fallen to a twentieth: its own, or the generator's, which passes through the discriminator's slope at
    generated images and is zero where the logits are constant.

    ``mode_collapse``: the generated images of a batch vary less than 0.3 times as much as the real ones. That
    sees a generator with one or a few images; one that leaves out some modes, or has one image a class, varies
    enough.

    Each warns once until its signs have been gone for as long as they must last.

    Args:
        interval_steps: length of a window.

    Example:
        >>> values = {"d_accuracy": 0.9, "d_fake": 0.4, "d_gradient_norm": 2.0, "g_gradient_norm": 1.0}
        >>> diagnosis = Diagnosis(interval_steps=50)
        >>> for step in (50, 100, 150, 200):
        ...     spread = 0.7 if step < 150 else 0.1
        ...     warnings = diagnosis.observe({"step": step, "spread": spread, **values})
        >>> warnings[0]["warning"], warnings[0]["evidence"]
        ('mode_collapse', {'spread': 0.1, 'threshold': 0.3, 'steps': 100})
    """

    def __init__(self, *, interval_steps: int) -> None:
        # Never a single window, however long it is.
        self._patience = {kind: max(2, math.ceil(steps / interval_steps)) for kind, steps in _LASTS_STEPS.items()}
        self._interval_steps = interval_steps
        self._contest: collections.deque[Window] = collections.deque(maxlen=_MEMORY)
        self._has_spread = False
        # Windows in a row with the signs (positive) or without them (negative), and what has been said.
        self._runs = dict.fromkeys(_LASTS_STEPS, 0)
        self._warned: set[str] = set()

    def observe(self, window: Window) -> list[Finding]:
        """What is to be said after `window`."""
        # The first window counts whatever it shows: where one player wins at once there is no other measure.
        if not self._contest or _LOSES < window["d_accuracy"] < _WINS:
            self._contest.append(window)
        signs = {
            "vanishing_generator_gradients": self._vanishing(window),
            "discriminator_collapse": self._discriminator_collapse(window),
            "mode_collapse": self._mode_collapse(window),
        }
        found = [(kind, evidence) for kind, evidence in signs.items() if self._is_new(kind, evidence is not None)]
        return [self._warning(window, kind, evidence or {}) for kind, evidence in found]

    def _is_new(self, kind: str, seen: bool) -> bool:
        run, patience = self._runs[kind], self._patience[kind]
        self._runs[kind] = run = (max(run, 0) + 1) if seen else (min(run, 0) - 1)
        if run == -patience:
            self._warned.discard(kind)
        if run != patience or kind in self._warned:
            return False
        self._warned.add(kind)
        return True

    def _vanishing(self, window: Window) -> Evidence | None:
        before = self._usual("g_gradient_norm")
        if window["d_accuracy"] < _WINS or window["g_gradient_norm"] >= _VANISHED * before:
            return None
        names = ("d_accuracy", "d_fake", "g_gradient_norm")
        return {name: window[name] for name in names} | {"g_gradient_norm_before": before}

    def _discriminator_collapse(self, window: Window) -> Evidence | None:
        names = ("d_gradient_norm", "g_gradient_norm")
        before = {name: self._usual(name) for name in names}
        if window["d_accuracy"] > _LOSES or all(window[name] >= _VANISHED * before[name] for name in names):
            return None
        evidence = {name: window[name] for name in ("d_accuracy", *names)}
        return evidence | {f"{name}_before": value for name, value in before.items()}

    def _mode_collapse(self, window: Window) -> Evidence | None:
        self._has_spread |= window["spread"] >= _WIDE or window["step"] > _WARM_UP_STEPS
        if window["spread"] >= _NARROW or not self._has_spread:
            return None
        return {"spread": window["spread"], "threshold": _NARROW}

    def _usual(self, name: str) -> float:
        """The median of a gradient's norm over the contest so far."""
        return float(f"{statistics.median(window[name] for window in self._contest):.6g}")

    def _warning(self, window: Window, kind: str, evidence: Evidence) -> Finding:
        evidence = evidence | {"steps": self._patience[kind] * self._interval_steps}
        return {
            "step": int(window["step"]),
            "warning": kind,
            "text": _TEXTS[kind].format(**evidence),
            "evidence": dict(evidence),
        }


_TEXTS = {
    "vanishing_generator_gradients": (
        "the generator's gradients vanish: for {steps} steps the discriminator has ranked {d_accuracy:.1%} of the "
        "pairs right, D(G(z)) is {d_fake:.2g}, and the norm of the generator's gradient is {g_gradient_norm:.3g}, "
        "it was {g_gradient_norm_before:.3g}. The generator learns nothing any more. Try train.loss "
        "non_saturating or relativistic, a lower train.d_learning_rate, fewer train.d_steps_per_g_step, "
        "train.r1_gamma on or higher, train.augment for small data"
    ),
    "discriminator_collapse": (
        "the discriminator has collapsed: for {steps} steps it has ranked only {d_accuracy:.1%} of the pairs "
        "right, and gradients are gone: the norm of its own is {d_gradient_norm:.3g}, it was "
        "{d_gradient_norm_before:.3g}; that of the generator's is {g_gradient_norm:.3g}, it was "
        "{g_gradient_norm_before:.3g}. Look at the samples: if they are not as good as real images, try a lower "
        "train.d_learning_rate, a lower train.r1_gamma, train.r2_gamma or train.gp_lambda, a lower "
        "train.g_learning_rate, more train.d_steps_per_g_step"
    ),
    "mode_collapse": (
        "the modes collapse: for {steps} steps the generated images of a batch have varied {spread:.2f} times as "
        "much as the real ones; less than {threshold:.1f} means that they are nearly one image. Try train.loss "
        "relativistic with train.r1_gamma and train.r2_gamma, a lower train.g_learning_rate, train.r1_gamma on or "
        "higher"
    ),
}


def _windows(history: Path, *, end_step: int) -> list[Window]:
    """The lines of a history up to a step."""
    lines = history.read_bytes().splitlines(keepends=True) if history.exists() else []
    # The last line of a killed run may stand there in part.
    windows = [json.loads(line) for line in lines if line.endswith(b"\n")]
    return [window for window in windows if window["step"] <= end_step]


def _of_rollback(rollback: rollbacks.Rollback) -> Finding:
    retry, step = int(str(rollback["retry"])), rollback["step"]
    text = (
        f"roll-back {retry}: {rollback['reason']}. The training went on from step {step}, with learning rates "
        f"divided by {2**retry} and other random numbers"
    )
    return {
        "step": step,
        "warning": "rollback",
        "text": text,
        "evidence": {"retry": retry, "reason": rollback["reason"]},
    }
