"""The stage end to end, on scikit-learn's digits and generators that draw from banks of images."""

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_digits

from gan_components import examples as example_data
from gan_components import generators
from gan_components.artifacts import Evaluation, TrainedModel, work_directory
from gan_components.errors import ConfigError, InputError
from gan_components.evaluation import gate
from gan_components.evaluation.config import Bound, EvaluateConfig
from gan_components.evaluation.stage import evaluate
from gan_components.fingerprints import Recipe
from gan_components.ingestion.config import Fraction, IngestConfig
from gan_components.ingestion.config import recipe as ingest_recipe
from gan_components.ingestion.stage import ingest

NUM_INGESTED = 1200
CONFIG = EvaluateConfig(
    num_samples=800, min_holdout=200, bounds={"fd_classifier": Bound(max=30.0), "coverage": Bound(min=0.4)}
)


class Bank(keras.layers.Layer):
    """Shows the image of the wanted class, float32 ``[classes, N, H, W, C]``, that the first latent points at."""

    def __init__(self, bank: np.ndarray, noise: float = 0.0) -> None:
        super().__init__()
        self.bank, self.noise = tf.constant(bank, tf.float32), noise

    def call(self, inputs: list[tf.Tensor]) -> tf.Tensor:
        latents, labels = inputs
        place = tf.math.floormod(latents[:, 0] * 1e4, 1.0) * self.bank.shape[1]
        images = tf.gather_nd(self.bank, tf.stack([tf.cast(labels, tf.int32), tf.cast(place, tf.int32)], 1))
        return images + self.noise * tf.reshape(latents[:, :64], [-1, 8, 8, 1])

    def compute_output_shape(self, shapes: list[tuple]) -> tuple:
        return (shapes[0][0], *self.bank.shape[2:])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    return (images[order] * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1), labels[order]


@pytest.fixture(scope="module")
def examples(digits, root):
    for number, (image, label) in enumerate(zip(*digits, strict=True)):
        if number < NUM_INGESTED:
            path = root / "data" / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    config = IngestConfig(source="image_folder", size=8, holdout=Fraction(fraction=0.3))
    data = str(root / "data")
    out = root / ingest_recipe(data, config, seed=0).fingerprint
    return ingest(data, config, out=out, seed=0, cache=root / "cache")


