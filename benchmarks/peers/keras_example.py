"""The official Keras DCGAN example, written anew from its description.

"Overriding train_step" at https://keras.io/guides/custom_train_step_in_tensorflow/, its end-to-end GAN of 28x28
digits (and https://keras.io/examples/generative/dcgan_overriding_train_step/, the same step at 64 pixels). A step
makes fakes twice. The discriminator sees fakes and real images as one batch with noisy labels (fake is 1); then
the generator learns through fakes of its own.

    python -m peers.keras_example DATA [--dcgan CASE_AS_JSON] [--learning-rate 3e-4] [--beta1 0.9] [--seed 0]
"""

import argparse

import keras
import numpy as np
import tensorflow as tf

from gan_components.networks import dcgan
from gan_components.networks.config import Dcgan
from peers import data
from peers.cases import Case
from peers.keras_turns import TakesTurns
from peers.turns import Turns

LATENT_DIM = 128
BATCH_SIZE = 64


class ExampleGAN(keras.Model):
    """The example's GAN: logits ``[N, 1]`` are positive for fakes, images lie where the generator's do.

    Args:
        generator: latents ``[N, D]`` to images.
        discriminator: images to logits.
        latent_dim: D.
        seed: of latents and label noise.
    """

    def __init__(self, generator: keras.Model, discriminator: keras.Model, *, latent_dim: int, seed: int) -> None:
        super().__init__()
        self.generator, self.discriminator, self.latent_dim = generator, discriminator, latent_dim
        self.random = keras.random.SeedGenerator(seed)
        self.d_loss, self.g_loss = keras.metrics.Mean(name="d_loss"), keras.metrics.Mean(name="g_loss")
        self.built = True

    def compile(self, *, learning_rate: float, beta1: float) -> None:
        """The example has Adam(3e-4) for both players, with the usual beta1 of 0.9."""
        super().compile()
        self.d_optimizer = keras.optimizers.Adam(learning_rate, beta1)
        self.g_optimizer = keras.optimizers.Adam(learning_rate, beta1)
        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self.d_loss, self.g_loss]

    def train_step(self, real: tf.Tensor) -> dict[str, tf.Tensor]:
        """One step of the discriminator, then one of the generator."""
        batch_size = tf.shape(real)[0]
        both = tf.concat([self.generator(self._latents(batch_size), training=True), real], 0)
        labels = tf.concat([tf.ones((batch_size, 1)), tf.zeros((batch_size, 1))], 0)
        labels += 0.05 * keras.random.uniform(tf.shape(labels), seed=self.random)
        with tf.GradientTape() as tape:
            d_loss = self.cross_entropy(labels, self.discriminator(both, training=True))
        weights = self.discriminator.trainable_weights
        self.d_optimizer.apply(tape.gradient(d_loss, weights), weights)

        latents = self._latents(batch_size)
        with tf.GradientTape() as tape:
            logits = self.discriminator(self.generator(latents, training=True), training=True)
            g_loss = self.cross_entropy(tf.zeros((batch_size, 1)), logits)
        weights = self.generator.trainable_weights
        self.g_optimizer.apply(tape.gradient(g_loss, weights), weights)

        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}

    def _latents(self, batch_size: tf.Tensor) -> tf.Tensor:
        return keras.random.normal((batch_size, self.latent_dim), seed=self.random)


def example_networks() -> tuple[keras.Model, keras.Model]:
    """Generator and discriminator of the example, for 28x28 grey images in [0, 1]."""
    leaky = {"negative_slope": 0.2}
    generator = keras.Sequential(
        [
            keras.Input((LATENT_DIM,)),
            keras.layers.Dense(7 * 7 * 128),
            keras.layers.LeakyReLU(**leaky),
            keras.layers.Reshape((7, 7, 128)),
            keras.layers.Conv2DTranspose(128, 4, 2, padding="same"),
            keras.layers.LeakyReLU(**leaky),
            keras.layers.Conv2DTranspose(128, 4, 2, padding="same"),
            keras.layers.LeakyReLU(**leaky),
            keras.layers.Conv2D(1, 7, padding="same", activation="sigmoid"),
        ]
    )
    discriminator = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(64, 3, 2, padding="same"),
            keras.layers.LeakyReLU(**leaky),
            keras.layers.Conv2D(128, 3, 2, padding="same"),
            keras.layers.LeakyReLU(**leaky),
            keras.layers.GlobalMaxPooling2D(),
            keras.layers.Dense(1),
        ]
    )
    return generator, discriminator


def dcgan_networks(case: Case) -> tuple[keras.Model, keras.Model]:
    """This project's DCGAN with the example's interfaces: one tensor in, logits ``[N, 1]``."""
    config, shape = Dcgan(base_channels=case.base_channels), (case.side, case.side, case.channels)
    generator = dcgan.generator(config, image_shape=shape, latent_dim=case.latent_dim, num_classes=0, seed=0)
    discriminator = dcgan.discriminator(config, image_shape=shape, num_classes=0, seed=0)
    latents, images = keras.Input((case.latent_dim,)), keras.Input(shape)
    logits = keras.layers.Reshape((1,))(discriminator({"images": images}))
    return keras.Model(latents, generator({"latents": latents})), keras.Model(images, logits)


def sample(gan: ExampleGAN, count: int, *, low: float) -> np.ndarray:
    """Images of the generator, uint8 ``[count, H, W, C]``; its own lie in [low, 1]."""
    latents = np.random.default_rng(0).standard_normal((count, gan.latent_dim), np.float32)
    pictures = gan.generator.predict(latents, batch_size=256, verbose=0)
    return np.clip(np.rint((pictures - low) / (1.0 - low) * 255.0), 0, 255).astype(np.uint8)


def main() -> None:
    turns = Turns()
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument(
        "--dcgan", type=Case.loads, help="this project's networks for this case, not the example's"
    )
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--beta1", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    keras.utils.set_random_seed(arguments.seed)
    # The example's generator ends in a sigmoid, DCGAN's in tanh.
    low, case = (-1.0, arguments.dcgan) if arguments.dcgan else (0.0, None)
    networks = dcgan_networks(case) if case else example_networks()
    gan = ExampleGAN(*networks, latent_dim=case.latent_dim if case else LATENT_DIM, seed=arguments.seed)
    gan.compile(learning_rate=arguments.learning_rate, beta1=arguments.beta1)
    pictures = data.load(arguments.data).train.astype(np.float32) / 255.0 * (1.0 - low) + low
    # The example's own pipeline, without its end.
    batches = tf.data.Dataset.from_tensor_slices(pictures).shuffle(1024, seed=arguments.seed).repeat()
    batches = batches.batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)
    takes_turns = TakesTurns(turns, sample=lambda count: sample(gan, count, low=low))
    gan.fit(batches, steps_per_epoch=10**9, verbose=0, callbacks=[takes_turns])


if __name__ == "__main__":
    main()
