"""Quality while training: what is measured, on what, and that the best outlives everything but its better."""

import functools
import json
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from gan_components import artifacts, images, randomness
from gan_components import examples as examples_reader
from gan_components.artifacts import Examples, TrainedModel
from gan_components.errors import ConfigError
from gan_components.evaluation import stage as evaluation_stage
from gan_components.evaluation.config import EvaluateConfig
from gan_components.examples import Split
from gan_components.fingerprints import Recipe
from gan_components.generators import Description, Generator
from gan_components.metrics import features, frechet
from gan_components.training import checkpoints, players, quality
from gan_components.training.growth import Phase
from gan_components.training.quality import Quality, restore_best
from tests.gan_components.training import toy_training

NUM_TRAIN = 2_000
DESCRIPTION = Description(image_shape=[8, 8, 1], latent_dim=4)


def _pictures() -> np.ndarray:
    """Noise around a brightness of 100: uint8 [2000, 8, 8, 1]."""
    random = randomness.numpy_generator(0, "quality test")
    return np.clip(random.normal(100, 20, (NUM_TRAIN, 8, 8, 1)), 0, 255).astype(np.uint8)


def _examples(directory: Path, *, num_train: int = NUM_TRAIN, class_names: tuple[str, ...] = ()) -> Examples:
    recipe = Recipe(stage="ingest", config={}, inputs={}, seed=0, code={}, libraries={})
    artifacts.work_directory(directory, recipe)
    properties = {
        "image_shape": [8, 8, 1],
        "class_names": list(class_names),
        "class_frequencies": [1 / len(class_names) for _ in class_names],
        "num_train": num_train,
        "num_holdout": 0,
    }
    return Examples.seal(directory, recipe, properties=properties, content_digest="quality")


def _split(pictures: np.ndarray, labels: np.ndarray | None) -> Split:
    return Split(images=pictures, images2=None, labels=labels, ids=[])


@pytest.fixture(autouse=True)
def reader(monkeypatch):
    """Stands in for the reader of real artifacts; held-out images do not exist."""

    def read(examples: Examples, split: str) -> Split:
        assert split == "train"
        labelled = bool(examples.properties["class_names"])
        return _split(_pictures(), np.arange(NUM_TRAIN) % 2 if labelled else None)

    monkeypatch.setattr(examples_reader, "read", read)


@pytest.fixture(autouse=True, scope="module")
def shared_extractor():
    """A function of the shape; traced once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(features, "random_conv_extractor", functools.cache(features.random_conv_extractor))
        yield


def _network(*, channels: int = 1) -> keras.Model:
    """Noise of the images' strength around a brightness that the bias sets."""
    random = randomness.numpy_generator(1, "quality test")
    latents = keras.Input((4,), name="latents")
    x = keras.layers.Dense(64 * channels, name="dense")(latents)
    images = keras.layers.Reshape((8, 8, channels))(x)
    network = keras.Model({"latents": latents}, images)
    kernel = random.normal(0, 20 / 127.5 / 2, (4, 64 * channels)).astype(np.float32)
    network.get_layer("dense").set_weights([kernel, np.zeros(64 * channels, np.float32)])
    return network


class _Gan:
    """A generator whose distance to the data is that of its brightness to 100."""

    def __init__(self) -> None:
        self.step = keras.Variable(0, dtype="int64", trainable=False)
        self.phase = Phase(0, 100)
        self.generator = types.SimpleNamespace(num_levels=3)
        self.ema_generator = _network()

    @property
    def bias(self) -> keras.Variable:
        return self.ema_generator.get_layer("dense").bias

    def brighten(self, brightness: float) -> None:
        self.bias.assign(np.full(self.bias.shape, brightness / 127.5 - 1, np.float32))

    @property
    def brightness(self) -> float:
        return round((float(self.bias.numpy()[0]) + 1) * 127.5, 3)


def _watcher(work: Path, gan: _Gan, *, start_step: int = 0, seed: int = 3, description=DESCRIPTION) -> Quality:
    watcher = Quality(
        work / "best",
        examples=_examples(work / f"examples-{len(list(work.iterdir()))}"),
        description=description,
        interval_steps=4,
        num_steps=18,
        start_step=start_step,
        seed=seed,
        cache=work / "cache",
    )
    watcher.set_model(gan)
    return watcher


def _run(watcher: Quality, gan: _Gan, brightness: dict[int, float], *, end_step: int = 18) -> None:
    """Trains from the step of `gan`; the generator has a new brightness at the steps named."""
    for step in range(int(gan.step.numpy()) + 1, end_step + 1):
        if step in brightness:
            gan.brighten(brightness[step])
        gan.step.assign(step)
        watcher.on_train_batch_end(0, {})


