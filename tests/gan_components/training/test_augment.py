"""Augmentation against independent NumPy and SciPy transforms, by rows, by probability and by derivative."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf
from pydantic import TypeAdapter, ValidationError

from gan_components import randomness
from gan_components.training import augment, penalties
from gan_components.training.augment_config import (
    ADA_TRANSFORMS,
    DIFFAUGMENT_POLICIES,
    Ada,
    AugmentConfig,
    DiffAugment,
)

KEY = tf.constant([20, 6])
BLITTING = ("flip", "rotate90", "translation")


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def diffaugmented(images: np.ndarray, *policy: str, key: tf.Tensor = KEY) -> np.ndarray:
    return augment.diffaugment(tf.constant(images), key=key, batch_size=len(images), policy=policy).numpy()


def adapted(images: np.ndarray, *transforms: str, p: float = 1.0, key: tf.Tensor = KEY) -> np.ndarray:
    chain = augment.ada(
        tf.constant(images), key=key, batch_size=len(images), p=tf.constant(p), transforms=transforms
    )
    return chain.numpy()


# Both as functions of (images, key, batch_size), everything on.
def everything_diffaugment(images: tf.Tensor, key: tf.Tensor, batch_size: int) -> tf.Tensor:
    return augment.diffaugment(images, key=key, batch_size=batch_size)


def everything_ada(images: tf.Tensor, key: tf.Tensor, batch_size: int) -> tf.Tensor:
    return augment.ada(images, key=key, batch_size=batch_size, p=tf.constant(0.7))


BOTH = pytest.mark.parametrize("everything", [everything_diffaugment, everything_ada])


def at_centre(images: np.ndarray) -> np.ndarray:
    """The means over a 2x2 square at the centre, and the two slopes there: ``[N, 3]``."""
    i, j = (side // 2 for side in images.shape[1:3])
    square = images[:, i - 1 : i + 1, j - 1 : j + 1, 0].astype(np.float64)
    along_x, along_y = square[:, :, 1] - square[:, :, 0], square[:, 1] - square[:, 0]
    return np.stack([square.mean((1, 2)), along_x.mean(1), along_y.mean(1)], axis=1)


# --- what is drawn for which image


@BOTH
def test_images_are_augmented_apart(everything):
    """Another image in row 1 changes row 1 alone; equal images come out different; another key changes all.

    Red if a mean runs over the batch (the contrast's axis=[0, 1, 2, 3]), or one number is drawn for all.
    """
    images = np.repeat(noise(1, 8, 8, 3), 6, axis=0)
    first = everything(tf.constant(images), KEY, 6).numpy()
    images[1] = noise(8, 8, 3, seed=1)
    second = everything(tf.constant(images), KEY, 6).numpy()
    changed = np.any(first != second, axis=(1, 2, 3))
    assert changed.tolist() == [False, True, False, False, False, False]
    assert len(np.unique(first.round(3), axis=0)) == 6
    other = everything(tf.constant(images), tf.constant([20, 7]), 6).numpy()
    assert np.all(np.any(other != second, axis=(1, 2, 3)))


@BOTH
def test_two_replicas_augment_as_one_device(everything, monkeypatch):
    """Each replica's rows, bit for bit. Red if numbers are drawn for the replica's share (batch_size // 2)."""
    images = noise(6, 8, 8, 3)
    whole = everything(tf.constant(images), KEY, 6).numpy()
    for replica in range(2):
        context = SimpleNamespace(num_replicas_in_sync=2, replica_id_in_sync_group=replica)
        monkeypatch.setattr(tf.distribute, "get_replica_context", lambda context=context: context)
        rows = slice(3 * replica, 3 * replica + 3)
        part = everything(tf.constant(images[rows]), KEY, 6).numpy()
        np.testing.assert_array_equal(part, whole[rows])


def test_transforms_draw_apart():
    """Firing is independent: at p = 0.5 two transforms share a quarter of 4,000 images, sd 27; six of them 164.

    Red if all transforms fold the key by one name: they would share one half.
    """
    images = noise(4_000, 8, 8, 1)
    touched = [np.any(adapted(images, name, p=0.5) != images, axis=(1, 2, 3)) for name in ("contrast", "rotation")]
    assert abs(np.sum(touched[0] & touched[1]) - 1_000) < 164


# --- DiffAugment


def test_colour_keeps_its_ranges():
    """Brightness within 1/2, contrast in [1/2, 3/2), contrast times saturation in [0, 3).

    512 images leave an end twentieth of a uniform range empty with probability 4e-12, so that the ranges must
    also be reached. 1e-5: rounding. Red with brightness in [0, 1), or a saturation factor in [1/2, 3/2).
    """
    images = np.repeat(noise(1, 6, 6, 3), 512, axis=0)
    coloured = diffaugmented(images, "color").astype(np.float64)
    brightness = coloured.mean((1, 2, 3)) - images.mean((1, 2, 3))
    assert brightness.min() > -0.5 - 1e-5
    assert brightness.max() < 0.5 + 1e-5
    assert np.ptp(brightness) > 0.9

    def parts(x):
        luma = x.mean(3, keepdims=True)
        return luma - luma.mean((1, 2, 3), keepdims=True), x - luma

    (luma, chroma), (old_luma, old_chroma) = parts(coloured), parts(images.astype(np.float64))
    contrast = (luma * old_luma).sum((1, 2, 3)) / (old_luma**2).sum((1, 2, 3))
    both = (chroma * old_chroma).sum((1, 2, 3)) / (old_chroma**2).sum((1, 2, 3))
    np.testing.assert_allclose(luma, contrast[:, None, None, None] * old_luma, atol=1e-5)
    np.testing.assert_allclose(chroma, both[:, None, None, None] * old_chroma, atol=1e-5)
    saturation = both / contrast
    for factor, low, high in ((contrast, 0.5, 1.5), (saturation, 0.0, 2.0)):
        assert factor.min() > low - 1e-5
        assert factor.max() < high + 1e-5
        assert np.ptp(factor) > 0.9 * (high - low)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_saturation_needs_three_channels(channels):
    """Otherwise channels keep their differences but for contrast. Red if grey pixels' mean counts as a hue.

    All channels share one factor: the differences of two channels and the deviations of one scale alike.
    """
    images = noise(4, 6, 6, channels)
    for coloured in (diffaugmented(images, "color"), adapted(images, "contrast", "saturation")):
        centred, old = (x - x.mean((1, 2, 3), keepdims=True) for x in (coloured, images))
        factor = (centred * old).sum((1, 2, 3)) / (old**2).sum((1, 2, 3))
        np.testing.assert_allclose(centred, factor[:, None, None, None] * old, atol=1e-5)


def test_translation_moves_whole_pixels():
    """By up to 28 // 8 = 3 pixels each way, 0 coming in; all 49 shifts occur among 700 images, evenly.

    Chi-square over 49 cells: mean 48, sd 9.8; six of them 107. Red if the edge is repeated (no mask), if the
    range is off by one, or if one shift serves both axes.
    """
    images = noise(700, 28, 28, 2)
    moved = diffaugmented(images, "translation")
    padded = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)))
    counts = np.zeros((7, 7))
    for i in range(7):
        for j in range(7):
            counts[i, j] = np.all(moved == padded[:, i : i + 28, j : j + 28], axis=(1, 2, 3)).sum()
    assert counts.sum() == 700
    assert counts.min() > 0
    assert np.sum((counts - 700 / 49) ** 2) / (700 / 49) < 107


