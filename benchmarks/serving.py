"""What serving costs, beside the bare generator: through the loader of TF Serving, on the same cores in one run.

    python benchmarks/serving.py [--rounds 9] [--quick]

The generator of the preset `digits` at its size, with fresh weights, is saved as it ships and loaded by
TensorFlow's C API in a process without Python TensorFlow, as TF Serving loads it (no network, no batching of
several callers). Its opponent is a `tf.function` of the same float32 network that draws its latents as one
tensor, rounds to uint8 inside and was traced for the very batch size.

- `images`: per-row seeds, labels by seed, images as uint8.
- `serving_default`: the same images as PNG. What PNG adds is reported apart, per image.

Calls follow one another: images/s is the batch over the median time of a call. Ratios are medians over the rounds
of the ratio within a round.
"""

import argparse
import os
import statistics
import tempfile
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from measure import Contender, claim_of, note, report

from gan_components.export import metagraph

BATCH_SIZES = (1, 8, 32)
BOUNDS = {"images": ">= 0.9", "serving_default": ">= 0.7"}
CALL_SECONDS = 1.5
"""How long one turn calls."""


def tensors(saved_model: Path, signature: str) -> dict[str, dict[str, str]]:
    """Names in the graph of a signature's inputs and outputs."""
    found = metagraph.signatures(metagraph.read(saved_model))[signature]
    return {
        "inputs": {name: info.name for name, info in found.inputs.items()},
        "outputs": {name: info.name for name, info in found.outputs.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one short round, for a smoke test")
    arguments = parser.parse_args()
    rounds, seconds = (1, 0.1) if arguments.quick else (arguments.rounds, CALL_SECONDS)

    latencies: dict[tuple[str, int], list[dict]] = {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        saved_model = Path(temporary, "generator")
        bare = stack.enter_context(Contender("tf.function", "peers.bare_generator", [str(saved_model)]))
        bare.ask(batch_size=1, seconds=0.0)  # answers when the SavedModel is there
        session = stack.enter_context(Contender("session", "peers.serving_session", [str(saved_model)]))
        signatures = {name: tensors(saved_model, name) for name in BOUNDS}
        for turn in range(rounds + 1):
            for batch_size in BATCH_SIZES:
                turns = [
                    ("tf.function", bare, {}),
                    *((name, session, names) for name, names in signatures.items()),
                ]
                for name, contender, names in turns if turn % 2 else reversed(turns):
                    answer = contender.ask(batch_size=batch_size, seconds=seconds if turn else 0.1, **names)
                    if turn:
                        # The first round warms up.
                        latencies.setdefault((name, batch_size), []).append(answer)
            note(f"  round {turn} of {rounds}")

    def median_ms(name: str, batch_size: int) -> list[float]:
        return [answer["median_ms"] for answer in latencies[name, batch_size]]

    claims = [
        claim_of(
            f"{signature!r} at batch {batch_size}: images/s over the bare tf.function",
            [
                bare_ms / ours_ms
                for bare_ms, ours_ms in zip(
                    median_ms("tf.function", batch_size), median_ms(signature, batch_size), strict=True
                )
            ],
            "ratio",
            bound,
        )
        for signature, bound in BOUNDS.items()
        for batch_size in BATCH_SIZES
    ]
    table = {
        name: {
            batch_size: {
                "images_per_second": round(1e3 * batch_size / statistics.median(median_ms(name, batch_size)), 1),
                "median_ms": round(statistics.median(median_ms(name, batch_size)), 3),
                "p95_ms": round(statistics.median(a["p95_ms"] for a in latencies[name, batch_size]), 3),
            }
            for batch_size in BATCH_SIZES
        }
        for name in ("tf.function", *BOUNDS)
    }
    png = {
        batch_size: round(
            (table["serving_default"][batch_size]["median_ms"] - table["images"][batch_size]["median_ms"])
            / batch_size,
            4,
        )
        for batch_size in BATCH_SIZES
    }
    report("serving", claims, threads=2, rounds=rounds, table=table, png_ms_per_image=png)


if __name__ == "__main__":
    main()
