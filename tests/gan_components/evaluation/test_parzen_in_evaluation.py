"""The Parzen window as one of the evaluation's metrics: on request, in every output, and bounded."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_digits

from gan_components import examples as example_data
from gan_components import generators
from gan_components.artifacts import Evaluation, TrainedModel, no_progress, work_directory
from gan_components.evaluation import score
from gan_components.evaluation.config import Bound, EvaluateConfig
from gan_components.evaluation.stage import evaluate
from gan_components.fingerprints import Recipe
from gan_components.ingestion.config import Fraction, IngestConfig
from gan_components.ingestion.config import recipe as ingest_recipe
from gan_components.ingestion.stage import ingest
from gan_components.metrics import parzen

NUM_INGESTED, NUM_SAMPLES = 400, 300
NAME = "parzen_log_likelihood"


class Bank(keras.layers.Layer):
    """Shows the image, of float32 ``[N, H, W, C]``, that the first latent points at."""

    def __init__(self, bank: np.ndarray) -> None:
        super().__init__()
        self.bank = tf.constant(bank, tf.float32)

    def call(self, latents: tf.Tensor) -> tf.Tensor:
        place = tf.math.floormod(latents[:, 0] * 1e4, 1.0) * self.bank.shape[0]
        return tf.gather(self.bank, tf.cast(place, tf.int32))

    def compute_output_shape(self, shape: tuple) -> tuple:
        return (shape[0], *self.bank.shape[1:])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def digits():
    order = np.random.default_rng(0).permutation(1_797)
    return (load_digits().images[order] * 15.9).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def examples(digits, root):
    (root / "data").mkdir()
    for number, image in enumerate(digits[:NUM_INGESTED]):
        Image.fromarray(image[..., 0]).save(root / "data" / f"{number}.png")
    config = IngestConfig(source="image_folder", size=8, holdout=Fraction(fraction=0.3))
    out = root / ingest_recipe(str(root / "data"), config, seed=0).fingerprint
    return ingest(str(root / "data"), config, out=out, seed=0, cache=root / "cache")


@pytest.fixture(scope="module")
def model(digits, root):
    """Draws digits that were never ingested."""
    latents = keras.Input((4,), name="latents")
    bank = digits[NUM_INGESTED:].astype(np.float32) / 127.5 - 1
    network = keras.Model({"latents": latents}, Bank(bank)(latents))
    recipe = Recipe(stage="train", config={}, inputs={}, seed=0, code={}, libraries={})
    work = work_directory(root / "model", recipe)
    description = generators.Description(image_shape=[8, 8, 1], latent_dim=4)
    generators.save(network, work / "generator", description)
    return TrainedModel.seal(root / "model", recipe, content_digest="model")


def run(model, examples, root, name, *, progress=no_progress, **settings) -> Evaluation:
    config = EvaluateConfig(features="pixels", num_samples=NUM_SAMPLES, **settings)
    return evaluate(model, examples, config, out=root / name, seed=0, cache=root / "cache", progress=progress)


@pytest.fixture(scope="module")
def without(model, examples, root):
    return run(model, examples, root, "without")


@pytest.fixture(scope="module")
def steps():
    """What the measured run tells."""
    return []


@pytest.fixture(scope="module")
def measured(model, examples, root, steps):
    bounds = {NAME: Bound(min=-1e4, max=-1e3)}

    def told(*step):
        steps.append(step)

    return run(model, examples, root, "with", progress=told, parzen=True, bounds=bounds)


def read(evaluation: Evaluation, name: str):
    return json.loads((evaluation.directory / name).read_text())


def test_only_on_request(without, measured):
    """Red if the default changes, or if measuring one number more moves the others (a shared random stream)."""
    assert EvaluateConfig().parzen is False
    metrics = read(measured, "metrics.json")
    assert metrics.pop(NAME)
    assert metrics == read(without, "metrics.json")
    assert not (without.directory / "parzen.json").exists()
    assert NAME not in (without.directory / "report.html").read_text()


def test_held_out_images_are_judged_by_generated_ones(measured, model, examples):
    """Recomputed from the artifacts. Red if training images are judged, or the sides are exchanged."""
    metric, window = read(measured, "metrics.json")[NAME], read(measured, "parzen.json")
    generated = generators.Generator.load(model.generator_directory).images(range(NUM_SAMPLES))
    holdout = example_data.read(examples, "holdout").images
    values = parzen.log_likelihoods(holdout, generated, (window["sigma"],))[0]
    assert metric["value"] == pytest.approx(values.mean(), rel=1e-12)
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    assert [metric["low"], metric["high"]] == pytest.approx([values.mean() - half, values.mean() + half])
    assert metric["protocol"] == "parzen300_holdout"
    assert metric["better"] == "higher"
    assert metric["extractor"].startswith("pixels:")


def test_the_window_is_on_record(measured):
    """Red if another width than the likeliest of the validation curve is written."""
    window = read(measured, "parzen.json")
    curve = dict(window["validation"])
    assert window["unit"] == "nats"
    assert window["sigma"] == max(curve, key=curve.get)
    assert 0.01 < window["sigma"] < 1, "the best width lies at the grid's end"
    page = (measured.directory / "report.html").read_text()
    assert NAME in page
    assert "parzen300_holdout" in page


def test_bounds_judge_it(measured):
    """Some 20 nats: of the bounds -10,000 and -1,000 the second fails. Red if none is checked."""
    checks = {check["name"]: check for check in read(measured, "checks.json")}
    assert checks[f"{NAME}_min"]["passed"]
    assert not checks[f"{NAME}_max"]["passed"]
    assert checks[f"{NAME}_max"]["value"] == read(measured, "metrics.json")[NAME]["value"]


def test_a_bound_needs_the_metric():
    """Red if the bound is looked up only in the stage, or is no known metric."""
    with pytest.raises(ValidationError, match=r"set evaluate\.parzen to true"):
        EvaluateConfig(bounds={NAME: Bound(min=0.0)})
    assert EvaluateConfig(parzen=True, bounds={NAME: Bound(min=0.0)}).bounds[NAME].min == 0.0


@pytest.mark.parametrize(("num_train", "num_validation"), [(200, 20), (205, 21), (12_000, 1_000)])
def test_the_width_is_chosen_on_a_tenth_of_train(monkeypatch, num_train, num_validation):
    """At most 1,000, drawn from all of train by the seed. Red if it is the first tenth or comes from held-out."""
    seen = {}

    def measure(images, samples, validation):
        seen.update(images=images, samples=samples, validation=validation)
        return original(images[:2], samples[:2], validation[:2])

    original = parzen.measure
    monkeypatch.setattr(parzen, "measure", measure)
    # Two bytes tell every image of every side apart.
    numbers = np.arange(num_train + 100).astype("<u2").view(np.uint8).reshape(-1, 1, 1, 2)
    train, generated, holdout = numbers[:num_train], numbers[num_train : num_train + 50], numbers[num_train + 50 :]
    score.log_likelihood(generated, train, holdout, seed=0)
    assert seen["images"] is holdout
    assert seen["samples"] is generated
    chosen = seen["validation"].view("<u2").ravel()
    assert len(chosen) == len(set(chosen)) == num_validation
    assert chosen.max() < num_train
    assert chosen.max() > num_train // 2
    score.log_likelihood(generated, train, holdout, seed=1)
    assert set(seen["validation"].view("<u2").ravel()) != set(chosen)


def test_progress_counts_it(measured, steps):
    """Eight steps instead of seven, each told once. Red if the total stays: progress would read 8 of 7."""
    assert [(step, total) for step, total, _ in steps] == [(i, 8) for i in range(1, 9)]
    assert "Parzen-window log-likelihood" in [text for *_, text in steps]
