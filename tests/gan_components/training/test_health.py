"""Warnings in words: that failures are told, healthy trainings are left alone, and a resume changes nothing."""

import doctest
import json
import logging
import types
from pathlib import Path

import keras
import numpy as np
import pytest

from gan_components.training import health, rollbacks
from gan_components.training.health import Diagnosis, Warnings

NAMES = ("d_accuracy", "d_fake", "d_gradient_norm", "g_gradient_norm", "spread")

# Windows of 50 steps, measured: a DCGAN with base_channels 16 on 4,000 digits, batches of 64.
HEALTHY = [
    (0.975, 0.464, 9.26, 3.52, 0.563), (0.984, 0.405, 7.27, 2.75, 0.652), (0.952, 0.397, 8.40, 1.93, 0.797),
    (0.894, 0.405, 6.87, 1.48, 0.878), (0.864, 0.414, 4.49, 1.08, 0.950), (0.868, 0.408, 4.32, 1.07, 0.977),
    (0.876, 0.388, 3.48, 1.09, 0.988), (0.860, 0.381, 2.29, 1.05, 1.000), (0.839, 0.383, 2.38, 1.13, 0.994),
    (0.823, 0.392, 2.19, 1.11, 0.979), (0.818, 0.400, 2.17, 1.13, 0.989), (0.801, 0.404, 2.23, 1.07, 0.976),
]  # fmt: skip
# The minimax loss, d_learning_rate 40 times g_learning_rate, no penalty.
OVERPOWERED = [
    (0.991, 0.0455, 0.394, 0.34, 0.829), (1.0, 1.58e-4, 4.15e-3, 9.17e-3, 0.833),
    (1.0, 5.52e-5, 1.57e-3, 3.64e-3, 0.833), (1.0, 2.57e-5, 7.87e-4, 1.83e-3, 0.836),
]  # fmt: skip
# r1_gamma 10,000: a discriminator that may have no slope.
FLATTENED = [
    (0.132, 0.529, 241.0, 0.176, 0.796), (0.0241, 0.522, 20.3, 0.061, 1.12), (0.131, 0.511, 7.09, 0.0269, 1.42),
    (0.226, 0.508, 2.77, 0.0145, 1.58), (0.299, 0.505, 1.9, 0.0102, 1.7), (0.322, 0.504, 1.29, 0.00786, 1.78),
]  # fmt: skip


def _windows(rows, *, start_step: int = 0, interval_steps: int = 50) -> list[dict[str, float]]:
    steps = range(start_step + interval_steps, 10**6, interval_steps)
    return [{"step": step, **dict(zip(NAMES, row, strict=True))} for step, row in zip(steps, rows, strict=False)]


def _found(rows, **arguments) -> list[tuple[str, int]]:
    diagnosis = Diagnosis(interval_steps=arguments.get("interval_steps", 50))
    warnings = [warning for window in _windows(rows, **arguments) for warning in diagnosis.observe(window)]
    return [(warning["warning"], warning["step"]) for warning in warnings]


def _row(row: tuple[float, ...], **changed: float) -> tuple[float, ...]:
    return tuple((dict(zip(NAMES, row, strict=True)) | changed).values())


def test_a_healthy_training_is_left_alone():
    """Measured windows. Red if gradients count as vanished below 0.5 of before with any discriminator."""
    assert _found(HEALTHY) == []
    assert _found([_row(row, d_accuracy=1.0) for row in HEALTHY]) == []
    assert _found([_row(row, d_accuracy=0.5) for row in HEALTHY]) == []


def test_vanishing_generator_gradients():
    """Measured windows: the discriminator wins at once. Red if the first window is no measure of others."""
    assert _found(OVERPOWERED) == [("vanishing_generator_gradients", 150)]


def test_vanishing_needs_a_winning_discriminator():
    """Small gradients alone are a generator that has arrived. Red without the condition on d_accuracy."""
    assert _found(HEALTHY + [_row(HEALTHY[-1], g_gradient_norm=1e-6)] * 4) == []


def test_one_window_is_an_accident():
    """Red if a sign need not last."""
    spike = _row(HEALTHY[-1], d_accuracy=1.0, g_gradient_norm=0.01)
    assert _found([*HEALTHY, spike, *HEALTHY, spike]) == []
    assert _found([*HEALTHY, spike, spike]) == [("vanishing_generator_gradients", 700)]


