"""How fast an evaluation is, beside the tools that people use, on the same cores in one run.

    python benchmarks/evaluation_speed.py [--torch-python PATH] [--rounds 5] [--quick]

- The FID network in float32, as it passes parity, beside torch-fidelity 0.4.0's: both with the same random
  weights, on the same 128 images of 299x299, in turns; their features are compared, too. Needs torch and
  torch-fidelity in this Python or the one given.
- The 2048-dimensional Fréchet distance beside `scipy.linalg.sqrtm`, in turns: the trace term of two covariances of
  5,000 features.
- Exact nearest neighbours of 10,000 x 60,000 x 784 beside faiss `IndexFlatL2`, in turns, and beside the product of
  the two matrices alone, the arithmetic limit. Needs faiss-cpu.
- Peak memory of the moments of 10,000 and of 100,000 images.

Ratios are medians over the rounds of the ratio within a round.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import scipy.linalg
from measure import Contender, claim, claim_of, note, report

from gan_components.metrics import frechet, neighbours

ROOT = Path(__file__).parents[1]


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def random_weights(path: Path) -> None:
    """The weights of the parity tests: He-normal, so that features are of order 1."""
    sys.path.insert(0, str(ROOT))
    from tests.golden import random_inception

    shapes = json.loads((ROOT / "tests" / "golden" / "inception_shapes.json").read_text())
    np.savez(path, **random_inception.weights(shapes))


def extractors(torch_python: str | None, *, count: int, rounds: int) -> tuple[list[dict], dict]:
    """Ours and torch-fidelity's, in turns."""
    if torch_python is None:
        return [claim_of("FID network: images/s over torch-fidelity's", [], "ratio", ">= 1.8")], {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        weights, images = Path(temporary, "weights.npz"), Path(temporary, "images.npy")
        random_weights(weights)
        np.save(images, np.random.default_rng(0).integers(0, 256, (count, 299, 299, 3), np.uint8))
        ours = stack.enter_context(Contender("ours", "peers.inception_turns", [str(weights)]))
        theirs = stack.enter_context(
            Contender("torch-fidelity", "peers.torch_fidelity_turns", [str(weights)], python=torch_python)
        )
        ratios, difference = [], 0.0
        details: dict[str, list[float]] = {"ours": [], "torch-fidelity": []}
        for turn in range(rounds + 1):
            answers = {}
            for contender in (ours, theirs) if turn % 2 else (theirs, ours):
                answers[contender.name] = contender.ask(images=str(images), batch_size=32)
            first, second = (np.array(answers[name]["features"]) for name in details)
            difference = max(difference, float(np.abs(first - second).max()))
            if turn:
                # The first round traces and warms up.
                for name, values in details.items():
                    values.append(count / answers[name]["seconds"])
                ratios.append(details["ours"][-1] / details["torch-fidelity"][-1])
                note(f"  {details}")
    claims = [
        claim_of("FID network: images/s over torch-fidelity's", ratios, "ratio", ">= 1.8"),
        claim("largest difference of their features", difference, "absolute", "<= 0.0001"),
    ]
    return claims, {name: round(statistics.median(values), 2) for name, values in details.items()}


def distances(*, dimension: int, rounds: int) -> tuple[list[dict], dict]:
    random = np.random.default_rng(0)
    spectrum = np.linspace(0.2, 2.0, dimension)
    first, second = (
        frechet.Moments.of(random.standard_normal((5000, dimension)) * scales)
        for scales in (spectrum, spectrum[::-1])
    )

    def by_sqrtm() -> float:
        root = scipy.linalg.sqrtm(first.covariance @ second.covariance)
        traces = np.trace(first.covariance) + np.trace(second.covariance) - 2 * np.trace(root).real
        return float(np.sum((first.mean - second.mean) ** 2) + traces)

    ratios, spent = [], []
    for _ in range(rounds):
        ours, theirs = seconds(lambda: frechet.distance(first, second)), seconds(by_sqrtm)
        spent.append((round(ours, 3), round(theirs, 3)))
        ratios.append(theirs / ours)
        note(f"  distance: {ours:.2f} s, sqrtm {theirs:.2f} s")
    expected = by_sqrtm()
    error = abs(frechet.distance(first, second) - expected) / expected
    return [
        claim_of(f"distance in {dimension} dimensions: times as fast as sqrtm", ratios, "ratio", ">= 8"),
        claim("its relative difference to sqrtm's", error, "relative", "<= 1e-8"),
    ], {"ours_and_sqrtm_seconds": spent}


def nearest(*, queries: int, references: int, rounds: int) -> tuple[list[dict], dict]:
    random = np.random.default_rng(0)
    # Numbers around ten centres: neighbours exist, as they do among images.
    centres = random.integers(0, 256, (10, 784))
    ours, theirs = (
        np.clip(centres[random.integers(0, 10, count)] + random.normal(0, 40, (count, 784)), 0, 255).astype(
            np.uint8
        )
        for count in (queries, references)
    )
    left, right = ours.astype(np.float32), theirs.astype(np.float32)
    faiss = None
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(2)

    def by_faiss() -> np.ndarray:
        index = faiss.IndexFlatL2(784)
        index.add(right)
        return index.search(left, 5)[1]

    def product() -> None:
        for start in range(0, queries, 2048):
            left[start : start + 2048] @ right.T

    over_faiss, over_limit, spent = [], [], []
    for _ in range(rounds):
        mine, limit = seconds(lambda: neighbours.nearest(ours, theirs, 5)), seconds(product)
        over_limit.append(mine / limit)
        other = seconds(by_faiss) if faiss else None
        if other:
            over_faiss.append(other / mine)
        spent.append([round(each, 2) for each in (mine, limit, other) if each])
        note(f"  neighbours: ours, product, faiss: {spent[-1]}")
    claims = [
        claim_of("exact neighbours: times as fast as faiss", over_faiss, "ratio", ">= 2"),
        claim_of("exact neighbours: time over the matrix product's", over_limit, "ratio", "<= 1.6"),
    ]
    if faiss:
        same = float(np.mean(by_faiss() == neighbours.nearest(ours, theirs, 5)[1]))
        claims.append(claim("neighbours that are faiss's", same, "share", ">= 0.999"))
    return claims, {"ours_product_faiss_seconds": spent}


def memory(*, few: int, many: int) -> tuple[list[dict], dict]:
    """Of one child process a number of images."""
    kibibytes = {}
    for count in (few, many):
        command = [sys.executable, "-m", "peers.random_conv_memory", str(count)]
        paths = os.pathsep.join([str(Path(__file__).parent), str(ROOT)])
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": paths}
        )
        kibibytes[count] = int(done.stdout)
        note(f"  memory: {kibibytes}")
    ratio = kibibytes[many] / kibibytes[few]
    return [claim(f"peak memory of {many:,} images over that of {few:,}", ratio, "ratio", "<= 1.1")], {
        "peak_kibibytes": kibibytes
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--torch-python", default=sys.executable, help="a Python with torch and torch-fidelity")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of little work, for a smoke test")
    arguments = parser.parse_args()
    torch_python = arguments.torch_python
    if torch_python == sys.executable and importlib.util.find_spec("torch_fidelity") is None:
        note("this Python has no torch-fidelity: that claim will not hold; see benchmarks/requirements.txt")
        torch_python = None
    quick, rounds = arguments.quick, 1 if arguments.quick else arguments.rounds
    parts = {
        "extractor": extractors(torch_python, count=8 if quick else 128, rounds=rounds),
        "distance": distances(dimension=128 if quick else 2048, rounds=min(rounds, 3)),
        "neighbours": nearest(
            queries=500 if quick else 10_000, references=3_000 if quick else 60_000, rounds=min(rounds, 3)
        ),
        "memory": memory(few=1_000 if quick else 10_000, many=2_000 if quick else 100_000),
    }
    report(
        "evaluation_speed",
        [one for claims, _ in parts.values() for one in claims],
        threads=2,
        **{name: details for name, (_, details) in parts.items()},
    )


if __name__ == "__main__":
    main()
