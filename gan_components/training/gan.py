"""The training step: Algorithm 1 of Goodfellow et al. 2014 (https://arxiv.org/abs/1406.2661) in Keras."""

import keras
import tensorflow as tf

from gan_components import images, randomness
from gan_components.networks import layers, spectral_norm
from gan_components.training import ada_controller, ema, losses, penalties
from gan_components.training.draws import Draw, Tensors
from gan_components.training.growth import Phase
from gan_components.training.objective import PENALTIES, Objective
from gan_components.training.windows import METRICS, Window, state


class GAN(keras.Model):
    """A generator and a discriminator that learn from each other, and the generator's moving average.

    ``fit`` runs :meth:`train_step`, also under ``tf.distribute`` strategies, if the networks, the optimizers
    and this object are made inside the strategy's scope.

    Attributes:
        step: number of finished steps, int64, inside the graph; every random stream is folded by it.
        ada_p: probability of adaptive augmentation, float32.
        windows: running mean of each logged value since a callback reset it.
        phase: the present phase of growing.
    """

    def __init__(
        self,
        *,
        generator: keras.Model,
        discriminator: keras.Model,
        ema_generator: keras.Model,
        draw: Draw,
        batch_size: int,
        seed: int,
    ) -> None:
        super().__init__(name="gan")
        self.generator, self.discriminator, self.ema_generator = generator, discriminator, ema_generator
        self.draw, self.batch_size = draw, batch_size
        self._keys = {
            name: randomness.stream(seed, name) for name in ("augment real", "augment fake", "interpolate")
        }
        self.step = state(0, "int64", "step")
        self.ada_p, self.ada_signs = state(0.0, "float32", "ada_p"), state(0.0, "float32", "ada_signs")
        self.phase = Phase(0, 0)
        self.built = True

    def compile(
        self,
        *,
        d_optimizer: keras.Optimizer,
        g_optimizer: keras.Optimizer,
        objective: Objective,
        ema_decay: float,
        xla: bool = False,
    ) -> None:
        """Sets what the players minimise and how.

        Args:
            d_optimizer: of the discriminator; not shared with the generator.
            g_optimizer: of the generator.
            objective: losses, penalties and augmentation.
            ema_decay: of the averaged generator, a step.
            xla: compile the step with XLA. On a CPU it is slower.
        """
        # Never "auto": it switches XLA on where Keras sees a GPU and op determinism is off, so that one
        # configuration would be two programs.
        super().compile(optimizer=None, jit_compile=xla)
        self.d_optimizer, self.g_optimizer = d_optimizer, g_optimizer
        self.objective, self.ema_decay = objective, ema_decay
        names = [*METRICS, *objective.penalties, *(["ada_p"] if objective.ada else [])]
        self.windows = {name: Window(name) for name in names}
        if objective.ada:
            self.ada_p.assign(objective.ada.initial_p)
        # An optimizer that is built later has no slots yet when a checkpoint is restored: Keras would drop
        # its state with a warning.
        d_optimizer.build(self.discriminator.trainable_variables)
        g_optimizer.build(self.generator.trainable_variables)

    def enter(self, phase: Phase) -> None:
        """Trains the steps of `phase` from now on. Each level is a program of its own, with static shapes."""
        self.phase = phase
        self.train_function = None
        if phase.level is None:
            return
        for network in (self.generator, self.discriminator, self.ema_generator):
            network.level = phase.level
        if phase.level and int(self.step.numpy()) == phase.start_step:
            # As the paper's authors do: second moments of the old resolution say nothing of the new layers.
            for optimizer in (self.d_optimizer, self.g_optimizer):
                for slot in optimizer.variables:
                    if slot.name != "learning_rate":
                        slot.assign(keras.ops.zeros_like(slot))

    @property
    def metrics(self) -> list[keras.Metric]:
        """None that Keras may reset: the windows outlive an epoch, and a resume restores them half full."""
        return []

    def _maybe_symbolic_build(self, iterator: object = None, data_batch: object = None) -> None:
        """Nothing: all is built. Keras would trace `call` with images, and under several workers reduce a batch of
        uint8 first, which fails (keras-team/keras#20164, keras-team/keras#20585).
        """

    def call(self, inputs: Tensors, training: bool = False) -> tf.Tensor:
        """Images of the averaged generator from ``{"latents": ...[, "labels": ...]}``."""
        return self.ema_generator(inputs, training=training)

    def train_step(self, data: "tf.Tensor | tuple[tf.Tensor, tf.Tensor]") -> Tensors:
        """k steps of the discriminator, with the last of which the generator takes its own.

        Args:
            data: ``uint8 images`` or ``(uint8 images, int64 labels)`` of one batch; with k > 1 the rows have a
                second axis of length k.
        """
        real, labels = data if isinstance(data, tuple) else (data, None)
        k = self.objective.d_steps_per_g_step
        if self.phase.level is not None:
            alpha = self.phase.alpha(self.step.value)
            self.generator.alpha.assign(alpha)
            self.discriminator.alpha.assign(alpha)
        for turn in range(k - 1):
            self._discriminator_step(*_turn(real, labels, turn), d_step=self.step * k + turn)
        last = (real, labels) if k == 1 else _turn(real, labels, k - 1)
        logs = self._joint_step(*last, d_step=self.step * k + k - 1)
        self.step.assign_add(1)
        return logs

    def _discriminator_step(self, real: tf.Tensor, labels: tf.Tensor | None, *, d_step: tf.Tensor) -> None:
        real, real_labels = self._prepared(real), named(labels)
        inputs = self.draw(d_step)
        fake = tf.stop_gradient(self.generator(inputs, training=True))
        with tf.GradientTape() as tape:
            real_logits = self._judge(real, real_labels, "augment real", d_step)
            fake_logits = self._judge(fake, named(inputs.get("labels")), "augment fake", d_step)
            d_loss, _ = self.objective.loss(real_logits, fake_logits)
            penalty, _ = self._penalty(real, real_labels, fake, named(inputs.get("labels")), d_step)
            objective = scaled_for_replicas(d_loss + penalty)
        d_weights = self.discriminator.trainable_variables
        _move(self.d_optimizer, tape.gradient(objective, d_weights), d_weights)
        spectral_norm.update(self.discriminator)

    def _joint_step(self, real: tf.Tensor, labels: tf.Tensor | None, *, d_step: tf.Tensor) -> Tensors:
        """The fakes of one forward pass serve both gradients, and both are taken before either player moves."""
        real, real_labels = self._prepared(real), named(labels)
        inputs = self.draw(d_step)
        fake_labels = named(inputs.get("labels"))
        with tf.GradientTape() as g_tape:
            fake = self.generator(inputs, training=True)
        with tf.GradientTape(persistent=True) as d_tape:
            d_tape.watch(fake)
            real_logits = self._judge(real, real_labels, "augment real", d_step)
            fake_logits = self._judge(fake, fake_labels, "augment fake", d_step)
            d_loss, g_loss = self.objective.loss(real_logits, fake_logits)
            # Behind stop_gradient: what D pays for its slope at a generated image is nothing to the generator.
            penalty, logged = self._penalty(real, real_labels, tf.stop_gradient(fake), fake_labels, d_step)
            d_objective = scaled_for_replicas(d_loss + penalty)
            g_objective = scaled_for_replicas(g_loss)
            if self.objective.one_backward:
                d_objective += losses.KEPT_FROM_ZERO * tf.reduce_sum(fake_logits)
        d_weights, g_weights = self.discriminator.trainable_variables, self.generator.trainable_variables
        d_gradients, slope = d_tape.gradient(d_objective, [d_weights, fake])
        if self.objective.one_backward:
            ratio = d_tape.gradient(g_objective, fake_logits) / d_tape.gradient(d_objective, fake_logits)
            slope *= _columns(ratio, fake)
        else:
            slope = d_tape.gradient(g_objective, fake)
        g_gradients = g_tape.gradient(fake, g_weights, output_gradients=slope)
        _move(self.d_optimizer, d_gradients, d_weights)
        _move(self.g_optimizer, g_gradients, g_weights)
        spectral_norm.update(self.discriminator)
        ema.update(self.ema_generator, self.generator, ema.ramped(self.ema_decay, self.step))
        values = opinions(real_logits, fake_logits) | logged
        values |= {"d_loss": d_loss, "g_loss": g_loss, "spread": _spread(fake) / (_spread(real) + 1e-8)}
        values |= {"d_gradient_norm": _norm(d_gradients), "g_gradient_norm": _norm(g_gradients)}
        return self._logs(values, signs=tf.reduce_mean(tf.sign(real_logits)))

    def _prepared(self, real: tf.Tensor) -> tf.Tensor:
        """Real images as the generator of this phase could make them."""
        # A distributed data set does not know the rows of a replica; shapes are static from here on.
        share = self.batch_size // tf.distribute.get_strategy().num_replicas_in_sync
        real = images.to_float(tf.ensure_shape(real, [share, *real.shape[1:]]))
        if self.phase.level is None:
            return real
        return layers.as_grown(real, side=4 * 2**self.phase.level, alpha=self.discriminator.alpha)

    def _augmented(self, pictures: tf.Tensor, player: str, d_step: tf.Tensor) -> tf.Tensor:
        if self.objective.augment is None:
            return pictures
        key = randomness.at_step(self._keys[player], d_step)
        return self.objective.augment(pictures, key, self.ada_p.value)

    def _judge(self, pictures: tf.Tensor, labels: Tensors, player: str, d_step: tf.Tensor) -> tf.Tensor:
        return self.discriminator({"images": self._augmented(pictures, player, d_step), **labels}, training=True)

    def _penalty(
        self, real: tf.Tensor, real_labels: Tensors, fake: tf.Tensor, fake_labels: Tensors, d_step: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors]:
        """The weighted sum of the penalties that are due, and each without its weight."""
        goal = self.objective

        def on_real(x: tf.Tensor) -> tf.Tensor:
            return self._judge(x, real_labels, "augment real", d_step)

        def on_fake(x: tf.Tensor) -> tf.Tensor:
            return self._judge(x, fake_labels, "augment fake", d_step)

        def interpolated() -> tf.Tensor:
            key = randomness.at_step(self._keys["interpolate"], d_step)
            epsilon = randomness.uniform(key, (self.batch_size,))
            return penalties.wgan_gp(on_real, real, fake, epsilon)

        terms = {
            "r1": ((goal.r1_gamma or 0.0) / 2.0, lambda: penalties.r1(on_real, real)),
            "r2": ((goal.r2_gamma or 0.0) / 2.0, lambda: penalties.r2(on_fake, fake)),
            "gp": (goal.gp_lambda or 0.0, interpolated),
        }
        due = {
            name: penalties.lazy(terms[name][1], step=self.step, interval_steps=goal.penalty_interval_steps)
            for name in goal.penalties
        }
        total = tf.add_n([tf.constant(0.0), *(terms[name][0] * value for name, value in due.items())])
        return total, {name: value / goal.penalty_interval_steps for name, value in due.items()}

    def _logs(self, values: Tensors, *, signs: tf.Tensor) -> Tensors:
        """Moves the controller of augmentation and the windows by what all replicas saw together."""
        everywhere = tf.distribute.get_replica_context().all_reduce
        values, signs = everywhere(tf.distribute.ReduceOp.MEAN, [values, signs])
        if self.objective.ada:
            p, sums = ada_controller.controlled(
                self.objective.ada,
                p=self.ada_p.value,
                sign_sum=self.ada_signs + signs,
                step=self.step.value,
                batch_size=self.batch_size,
            )
            self.ada_p.assign(p)
            self.ada_signs.assign(sums)
            values["ada_p"] = p
        penalised = tf.cast(self.step % self.objective.penalty_interval_steps == 0, tf.float32)
        for name, window in self.windows.items():
            window.update_state(values[name], penalised if name in PENALTIES else 1.0)
        # Of shape (1,): MultiWorkerMirroredStrategy reduces logs along axis 0 and refuses scalars
        # (keras-team/keras#20585).
        return {name: tf.reshape(window.result(), [1]) for name, window in self.windows.items()}


