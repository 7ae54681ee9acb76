"""How much two data sets differ: in their classes, their brightness and contrast, and in features.

Every difference comes with its size and with the chance of such a one between two samples of the same images;
:mod:`gan_components.metrics.drift_limits` decides what counts. The chances hold for images drawn independently.
Images that stand on both sides, as in a rolling window, make them too large: less is found, with no more false
alarms.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from gan_components import examples as reading
from gan_components import randomness
from gan_components.artifacts import Examples
from gan_components.metrics.drift_limits import Difference
from gan_components.metrics.features import random_conv_extractor

# Images looked at on each side: a classifier that guesses is right in 0.5 +- 0.013 of the pairs then.
SAMPLE_IMAGES = 2_000
# One subset of a data set for all runs: another seed must not give another decision.
_SEED = 0
_BATCH_SIZE = 256
# Cells with fewer expected images are joined, as for every chi-square test.
_LEAST_EXPECTED = 5
# Images of one brightness have no spread; less than a level (of 255) is invisible.
_LEAST_SPREAD_LEVELS = 1.0
# Beside variances of about 1; keeps the discriminant finite where features do not vary.
_RIDGE = 1e-3


@dataclass(frozen=True)
class Sample:
    """What is compared of a data set.

    Attributes:
        class_counts: images of each class by its name, of all images; empty without labels.
        moments: mean and standard deviation of each sampled image by channel, in levels 0..255: float ``[n, 2C]``.
        features: of the same images, float ``[n, d]``.
    """

    class_counts: dict[str, int]
    moments: np.ndarray
    features: np.ndarray


def measure(champion: Examples, run: Examples) -> list[Difference]:
    """The differences between the training images of two Examples of equal image shape."""
    random = randomness.numpy_generator(_SEED, "drift")
    return differences(_sample(champion, random), _sample(run, random), random)


def differences(champion: Sample, run: Sample, random: np.random.Generator) -> list[Difference]:
    """The differences between two samples; `random` halves them for the classifier."""
    found = [
        _pixel_moments(champion.moments, run.moments),
        _features(champion.features, run.features, random),
    ]
    if champion.class_counts and run.class_counts:
        names = list(champion.class_counts | run.class_counts)
        counts = np.array([[side.class_counts.get(name, 0) for name in names] for side in (champion, run)])
        found += [_class_balance(counts, names), _missing_classes(counts, names)]
    elif champion.class_counts or run.class_counts:
        one, other = ("the champion's", "this run's")[:: 1 if champion.class_counts else -1]
        text = f"{one} images have classes, {other} have none"
        found.append(Difference(name="missing_classes", value=1.0, p_value=0.0, text=text))
    return found


def sample_of(batches: Iterable[np.ndarray], image_shape: Sequence[int], class_counts: dict[str, int]) -> Sample:
    """The sample of images uint8 ``[n, H, W, C]``, which stream by."""
    extractor = random_conv_extractor(tuple(image_shape))
    moments, features = [], []
    for images in batches:
        pixels = images.reshape(len(images), -1, images.shape[-1])
        moments += [np.concatenate([one.mean(axis=0), one.std(axis=0)]) for one in pixels]
        features.append(extractor.features(images))
    return Sample(class_counts, np.array(moments), np.concatenate(features))


def _sample(examples: Examples, random: np.random.Generator) -> Sample:
    counts = json.loads((examples.directory / "statistics.json").read_bytes())["splits"]["train"]["class_counts"]
    properties = reading.Properties.of(examples)
    places = np.sort(random.permutation(properties.num_train)[:SAMPLE_IMAGES]).tolist()
    batches = (
        reading.read(examples, "train", places=places[start : start + _BATCH_SIZE]).images
        for start in range(0, len(places), _BATCH_SIZE)
    )
    return sample_of(batches, properties.image_shape, counts)


def _class_balance(counts: np.ndarray, names: list[str]) -> Difference:
    """Pearson's chi-square test; the size is the total variation distance between the shares."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    moved = shares[1] - shares[0]
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    rare = expected.min(axis=0) < _LEAST_EXPECTED
    cells = np.concatenate([counts[:, ~rare], counts[:, rare].sum(axis=1, keepdims=True)], axis=1)
    cells = cells[:, cells.sum(axis=0) > 0]
    p_value = stats.chi2_contingency(cells, correction=False).pvalue if cells.shape[1] > 1 else 1.0
    value, most = float(np.abs(moved).sum() / 2), int(np.abs(moved).argmax())
    text = (
        f"class balance: {_percent(value)} of the images would have to change class; most moved class "
        f"{names[most]!r}, from {_percent(shares[0, most])} to {_percent(shares[1, most])}"
    )
    return _difference("class_balance", value, float(p_value), text)