def _lines(work: Path) -> list[dict]:
    return [json.loads(line) for line in (work / "best" / "quality.jsonl").read_text().splitlines()]


def _weights(work: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("weights-")) for path in (work / "best").glob("*weights*"))


def _checkpoints(work: Path, *steps: int) -> None:
    for step in steps:
        (work / "checkpoints" / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)


def test_measures_every_interval_and_the_last_step(tmp_path):
    """Red if the last step is left out, or the names of a line change."""
    gan = _Gan()
    _run(_watcher(tmp_path, gan), gan, {})
    assert [line["step"] for line in _lines(tmp_path)] == [4, 8, 12, 16, 18]
    assert {line["metric"] for line in _lines(tmp_path)} == {"fd_random_conv"}
    assert _lines(tmp_path)[0].keys() == {"step", "metric", "value"}


def test_the_value_is_the_frechet_distance_to_a_tenth_of_train(tmp_path):
    """Computed again from a generator's images of 200 rows, in one batch instead of several.

    Relative 1e-5: six digits are written. Red if the sides are of different size, or images are not levels.
    """
    gan = _Gan()
    gan.brighten(120)
    watcher = _watcher(tmp_path, gan)
    _run(watcher, gan, {}, end_step=4)
    extractor = features.random_conv_extractor((8, 8, 1))
    train = extractor.features(_pictures())
    assert watcher.reference.shape == (200, 96)
    assert len(np.unique(watcher.reference, axis=0)) == 200
    assert all((train == row).all(axis=1).any() for row in watcher.reference)
    assert watcher.inputs["latents"].shape == (200, 4)
    levels = np.clip(np.round((gan.ema_generator.predict(watcher.inputs, verbose=0) + 1) * 127.5), 0, 255)
    expected = frechet.distance_of_features(watcher.reference, extractor.features(levels.astype(np.uint8)))
    assert _lines(tmp_path)[0]["value"] == pytest.approx(expected, rel=1e-5)


def test_one_generator_has_one_value(tmp_path):
    """Also when measured by a run that was resumed. Red if latents or reference come from a moving stream."""
    for seed, name in ((3, "one"), (3, "two"), (4, "other")):
        (tmp_path / name).mkdir()
        gan = _Gan()
        gan.step.assign(9 if name == "two" else 0)
        _run(_watcher(tmp_path / name, gan, start_step=9, seed=seed), gan, {})
    values = {name: {line["value"] for line in _lines(tmp_path / name)} for name in ("one", "two", "other")}
    assert len(values["one"]) == 1
    assert values["one"] == values["two"] != values["other"]


def test_the_best_is_kept_and_restored(tmp_path):
    """Brightness 104 at steps 12 and 16 is closest to 100; of equal ones the first.

    Red if the last or the worst is kept, a tie replaces it, or the other weights stay.
    """
    gan = _Gan()
    _checkpoints(tmp_path, 9)
    _run(_watcher(tmp_path, gan), gan, {4: 130, 8: 110, 12: 104, 17: 150})
    assert _weights(tmp_path) == [8, 12]
    values = [line["value"] for line in _lines(tmp_path)]
    assert values[0] > values[1] > values[2] == values[3] < values[4]
    assert restore_best(gan, tmp_path / "best") == _lines(tmp_path)[2]
    assert gan.brightness == 104
    assert _weights(tmp_path) == [12]
    # Killed before the seal, the run comes here again.
    gan.brighten(0)
    assert restore_best(gan, tmp_path / "best") == _lines(tmp_path)[2]
    assert gan.brightness == 104


def test_nothing_measured_nothing_restored(tmp_path):
    """Red if the best of no measurements is asked for."""
    gan = _Gan()
    gan.brighten(90)
    _watcher(tmp_path, gan)
    assert restore_best(gan, tmp_path / "best") is None
    assert gan.brightness == 90


def test_a_killed_run_ends_as_an_uninterrupted_one(tmp_path):
    """Killed at step 14 with a checkpoint at 6, in the middle of a line; byte for byte, also of the weights.

    Red if lines or weights beyond the checkpoint stay, or a partial line does.
    """
    brightness = {4: 120, 8: 104, 12: 102, 16: 110}
    files = {}
    for name in ("whole", "killed"):
        work = tmp_path / name
        work.mkdir()
        gan = _Gan()
        if name == "killed":
            _run(_watcher(work, gan), gan, brightness, end_step=14)
            with (work / "best" / "quality.jsonl").open("a") as file:
                file.write('{"step": 4, "met')
            # The weights of a measurement whose line was not written any more, and half of other ones.
            (work / "best" / "weights-00000013.npz").write_bytes(b"")
            (work / "best" / ".weights-00000014.npz.partial").write_bytes(b"")
            _checkpoints(work, 2, 6)
            gan.step.assign(6)
            gan.brighten(120)
        _run(_watcher(work, gan, start_step=int(gan.step.numpy())), gan, brightness)
        assert restore_best(gan, work / "best")["step"] == 12
        assert gan.brightness == 102
        files[name] = {path.name: path.read_bytes() for path in (work / "best").iterdir()}
    assert files["whole"] == files["killed"]


