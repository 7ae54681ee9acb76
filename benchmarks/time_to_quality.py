"""Distance to real images against training time: this project's presets beside the official Keras example.

    python benchmarks/time_to_quality.py [--data digits,fashion] [--seconds 15,30,60,120] [--seeds 0,1,2] [--quick]

The number is `fd_classifier`: the Fréchet distance between as many generated as held-out images in the features of
this project's classifier, trained on the training split alone. Contenders, each a process with two threads:

- dcgan: the preset `digits` or `fashion` as it ships (with labels; its averaged generator is judged).
- r3gan: the train section of the preset `r3gan` on the same data.
- keras example: networks, losses and Adam(3e-4) of keras.io's GAN of 28x28 digits, unconditional.
- keras example, dcgan: the example's step with this project's DCGAN and the DCGAN paper's Adam(2e-4, 0.5),
  unconditional. The better of the two recipes counts.

Of each seed all contenders take turns of a few seconds, so that a busy machine is busy for all. Time is training
time with its tracing; sampling, measuring and start-up are left out. A training at its end stays where it is.
"""

import argparse
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from measure import Contender, claim_of, note, report
from peers import data
from peers.cases import Case

from gan_components.metrics import features, frechet
from gan_components.training.config import TrainConfig
from pipelines import config as presets

BOUND = "<= 0.25"
_FASHION = "/usr/share/datasets/fashion-mnist"
_PRESETS = {"digits": "digits", "fashion": "fashion"}
_MAX_SAMPLES = 5000
_TURN_SECONDS = 5.0
_KERAS = ("keras example", "keras example, dcgan")


class Ruler:
    """Measures generated images against the held-out ones of a data set."""

    def __init__(self, source: data.Data, cache: Path) -> None:
        self.extractor = features.extractor(
            "classifier", source.train, source.train_labels, num_classes=source.num_classes, cache=cache
        )
        self.count = min(len(source.holdout), _MAX_SAMPLES)
        self.holdout = self.extractor.features(source.holdout[: self.count])
        random = np.random.default_rng(0).choice(len(source.train), self.count, replace=False)
        self.floor = self.distance(source.train[random])

    def distance(self, images: np.ndarray) -> float:
        return frechet.distance_of_features(self.extractor.features(images), self.holdout)

    @property
    def protocol(self) -> str:
        return f"fd{self.count}_holdout_classifier"


def sections(preset: str, overrides: list[str]) -> dict[str, TrainConfig]:
    """The train sections of this project's contenders; `overrides` are for the preset of the data."""
    return {"dcgan": presets.load(preset, overrides).train, "r3gan": presets.load("r3gan").train}


def arguments_of(name: str, section: TrainConfig | None, source: str, seed: int) -> tuple[str, list[str]]:
    """Module and arguments of a contender."""
    if section is not None:
        return "peers.project", [section.model_dump_json(), source, "--seed", str(seed)]
    arguments = [source, "--seed", str(seed)]
    if name == "keras example, dcgan":
        arguments += ["--dcgan", _dcgan_case().dumps(), "--learning-rate", "2e-4", "--beta1", "0.5"]
    return "peers.keras_example", arguments


def race(
    seed: int, source: str, ours: dict[str, TrainConfig], ruler: Ruler, seconds: list[float], directory: Path
) -> dict[str, list[dict]]:
    """Distance, steps and images at each time, of every contender."""
    curves: dict[str, list[dict]] = {name: [] for name in (*ours, *_KERAS)}
    with ExitStack() as stack:
        contenders = {}
        for name in curves:
            module, arguments = arguments_of(name, ours.get(name), source, seed)
            contenders[name] = stack.enter_context(Contender(name, module, arguments))
            if name in ours:
                contenders[name].ask(do="describe")
        for reached in turn_ends(seconds):
            for name, contender in contenders.items():
                answer = contender.ask(do="train", until_seconds=reached)
                if reached in seconds:
                    path = directory / "samples.npy"
                    contender.ask(do="sample", count=ruler.count, path=str(path))
                    point = {
                        "seconds": reached,
                        "trained_seconds": round(answer["total_seconds"], 2),
                        "steps": answer["steps"],
                        "finished": answer["finished"],
                        "fd_classifier": round(ruler.distance(np.load(path)), 4),
                    }
                    curves[name].append(point)
                    note(f"  seed {seed}, {name}: {point}")
    return curves