def _missing_classes(counts: np.ndarray, names: list[str]) -> Difference:
    """Classes without an image on one side: the chance to draw none of them there (hypergeometric)."""
    totals = counts.sum(axis=1)
    missing: list[tuple[float, float, str]] = []
    for side, other, whose in ((1, 0, "the champion's"), (0, 1, "this run's")):
        for column in np.flatnonzero(counts[side] == 0):
            share = float(counts[other, column] / totals[other])
            chance = float(stats.hypergeom.pmf(0, totals.sum(), counts[other, column], totals[side]))
            where = "here" if side == 1 else "in the champion's data"
            text = f"class {names[column]!r}, {_percent(share)} of {whose} images, is missing {where}"
            missing.append((share, min(1.0, chance * counts.size), text))
    sure = [one for one in missing if Difference(name="", value=0, p_value=one[1], text="").sure]
    share, p_value = max((one[0] for one in sure), default=0.0), min((one[1] for one in missing), default=1.0)
    text = "; ".join(one[2] for one in sure) or "no class is missing for sure"
    return Difference(name="missing_classes", value=share, p_value=p_value, text=text)


def _pixel_moments(champion: np.ndarray, run: np.ndarray) -> Difference:
    """Welch's t-test of each column ``[n, 2C]``; the size is Cohen's d of the largest."""
    means, spreads = [], []
    for one in (champion, run):
        means.append(one.mean(axis=0))
        spreads.append(np.maximum(one.std(axis=0, ddof=1), _LEAST_SPREAD_LEVELS))
    sizes = np.abs(means[1] - means[0]) / np.sqrt((spreads[0] ** 2 + spreads[1] ** 2) / 2)
    tests = stats.ttest_ind_from_stats(
        means[0], spreads[0], len(champion), means[1], spreads[1], len(run), equal_var=False
    )
    most, channels = int(sizes.argmax()), len(sizes) // 2
    what = "brightness" if most < channels else "contrast"
    channel = "" if channels == 1 else " of " + ("red", "green", "blue")[most % channels]
    text = (
        f"{what}{channel}: {means[0][most]:.1f} levels in the champion's images, {means[1][most]:.1f} here, "
        f"{sizes[most]:.2g} standard deviations between images"
    )
    p_value = min(1.0, float(np.min(tests.pvalue)) * len(sizes))
    return _difference("pixel_moments", float(sizes[most]), p_value, text)


def _features(champion: np.ndarray, run: np.ndarray, random: np.random.Generator) -> Difference:
    """A classifier two-sample test: Fisher's discriminant of one half of each side is asked about the other half.

    Lopez-Paz and Oquab 2017, https://arxiv.org/abs/1610.06545. The size is the chance that of a pair the right
    image scores higher (the area under the ROC curve), its chance that of the Mann-Whitney test.
    """
    halves = [np.array_split(one[random.permutation(len(one))], 2) for one in (champion, run)]
    (first_seen, first_asked), (second_seen, second_asked) = halves
    direction = _discriminant(first_seen, second_seen)
    scores = [np.asarray(one, np.float64) @ direction for one in (first_asked, second_asked)]
    test = stats.mannwhitneyu(scores[1], scores[0], alternative="greater")
    value = float(test.statistic / (len(scores[0]) * len(scores[1])))
    text = f"features: a linear classifier tells the champion's images from these in {_percent(value)} of pairs"
    return _difference("features", value, float(test.pvalue), f"{text} (guessing: 50 %)")


def _discriminant(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    spread = np.concatenate([first, second]).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    first, second = first / scale, second / scale
    rows = np.concatenate([first - first.mean(axis=0), second - second.mean(axis=0)])
    within = rows.T @ rows / len(rows) + _RIDGE * np.eye(rows.shape[1])
    return np.linalg.solve(within, second.mean(axis=0) - first.mean(axis=0)) / scale


def _difference(name: str, value: float, p_value: float, text: str) -> Difference:
    return Difference(name=name, value=value, p_value=p_value, text=f"{text} (p {p_value:.1g})")


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
