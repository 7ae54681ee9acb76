"""The gate's rules, each way, on evaluations written by hand."""

import json

import pytest

from gan_components.artifacts import Evaluation, work_directory
from gan_components.errors import ArtifactError
from gan_components.evaluation import gate
from gan_components.evaluation.config import Bound, EvaluateConfig
from gan_components.fingerprints import Recipe

BOUNDED = EvaluateConfig(bounds={"coverage": Bound(min=0.5)})


@pytest.fixture
def evaluation(tmp_path):
    def make(
        value: float,
        *,
        memorized: bool = False,
        protocol: str = "fd1k_holdout_classifier",
        extractor: str = "classifier:1",
        examples: str = "e",
        replicates: tuple[float, ...] = (),
    ) -> Evaluation:
        name = str(len(list(tmp_path.iterdir())))
        inputs = {"model": name, "examples": examples}
        recipe = Recipe(stage="evaluate", config={}, inputs=inputs, seed=0, code={}, libraries={})
        work = work_directory(tmp_path / name, recipe)
        metric = {"value": value, "low": value - 1, "high": value + 1, "protocol": protocol}
        check = gate.Check(
            name="memorization", passed=not memorized, value=None, bound=None, reason="1 % are copies"
        )
        metric |= {"extractor": extractor, "replicates": list(replicates)}
        (work / "metrics.json").write_text(json.dumps({"fd_classifier": metric}))
        (work / "checks.json").write_text(json.dumps([check.model_dump()]))
        return Evaluation.seal(tmp_path / name, recipe, properties={"primary_metric": "fd_classifier"})

    return make


def decide(candidate, champion=None, best=None, config=BOUNDED) -> gate.Blessing:
    return gate.bless(candidate, champion=champion, best=best, config=config)


def test_worse_than_the_champion(evaluation):
    """Blocked above 5 %, blessed at 5 % and below; red with the margin's sign turned."""
    champion = evaluation(15.9)
    blocked = decide(evaluation(21.3), champion)
    assert not blocked.blessed
    assert blocked.reason == "fd_classifier 21.3 is 34 % above the champion's 15.9; allowed 5 %"
    assert decide(evaluation(15.9 * 1.05), champion).blessed
    better = decide(evaluation(10.0), champion)
    assert better.blessed
    assert "37 % below" in better.checks[-1].reason


def test_the_difference_to_the_champion_is_paired(evaluation):
    """Both move by 0.1 with the groups, their difference by 0.01: sqrt(19) * 0.01 * 1.96 = 0.085. Red unpaired."""
    waves = [0.1 * (-1) ** group for group in range(20)]
    champion = evaluation(10.0, replicates=tuple(10.0 + wave for wave in waves))
    ours = evaluation(10.2, replicates=tuple(10.2 + 1.1 * wave for wave in waves))
    assert decide(ours, champion).checks[-1].reason.endswith("(difference +0.2 ± 0.085 over the same images)")


def test_ratchet(evaluation):
    """Each step stays inside the margin, their sum does not; red if `best` is ignored or has a single margin."""
    champion = evaluation(10.9)
    assert decide(evaluation(11.0), champion, best=10.0).blessed
    blocked = decide(evaluation(11.1), champion, best=10.0)
    assert [check.name for check in blocked.checks if not check.passed] == ["best"]
    assert "11 % above the best ever promoted, 10; allowed 10 %" in blocked.reason


def test_first_model(evaluation):
    """Without champion: bounds stand in for it; red if `allow` alone suffices."""
    assert decide(evaluation(9.0)).blessed
    bare = decide(evaluation(9.0), config=EvaluateConfig())
    assert not bare.blessed
    assert "set evaluate.bounds" in bare.reason
    block = BOUNDED.model_copy(update={"first_model": "block"})
    assert not decide(evaluation(9.0), config=block).blessed
    assert decide(evaluation(9.0), evaluation(9.0), config=EvaluateConfig()).blessed


def test_copies_block_whatever_the_distance(evaluation):
    """Red if the absolute checks are left to evaluation."""
    blocked = decide(evaluation(1.0, memorized=True), evaluation(15.0))
    assert not blocked.blessed
    assert blocked.reason == "1 % are copies"
    assert not gate.absolute_verdict(evaluation(1.0, memorized=True)).blessed
    assert gate.absolute_verdict(evaluation(1.0)).reason == "every check passed: memorization"


@pytest.mark.parametrize(
    "other",
    [{"extractor": "classifier:2"}, {"protocol": "fd2k_holdout_classifier"}, {"examples": "other"}],
)
def test_only_like_is_compared(evaluation, other):
    """Red if one of the three facts is not compared."""
    with pytest.raises(ArtifactError, match="evaluate the champion again"):
        decide(evaluation(9.0), evaluation(9.0, **other))


def test_bounds_speak():
    """Red with strict inequality, or if NaN passes."""
    both = Bound(min=0.4, max=0.6)
    for value in (0.4, 0.6):
        assert [check.passed for check in gate.bound_check("density", value, both)] == [True, True]
    low, high = gate.bound_check("density", 0.7, both)
    assert (low.passed, high.passed) == (True, False)
    assert high.reason == "density 0.7 is above the most allowed, 0.6"
    assert not any(check.passed for check in gate.bound_check("density", float("nan"), both))


def test_zero_champion(evaluation):
    """Red with a division by the champion's distance."""
    assert decide(evaluation(0.0), evaluation(0.0)).blessed
    blocked = decide(evaluation(1.0), evaluation(0.0))
    assert blocked.reason == "fd_classifier 1 is above the champion's 0; allowed 5 %"


def test_quality_can_be_overruled_with_a_reason(evaluation):
    """Red if the failed check vanishes from the record, or a blessing gets a reason it does not need."""
    blocked = decide(evaluation(21.3), evaluation(15.9))
    blessing = gate.overruled(blocked, "new camera, agreed with the owners")
    assert blessing.blessed
    assert blessing.reason.startswith(
        "overruled (new camera, agreed with the owners), although fd_classifier 21.3"
    )
    assert [check.name for check in blessing.checks if not check.passed] == ["champion"]
    blessed = decide(evaluation(10.0), evaluation(15.9))
    assert gate.overruled(blessed, "why not") == blessed


def test_copying_cannot_be_overruled(evaluation):
    """Red if the name of the failed check is not looked at."""
    blessing = gate.overruled(decide(evaluation(9.0, memorized=True)), "ship it")
    assert not blessing.blessed
    assert "is not overruled" in blessing.reason


def test_a_champion_that_does_not_compare_is_none(evaluation):
    """Red if its reason is not told, or first_model does not decide."""
    why = "the champion makes images of 28x28x1, this generator of 32x32x3: they do not compare"
    decided = gate.bless(evaluation(9.0), champion=None, best=None, config=BOUNDED, incomparable=why)
    assert decided.blessed
    assert decided.checks[-1].reason == f"{why}; first_model is allow and absolute bounds are set"
    bare = gate.bless(evaluation(9.0), champion=None, best=None, config=EvaluateConfig(), incomparable=why)
    assert not bare.blessed