def test_short_windows_must_add_up_to_the_same_steps():
    """A window of one step is noisy. Red if two windows are enough whatever their length."""
    won = _row(HEALTHY[-1], d_accuracy=1.0, g_gradient_norm=0.001)
    assert _found([*HEALTHY, *[won] * 99], interval_steps=1) == []
    assert _found([*HEALTHY, *[won] * 100], interval_steps=1) == [("vanishing_generator_gradients", 112)]


def test_gradients_are_compared_with_those_of_the_contest():
    """While they vanish slowly the measure stays. Red if windows that the discriminator wins enter it."""
    slow = [_row(HEALTHY[-1], d_accuracy=0.995, g_gradient_norm=1.1 * 0.8**i) for i in range(40)]
    found = _found(HEALTHY + slow)
    assert [kind for kind, _ in found] == ["vanishing_generator_gradients"]


def test_discriminator_collapse():
    """Measured windows. Red if the discriminator's own gradients are not looked at."""
    assert _found(FLATTENED) == [("discriminator_collapse", 250)]


def test_constant_logits_are_a_collapse():
    """No slope, no gradient for the generator, whatever the discriminator's own is: its last bias still moves.

    Red if the generator's gradients are not looked at.
    """
    dead = _row(HEALTHY[-1], d_accuracy=0.0, g_gradient_norm=0.0)
    assert _found([*HEALTHY, dead, dead, dead]) == [("discriminator_collapse", 750)]


def test_an_even_contest_is_no_collapse():
    """At equilibrium D is one half. Red if d_accuracy alone decides."""
    assert _found(HEALTHY + [_row(HEALTHY[-1], d_accuracy=0.5)] * 10) == []


def test_mode_collapse():
    """Red if the threshold is taken from above, or one window is enough."""
    narrow = _row(HEALTHY[-1], spread=0.29)
    assert _found([*HEALTHY, narrow, _row(HEALTHY[-1], spread=0.31), narrow]) == []
    assert _found([*HEALTHY, narrow, narrow]) == [("mode_collapse", 700)]


def test_a_generator_may_start_narrow_but_not_stay_so():
    """Initial images may be nearly equal, and a fully connected generator measured 0.33, 0.33, 0.29, 0.31, 0.31.

    Red without the warm-up, if it never ends, or ends with a spread that is just not narrow.
    """
    narrow = _row(HEALTHY[0], spread=0.05)
    assert _found([narrow] * 10 + HEALTHY) == []
    assert _found([narrow] * 30) == [("mode_collapse", 1100)]
    assert _found([_row(HEALTHY[0], spread=spread) for spread in (0.33, 0.29, 0.28, 0.33, 0.6)]) == []


def test_a_kind_warns_once_until_it_clears():
    """Also after a good window between. Red if every bad window warns, or a cleared kind never warns again."""
    narrow, fine = _row(HEALTHY[-1], spread=0.1), HEALTHY[-1]
    rows = [fine, *[narrow] * 4, fine, *[narrow] * 4, fine, fine, narrow, narrow]
    assert _found(rows) == [("mode_collapse", 150), ("mode_collapse", 700)]


def test_text_and_evidence():
    """Red if a number is missing in the words, or the median is not that of the contest."""
    diagnosis = Diagnosis(interval_steps=50)
    won = _row(HEALTHY[-1], d_accuracy=1.0, d_fake=0.001, g_gradient_norm=0.02)
    for window in _windows([*HEALTHY, won]):
        assert diagnosis.observe(window) == []
    (warning,) = diagnosis.observe(_windows([won], start_step=650)[0])
    median = float(np.median([row[3] for row in HEALTHY]))
    assert warning["evidence"] == {
        "d_accuracy": 1.0,
        "d_fake": 0.001,
        "g_gradient_norm": 0.02,
        "g_gradient_norm_before": pytest.approx(median, rel=1e-5),
        "steps": 100,
    }
    for words in ("for 100 steps", "100.0%", "D(G(z)) is 0.001", f"is 0.02, it was {median:.3g}", "train.loss"):
        assert words in warning["text"]


def test_every_kind_has_words():
    """Red if a text names a number that its evidence lacks."""
    dead = _row(HEALTHY[-1], d_accuracy=0.0, g_gradient_norm=0.0, spread=0.0)
    diagnosis = Diagnosis(interval_steps=50)
    texts = [w["text"] for window in _windows([*HEALTHY, *[dead] * 3]) for w in diagnosis.observe(window)]
    assert [text.split(":")[0] for text in texts] == ["the modes collapse", "the discriminator has collapsed"]


