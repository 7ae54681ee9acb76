import numpy as np
import pytest

from gan_components.metrics import inception_score


def test_the_least_score_is_one():
    """Every image says the same of the classes: nothing is learnt from it. 1e-12 is rounding.

    Red if the mean is over classes.
    """
    logits = np.tile(np.random.default_rng(0).normal(size=(1, 1008)), (100, 1))
    assert inception_score.estimate(logits).value == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 10, 50])
def test_the_highest_score_is_the_number_of_classes(classes):
    """One sure image of each class in every split. Red without the logarithm of the mean."""
    logits = 200.0 * np.eye(classes)[np.arange(20 * classes) % classes]
    found = inception_score.estimate(logits)
    assert found.value == pytest.approx(classes, rel=1e-12)
    assert found.standard_error == pytest.approx(0.0, abs=1e-12)


def test_it_is_the_published_formula():
    """Written out with loops, splits of unequal sizes as OpenAI's code cuts them, on unsure logits.

    Red if images are shuffled, a remainder is dropped, or the score is that of all splits together.
    """
    logits = np.random.default_rng(1).normal(size=(57, 6)).astype(np.float32)
    p = np.exp(logits.astype(np.float64))
    p /= p.sum(1, keepdims=True)
    scores = []
    for split in range(10):
        part = p[split * 57 // 10 : (split + 1) * 57 // 10]
        divergences = [sum(row[c] * np.log(row[c] / part[:, c].mean()) for c in range(6)) for row in part]
        scores.append(np.exp(np.mean(divergences)))
    found = inception_score.estimate(logits)
    assert found.value == pytest.approx(np.mean(scores), rel=1e-12)
    assert found.standard_error == pytest.approx(np.std(scores, ddof=1) / np.sqrt(10), rel=1e-9)


def test_what_has_no_score_is_refused():
    """Red without the checks: NaN would come out."""
    with pytest.raises(ValueError, match="at least 20 images, got 19"):
        inception_score.estimate(np.zeros((19, 5)))
    with pytest.raises(ValueError, match="not finite"):
        inception_score.estimate(np.full((20, 5), np.nan))
