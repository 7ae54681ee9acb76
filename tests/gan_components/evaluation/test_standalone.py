"""`score`: any images against any others."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_components import randomness
from gan_components.errors import ConfigError, InputError
from gan_components.evaluation import standalone
from gan_components.evaluation.standalone import Settings, compare
from gan_components.metrics import features, frechet
from gan_components.metrics.extractor import Extractor
from gan_components.metrics.features import inception


def _noise(name: str, count: int = 60, shape: tuple[int, ...] = (12, 12, 1), high: int = 256) -> np.ndarray:
    return randomness.numpy_generator(0, name).integers(0, high, (count, *shape), np.uint8)


@pytest.fixture
def saved(tmp_path):
    """Saves an array and gives its path."""

    def save(name: str, images: np.ndarray) -> str:
        path = tmp_path / f"{name}.npy"
        np.save(path, images)
        return str(path)

    return save


def _folder(path, sizes: list[tuple[int, int]], mode: str) -> str:
    path.mkdir()
    random = randomness.numpy_generator(0, path.name)
    for number, size in enumerate(sizes):
        pixels = random.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(pixels).convert(mode).save(path / f"{number:02}.png")
    return str(path)


def test_all_images_of_both_sides_count(saved, tmp_path):
    """Unequal numbers, as FID50k against a training set. Red if either side is cut to the other's count."""
    first, second = _noise("first", 60), _noise("second", 100, high=200)
    document = compare(saved("a", first), saved("b", second), Settings(cache=tmp_path))
    metric = document["metrics"]["fd_random_conv"]
    extractor = features.random_conv_extractor((12, 12, 1))
    expected = frechet.distance_of_features(extractor.features(second), extractor.features(first))
    assert metric["value"] == pytest.approx(expected, rel=1e-9)
    assert metric["protocol"] == "fd60_reference100_random_conv"
    assert set(document["metrics"]) == {
        *("fd_random_conv", "kid_random_conv", "precision", "recall", "density", "coverage", "ms_ssim")
    }
    assert document["memorization"] is None


def test_the_same_seed_gives_the_same_document(saved, tmp_path):
    """Red with a random number of no stream, or a time in the document."""
    first, second = saved("a", _noise("first")), saved("b", _noise("second"))
    documents = [compare(first, second, Settings(cache=tmp_path)) for _ in range(2)]
    assert documents[0] == documents[1]


def test_copies_of_what_was_trained_on_fail(saved, tmp_path):
    """Red if held-out and training images are mixed up: the copies are of `train`."""
    train, holdout = _noise("train", 400), _noise("holdout", 400)
    settings = Settings(cache=tmp_path, metrics=["distance"])
    copied = compare(saved("a", train[:100]), saved("h", holdout), settings, train=saved("t", train))
    assert copied["memorization"]["verdict"] == "FAIL"
    honest = compare(saved("b", _noise("fresh", 100)), saved("h", holdout), settings, train=saved("t", train))
    assert honest["memorization"]["verdict"] == "UNDECIDED"
    assert "600 more are needed" in honest["memorization"]["reason"]


def test_sizes_that_differ_need_a_size(tmp_path):
    """Red if images are resized unasked, which changes every distance."""
    large = _folder(tmp_path / "large", [(20, 20), (24, 30)] * 25, "RGB")
    small = _folder(tmp_path / "small", [(16, 16)] * 50, "RGB")
    with pytest.raises(InputError, match=r"has 20x20, 30x24; .*has 16x16. Give --size N"):
        compare(large, small, Settings(cache=tmp_path))
    document = compare(large, small, Settings(cache=tmp_path, size=16))
    assert document["metrics"]["fd_random_conv"]["value"] > 0


def test_grey_meets_colour(tmp_path, caplog):
    """Grey is repeated, and the log says so. Red if the extractor is given one channel."""
    grey = _folder(tmp_path / "grey", [(16, 16)] * 50, "L")
    coloured = _folder(tmp_path / "coloured", [(16, 16)] * 50, "RGB")
    compare(grey, coloured, Settings(cache=tmp_path, metrics=["distance"]))
    assert "repeated into red, green and blue" in caplog.text


