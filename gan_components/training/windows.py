"""Values that a training logs: running means in the graph."""

import keras
import tensorflow as tf

METRICS = ("d_loss", "g_loss", "d_real", "d_fake", "d_accuracy", "d_gradient_norm", "g_gradient_norm", "spread")
"""Both losses in nats; the mean probabilities sigmoid(D(x)) and sigmoid(D(G(z))); the share of pairs of a real and
a generated image that D ranks right; the norms of both players' gradients; the standard deviation of a pixel over
the generated images, relative to that over the real ones.

The names hold no brackets because MLflow refuses them."""


class Window:
    """Running mean of a logged value since a reset.

    Its numbers are those of the whole batch, equal on every replica. A Keras metric would add up replicas at every
    access from outside of a step, which deadlocks where only the chief of several workers looks.
    """

    def __init__(self, name: str) -> None:
        self.total = state(0.0, "float32", f"{name}_total")
        self.weight = state(0.0, "float32", f"{name}_weight")

    @property
    def variables(self) -> list[keras.Variable]:
        return [self.total, self.weight]

    def update_state(self, value: tf.Tensor, weight: "tf.Tensor | float" = 1.0) -> None:
        self.total.assign_add(weight * value)
        self.weight.assign_add(tf.cast(weight, tf.float32))

    def result(self) -> tf.Tensor:
        return tf.math.divide_no_nan(self.total.value, self.weight.value)

    def reset_state(self) -> None:
        for variable in self.variables:
            variable.assign(0.0)


def state(value: "int | float", dtype: str, name: str) -> keras.Variable:
    """A variable that all replicas change alike, of which one keeps it."""
    return keras.Variable(value, dtype=dtype, trainable=False, aggregation="only_first_replica", name=name)