@pytest.mark.parametrize("side", [8, 14, 10])
def test_cutout_covers_the_right_share(side):
    """A rectangle of zeros: half a side, less what falls outside, for every centre alike.

    The expected share is counted over all centres; 2,000 images stray by five standard errors at most.
    Red with a centre that keeps the square inside, or with a quarter of the side.
    """
    zeros = diffaugmented(np.ones((2_000, side, side, 2), np.float32), "cutout") == 0
    assert np.array_equal(zeros[..., 0], zeros[..., 1])
    zeros = zeros[..., 0]
    rows, columns = zeros.any(2), zeros.any(1)
    assert np.array_equal(zeros, rows[:, :, None] & columns[:, None, :]), "no rectangle"
    assert all(np.all(np.diff(np.flatnonzero(row)) == 1) for row in rows)
    size = side // 2
    centres = range(side + 1 - size % 2)
    lengths = [len(set(range(c - size // 2, c - size // 2 + size)) & set(range(side))) for c in centres]
    assert set(rows.sum(1)) == set(lengths) == set(columns.sum(1))
    shares = zeros.mean((1, 2))
    expected = np.mean(lengths) ** 2 / side**2
    assert abs(shares.mean() - expected) < 5 * shares.std() / 2_000**0.5


# --- ADA


@pytest.mark.parametrize("transforms", [ADA_TRANSFORMS, BLITTING, ("brightness",)])
def test_without_probability_nothing_happens(transforms):
    """p = 0: the same bits, minus zero included, and the gradient passes unchanged.

    Red without the last choice between augmented and given images (-0.0 + 0.0 is 0.0).
    """
    images = noise(5, 8, 8, 3)
    images[0] = -0.0
    result = adapted(images, *transforms, p=0.0)
    assert result.tobytes() == images.tobytes()
    x = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = augment.ada(x, key=KEY, batch_size=5, p=tf.constant(0.0), transforms=transforms)
    np.testing.assert_array_equal(tape.gradient(y, x, output_gradients=tf.constant(images)), images)


@pytest.mark.parametrize(
    ("transform", "share"),
    [
        ("flip", 1 / 2),
        ("rotate90", 3 / 4),
        # Of an eighth of 24 pixels: 7 shifts an axis, -3 and 3 half as likely as the others.
        ("translation", 1 - (1 / 6) ** 2),
        ("scaling", 1.0),
        ("rotation", 1.0),
        ("brightness", 1.0),
        ("contrast", 1.0),
        ("saturation", 1.0),
    ],
)
def test_share_of_touched_images(transform, share):
    """Binomial(2000, p share): five standard deviations. Red with `uniform < p` the other way round."""
    images = noise(2_000, 24, 24, 3)
    chance = 0.3 * share
    touched = np.any(adapted(images, transform, p=0.3) != images, axis=(1, 2, 3)).sum()
    assert abs(touched - 2_000 * chance) < 5 * (2_000 * chance * (1 - chance)) ** 0.5


def test_flip_and_quarter_turns():
    """Exactly NumPy's. All occur among 64 (each is missing with probability 0.75^64 = 1e-8 at most).

    Red if a turn uses cosines in float32: pixels would be mixed or fall between.
    """
    images = noise(64, 9, 9, 2)
    for transform, candidates in (
        ("flip", [images, images[:, :, ::-1]]),
        ("rotate90", [np.rot90(images, k, (1, 2)) for k in range(4)]),
    ):
        result = adapted(images, transform)
        found = np.array([np.all(result == candidate, axis=(1, 2, 3)) for candidate in candidates])
        assert np.all(found.sum(0) == 1)
        assert np.all(found.any(1))


def test_integer_translation_mirrors_the_edge():
    """By round(U(-1/8, 1/8) 16), the edge mirrored. Red if zeros come in, or fractions of pixels are moved."""
    images = noise(200, 16, 24, 1)
    moved = adapted(images, "translation")
    padded = np.pad(images, ((0, 0), (2, 2), (3, 3), (0, 0)), mode="reflect")
    found = {
        (i, j): np.all(moved == padded[:, i : i + 16, j : j + 24], axis=(1, 2, 3)).sum()
        for i in range(5)
        for j in range(7)
    }
    assert sum(found.values()) == 200
    assert np.ptp([shift for shift, count in found.items() if count], axis=0).tolist() == [4, 6]


def test_scaling_and_rotation_are_an_affine_resampling():
    """What is drawn is read from a ramp's slopes; SciPy then resamples other images by the same map.

    The map between the centre and a pixel is known to 1e-5 of its length from float32 slopes, which moves values
    of slope 2 or less by 20 * 1e-5 * 2. Red if one axis alone is scaled, with another edge rule, or with a centre
    half a pixel off.
    """
    count, side = 300, 16
    ramp = np.arange(side, dtype=np.float32) - (side - 1) / 2
    x = np.broadcast_to(ramp[None, None, :, None], (count, side, side, 1)).copy()
    y = np.ascontiguousarray(x.transpose(0, 2, 1, 3))
    both = ("scaling", "rotation")
    mid_x, xx, xy = at_centre(adapted(x, *both)).T
    mid_y, yx, yy = at_centre(adapted(y, *both)).T
    np.testing.assert_allclose([mid_x, mid_y], 0, atol=1e-5)
    # Of a similarity without reflection: one scale and one angle.
    np.testing.assert_allclose([xx, xy], [yy, -yx], atol=1e-5)
    log2_scale, angle = -np.log2(np.hypot(xx, xy)), np.arctan2(yx, xx)
    # 300 draws: the standard deviation of a standard deviation is 0.2 / sqrt(600); five of them.
    assert abs(log2_scale.std() - 0.2) < 5 * 0.2 / 600**0.5
    assert abs(log2_scale.mean()) < 5 * 0.2 / 300**0.5
    # Uniform on a circle: the mean direction has a length of 1 / sqrt(300); five of them.
    assert abs(np.exp(1j * angle).mean()) < 5 / 300**0.5
    images = noise(count, side, side, 1)
    result = adapted(images, *both)
    centre = np.full(2, (side - 1) / 2)
    for i in range(40):
        matrix = np.array([[yy[i], yx[i]], [xy[i], xx[i]]])
        expected = scipy.ndimage.affine_transform(
            images[i, ..., 0], matrix, offset=centre - matrix @ centre, order=1, mode="mirror"
        )
        np.testing.assert_allclose(result[i, ..., 0], expected, atol=4e-4)


def test_colour_of_ada():
    """``x + b``, then ``c x``, then the distance from grey: b, log2 c and log2 s normal with 0.2, 0.5 and 1.

    1,000 draws: a standard deviation strays by 1 / sqrt(2000) of itself, five of them 11 %. Red if contrast is
    taken about the image's mean, or comes before brightness.
    """
    images = np.repeat(0.5 + noise(1, 4, 4, 3) / 2, 1_000, axis=0)
    result = adapted(images, "brightness", "contrast", "saturation").astype(np.float64)
    luma, old = result.mean(3).reshape(1_000, -1), images[0].astype(np.float64).mean(2).ravel()
    contrast, constant = np.polyfit(old, luma.T, 1)
    brightness = constant / contrast
    np.testing.assert_allclose(luma, contrast[:, None] * (old + brightness[:, None]), atol=1e-5)
    chroma = result - result.mean(3, keepdims=True)
    old_chroma = images - images.mean(3, keepdims=True)
    both = (chroma * old_chroma).sum((1, 2, 3)) / (old_chroma**2).sum((1, 2, 3))
    for drawn, deviation in ((brightness, 0.2), (np.log2(contrast), 0.5), (np.log2(both / contrast), 1.0)):
        assert abs(drawn.std() / deviation - 1) < 0.11
        assert abs(drawn.mean()) < 5 * deviation / 1_000**0.5


# --- derivatives and compilation


def operators(everything, count: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The affine maps ``x -> A x + b`` of each row: float64 ``[N, d, d]`` and ``[N, d]``."""
    basis = np.eye(int(np.prod(shape)), dtype=np.float32).reshape(-1, *shape)

    def of_all(image):
        return everything(tf.constant(np.repeat(image[None], count, axis=0))).numpy().reshape(count, -1)

    constant = of_all(np.zeros(shape, np.float32)).astype(np.float64)
    return np.stack([of_all(image) - constant for image in basis], axis=2), constant


@BOTH
@pytest.mark.parametrize("xla", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_gradients_of_gradients(everything, xla):
    """R1 through the augmentation, and its derivative by the discriminator's weights, against matrices.

    ``D(x) = w.(Ax + b) + |v (Ax + b)|^2 / 2`` has the gradient ``A'(w + v^2 (Ax + b))``, so that R1 and its
    derivative by w, ``2 A A'(w + ...)``, are products of the matrices of each row. The same with XLA, which
    takes no dynamic shape and no Python (its numbers of a key are others, so that its matrices are too). float32
    against float64: 1e-4 relative. Red if a transform detaches its input (tf.stop_gradient in the gather).
    """
    count, shape = 5, (4, 4, 3)
    images, w, v = noise(count, *shape), noise(*shape, seed=1), noise(*shape, seed=2)
    weights = tf.Variable(w)

    @tf.function(jit_compile=xla)
    def augmented(x):
        return everything(x, KEY, count)

    @tf.function(jit_compile=xla)
    def value_and_gradient(x):
        def discriminator(x):
            seen = augmented(x)
            return tf.reduce_sum(weights * seen + 0.5 * tf.square(v * seen), axis=[1, 2, 3])

        with tf.GradientTape() as tape:
            value = penalties.r1(discriminator, x)
        return value, tape.gradient(value, weights)

    value, gradient = value_and_gradient(tf.constant(images))
    matrices, constants = operators(augmented, count, shape)
    seen = np.einsum("nij,nj->ni", matrices, images.reshape(count, -1)) + constants
    slopes = w.ravel() + v.ravel() ** 2 * seen
    pulled = np.einsum("nij,ni->nj", matrices, slopes)
    assert float(value) == pytest.approx(np.mean(np.sum(pulled**2, axis=1)), rel=1e-4)
    expected = 2 * np.einsum("nij,nj->ni", matrices, pulled).mean(axis=0)
    np.testing.assert_allclose(gradient.numpy().ravel(), expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    assert augmented.get_concrete_function(tf.constant(images)).structured_outputs.shape == (count, *shape)


# --- refusals and settings


def test_refusals():
    """Red if a check is removed: a wrong batch would otherwise broadcast or share another's numbers."""
    images = tf.zeros((4, 8, 8, 1))
    with pytest.raises(ValueError, match="colour is no augmentation; known are color, translation, cutout"):
        augment.diffaugment(images, key=KEY, batch_size=4, policy=["colour"])
    with pytest.raises(ValueError, match="cutout is no augmentation"):
        augment.ada(images, key=KEY, batch_size=4, p=0.5, transforms=["cutout"])
    with pytest.raises(ValueError, match="share of batch_size 8 is 8 images, got 4"):
        augment.diffaugment(images, key=KEY, batch_size=8)
    with pytest.raises(ValueError, match="rotate90 takes square images, got 8x6"):
        augment.ada(images[:, :, :6], key=KEY, batch_size=4, p=0.5)
    with pytest.raises(TypeError, match="float32 images"):
        augment.ada(tf.cast(images, tf.uint8), key=KEY, batch_size=4, p=0.5)


def read(**section):
    return TypeAdapter(AugmentConfig).validate_json(json.dumps(section))


def test_settings():
    """Red if `kind` does not decide, a default differs from the paper's, or a tuple cannot come from JSON."""
    assert read(kind="diffaugment") == DiffAugment(policy=DIFFAUGMENT_POLICIES)
    assert read(kind="diffaugment", policy=["cutout"]).policy == ("cutout",)
    section = read(kind="ada", transforms=["flip", "contrast"])
    assert section == Ada(transforms=("flip", "contrast"))
    assert (section.target, section.interval_steps, section.speed_images, section.max_p) == (0.6, 4, 500_000, 0.8)
    assert set(Ada().transforms) == set(ADA_TRANSFORMS) - {"flip", "rotate90"}
    assert read(**json.loads(section.model_dump_json())) == section


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "adaptive"}, "'diffaugment', 'ada'"),
        ({"kind": "diffaugment", "policy": ["colour"]}, "'color'"),
        ({"kind": "diffaugment", "policy": []}, "at least 1"),
        ({"kind": "ada", "transforms": ["flip", "flip"]}, "flip is named twice"),
        ({"kind": "ada", "initial_p": 0.9}, "lies above max_p 0.8"),
        ({"kind": "ada", "p": 0.9}, "not permitted"),
        ({"kind": "ada", "target": 1.0}, "less than 1"),
    ],
)
def test_refused_settings(section, message):
    """Red if a validator is removed."""
    with pytest.raises(ValidationError, match=message):
        read(**section)


def test_settings_import_no_tensorflow():
    """Red if the names move into augment.py: planning would start TensorFlow."""
    code = "import sys, gan_components.training.augment_config; print('tensorflow' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"


def test_streams_of_a_step():
    """In the graph of a step: a step repeats itself, and the next draws anew. Red if the key is left out."""
    images = tf.constant(noise(4, 8, 8, 1))

    @tf.function
    def at(step):
        key = randomness.at_step(randomness.stream(0, "augment real"), step)
        return augment.diffaugment(images, key=key, batch_size=4, policy=["translation", "cutout"])

    first, again, following = (at(tf.constant(step, tf.int64)).numpy() for step in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.all(np.any(first != following, axis=(1, 2, 3)))
