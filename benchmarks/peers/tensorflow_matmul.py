"""The rate of TensorFlow's matrix products on this machine: a child process of the benchmarks."""

import time

import tensorflow as tf

from peers.turns import Turns

_SIZE = 2048


def main() -> None:
    turns = Turns()
    square = {name: tf.cast(tf.random.normal([_SIZE, _SIZE]), name) for name in ("float32", "bfloat16")}
    multiply = tf.function(lambda matrix: tf.matmul(matrix, matrix))
    for question in turns:
        matrix, repetitions = square[question["precision"]], question["repetitions"]
        multiply(matrix).numpy()
        started = time.perf_counter()
        for _ in range(repetitions):
            product = multiply(matrix)
        # Read, because the product may still be under way.
        product[0, 0].numpy()
        turns.answer(gflops=2e-9 * _SIZE**3 * repetitions / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