def _fake_inception(weights, cache) -> Extractor:
    """Statistics of an image in the place of the network's layers; NaN for black images."""

    def outputs(images: np.ndarray) -> dict[str, np.ndarray]:
        rows = images.reshape(len(images), -1).astype(np.float32)
        rows = np.stack([rows.mean(1), rows.std(1), rows[:, 0], rows[:, -1]], 1)
        rows[rows.sum(1) == 0] = np.nan
        return {"2048": rows, "sfid": rows[:, :3], "logits_unbiased": rows / 50}

    return Extractor(inception.identity("0" * 64, "2048"), lambda images: outputs(images)["2048"], outputs=outputs)


def test_inception_gives_fid_and_what_goes_with_it(tmp_path, monkeypatch):
    """Images of any sizes. Red if FID is named fd_inception, or sFID is computed in FID's features."""
    monkeypatch.setattr(features, "inception_extractor", _fake_inception)
    first = _folder(tmp_path / "first", [(20, 20), (24, 30)] * 30, "RGB")
    second = _folder(tmp_path / "second", [(16, 16)] * 60, "RGB")
    settings = Settings(features="inception", cache=tmp_path)
    metrics = compare(first, second, settings)["metrics"]
    assert set(metrics) == {
        *("fid", "kid", "precision", "recall", "density", "coverage", "sfid", "inception_score")
    }
    assert metrics["fid"]["protocol"] == "fid60_reference60_inception"
    assert metrics["sfid"]["value"] != metrics["fid"]["value"]
    assert metrics["sfid"]["extractor"] != metrics["fid"]["extractor"]


def test_features_that_are_not_finite(saved, tmp_path, monkeypatch):
    """Red if NaN is left to the metrics: some would give a number."""
    monkeypatch.setattr(features, "inception_extractor", _fake_inception)
    images = _noise("first", 60)
    broken = np.concatenate([images, np.zeros((2, 12, 12, 1), np.uint8)])
    with pytest.raises(InputError, match=r"not finite .* for 2 images of .*, the first is number 60"):
        compare(saved("a", broken), saved("b", images), Settings(features="inception", cache=tmp_path))


def test_equal_images_are_no_set(saved, tmp_path):
    """Red if a covariance of zeros is compared."""
    same = np.repeat(_noise("first", 1), 50, axis=0)
    with pytest.raises(InputError, match=r"all 50 images of .* are the same"):
        compare(saved("a", same), saved("b", _noise("second")), Settings(cache=tmp_path))


@pytest.mark.parametrize(
    "settings, message",
    [
        (Settings(metrics=["fid"]), "--metrics fid is none of distance"),
        (Settings(metrics=["sfid"]), "--metrics sfid needs --features inception"),
        (Settings(features="classifier"), "score trains no classifier"),
        (Settings(features="inceptoin"), "^inceptoin are no features; did you mean inception"),
        (Settings(features="pixels", weights=Path("gone.pt")), "pixels reads no file"),
    ],
)
def test_settings_that_do_not_fit(saved, settings, message):
    """Red if a check is removed, or an unknown name ends in pydantic's words."""
    images = saved("a", _noise("first"))
    with pytest.raises(ConfigError, match=message):
        compare(images, images, settings)


def test_too_few_images(saved, tmp_path):
    """Red if the jackknife's error, which no user can act on, gets through."""
    few, many = saved("few", _noise("first", 39)), saved("many", _noise("second"))
    with pytest.raises(InputError, match=r"few\.npy holds 39 images; intervals take at least 40"):
        compare(many, few, Settings(cache=tmp_path))


def test_extrapolating_takes_more(saved, tmp_path, monkeypatch):
    """Red as above."""
    monkeypatch.setattr(features, "inception_extractor", _fake_inception)
    sides = saved("a", _noise("first")), saved("b", _noise("second"))
    with pytest.raises(InputError, match="fid_infinity takes at least 100 generated images, got 60"):
        compare(*sides, Settings(features="inception", metrics=["fid_infinity"], cache=tmp_path))


def test_every_metric_can_be_asked_for():
    """Red if a name is left out of either list."""
    every = Settings(features="inception", metrics=list(standalone.METRICS))
    assert every.wanted == set(standalone.METRICS)