@pytest.mark.parametrize("checkpoints", [(6,), (2, 6)])
def test_the_best_before_a_roll_back_outlives_a_better_one_after(tmp_path, checkpoints):
    """Step 8 was better than step 4, but the training went back to step 6 and then did worse.

    Red if the weights of step 4 are deleted as soon as those of step 8 are better.
    """
    gan = _Gan()
    watcher = _watcher(tmp_path, gan)
    _run(watcher, gan, {4: 110}, end_step=6)
    _checkpoints(tmp_path, *checkpoints)
    _run(watcher, gan, {8: 105, 12: 101}, end_step=13)
    assert _weights(tmp_path) == [4, 12]
    gan.step.assign(6)
    _run(_watcher(tmp_path, gan, start_step=6), gan, {7: 140})
    assert restore_best(gan, tmp_path / "best")["step"] == 4
    assert gan.brightness == 110


def test_weights_that_no_one_can_go_back_to_are_deleted(tmp_path):
    """Red if all weights stay: they are as large as the generator."""
    gan = _Gan()
    watcher = _watcher(tmp_path, gan)
    _run(watcher, gan, {4: 140, 8: 130, 12: 120, 16: 110, 18: 105}, end_step=15)
    assert _weights(tmp_path) == [12]
    _checkpoints(tmp_path, 9, 15)
    _run(watcher, gan, {16: 110, 18: 105})
    assert _weights(tmp_path) == [12, 18]


def test_a_kill_while_writing_weights_leaves_the_best_before(tmp_path, monkeypatch):
    """Red if weights are written in place, or after their line."""
    gan = _Gan()
    watcher = _watcher(tmp_path, gan)
    _run(watcher, gan, {4: 110}, end_step=7)

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("os.fsync", killed)
        _run(watcher, gan, {8: 101})
    assert restore_best(gan, tmp_path / "best")["step"] == 4
    assert gan.brightness == 110


def test_too_few_images_are_refused_in_words(tmp_path):
    """Before anything is read. Red without the check: noise would choose the generator."""
    with pytest.raises(
        ConfigError, match=r"which is 199 of 1999; at least 200 are needed: .* 2000 training images"
    ):
        Quality(
            tmp_path / "best",
            examples=_examples(tmp_path / "examples", num_train=1_999),
            description=DESCRIPTION,
            interval_steps=4,
            num_steps=18,
            start_step=0,
            seed=0,
            cache=tmp_path,
        )


def test_of_two_domains_the_first_is_measured(tmp_path):
    """The second is as bright as can be. Red if the last channels are taken, or all."""
    values = []
    for num_domains in (1, 2):
        work = tmp_path / str(num_domains)
        work.mkdir()
        gan = _Gan()
        if num_domains == 2:
            both = _network(channels=2)
            (kernel, bias), far = gan.ema_generator.get_layer("dense").get_weights(), np.full((64, 1), 1.0)
            weights = [
                np.stack([kernel.reshape(4, 64), np.zeros((4, 64))], axis=-1).reshape(4, 128),
                np.concatenate([bias.reshape(64, 1), far], axis=-1).reshape(128),
            ]
            both.get_layer("dense").set_weights(weights)
            gan.ema_generator = both
        description = DESCRIPTION.model_copy(update={"num_domains": num_domains})
        _run(_watcher(work, gan, description=description), gan, {}, end_step=4)
        values.append(_lines(work)[0]["value"])
    assert values[0] == values[1]


def test_a_growing_generator_is_measured_once_it_is_grown(tmp_path):
    """Three levels: the last one fades in over steps 9 to 12; step 13 is the first of it alone.

    Red if earlier levels are measured, or the fade-in.
    """
    gan = _Gan()
    watcher = _watcher(tmp_path, gan)
    for phase in (Phase(0, 4, 0, 4), Phase(4, 8, 1, 4), Phase(8, 18, 2, 4)):
        gan.phase = phase
        _run(watcher, gan, {}, end_step=phase.end_step)
    assert [line["step"] for line in _lines(tmp_path)] == [16, 18]


