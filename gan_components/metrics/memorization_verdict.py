"""The verdict on memorization: what each comparison found, corrected for their number, in words.

Each comparison by itself would fail an honest generator with the chance :data:`ALPHA`; Holm's correction keeps the
chance that any of them does at that.
"""

from typing import Literal

from pydantic import BaseModel

from gan_components.metrics import copying

ALPHA = 0.05
"""Chance that a generator that copies nothing fails, over all tests together."""

Verdict = Literal["PASS", "FAIL", "UNDECIDED"]
Name = Literal["exact_duplicates", "calibrated_distance", "distance_ratio", "closeness"]


class Test(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One comparison of generated with held-out images.

    Attributes:
        name: what is compared.
        space: ``pixels`` or an extractor's name.
        generated, generated_low, generated_high: the share among generated images, with one-sided 95 % bounds.
        control, control_low, control_high: the same for held-out images (one half for ``closeness``).
        excess_low: one-sided 95 % lower bound of the difference.
        allowed: difference that is tolerated.
        p_value: chance of such a difference if the true one were just `allowed`.
        failed: rejected after Holm's correction over all tests.
    """

    name: Name
    space: str
    generated: float
    generated_low: float
    generated_high: float
    control: float
    control_low: float
    control_high: float
    excess_low: float
    allowed: float
    p_value: float
    failed: bool = False


class Report(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The verdict, the reason in words, the tests behind it, and numbers that decide nothing."""

    verdict: Verdict
    reason: str
    num_generated: int
    num_train: int
    num_holdout: int
    missing_holdout: int
    tests: list[Test]
    evidence: list[copying.Evidence] = []


def corrected(tests: list[Test]) -> list[Test]:
    """Marks the tests that fail at :data:`ALPHA` together (Holm 1979)."""
    failed = set()
    for rank, i in enumerate(sorted(range(len(tests)), key=lambda i: tests[i].p_value)):
        if tests[i].p_value > ALPHA / (len(tests) - rank):
            break
        failed.add(i)
    return [test.model_copy(update={"failed": i in failed}) for i, test in enumerate(tests)]


def report(
    tests: list[Test],
    *,
    num_generated: int,
    num_train: int,
    num_holdout: int,
    min_holdout: int,
    evidence: list[copying.Evidence],
) -> Report:
    """The verdict of some tests, corrected here for their number, and the reason in words.

    Args:
        tests: all comparisons.
        num_generated, num_train, num_holdout: images compared.
        min_holdout: with fewer held-out images nothing can PASS.
        evidence: what decides nothing.
    """
    tests = corrected(tests)
    missing = max(0, min_holdout - num_holdout)
    failed = [test for test in tests if test.failed]
    verdict: Verdict
    if failed:
        verdict, reason = "FAIL", _sentence(failed[0])
        if failed[1:]:
            reason += f"; {len(failed) - 1} more of {len(tests)} tests fail"
    elif missing:
        verdict = "UNDECIDED"
        reason = (
            f"no test fails, but {num_holdout} held-out images are too few to rule copying out: "
            f"{missing} more are needed to reach min_holdout {min_holdout}"
        )
    else:
        verdict = "PASS"
        reason = (
            f"none of {len(tests)} tests finds generated images closer to training images than held-out images are"
        )
    return Report(
        verdict=verdict,
        reason=reason,
        num_generated=num_generated,
        num_train=num_train,
        num_holdout=num_holdout,
        missing_holdout=missing,
        tests=tests,
        evidence=evidence,
    )


def _sentence(test: Test) -> str:
    subject = {
        "calibrated_distance": "lie far closer to one training image than to its like",
        "distance_ratio": "are three times closer to one training image than to any other",
        "closeness": "are closer to training than to held-out images",
        "exact_duplicates": "are exact copies of training images",
    }[test.name]
    found, expected, excess, allowed = (
        f"{share * 100:.3g} %" for share in (test.generated, test.control, test.excess_low, test.allowed)
    )
    return (
        f"{found} of the generated images {subject} (in {test.space.replace('_', ' ')}), expected {expected}: "
        f"at least {excess} too many, allowed {allowed}"
    )
