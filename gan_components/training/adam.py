"""Adam, whose update of a weight is one operation."""

import keras
import tensorflow as tf


class FusedAdam(keras.optimizers.Adam):
    """``keras.optimizers.Adam`` with the arithmetic of one weight in TensorFlow's own kernel.

    Kingma and Ba 2014, https://arxiv.org/abs/1412.6980, section 2: the same numbers up to rounding, in one pass
    over the memory where Keras makes nine. Slots, schedules and checkpoints are Keras'.
    """

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor) -> None:
        """Moves one weight; called by Keras, under ``tf.distribute`` for each replica's copy."""
        index = self._get_variable_index(variable)
        power = tf.cast(self.iterations.value + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.pow(self.beta_1, power),
            beta2_power=tf.pow(self.beta_2, power),
            lr=tf.cast(learning_rate, tf.float32),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )
