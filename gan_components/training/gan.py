"""The training step: Algorithm 1 of Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661) in Keras."""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from gan_components import images, randomness
from gan_components.training import ema, penalties
from gan_components.training.losses import Loss

Draw = Callable[[tf.Tensor], list[tf.Tensor]]
"""``draw(step)``: the generator's inputs at a step: ``[latents]`` or ``[latents, labels]``."""

METRICS = ("d_loss", "g_loss", "d_real", "d_fake", "r1")
"""Both losses in nats, the mean probabilities sigmoid(D(x)) and sigmoid(D(G(z))), and R1 without its weight.

The names hold no brackets because MLflow refuses them."""


class GAN(keras.Model):
    """A generator and a discriminator that learn from each other, and the generator's moving average.

    ``fit`` runs :meth:`train_step`, also under ``tf.distribute`` strategies, if the networks, the optimizers
    and this object are made inside the strategy's scope.

    Attributes:
        step: number of finished steps, int64, inside the graph; every random stream is folded by it.
        windows: running mean of each of :data:`METRICS` since a callback reset it.
    """

    def __init__(self, *, generator: keras.Model, discriminator: keras.Model, draw: Draw) -> None:
        super().__init__(name="gan")
        self.generator = generator
        self.discriminator = discriminator
        self.ema_generator = keras.models.clone_model(generator)
        self.ema_generator.set_weights(generator.get_weights())
        self.draw = draw
        self.step = keras.Variable(
            0, dtype="int64", trainable=False, aggregation="only_first_replica", name="step"
        )
        # Everything is built: Keras' symbolic build fails for a custom train_step under a strategy.
        self.built = True

    def compile(
        self,
        *,
        d_optimizer: keras.Optimizer,
        g_optimizer: keras.Optimizer,
        loss: Loss,
        r1_gamma: float | None,
        r1_interval_steps: int,
        ema_decay: float,
    ) -> None:
        """Sets what the players minimise and how.

        Args:
            d_optimizer: of the discriminator; not shared with the generator.
            g_optimizer: of the generator.
            loss: one of :data:`gan_components.training.losses.LOSSES`.
            r1_gamma: weight of :func:`penalties.r1`; None is off.
            r1_interval_steps: steps from one penalty to the next.
            ema_decay: of the averaged generator, a step.
        """
        # Never "auto": it switches XLA on where Keras sees a GPU and op determinism is off, so that one
        # configuration would be two programs. On a CPU XLA is slower (624 against 772 images/s).
        super().compile(optimizer=None, jit_compile=False)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.adversarial_loss = loss
        self.r1_gamma, self.r1_interval_steps = r1_gamma, r1_interval_steps
        self.ema_decay = ema_decay
        names = METRICS if r1_gamma is not None else METRICS[:-1]
        self.windows = {name: keras.metrics.Mean(name=name) for name in names}
        # An optimizer that is built later has no slots yet when a checkpoint is restored: Keras would drop
        # its state with a warning.
        d_optimizer.build(self.discriminator.trainable_variables)
        g_optimizer.build(self.generator.trainable_variables)

    @property
    def metrics(self) -> list[keras.Metric]:
        """None that Keras may reset: the windows outlive an epoch, and a resume restores them half full."""
        return []

    def call(self, inputs: "tf.Tensor | list[tf.Tensor]", training: bool = False) -> tf.Tensor:
        """Images of the averaged generator from latents, or ``[latents, labels]``."""
        return self.ema_generator(inputs, training=training)

    def train_step(self, data: "tf.Tensor | tuple[tf.Tensor, tf.Tensor]") -> dict[str, tf.Tensor]:
        """One step of both players on ``uint8 images`` or ``(uint8 images, int64 labels)``.

        The fakes of one forward pass serve both gradients, and both are taken before either player moves.
        """
        real, *real_labels = data if isinstance(data, tuple) else (data,)
        real = images.to_float(real)
        latents, *fake_labels = self.draw(self.step)
        with tf.GradientTape(persistent=True) as tape:
            fake = self.generator(joined(latents, fake_labels), training=True)
            real_logits = self.discriminator(joined(real, real_labels), training=True)
            fake_logits = self.discriminator(joined(fake, fake_labels), training=True)
            d_loss, g_loss = self.adversarial_loss(real_logits, fake_logits)
            lazy_r1 = self._lazy_r1(real, real_labels)
            d_objective = scaled_for_replicas(d_loss + (self.r1_gamma or 0.0) / 2.0 * lazy_r1)
            g_objective = scaled_for_replicas(g_loss)
        d_weights = self.discriminator.trainable_variables
        g_weights = self.generator.trainable_variables
        d_gradients = tape.gradient(d_objective, d_weights)
        g_gradients = tape.gradient(g_objective, g_weights)
        self.d_optimizer.apply(d_gradients, d_weights)
        self.g_optimizer.apply(g_gradients, g_weights)
        ema.update(self.ema_generator, self.generator, ema.ramped(self.ema_decay, self.step))
        logs = self._logs(d_loss, g_loss, real_logits, fake_logits, lazy_r1)
        self.step.assign_add(1)
        return logs

    def _lazy_r1(self, real: tf.Tensor, real_labels: list[tf.Tensor]) -> tf.Tensor:
        if self.r1_gamma is None:
            return tf.constant(0.0)
        return penalties.lazy(
            lambda: penalties.r1(lambda x: self.discriminator(joined(x, real_labels), training=True), real),
            step=self.step,
            interval_steps=self.r1_interval_steps,
        )

    def _logs(
        self,
        d_loss: tf.Tensor,
        g_loss: tf.Tensor,
        real_logits: tf.Tensor,
        fake_logits: tf.Tensor,
        lazy_r1: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        values = {
            "d_loss": d_loss,
            "g_loss": g_loss,
            "d_real": tf.reduce_mean(tf.sigmoid(real_logits)),
            "d_fake": tf.reduce_mean(tf.sigmoid(fake_logits)),
            "r1": lazy_r1 / self.r1_interval_steps,
        }
        # Every replica holds the same sums, whose share a checkpoint can give back to the last bit.
        values = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, values)
        r1_steps = tf.cast(self.step % self.r1_interval_steps == 0, tf.float32)
        for name, window in self.windows.items():
            window.update_state(values[name], sample_weight=r1_steps if name == "r1" else None)
        # Of shape (1,): MultiWorkerMirroredStrategy reduces logs along axis 0 and refuses scalars
        # (keras-team/keras#20585).
        return {name: tf.reshape(window.result(), [1]) for name, window in self.windows.items()}


def joined(rows: tf.Tensor, labels: list[tf.Tensor]) -> "tf.Tensor | list[tf.Tensor]":
    """What a network takes: ``rows`` alone, or ``[rows, labels]``. Keras warns of a list of one."""
    return [rows, *labels] if labels else rows


def scaled_for_replicas(loss: tf.Tensor) -> tf.Tensor:
    """`loss` for the tape: replicas' gradients are summed, so each contributes its share of the global mean.

    Logs keep the unscaled value.
    """
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def drawer(*, batch_size: int, latent_dim: int, class_frequencies: list[float], seed: int) -> Draw:
    """The generator's inputs in training as a function of the step.

    Args:
        batch_size: of the global batch; a replica gets its rows of it.
        latent_dim: D of the standard normal latents.
        class_frequencies: of the training split, sum 1; labels are drawn by them. Empty: no labels.
        seed: of the streams "latents" and "labels".
    """
    latent_key, label_key = randomness.stream(seed, "latents"), randomness.stream(seed, "labels")
    boundaries = np.cumsum(class_frequencies)[:-1].astype(np.float32)

    def draw(step: tf.Tensor) -> list[tf.Tensor]:
        latents = randomness.normal(randomness.at_step(latent_key, step), (batch_size, latent_dim))
        if not class_frequencies:
            return [latents]
        points = randomness.uniform(randomness.at_step(label_key, step), (batch_size,))
        return [latents, tf.searchsorted(boundaries, points, side="right", out_type=tf.int64)]

    return draw
