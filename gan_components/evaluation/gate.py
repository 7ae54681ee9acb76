"""Decides whether a measured generator may be released, and says why in words and numbers.

Reads what evaluation wrote and computes nothing anew: deciding takes milliseconds and needs no TensorFlow.
"""

import json
import statistics
from typing import Any

from pydantic import BaseModel

from gan_components.artifacts import Evaluation
from gan_components.errors import ArtifactError
from gan_components.evaluation.config import Bound, EvaluateConfig


class Check(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One condition of a release: whether it holds, the number, its bound, and both in a sentence."""

    name: str
    passed: bool
    value: float | None
    bound: float | None
    reason: str


class Blessing(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The decision. `reason` joins the failed checks' sentences, or says what was passed."""

    blessed: bool
    checks: list[Check]
    reason: str


def bless(
    evaluation: Evaluation,
    *,
    champion: Evaluation | None,
    best: float | None,
    config: EvaluateConfig,
    incomparable: str = "",
) -> Blessing:
    """Blesses `evaluation` if every absolute check holds and it is no worse than what was released before.

    Args:
        evaluation: of the candidate.
        champion: of the generator in production, measured over the same examples and section; None if
            there is none, and then ``config.first_model`` decides.
        best: the primary distance of the best generator ever promoted; None if unknown. Without it, many
            small losses, each within the margin, would add up unseen.
        config: the section in force.
        incomparable: why there is a champion that cannot be measured beside the candidate, such as one that makes
            images of another shape. ``config.first_model`` decides then, too.

    Raises:
        ArtifactError: champion and candidate were not measured alike.
    """
    checks = _absolute_checks(evaluation)
    if champion is None:
        checks.append(_first_model(config, incomparable or "there is no champion to compare with"))
    else:
        checks.append(_against_champion(evaluation, champion, config.margin))
    if best is not None:
        checks.append(_not_worse("best", "the best ever promoted,", evaluation, best, 2 * config.margin))
    return _blessing(checks)


def absolute_verdict(evaluation: Evaluation) -> Blessing:
    """The decision by the evaluation's own checks, for runs that stop before export."""
    return _blessing(_absolute_checks(evaluation))


def overruled(blessing: Blessing, why: str) -> Blessing:
    """The blessing in spite of failed checks, with the reason that somebody gave for it on record.

    A memorization check that failed is never overruled: what copies is not released.
    """
    failed = {check.name for check in blessing.checks if not check.passed}
    if not failed:
        return blessing
    if "memorization" in failed:
        reason = f"{blessing.reason}; a memorization check is not overruled, whatever the reason ({why})"
        return blessing.model_copy(update={"reason": reason})
    check = Check(name="overruled", passed=True, value=None, bound=None, reason=why)
    reason = f"overruled ({why}), although {blessing.reason}"
    return Blessing(blessed=True, checks=[*blessing.checks, check], reason=reason)


def bound_check(name: str, value: float, bound: Bound) -> list[Check]:
    """One check for each end of `bound`; a value that is no number passes none."""
    checks = []
    if bound.min is not None:
        passed = value >= bound.min
        word = "reaches" if passed else "is below"
        reason = f"{name} {value:.4g} {word} the least allowed, {bound.min:g}"
        checks.append(Check(name=f"{name}_min", passed=passed, value=value, bound=bound.min, reason=reason))
    if bound.max is not None:
        passed = value <= bound.max
        word = "keeps to" if passed else "is above"
        reason = f"{name} {value:.4g} {word} the most allowed, {bound.max:g}"
        checks.append(Check(name=f"{name}_max", passed=passed, value=value, bound=bound.max, reason=reason))
    return checks


def _against_champion(evaluation: Evaluation, champion: Evaluation, margin: float) -> Check:
    _require_alike(evaluation, champion)
    check = _not_worse("champion", "the champion's", evaluation, primary_distance(champion), margin)
    ours, theirs = (_primary(one).get("replicates", []) for one in (evaluation, champion))
    if not (ours and theirs):
        return check
    difference = primary_distance(evaluation) - primary_distance(champion)
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    # The jackknife's standard error, as in metrics.estimate.
    error = 1.96 * ((len(differences) - 1) * statistics.pvariance(differences)) ** 0.5
    return check.model_copy(
        update={"reason": f"{check.reason} (difference {difference:+.3g} ± {error:.2g} over the same images)"}
    )


def _not_worse(check: str, whose: str, evaluation: Evaluation, reference: float, allowed: float) -> Check:
    name, value = primary_metric(evaluation), primary_distance(evaluation)
    bound = reference * (1 + allowed)
    difference = "equal to"
    if value != reference:
        side = "above" if value > reference else "below"
        share = abs(value / reference - 1) if reference else float("inf")
        difference = f"{share:.0%} {side}".replace("%", " %") if share < 10 else side
    return Check(
        name=check,
        passed=value <= bound,
        value=value,
        bound=bound,
        reason=f"{name} {value:.4g} is {difference} {whose} {reference:.4g}; allowed {allowed * 100:.4g} %",
    )


def _first_model(config: EvaluateConfig, why: str) -> Check:
    passed, reason = False, f"{why}, and first_model is block: promote it by hand"
    if config.first_model == "allow":
        passed = bool(config.bounds)
        reason = (
            f"{why}; first_model is allow and absolute bounds are set"
            if passed
            else f"{why}, and no absolute bound is set that could stand in for it; set evaluate.bounds, for "
            "example {coverage: {min: 0.5}}"
        )
    return Check(name="first_model", passed=passed, value=None, bound=None, reason=reason)


def _require_alike(evaluation: Evaluation, champion: Evaluation) -> None:
    """Two distances compare only under one protocol, one extractor and one reference set."""
    ours, theirs = (_primary(one) for one in (evaluation, champion))
    inputs = (one.manifest.recipe.inputs["examples"] for one in (evaluation, champion))
    facts = {
        "protocol": (ours["protocol"], theirs["protocol"]),
        "extractor": (ours["extractor"], theirs["extractor"]),
        "examples": tuple(inputs),
    }
    for fact, (candidate, other) in facts.items():
        if candidate != other:
            raise ArtifactError(
                f"the champion was measured with another {fact} ({other}) than the candidate ({candidate}), so "
                "their distances do not compare; evaluate the champion again over the candidate's examples "
                "and evaluate section"
            )


def primary_metric(evaluation: Evaluation) -> str:
    """Name of the distance to held-out images by which generators are compared."""
    return str(evaluation.properties["primary_metric"])


def primary_distance(evaluation: Evaluation) -> float:
    """Value of the :func:`primary_metric`; smaller is better."""
    return float(_primary(evaluation)["value"])


def _primary(evaluation: Evaluation) -> dict[str, Any]:
    found: dict[str, Any] = _read(evaluation, "metrics.json")[primary_metric(evaluation)]
    return found


def _absolute_checks(evaluation: Evaluation) -> list[Check]:
    return [Check.model_validate(check) for check in _read(evaluation, "checks.json")]


def _blessing(checks: list[Check]) -> Blessing:
    failed = [check.reason for check in checks if not check.passed]
    reason = "; ".join(failed) or "every check passed: " + ", ".join(check.name for check in checks)
    return Blessing(blessed=not failed, checks=checks, reason=reason)


def _read(evaluation: Evaluation, name: str) -> Any:
    return json.loads((evaluation.directory / name).read_bytes())