def turn_ends(seconds: list[float]) -> list[float]:
    """The times of measurement and what lies a turn apart between them."""
    ends = set(seconds)
    end = _TURN_SECONDS
    while end < max(seconds):
        ends.add(end)
        end += _TURN_SECONDS
    return sorted(ends)


def claim_about(name: str, runs: dict[int, dict[str, list[dict]]]) -> dict:
    """The preset's distance over that of the better Keras recipe, at the last time: the median over the seeds."""
    last = {
        seed: {contender: curve[-1]["fd_classifier"] for contender, curve in curves.items()}
        for seed, curves in runs.items()
    }
    peer = min(_KERAS, key=lambda contender: statistics.median(values[contender] for values in last.values()))
    ratios = [values["dcgan"] / values[peer] for values in last.values()]
    end = next(iter(runs.values()))["dcgan"][-1]["seconds"]
    return claim_of(f"{name}: fd_classifier after {end:g} s, dcgan as shipped over {peer}", ratios, "ratio", BOUND)


def summary(runs: dict[int, dict[str, list[dict]]]) -> dict[str, list[dict]]:
    """Of each contender and time the median distance over the seeds, its range and the median of the steps."""
    result: dict[str, list[dict]] = {}
    for contender in next(iter(runs.values())):
        points = zip(*(curves[contender] for curves in runs.values()), strict=True)
        result[contender] = []
        for same_time in points:
            distances = [point["fd_classifier"] for point in same_time]
            result[contender].append(
                {
                    "seconds": same_time[0]["seconds"],
                    "fd_classifier": statistics.median(distances),
                    "low": min(distances),
                    "high": max(distances),
                    "steps": statistics.median(point["steps"] for point in same_time),
                }
            )
    return result


def _dcgan_case() -> Case:
    """This project's DCGAN, of which the Keras step uses the networks and the batch alone."""
    section = presets.load("dcgan").train
    return Case(
        name="dcgan",
        network="dcgan",
        side=28,
        channels=1,
        latent_dim=section.latent_dim,
        base_channels=section.network.model_dump()["base_channels"],
        batch_size=section.batch_size,
        g_learning_rate=2e-4,
        d_learning_rate=2e-4,
        beta1=0.5,
        beta2=0.999,
        r1_gamma=0.0,
        r1_interval_steps=1,
        ema_decay=0.0,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", default="digits,fashion", help="digits, fashion or both")
    parser.add_argument("--fashion-directory", default=_FASHION, help="the four IDX files of Fashion-MNIST")
    parser.add_argument("--seconds", default="15,30,60,120", help="of training, when the distance is measured")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument(
        "--set", action="append", default=[], metavar="train.KEY=VALUE", help="of the data's preset"
    )
    parser.add_argument("--quick", action="store_true", help="one seed, 3 and 6 seconds, digits only")
    arguments = parser.parse_args()
    names = ["digits"] if arguments.quick else arguments.data.split(",")
    if unknown := set(names) - set(_PRESETS):
        parser.error(f"no data {sorted(unknown)}; choose from {', '.join(_PRESETS)}")
    seconds = [3.0, 6.0] if arguments.quick else sorted(float(text) for text in arguments.seconds.split(","))
    seeds = [0] if arguments.quick else [int(text) for text in arguments.seeds.split(",")]

    claims, details = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in names:
            source = name if name == "digits" else f"fashion:{arguments.fashion_directory}"
            if name == "fashion" and not Path(arguments.fashion_directory).is_dir():
                note(f"{arguments.fashion_directory} is not there; give --fashion-directory")
                claims.append(claim_of("fashion: not measured, the data is missing", [], "ratio", BOUND))
                continue
            ruler = Ruler(data.load(source), Path(temporary))
            ours = sections(_PRESETS[name], arguments.set)
            runs = {seed: race(seed, source, ours, ruler, seconds, Path(temporary)) for seed in seeds}
            claims.append(claim_about(name, runs))
            details[name] = {
                "protocol": ruler.protocol,
                "training_images_instead": round(ruler.floor, 4),
                "curves": summary(runs),
                "runs": runs,
            }
    report("time_to_quality", claims, threads=2, seeds=seeds, overrides=arguments.set, data=details)


if __name__ == "__main__":
    main()
