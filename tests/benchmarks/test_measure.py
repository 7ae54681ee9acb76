"""What the benchmarks share: claims, contenders that take turns, the numbers of single scripts."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from measure import Contender, claim, claim_of
from peers import data
from peers.keras_turns import TakesTurns
from stacked_mnist import NUM_SAMPLES, Curve, modes_and_kl
from time_to_quality import turn_ends
from train_throughput import SETTINGS, _orders, best, claims_of


@pytest.mark.parametrize(
    "value, bound, holds",
    [(1.5, ">= 1.5", True), (1.49, ">= 1.5", False), (0.25, "<= 0.25", True), (0.26, "<= 0.25", False)],
)
def test_claim_states_whether_it_holds(value, bound, holds):
    """Red if the relation is turned round or the bound itself is left out."""
    assert claim("text", value, "ratio", bound)["holds"] is holds


def test_claim_about_nothing_does_not_hold_and_does_not_vanish():
    """Red if a claim without a value holds or is dropped: a missing peer would look like a win."""
    assert claim_of("text", [], "ratio", "<= 0.25") == {
        "claim": "text",
        "value": None,
        "unit": "ratio",
        "bound": "<= 0.25",
        "holds": False,
    }


def test_claim_of_repetitions_is_their_median_with_the_range():
    """Red with the mean (4.0) or the best."""
    made = claim_of("text", [1.0, 9.0, 2.0], "ratio", ">= 1.5")
    assert (made["value"], made["low"], made["high"]) == (2.0, 1.0, 9.0)


def test_child_answers_in_turn_and_its_prints_are_no_answers(tmp_path, monkeypatch):
    """Red if Turns leaves the process's stdout in place: "hello" would be read as the first answer."""
    (tmp_path / "echoing_child.py").write_text(
        "from peers.turns import Turns\n"
        "turns = Turns()\n"
        "print('hello', flush=True)\n"
        "for question in turns:\n"
        "    turns.answer(double=2 * question['number'])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Contender("echo", "echoing_child") as child:
        assert [child.ask(number=n)["double"] for n in (2, 3)] == [4, 6]


def test_dead_child_tells_why(tmp_path, monkeypatch):
    """Red if its stderr is thrown away."""
    (tmp_path / "dying_child.py").write_text("raise RuntimeError('out of ink')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        Contender("dying", "dying_child") as child,
        pytest.raises(RuntimeError, match=r"(?s)dying died.*out of ink"),
    ):
        child.ask(do="train")


class _Script:
    """Stands for the pipe: questions in order, answers kept."""

    def __init__(self, questions: list[dict]) -> None:
        self.questions = iter(questions)
        self.answers: list[dict] = []

    def __iter__(self):
        return self.questions

    def answer(self, **fields: object) -> None:
        self.answers.append(fields)


def _fit(questions: list[dict], num_steps: int, **options) -> list[dict]:
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    data = tf.data.Dataset.from_tensors((tf.ones((2, 1)), tf.ones((2, 1)))).repeat(num_steps)
    script = _Script(questions)
    model.fit(data, steps_per_epoch=num_steps, verbose=0, callbacks=[TakesTurns(script, **options)])
    return script.answers


def test_training_stops_where_it_was_asked_and_samples_between(tmp_path):
    """Three steps, a sample, then to the end, which is said and stays.

    Red if the steps of a turn are counted from the start of the training, or a finished one hangs on a question.
    """
    path = tmp_path / "samples.npy"
    answers = _fit(
        [
            {"do": "train", "steps": 3},
            {"do": "sample", "count": 4, "path": str(path)},
            {"do": "train", "steps": 1},
            {"do": "train", "until_seconds": 1e9},
            {"do": "train", "until_seconds": 2e9},
        ],
        num_steps=6,
        sample=lambda count: np.zeros((count, 2), np.uint8),
    )
    assert np.load(path).shape == (4, 2)
    trained = [answer for answer in answers if "steps" in answer]
    assert [(answer["steps"], answer["finished"]) for answer in trained] == [
        (3, False),
        (4, False),
        (6, True),
        (6, True),
    ]
    assert math.isfinite(trained[0]["losses"]["loss"])


def test_time_is_the_time_of_turns():
    """Waiting for a question is no training: the sum of the turns is the total.

    Red if the clock runs from the start of `fit`. Exact up to the rounding of float64 sums.
    """
    answers = _fit([{"do": "train", "steps": 1}, {"do": "train", "until_seconds": 0.0}], num_steps=4)
    assert answers[-1]["total_seconds"] == pytest.approx(sum(answer["seconds"] for answer in answers), rel=1e-9)
    assert [answer["steps"] for answer in answers] == [1, 2]


def test_unknown_question_is_an_error():
    """Red if it is skipped: the parent would wait for ever."""
    with pytest.raises(ValueError, match="cannot do"):
        _fit([{"do": "sample", "count": 1, "path": "x"}], num_steps=1)


def test_each_round_gives_each_contender_one_turn_and_moves_the_first_place():
    """Red if all rounds have one order: who runs behind a hot neighbour would always be the same."""
    orders = list(_orders(["a", "b", "c"], 6))
    assert all(sorted(order) == ["a", "b", "c"] for order in orders)
    assert {order[0] for order in orders} == {order[-1] for order in orders} == {"a", "b", "c"}


def test_best_variant_is_that_of_the_highest_median_of_its_precision():
    """Red with the highest single turn, or if float32 may win for bfloat16."""
    speeds = {
        "pytorch float32 contiguous eager": [30.0, 30.0, 30.0],
        "pytorch bfloat16 contiguous eager": [1.0, 1.0, 90.0],
        "pytorch bfloat16 channels_last eager": [2.0, 2.0, 2.0],
    }
    assert best(speeds, "pytorch bfloat16") == "pytorch bfloat16 channels_last eager"


def test_times_of_measurement_are_among_the_turns():
    """Red if a time that is no multiple of a turn is rounded away."""
    assert turn_ends([3.0, 12.0]) == [3.0, 5.0, 10.0, 12.0]


def test_modes_and_kl_of_known_shares():
    """All triples once: 1,000 modes and KL 0. One triple alone: log 1000. Half of them: log 2.

    Red if the triples are not numbered one to one, or p and q change places. Rounding of 1,000 float64 terms.
    """
    every = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), 1)
    assert modes_and_kl(every) == (1000, pytest.approx(0.0, abs=1e-12))
    assert modes_and_kl(every[[7]]) == (1, pytest.approx(math.log(1000)))
    assert modes_and_kl(every[::2]) == (500, pytest.approx(math.log(2)))


