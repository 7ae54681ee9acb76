"""Images/s of a training step beside PyTorch and the official Keras example, on the same cores in one run.

    python benchmarks/train_throughput.py [--torch-python PATH] [--cases dcgan28,dcgan64,stylegan32] [--quick]

Cases are the presets' train sections with a batch of 64: DCGAN at 28 (grey) and 64 pixels (RGB), StyleGAN at 32,
all without labels and at full size. Each framework and precision is a process with two threads, and only one has a
turn at a time. A round gives each contender one turn, in an order that changes from round to round, and a ratio is
the median over the rounds of the ratio within a round.

- ours: `GAN.fit` with data from memory, float32 and mixed_bfloat16, with the preset's lazy R1.
- PyTorch: the same networks (parameters and arithmetic are compared, not believed) and algorithm; float32 and
  bfloat16 autocast, contiguous and channels_last, eager and torch.compile. The variant with the highest median
  counts. It logs less than ours. Needs torch in this Python or the one given; `torch.compile` a C++ compiler.
- Keras example: the step of keras.io's DCGAN with our networks, at 28 pixels.

The machine's own rate is the faster of both frameworks' matrix products (2,048 rows), measured in the same rounds.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from measure import Contender, claim_of, machine, note, report
from peers.cases import Case

from gan_components.training.config import TrainConfig
from gan_components.training.ema import decay_per_step
from pipelines import config as presets

BATCH_SIZE = 64
OURS = ("float32", "mixed_bfloat16")
_ROUNDS, _TURN_SECONDS = 11, 2.0


@dataclass(frozen=True)
class Setting:
    """A case: where its numbers come from."""

    preset: str
    name: str
    image_shape: tuple[int, int, int]
    keras_example: bool = False

    @property
    def data(self) -> str:
        """Random images: speed does not depend on what they show."""
        return "noise:" + "x".join(map(str, self.image_shape))

    def section(self, precision: str) -> TrainConfig:
        """The preset's train section, without an end and at full size."""
        section = presets.load(self.preset).train
        changes = {"batch_size": BATCH_SIZE, "num_steps": 10**6, "growth": None, "precision": precision}
        return section.model_copy(update=changes)

    def case(self) -> Case:
        """The same in plain numbers."""
        section, network = self.section("float32"), self.section("float32").network.model_dump()
        if section.loss != "non_saturating" or section.r1_gamma is None or section.augment is not None:
            raise SystemExit(
                f"the PyTorch peer knows the non-saturating loss with R1 only; see preset {self.preset}"
            )
        return Case(
            name=self.name,
            network=network["name"],
            side=self.image_shape[0],
            channels=self.image_shape[2],
            latent_dim=section.latent_dim,
            base_channels=network["base_channels"],
            batch_size=section.batch_size,
            g_learning_rate=section.g_learning_rate,
            d_learning_rate=section.d_learning_rate,
            beta1=section.beta1,
            beta2=section.beta2,
            r1_gamma=section.r1_gamma,
            r1_interval_steps=section.penalty_interval_steps,
            ema_decay=decay_per_step(half_life_images=section.ema_half_life_images, batch_size=section.batch_size),
            max_channels=network.get("max_channels", 0),
            mapping_layers=network.get("mapping_layers", 0),
            style_mixing_probability=network.get("style_mixing_probability", 0.0),
        )


SETTINGS = {
    "dcgan28": Setting("dcgan", "dcgan 28 px grey", (28, 28, 1), keras_example=True),
    "dcgan64": Setting("dcgan", "dcgan 64 px RGB", (64, 64, 3)),
    "stylegan32": Setting("stylegan", "stylegan 32 px grey", (32, 32, 1)),
}

# Of each case: ours, against whom, and the least ratio that is claimed.
_CLAIMS = {
    "dcgan28": [
        ("float32", "pytorch float32", 1.5),
        ("mixed_bfloat16", "pytorch bfloat16", 1.2),
        ("float32", "keras example", 1.3),
    ],
    "dcgan64": [("float32", "pytorch float32", 1.0), ("mixed_bfloat16", "pytorch bfloat16", 1.0)],
    "stylegan32": [("float32", "pytorch float32", 1.0), ("mixed_bfloat16", "pytorch bfloat16", 1.0)],
}


