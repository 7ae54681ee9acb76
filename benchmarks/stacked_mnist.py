"""Modes of StackedMNIST that a generator covers, and how evenly: R3GAN beside the non-saturating loss with R1.

    python benchmarks/stacked_mnist.py [--out DIRECTORY] [--seconds 2700] [--interval-steps 500]
                                       [--picture FILE] [--quick]

Three digits are the channels of an image; a judge that shares no code with the package (a convolutional network
trained on the same 5,000 digits) reads each channel of 25,600 images of the averaged generator. A mode is a triple
that was read at least once, of 1,000 (Metz et al. 2016, https://arxiv.org/abs/1611.02163). KL is
``sum p log(p / q)`` in nats, p the shares of the triples read and q = 1/1000: the source draws each channel's
class uniformly. The bounds are the figures of R3GAN, https://arxiv.org/abs/2501.05441, table 2.

Neither the judge nor the count is perfect: 25,600 true draws have a KL of about (1000 - 1) / (2 * 25600) = 0.0195,
and what 25,600 stacks of held-out digits come to under the judge is printed beside the result.

Both contenders are the preset `r3gan`, the plain one with `loss: non_saturating` and without R2. They take turns
from one measurement to the next, at equal steps; seconds are each one's own, of training with its tracing. With
`--out`, `DIRECTORY/curve.jsonl` gets a line a measurement, and a run that was stopped goes on from the last one.
"""

import argparse
import json
import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import judge
import keras
import numpy as np
from measure import Contender, claim, note, report

from gan_components.ingestion import digits, stacked_digits
from gan_components.training.config import TrainConfig
from pipelines import config as presets

NUM_SAMPLES = 25_600
NUM_MODES = 1000
# Of R3GAN's paper.
MAX_KL = 0.078
R3GAN, PLAIN = "r3gan", "non-saturating + R1"


def modes_and_kl(triples: np.ndarray) -> tuple[int, float]:
    """Modes that occur, and ``sum p log(p / q)`` against the uniform q, in nats.

    Args:
        triples: the digits of each image, int ``[N, 3]`` in [0, 10).

    Example:
        >>> modes_and_kl(np.zeros((5, 3), np.int64))[0]
        1
    """
    counts = np.bincount(triples @ [100, 10, 1], minlength=NUM_MODES)
    shares = counts[counts > 0] / len(triples)
    return len(shares), float(np.sum(shares * np.log(shares * NUM_MODES)))


def read(reader: keras.Model, images: np.ndarray) -> np.ndarray:
    """The digits that the judge reads in the channels of uint8 ``[N, 28, 28, 3]``: int64 ``[N, 3]``."""
    planes = [judge.read(reader, images[..., channel, None].astype(np.float32) / 255) for channel in range(3)]
    return np.stack(planes, 1)


def sections(overrides: list[str]) -> dict[str, TrainConfig]:
    """The train sections of both contenders."""
    section = presets.load("r3gan", overrides).train
    if section.loss != "relativistic" or section.r1_gamma is None or section.r2_gamma is None:
        raise SystemExit("the preset r3gan is not relativistic with R1 and R2 any more; nothing to compare")
    return {R3GAN: section, PLAIN: section.model_copy(update={"loss": "non_saturating", "r2_gamma": None})}