def test_example_of_the_docstring():
    """Red if the docstring shows what the code does not do."""
    finder = doctest.DocTestFinder()
    runner = doctest.DocTestRunner()
    for example in finder.find(Diagnosis, "Diagnosis", globs=vars(health)):
        runner.run(example)
    assert runner.summarize(verbose=False) == doctest.TestResults(failed=0, attempted=4)


def _train(work: Path, rows, *, start_step: int = 0, end_step: int | None = None) -> None:
    """What a training leaves, from `start_step` on; the history is cut last, so that nothing relies on its cut."""
    history = work / "history.jsonl"
    windows = _windows(rows)
    watcher = Warnings(work / "warnings.jsonl", interval_steps=50, start_step=start_step)
    kept = [window for window in windows if window["step"] <= start_step]
    history.write_text("".join(json.dumps(window) + "\n" for window in kept))
    step = keras.Variable(0, dtype="int64", trainable=False)
    watcher.set_model(types.SimpleNamespace(step=step))
    for window in windows:
        if window["step"] <= start_step or (end_step and window["step"] > end_step):
            continue
        with history.open("a") as file:
            file.write(json.dumps(window) + "\n")
        for number in (window["step"] - 1, window["step"]):
            step.assign(number)
            # With more digits than the history keeps.
            logs = {name: np.float32([value * (1 + 1e-9)]) for name, value in window.items() if name != "step"}
            watcher.on_train_batch_end(0, logs)


ROWS = [*HEALTHY, *[_row(HEALTHY[-1], spread=0.1)] * 6, *HEALTHY, *[_row(HEALTHY[-1], spread=0.2)] * 4]


def test_file_and_log(tmp_path, caplog):
    """Red if a warning is not logged, or windows are judged at every step."""
    with caplog.at_level(logging.WARNING):
        _train(tmp_path, ROWS)
    lines = [json.loads(line) for line in (tmp_path / "warnings.jsonl").read_text().splitlines()]
    assert [(line["warning"], line["step"]) for line in lines] == [("mode_collapse", 700), ("mode_collapse", 1600)]
    assert lines[0].keys() == {"step", "warning", "text", "evidence"}
    assert [record.message.startswith("step 700: the modes collapse") for record in caplog.records] == [
        True,
        False,
    ]


@pytest.mark.parametrize("killed_at", [600, 650, 700, 850, 1500, 1600])
def test_a_resumed_run_writes_the_same_file(tmp_path, killed_at, caplog):
    """Killed beyond its checkpoint, at whatever stage of a warning, with half a line written.

    Red if the state is not rebuilt from the history, lines beyond the checkpoint stay, or a rebuilt warning is
    logged again.
    """
    (tmp_path / "whole").mkdir()
    (tmp_path / "resumed").mkdir()
    _train(tmp_path / "whole", ROWS)
    _train(tmp_path / "resumed", ROWS, end_step=killed_at + 150)
    for name in ("history.jsonl", "warnings.jsonl"):
        with (tmp_path / "resumed" / name).open("a") as file:
            file.write('{"step": 17')
    caplog.clear()
    _train(tmp_path / "resumed", ROWS, start_step=killed_at)
    expected = (tmp_path / "whole" / "warnings.jsonl").read_bytes()
    assert (tmp_path / "resumed" / "warnings.jsonl").read_bytes() == expected
    assert len(caplog.records) == sum(step > killed_at for step in (700, 1600))


def test_a_roll_back_stands_among_the_warnings(tmp_path):
    """After what was seen until its step, before what came later, also after a resume.

    Red if it is written where it happened only, or sorted by kind.
    """
    _train(tmp_path, ROWS, end_step=800)
    (tmp_path / "checkpoints" / "step-00000700").mkdir(parents=True)
    rollbacks.record(tmp_path, ValueError("g_loss = inf"))
    for start_step in (700, 1700):
        _train(tmp_path, ROWS, start_step=start_step)
        lines = [json.loads(line) for line in (tmp_path / "warnings.jsonl").read_text().splitlines()]
        assert [line["warning"] for line in lines] == ["mode_collapse", "rollback", "mode_collapse"]
        assert lines[1]["step"] == 700
        assert lines[1]["evidence"] == {"retry": 1, "reason": "g_loss = inf"}
        assert (
            "g_loss = inf. The training went on from step 700, with learning rates divided by 2"
            in lines[1]["text"]
        )