class Race:
    """All contenders of a case, prepared, and the rounds they run."""

    def __init__(
        self, setting: Setting, torch_python: str | None, *, compiled: bool, threads: int, stack: ExitStack
    ) -> None:
        self.case, self.threads, self.stack = setting.case(), threads, stack
        self.entrants: dict[str, tuple[Contender, dict]] = {}
        self.descriptions: dict[str, dict] = {}
        self.failed: dict[str, str] = {}
        self.diverged: set[str] = set()
        for precision in OURS:
            arguments = [setting.section(precision).model_dump_json(), setting.data]
            self._enter(f"ours {precision}", self._child("peers.project", arguments))
        if setting.keras_example:
            child = self._child("peers.keras_example", [setting.data, "--dcgan", self.case.dumps()])
            self._enter("keras example", child, described=False)
        self.matmuls = [self._child("peers.tensorflow_matmul", [])]
        if torch_python is not None:
            self._enter_torch(self._child("peers.torch_training", [self.case.dumps()], torch_python), compiled)

    def _child(self, module: str, arguments: list[str], python: str = sys.executable) -> Contender:
        child = Contender(f"{module} {arguments}", module, arguments, python=python, threads=self.threads)
        return self.stack.enter_context(child)

    def _enter(self, name: str, contender: Contender, *, described: bool = True) -> None:
        if described:
            self.descriptions[name] = contender.ask(do="describe", arithmetic=True)
        # The first steps trace and plan.
        contender.ask(do="train", steps=2 * self.case.r1_interval_steps)
        self.entrants[name] = contender, {}

    def _enter_torch(self, torch: Contender, compiled: bool) -> None:
        self.descriptions["pytorch"] = torch.ask(do="describe")
        self._require_equal()
        self.matmuls.append(torch)
        for variant in torch.ask(do="variants")["variants"]:
            if variant.endswith("compile") and not compiled:
                continue
            answer = torch.ask(do="prepare", variant=variant)
            if "error" in answer:
                self.failed[f"pytorch {variant}"] = answer["error"]
                note(f"  pytorch {variant} cannot run: {answer['error']}")
            else:
                note(f"  pytorch {variant} prepared in {answer['seconds']:.0f} s")
                self.entrants[f"pytorch {variant}"] = torch, {"variant": variant}

    def _require_equal(self) -> None:
        """The same networks have the same parameters, the same algorithm the same arithmetic."""
        ours, torch = self.descriptions["ours float32"], self.descriptions["pytorch"]
        if ours["parameters"] != torch["parameters"]:
            raise SystemExit(f"{self.case.name}: the networks differ: {ours} and {torch}")
        # DCGAN computes a border of squares that it cuts off, see networks/convolutions.py.
        if abs(ours["mflop_per_image"] / torch["mflop_per_image"] - 1) > 5e-3:
            raise SystemExit(f"{self.case.name}: the algorithms differ: {ours} and {torch}")

    def run(self, *, num_rounds: int, turn_seconds: float) -> dict:
        """Images/s of each entrant and the machine's rates, a list over the rounds."""
        # The same steps for all, a multiple of the penalty's interval: each turn holds as many penalties.
        interval = self.case.r1_interval_steps
        slowest = max(self._turn(name, interval)["seconds"] for name in self.entrants)
        steps = interval * max(1, round(turn_seconds / slowest))
        speeds: dict[str, list[float]] = {name: [] for name in self.entrants}
        rates: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        processor: dict[str, list[float]] = {name: [] for name in self.entrants}
        for number, names in enumerate(_orders(list(self.entrants), num_rounds)):
            for name in names:
                answer = self._turn(name, steps)
                speeds[name].append(steps * BATCH_SIZE / answer["seconds"])
                processor[name].append(steps * BATCH_SIZE / answer["cpu_seconds"])
            for precision, gflops in rates.items():
                question = {"do": "matmul", "precision": precision, "repetitions": 20 if turn_seconds > 1 else 2}
                gflops.append(max(contender.ask(**question)["gflops"] for contender in self.matmuls))
            note(f"  round {number + 1} of {num_rounds}")
        return {"steps_per_turn": steps, "speeds": speeds, "per_cpu_second": processor, "gflops": rates}

    def _turn(self, name: str, steps: int) -> dict:
        contender, question = self.entrants[name]
        answer = contender.ask(do="train", steps=steps, **question)
        if not all(value == value for value in _numbers(answer["losses"])):
            if name.startswith("ours"):
                raise SystemExit(f"{self.case.name}: {name} diverged: {answer}")
            # Its speed counts all the same: to leave it out would flatter ours.
            self.diverged.add(name)
        return answer


def best(speeds: dict[str, list[float]], prefix: str) -> str | None:
    """The entrant with the highest median among those whose name begins with `prefix`; None if there is none."""
    names = [name for name in speeds if name.startswith(prefix)]
    return max(names, key=lambda name: statistics.median(speeds[name]), default=None)