class Curve:
    """The measurements so far, in memory and in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def of(self, contender: str) -> list[dict]:
        return [point for point in self.points if point["contender"] == contender]

    def resume(self, contender: str, step: int) -> float:
        """Forgets what was measured after the checkpoint of `step`; seconds of training up to it.

        Raises:
            SystemExit: of the checkpoint nothing is known.
        """
        self.points = [point for point in self.points if point["contender"] != contender or point["step"] <= step]
        self.path.write_text("".join(json.dumps(point) + "\n" for point in self.points))
        if step and step not in [point["step"] for point in self.of(contender)]:
            raise SystemExit(f"{self.path} knows nothing of step {step} of {contender}; begin in another --out")
        return max((point["seconds"] for point in self.of(contender)), default=0.0)

    def append(self, point: dict) -> None:
        self.points.append(point)
        with self.path.open("a") as file:
            file.write(json.dumps(point) + "\n")


def measure(
    ours: dict[str, TrainConfig],
    reader: keras.Model,
    curve: Curve,
    *,
    interval_steps: int,
    seconds: float,
    out: Path,
) -> None:
    """Trains both in turns until their end, or until R3GAN has trained for `seconds`."""
    with ExitStack() as stack:
        contenders, steps, spent = {}, {}, {}
        for number, (name, section) in enumerate(ours.items()):
            directory = out / f"checkpoints-{number}"
            arguments = [section.model_dump_json(), "stacked_digits", "--checkpoints", str(directory)]
            contenders[name] = stack.enter_context(Contender(name, "peers.project", arguments))
            steps[name] = contenders[name].ask(do="describe")["start_step"]
            spent[name] = curve.resume(name, steps[name])
        end = ours[R3GAN].num_steps
        while min(steps.values()) < end and spent[R3GAN] < seconds:
            # Of unequal checkpoints the one behind catches up first.
            goal = min(min(steps.values()) // interval_steps * interval_steps + interval_steps, end)
            for name, contender in contenders.items():
                if steps[name] >= goal:
                    continue
                answer = contender.ask(do="train", steps=goal - steps[name])
                steps[name], spent[name] = goal, spent[name] + answer["seconds"]
                path = out / "samples.npy"
                contender.ask(do="sample", count=NUM_SAMPLES, path=str(path))
                modes, kl = modes_and_kl(read(reader, np.load(path)))
                point = {
                    "contender": name,
                    "step": goal,
                    "seconds": round(spent[name], 1),
                    "modes": modes,
                    "kl": round(kl, 4),
                }
                curve.append(point)
                note(f"  {point}")
                contender.ask(do="save")


def real_stacks(reader: keras.Model) -> dict[str, dict]:
    """What as many stacks of held-out digits come to: by their labels, and as the judge reads them."""
    fraction = presets.load("r3gan").ingest.holdout.model_dump()["fraction"]
    places = stacked_digits.draw(round(NUM_SAMPLES / fraction), fraction, seed=0)[True]
    _, labels = digits.read()
    triples = {"as labelled": labels[places], "as read": read(reader, stacked_digits.stacks(places))}
    measured = {how: modes_and_kl(these) for how, these in triples.items()}
    return {how: {"modes": modes, "kl": round(kl, 4)} for how, (modes, kl) in measured.items()}


def draw(curves: dict[str, list[dict]], path: Path) -> None:
    """Modes and KL of all contenders over the steps, with the paper's figures as dashed lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for panel, key, bound, title in (
        (panels[0], "modes", NUM_MODES, f"Modes of {NUM_MODES:,}"),
        (panels[1], "kl", MAX_KL, "KL to the data's modes, nats"),
    ):
        for name, points in curves.items():
            panel.plot(
                [point["step"] for point in points], [point[key] for point in points], marker=".", label=name
            )
        panel.axhline(bound, color="black", lw=1, ls="--")
        panel.set(title=title, xlabel="steps")
    panels[1].set_yscale("log")
    panels[1].legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, help="keeps curve and checkpoints here; the same again resumes")
    parser.add_argument("--seconds", type=float, default=2700, help="of R3GAN's training, at most")
    parser.add_argument("--interval-steps", type=int, default=500, help="from one measurement to the next")
    parser.add_argument("--only-r3gan", action="store_true", help="without the plain contender")
    parser.add_argument(
        "--set", action="append", default=[], metavar="train.KEY=VALUE", help="of the preset r3gan"
    )
    parser.add_argument("--picture", type=Path, help="draw the curves here")
    parser.add_argument("--quick", action="store_true", help="16 steps and a weaker judge, for a smoke test")
    arguments = parser.parse_args()
    overrides = arguments.set + (["train.num_steps=16"] if arguments.quick else [])
    ours = sections(overrides)
    if arguments.only_r3gan:
        del ours[PLAIN]
    reader, accuracy = judge.of_all_digits(epochs=1 if arguments.quick else 15)

    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        curve = Curve(out / "curve.jsonl")
        interval_steps = 8 if arguments.quick else arguments.interval_steps
        measure(ours, reader, curve, interval_steps=interval_steps, seconds=arguments.seconds, out=out)
        curves = {name: curve.of(name) for name in ours}
    if arguments.picture:
        draw(curves, arguments.picture)

    # The last measurement within the time, not the best one: no number is chosen by what it says.
    last = [point for point in curves[R3GAN] if point["seconds"] <= arguments.seconds][-1:]
    modes, kl, spent = (last[0][key] if last else None for key in ("modes", "kl", "seconds"))
    report(
        "stacked_mnist",
        [
            claim(f"{R3GAN}: modes of {NUM_MODES} in {NUM_SAMPLES} samples", modes, "modes", f">= {NUM_MODES}"),
            claim(f"{R3GAN}: KL to the data's modes", kl, "nats", f"<= {MAX_KL}"),
            claim(f"{R3GAN}: training time to that", spent, "seconds", "<= 2700"),
        ],
        threads=2,
        overrides=arguments.set,
        judge_accuracy_on_1000_unseen_digits=accuracy,
        kl_of_true_draws_expected=(NUM_MODES - 1) / (2 * NUM_SAMPLES),
        real_held_out_stacks=real_stacks(reader),
        curves=curves,
    )


if __name__ == "__main__":
    main()