def test_latents_and_labels_follow_the_description(tmp_path):
    """A share of 0.7 of 2,000 labels deviates by 0.01. Red if labels are even, or uniform latents normal."""
    described = {"latent_distribution": "uniform", "class_names": ["a", "b"], "class_frequencies": [0.7, 0.3]}
    inputs = quality._inputs(DESCRIPTION.model_copy(update=described), 2_000, seed=0)
    assert inputs["labels"].dtype == np.int64
    assert np.mean(inputs["labels"] == 0) == pytest.approx(0.7, abs=0.05)
    assert inputs["latents"].dtype == np.float32
    assert -1 <= inputs["latents"].min() < -0.99
    assert 0.99 < inputs["latents"].max() < 1
    assert quality._inputs(DESCRIPTION, 200, seed=0).keys() == {"latents"}


def test_the_extractor_is_that_of_the_evaluation(tmp_path, monkeypatch):
    """Both ask for it alike, so that the cache has one entry and it is trained once.

    Red if quality trains it on its tenth, counts the classes otherwise, or caches elsewhere.
    """
    asked = []

    class AskedError(Exception):
        pass

    def extractor(name, images, labels, *, num_classes, cache, weights=None) -> None:
        asked.append((name, images.tobytes(), labels.tobytes(), num_classes, cache))
        raise AskedError

    monkeypatch.setattr(features, "extractor", extractor)
    monkeypatch.setattr(
        evaluation_stage.Generator, "load", lambda _: types.SimpleNamespace(description=DESCRIPTION)
    )
    pictures, labels = _pictures(), np.arange(NUM_TRAIN) % 2
    monkeypatch.setattr(examples_reader, "read", lambda examples, split: _split(pictures, labels))
    examples = _examples(tmp_path / "examples", class_names=("even", "odd"))
    model = types.SimpleNamespace(content_digest="model", generator_directory=tmp_path)
    with pytest.raises(AskedError):
        evaluation_stage.evaluate(
            model, examples, EvaluateConfig(), out=tmp_path / "evaluated", seed=0, cache=tmp_path / "cache"
        )
    with pytest.raises(AskedError):
        Quality(
            tmp_path / "best",
            examples=examples,
            description=DESCRIPTION,
            interval_steps=4,
            num_steps=18,
            start_step=0,
            seed=0,
            cache=tmp_path / "cache",
        )
    assert asked[0] == asked[1]


def test_packed_weights_are_a_function_of_the_weights(monkeypatch):
    """The same bytes at any time: the artifact of a resumed run equals that of an uninterrupted one.

    Red if the archive keeps the time of its writing.
    """
    network = _network()
    first = quality._packed(network)
    monkeypatch.setattr("time.time", lambda: 1.9e9)
    assert quality._packed(network) == first


@pytest.mark.slow
def test_the_best_generator_is_served(tmp_path, monkeypatch):
    """Best at step 8, by a run that dies at step 10; the resumed one measures step 12 and serves step 8.

    Equal to one level: the same weights, but not the same fusion of operations. Red if the last generator is
    exported, or measurements do not outlive the process.
    """
    values = iter([5.0, 1.0, 3.0])
    pictures, _ = toy_training.arrays()
    monkeypatch.setattr(quality, "LEAST_IMAGES", 16)
    monkeypatch.setattr(frechet, "distance_of_features", lambda reference, generated: next(values))
    monkeypatch.setattr(examples_reader, "read", lambda examples, split: _split(pictures, None))
    config = toy_training.CONFIG.model_copy(update={"quality_interval_steps": 4})

    def dies(done: int, total: int, text: str) -> None:
        if done == 10:
            raise OSError("the machine went away")

    with pytest.raises(OSError, match="the machine went away"):
        toy_training.train(tmp_path, config, labelled=False, progress=dies)
    model = toy_training.train(tmp_path, config, labelled=False)
    best = {"step": 8, "metric": "fd_random_conv", "value": 1.0}
    assert TrainedModel.open(model.directory).properties["best"] == best
    files = sorted(path.name for path in (model.directory / "best").iterdir())
    assert files == ["quality.jsonl", "weights-00000008.npz"]

    served = Generator.load(model.generator_directory)
    gan = players.build(served.description, config, seed=99)
    checkpoints.restore_latest(gan, model.directory / "checkpoints")
    latents = served._signatures["latents"](seed=tf.range(6, dtype=tf.int64))
    levels = served.images(range(6)).astype(int)

    def difference() -> int:
        return np.abs(images.to_uint8(gan.ema_generator(latents)).numpy().astype(int) - levels).max()

    assert difference() > 1
    restore_best(gan, model.directory / "best")
    assert difference() <= 1