def test_kl_of_true_draws():
    """(1000 - 1) / (2 N) on average, with a standard deviation of sqrt(2 * 999) / (2 N) = 0.0009: four of them.

    Red if KL is taken in bits (0.028) or of other shares.
    """
    draws = np.random.default_rng(0).integers(0, 10, (NUM_SAMPLES, 3))
    assert modes_and_kl(draws) == (1000, pytest.approx(999 / (2 * NUM_SAMPLES), abs=4 * 0.0009))


def test_resumed_curve_forgets_what_came_after_the_checkpoint(tmp_path):
    """Red if the lines of a step that is trained again stay: the step would stand there twice."""
    path = tmp_path / "curve.jsonl"
    points = [{"contender": name, "step": step, "seconds": 2.0 * step} for name in "ab" for step in (1, 2, 3)]
    path.write_text("".join(json.dumps(point) + "\n" for point in points))
    curve = Curve(path)
    assert curve.resume("a", 2) == 4.0
    assert [point["step"] for point in Curve(path).of("a")] == [1, 2]
    assert [point["step"] for point in Curve(path).of("b")] == [1, 2, 3]
    assert Curve(tmp_path / "none.jsonl").resume("a", 0) == 0.0


def test_checkpoint_without_its_measurement_is_refused(tmp_path):
    """Red if its seconds are taken for none: the result would claim minutes that were hours."""
    with pytest.raises(SystemExit, match="knows nothing of step 2"):
        Curve(tmp_path / "curve.jsonl").resume("a", 2)


def test_claims_about_a_missing_peer_stay_and_do_not_hold():
    """Without torch. Red if they are left out, or a float32 peer stands in."""
    speeds = {"ours float32": [2.0], "ours mixed_bfloat16": [3.0], "keras example": [1.0]}
    claims = claims_of("dcgan28", SETTINGS["dcgan28"], {"speeds": speeds}, has_amx=True)
    assert [(made["value"], made["holds"]) for made in claims] == [
        (None, False),
        (None, False),
        (2.0, True),
        (1.5, True),
    ]


def test_digits_are_divided_and_in_no_order():
    """No digit stands on both sides, and the first batch holds most classes.

    Red if the digits stay sorted (one class in the first batch), or a side is not taken from the other.
    """
    source = data.load("digits")
    keys = [{image.tobytes() for image in side} for side in (source.train, source.holdout)]
    assert len(source.train) + len(source.holdout) == 5000
    assert not keys[0] & keys[1]
    assert len(set(source.train_labels[:64])) >= 8
