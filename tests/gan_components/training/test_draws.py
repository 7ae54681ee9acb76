"""The generator's random inputs in training."""

import numpy as np
import tensorflow as tf

from gan_components.training.draws import drawer


def _draw(seed: int, step: int, **settings) -> dict[str, np.ndarray]:
    defaults = {"batch_size": 4, "latent_dim": 3, "class_frequencies": [0.5, 0.5], "draws": {}}
    inputs = drawer(**(defaults | settings), seed=seed)(tf.constant(step, tf.int64))
    return {name: rows.numpy() for name, rows in inputs.items()}


def test_draws_are_a_function_of_seed_and_step():
    """Red if the step is not folded in."""
    np.testing.assert_array_equal(_draw(1, 5)["latents"], _draw(1, 5)["latents"])
    assert np.all(_draw(1, 5)["latents"] != _draw(1, 6)["latents"])
    assert np.all(_draw(1, 5)["latents"] != _draw(2, 5)["latents"])


def test_labels_follow_the_training_frequencies():
    """20,000 draws: three standard errors of a share of 0.5 are 0.011. Red with uniform labels."""
    labels = _draw(0, 0, batch_size=20_000, class_frequencies=[0.5, 0.0, 0.3, 0.2])["labels"]
    assert labels.dtype == np.int64
    np.testing.assert_allclose(np.bincount(labels, minlength=4) / 20_000, [0.5, 0.0, 0.3, 0.2], atol=0.011)
    assert np.bincount(labels, minlength=4)[1] == 0


def test_uniform_latents_lie_between_minus_one_and_one():
    """12,000 numbers: the variance of U(-1, 1) is 1/3, its standard error 0.003. Red for U(0, 1): 1/12."""
    latents = _draw(0, 0, batch_size=4_000, latent_distribution="uniform")["latents"]
    assert latents.min() >= -1 and latents.max() < 1
    assert abs(latents.var() - 1 / 3) < 0.01


def test_other_draws_have_streams_of_their_own():
    """Red if two names share a stream, or uniform extras are stretched like uniform latents."""
    draws = {"noise": ("normal", (3,)), "more": ("normal", (3,)), "point": ("uniform", ())}
    inputs = _draw(0, 0, batch_size=1_000, draws=draws)
    assert np.all(inputs["noise"] != inputs["more"]) and np.all(inputs["noise"] != inputs["latents"])
    assert inputs["point"].shape == (1_000,) and inputs["point"].min() >= 0


def test_without_classes_there_are_no_labels():
    """Red if labels are drawn for a generator that takes none."""
    assert set(_draw(0, 0, class_frequencies=[])) == {"latents"}