def named(labels: tf.Tensor | None) -> Tensors:
    """Labels as an input of a network: none where there are none."""
    return {} if labels is None else {"labels": labels}


def opinions(real_logits: tf.Tensor, fake_logits: tf.Tensor) -> Tensors:
    """What the discriminator thinks: ``d_real``, ``d_fake`` and ``d_accuracy`` of :data:`METRICS`."""
    return {
        "d_real": tf.reduce_mean(tf.sigmoid(real_logits)),
        "d_fake": tf.reduce_mean(tf.sigmoid(fake_logits)),
        # Of ranks, not of signs: it means the same for every loss. Relativistic logits have no zero.
        "d_accuracy": tf.reduce_mean(tf.cast(real_logits > fake_logits, tf.float32)),
    }


def scaled_for_replicas(loss: tf.Tensor) -> tf.Tensor:
    """`loss` for the tape: replicas' gradients are summed, so each contributes its share of the global mean.

    Logs keep the unscaled value.
    """
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def _turn(real: tf.Tensor, labels: tf.Tensor | None, turn: int) -> tuple[tf.Tensor, tf.Tensor | None]:
    return real[:, turn], None if labels is None else labels[:, turn]


def _columns(rows: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Numbers ``[N]`` in the rank of `like`, to be multiplied with its rows."""
    return tf.reshape(rows, [-1] + [1] * (like.shape.rank - 1))


def _move(optimizer: keras.Optimizer, gradients: list[tf.Tensor | None], weights: list[keras.Variable]) -> None:
    """A step of the weights that have a gradient: those of a level still to come have none."""
    pairs = [
        (gradient, weight) for gradient, weight in zip(gradients, weights, strict=True) if gradient is not None
    ]
    optimizer.apply([gradient for gradient, _ in pairs], [weight for _, weight in pairs])


def _norm(gradients: list[tf.Tensor | None]) -> tf.Tensor:
    """Of a replica's own gradients, as if its rows were the whole batch."""
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    return replicas * tf.linalg.global_norm([gradient for gradient in gradients if gradient is not None])


def _spread(pictures: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.math.reduce_std(pictures, axis=0))