def claims_of(key: str, setting: Setting, result: dict, *, has_amx: bool) -> list[dict]:
    speeds = result["speeds"]
    claims = []
    for precision, opponent, bound in _CLAIMS[key]:
        peer = best(speeds, opponent)
        pairs = zip(speeds[f"ours {precision}"], speeds[peer], strict=True) if peer else []
        ratios = [ours / theirs for ours, theirs in pairs]
        text = f"{setting.name}: images/s, {precision} over {peer or f'{opponent}, which could not run'}"
        claims.append(claim_of(text, ratios, "ratio", f">= {bound}"))
    if has_amx:
        ratios = [a / b for a, b in zip(*(speeds[f"ours {name}"] for name in reversed(OURS)), strict=True)]
        text = f"{setting.name}: images/s, mixed_bfloat16 over float32, with amx_bf16"
        claims.append(claim_of(text, ratios, "ratio", ">= 1.0"))
    return claims


def details_of(race: Race, result: dict) -> dict:
    """Medians, ranges and the share of the machine's rate, an entrant each."""
    mflop = race.descriptions["ours float32"]["mflop_per_image"]
    gflops = {name: statistics.median(values) for name, values in result["gflops"].items()}
    entrants = {}
    for name, values in result["speeds"].items():
        median = statistics.median(values)
        precision = "bfloat16" if "bfloat16" in name else "float32"
        entrants[name] = {
            "images_per_second": round(median, 1),
            "low": round(min(values), 1),
            "high": round(max(values), 1),
            "images_per_cpu_second": round(statistics.median(result["per_cpu_second"][name]), 1),
        }
        if name != "keras example":
            # Its arithmetic is another.
            entrants[name]["share_of_matmul_rate"] = round(median * mflop * 1e-3 / gflops[precision], 3)
    return {
        "parameters": race.descriptions["ours float32"]["parameters"],
        "mflop_per_image": round(mflop, 2),
        "matmul_gflops": {name: round(value) for name, value in gflops.items()},
        "versions": {name: text["version"] for name, text in race.descriptions.items()},
        "steps_per_turn": result["steps_per_turn"],
        "entrants": entrants,
        "cannot_run": race.failed,
        "diverged": sorted(race.diverged),
    }


def _orders(names: list[str], num_rounds: int) -> Iterator[list[str]]:
    """Each round begins with another one, and every second round runs backwards."""
    for number in range(num_rounds):
        start = number % len(names)
        order = names[start:] + names[:start]
        yield order if number % 2 == 0 else order[::-1]


def _numbers(losses: "dict | list") -> list[float]:
    return list(losses.values()) if isinstance(losses, dict) else losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--torch-python", default=sys.executable, help="a Python that has torch; default: this one"
    )
    parser.add_argument("--cases", default=",".join(SETTINGS), help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--threads", type=int, default=2, help="of each contender")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--quick", action="store_true", help="three short rounds without torch.compile")
    arguments = parser.parse_args()
    keys = arguments.cases.split(",")
    if unknown := set(keys) - set(SETTINGS):
        parser.error(f"no cases {sorted(unknown)}; choose from {', '.join(SETTINGS)}")
    torch_python = arguments.torch_python
    if torch_python == sys.executable and importlib.util.find_spec("torch") is None:
        note("this Python has no torch: its claims will not hold; see benchmarks/requirements.txt, --torch-python")
        torch_python = None
    compiler = shutil.which("g++") or shutil.which("clang++") or shutil.which("c++")
    compiled = bool(compiler) and not arguments.no_compile and not arguments.quick
    num_rounds, turn_seconds = (3, 0.2) if arguments.quick else (arguments.rounds, _TURN_SECONDS)

    claims, cases = [], {}
    has_amx = "amx_bf16" in machine()["instructions"]
    for key in keys:
        setting = SETTINGS[key]
        note(setting.name)
        with ExitStack() as stack:
            options = {"compiled": compiled, "threads": arguments.threads}
            race = Race(setting, torch_python, stack=stack, **options)
            result = race.run(num_rounds=num_rounds, turn_seconds=turn_seconds)
        found, cases[setting.name] = claims_of(key, setting, result, has_amx=has_amx), details_of(race, result)
        claims += found
        # A run that is stopped later has told this much.
        note(json.dumps({"claims": found, **cases[setting.name]}, indent=1))
    report(
        "train_throughput",
        claims,
        batch_size=BATCH_SIZE,
        threads=arguments.threads,
        rounds=num_rounds,
        cpp_compiler=compiler or "missing: torch.compile could not run",
        torch="measured" if torch_python else "missing",
        torch_compile=compiled,
        cases=cases,
    )


if __name__ == "__main__":
    main()