def trained(root, images: np.ndarray, labels: np.ndarray, noise: float = 0.0) -> TrainedModel:
    """A model whose generator shows these images, equally many of each class."""
    most = np.bincount(labels).min()
    bank = np.stack([images[labels == label][:most] for label in range(10)]).astype(np.float32) / 127.5 - 1
    latents, wanted = keras.Input((64,), name="latents"), keras.Input((), dtype="int64", name="labels")
    network = keras.Model({"latents": latents, "labels": wanted}, Bank(bank, noise)([latents, wanted]))
    description = generators.Description(
        image_shape=[8, 8, 1],
        latent_dim=64,
        class_names=[str(i) for i in range(10)],
        class_frequencies=[0.1] * 10,
    )
    name = f"model{len(list(root.glob('model*')))}"
    recipe = Recipe(stage="train", config={}, inputs={"bank": name}, seed=0, code={}, libraries={})
    work = work_directory(root / name, recipe)
    generators.save(network, work / "generator", description)
    lines = [{"step": step, "d_loss": 1 / step, "g_loss": 1.0} for step in range(1, 50)]
    (work / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return TrainedModel.seal(root / name, recipe, content_digest=name)


@pytest.fixture(scope="module")
def honest(root, digits):
    """Digits that were never ingested, with a little noise: what a perfect generator would draw."""
    images, labels = digits
    return trained(root, images[NUM_INGESTED:], labels[NUM_INGESTED:], noise=0.05)


def run(model, examples, root, name, config=CONFIG) -> Evaluation:
    return evaluate(model, examples, config, out=root / name, seed=0, cache=root / "cache")


@pytest.fixture(scope="module")
def evaluation(honest, examples, root):
    return run(honest, examples, root, "evaluation")


def read(evaluation: Evaluation, name: str):
    return json.loads((evaluation.directory / name).read_text())


def test_an_honest_generator_passes(evaluation):
    """Red if the sides are mixed up: fresh digits are close to held-out ones, cover them, and copy nothing."""
    assert gate.absolute_verdict(evaluation).blessed
    metrics = read(evaluation, "metrics.json")
    assert metrics["fd_classifier"]["protocol"].startswith("fd")
    assert metrics["fd_classifier"]["protocol"].endswith("_holdout_classifier")
    assert metrics["fd_classifier_train"]["protocol"].endswith("_train_classifier")
    assert metrics["coverage"]["value"] > 0.7
    assert metrics["class_agreement"]["value"] > 0.9
    for metric in metrics.values():
        assert metric["low"] <= metric["value"] <= metric["high"]
    assert evaluation.properties["primary_metric"] == "fd_classifier"
    assert read(evaluation, "memorization.json")["verdict"] == "PASS"


def test_each_class_is_told_apart(evaluation):
    """Shares sum to 1 and are near a tenth; what is asked for comes. Red if the rows of classes are mixed.

    Each class has about 80 of 800 draws and 36 of 360 held-out images: three standard errors are 3 and 5 points.
    """
    classes = read(evaluation, "classes.json")
    assert [one["name"] for one in classes] == [str(digit) for digit in range(10)]
    for key, tolerance in (("drawn", 0.04), ("real", 0.06)):
        assert sum(one[key] for one in classes) == pytest.approx(1.0)
        assert all(abs(one[key] - 0.1) < tolerance for one in classes)
    agreement = read(evaluation, "metrics.json")["class_agreement"]["value"]
    assert np.mean([one["agreement"] for one in classes]) == pytest.approx(agreement)
    assert "<h2>Classes</h2>" in (evaluation.directory / "report.html").read_text()


def test_same_inputs_same_content(evaluation, honest, examples, root):
    """A second run into another cache gives the same JSON; red with an unseeded subset or a time in it."""
    again = evaluate(honest, examples, CONFIG, out=root / "again", seed=0, cache=root / "other-cache")
    assert again.content_digest == evaluation.content_digest
    for name in ("metrics.json", "memorization.json", "checks.json", "report.html", "samples.png"):
        assert (again.directory / name).read_bytes() == (evaluation.directory / name).read_bytes(), name


def test_a_copier_fails(examples, root):
    """A generator that shows training images does not get through; red if draws are compared with H only."""
    train = example_data.read(examples, "train")
    copier = run(trained(root, train.images, train.labels), examples, root, "copier")
    blessing = gate.absolute_verdict(copier)
    assert not blessing.blessed
    assert "exact copies of training images" in blessing.reason
    assert "FAIL" in (copier.directory / "report.html").read_text()


def test_report_stands_alone(evaluation):
    """Red with a linked script, style, font or picture; the verdict comes before everything else."""
    page = (evaluation.directory / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)|@import|url\(|https?://""", page)
    assert page.index("All checks of this evaluation passed") < page.index("<table")
    assert page.count("data:image/png;base64,") == 3
    for text in ("fd_classifier", "<polyline", "PASS", evaluation.manifest.recipe.inputs["examples"]):
        assert text in page


def test_training_images_stay_out_of_the_report(honest, examples, root):
    """Red if a panel is written although the section forbids it; no class extractor is needed here."""
    config = EvaluateConfig(features="random_conv", num_samples=300, report_training_images=False)
    quiet = run(honest, examples, root, "quiet", config)
    assert sorted(path.name for path in quiet.directory.glob("*.png")) == ["samples.png"]
    page = (quiet.directory / "report.html").read_text()
    assert page.count("data:image/png") == 1
    assert "kept out of this report" in page
    memorization = read(quiet, "memorization.json")
    assert memorization["verdict"] == "UNDECIDED"
    assert memorization["missing_holdout"] == 1000 - memorization["num_holdout"]
    assert not gate.absolute_verdict(quiet).blessed


def test_bounds_on_what_is_not_measured(honest, examples, root):
    """Red if the bound is looked up only after an hour of measuring."""
    config = EvaluateConfig(features="random_conv", bounds={"fd_classifier": Bound(max=9.0)})
    with pytest.raises(ConfigError, match="fd_classifier, which is not measured here"):
        run(honest, examples, root, "unbound", config)
    assert not (root / "unbound").exists()


def test_too_few_images(digits, honest, root):
    """Red if a handful of images gives a number."""
    for number, image in enumerate(digits[0][:60]):
        (root / "few").mkdir(exist_ok=True)
        Image.fromarray(image[..., 0]).save(root / "few" / f"{number}.png")
    config = IngestConfig(source="image_folder", size=8, holdout=Fraction(fraction=0.3))
    out = root / ingest_recipe(str(root / "few"), config, seed=0).fingerprint
    few = ingest(str(root / "few"), config, out=out, seed=0, cache=root / "cache")
    with pytest.raises(InputError, match="measuring takes 40"):
        run(honest, few, root, "too-few", EvaluateConfig(features="pixels", num_samples=100))
