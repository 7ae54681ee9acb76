"""The whole stage: one version everywhere, whatever happened in between."""

import json

import mlflow
import pytest

from gan_components.artifacts import PushedModel
from gan_components.errors import InputError, NotBlessedError
from gan_components.export import (
    infra_validation,
    logged_model,
    production,
    promotions,
    registry,
    serving_directory,
    stage,
)
from gan_components.export.config import ExportConfig
from gan_components.export.errors import InfraValidationError, RegistryError
from gan_components.export.infra_validation import Check, Record
from tests.gan_components.export import tiny

QUICK = ExportConfig(infra_validation=False, warmup_batch_sizes=(1,))


class Crash(BaseException):
    """Ends the process as far as the code under test can tell: nothing catches it."""


def export(destination, generator, *, name="one", config=QUICK, blessing=tiny.BLESSING, steps=None) -> PushedModel:
    home = destination.root / "artifacts" / destination.model_name
    if (home / "train" / name).exists():
        model = stage.TrainedModel.open(home / "train" / name)
        evaluation = stage.Evaluation.open(home / "evaluate" / name)
    else:
        model = tiny.trained_model(home, name, generator)
        evaluation = tiny.evaluation(home, model)
    return stage.export(
        model,
        evaluation,
        config,
        destination=destination,
        blessing=blessing,
        out=home / "export" / name,
        seed=0,
        cache=home / "cache",
        progress=lambda done, total, text: (steps if steps is not None else []).append((done, total)),
    )


def state(destination) -> dict:
    """What a server, a registry's user and a reader of the log see."""
    root, name = destination.serving_root, destination.model_name
    client = registry.connect(destination.tracking_uri)
    champion = registry.champion(destination.tracking_uri, name)
    entries = {e.name: e for e in serving_directory.read_models_config(root).model_config_list.config}
    served, canary = (
        list(entries[key].model_version_policy.specific.versions) if key in entries else []
        for key in (name, f"{name}_canary")
    )
    return {
        "directories": serving_directory.versions(root / name),
        "registered": sorted(str(v.version) for v in client.search_model_versions(f"name = '{name}'")),
        "champion": champion and champion.version,
        "served": served,
        "canary": canary,
        "log": [(p.from_version, p.to_version) for p in promotions.read_all(destination.root, name)],
    }


ONE = {"directories": [1], "registered": ["1"], "champion": "1", "served": [1], "canary": [], "log": [(None, 1)]}


def test_a_blessed_generator_is_in_production(destination, generator):
    """Red if infra validation is skipped, or the record or the log do not say what was pushed."""
    steps = []
    pushed = export(destination, generator, config=ExportConfig(), steps=steps)
    assert state(destination) == ONE
    path = destination.serving_root / destination.model_name / "1"
    assert pushed.properties["path"] == str(path)
    assert (pushed.properties["version"], pushed.properties["registry_version"]) == (1, "1")
    assert sorted(pushed.manifest.files) == ["blessing.json", "infra_validation.json", "push.json"]
    validation = json.loads((pushed.directory / "infra_validation.json").read_text())
    assert validation["passed"] is True
    assert len(validation["checks"]) == 9
    (record,) = promotions.read_all(destination.root, destination.model_name)
    assert (record.metric, record.protocol, record.value) == ("fd_pixels", "fd1k_holdout_pixels", 2.5)
    assert (record.generator_digest, record.registry_version) == ("generator one", "1")
    assert record.why == "export: all 3 checks passed"
    assert steps == [(i, 5) for i in range(6)]


def test_what_is_not_blessed_is_not_pushed(destination, generator):
    """Red if a blessing without a clear `true` passes."""
    for blessing in ({"blessed": False, "reason": "it copies"}, {}):
        with pytest.raises(NotBlessedError, match=blessing.get("reason", "no reason given")):
            export(destination, generator, blessing=blessing)
    assert not (destination.serving_root / destination.model_name).exists()


def test_what_no_server_can_serve_is_not_pushed(destination, generator, monkeypatch):
    """Red if the push comes before the validation."""
    verdict = Record(checks=[Check(name="answers", passed=False, reason="it does not")])
    monkeypatch.setattr(infra_validation, "validate", lambda *_, **__: verdict)
    with pytest.raises(InfraValidationError, match=r"answers: it does not\. Nothing was pushed"):
        export(destination, generator, config=ExportConfig())
    assert not (destination.serving_root / destination.model_name).exists()
    assert registry.champion(destination.tracking_uri, destination.model_name) is None


STEPS = [
    (serving_directory, "push"),
    (logged_model, "_save_pyfunc"),
    (mlflow.MlflowClient, "finalize_logged_model"),
    (mlflow.MlflowClient, "create_model_version"),
    (mlflow.MlflowClient, "set_model_version_tag"),
    (mlflow.MlflowClient, "set_registered_model_alias"),
    (registry, "promote"),
    (serving_directory, "write_models_config"),
    (promotions, "append"),
    (PushedModel, "seal"),
]


@pytest.mark.parametrize(("owner", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_crash_after_any_step_ends_with_one_version(destination, generator, monkeypatch, owner, name):
    """Red if a step does not look for what its former try left, or `settle` is not called."""
    original = getattr(owner, name)

    def crash(*arguments, **options):
        original(*arguments, **options)
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, crash)
        with pytest.raises(Crash):
            export(destination, generator)
    pushed = export(destination, generator)
    assert state(destination) == ONE
    assert pushed.properties["version"] == 1
    assert list((destination.serving_root / destination.model_name).glob(".staging-*")) == []
    client = registry.connect(destination.tracking_uri)
    experiment = client.get_experiment_by_name(destination.model_name).experiment_id
    assert len(client.search_logged_models([experiment])) == 1
    assert len(client.search_runs([experiment])) == 1


def test_manual_waits_and_promote_and_rollback_move_everything_together(destination, generator):
    """Red if a candidate is served, a rollback moves the alias alone, or another fingerprint makes a version."""
    name = destination.model_name
    export(destination, generator, name="one")
    manual = QUICK.model_copy(update={"promote": "manual"})
    export(destination, generator, name="two", config=manual)
    waiting = {**ONE, "directories": [1, 2], "registered": ["1", "2"]}
    assert state(destination) == {**waiting, "canary": [2]}
    export(destination, generator, name="two", config=manual.model_copy(update={"warmup_batch_sizes": (1, 2)}))
    assert state(destination) == {**waiting, "canary": [2]}
    assert registry.by_alias(destination.tracking_uri, name, "candidate").version == "2"
    assert production.promote(destination, "2", why="looks good").why == "looks good"
    assert state(destination) == {**waiting, "champion": "2", "served": [2], "log": [(None, 1), (1, 2)]}
    assert production.promote(destination, "2", why="again") is None
    production.promote(
        destination, registry.by_alias(destination.tracking_uri, name, "previous").version, why="back"
    )
    back = {**waiting, "log": [(None, 1), (1, 2), (2, 1)]}
    assert state(destination) == back
    with pytest.raises(InputError, match="no version 9"):
        production.promote(destination, "9", why="typing error")


def test_a_candidate_without_a_champion_is_a_canary(destination, generator):
    """Red if `settle` returns before the canary when there is no champion."""
    export(destination, generator, config=QUICK.model_copy(update={"promote": "manual"}))
    waiting = {**ONE, "champion": None, "served": [], "canary": [1], "log": []}
    assert state(destination) == waiting
    production.promote(destination, "1", why="looks good")
    assert state(destination) == ONE


def test_old_versions_are_retired_but_none_that_a_rollback_needs(destination, generator):
    """Red if aliases are not asked before directories go, or `export` does not call `retire`."""
    name = destination.model_name
    one = QUICK.model_copy(update={"keep_versions": 1})
    for number in ("one", "two", "three"):
        export(destination, generator, name=number, config=one)
    assert state(destination)["directories"] == [2, 3]  # `previous` and `champion`
    manual = one.model_copy(update={"promote": "manual"})
    for number in ("four", "five"):
        export(destination, generator, name=number, config=manual)
    assert state(destination)["directories"] == [2, 3, 5]  # four never was in production
    production.promote(
        destination, registry.by_alias(destination.tracking_uri, name, "previous").version, why="back"
    )
    assert state(destination)["served"] == [2]
    with pytest.raises(InputError, match="has no directory"):
        production.promote(destination, "1", why="too late")
    export(destination, generator, name="four", config=manual)
    assert state(destination)["directories"] == [2, 3, 6]
    assert production.promote(destination, "4", why="after all").to_version == 6


def test_a_retry_does_not_undo_a_rollback(destination, generator):
    """Red if `_promote` does not ask the log: the record of a push can be lost after the promotion."""
    export(destination, generator, name="one")
    export(destination, generator, name="two")
    production.promote(destination, "1", why="two looks odd")
    rolled_back = state(destination)
    export(destination, generator, name="two")
    assert state(destination) == rolled_back
    assert (rolled_back["champion"], rolled_back["served"]) == ("1", [1])


def test_an_alias_moved_by_hand_is_followed_and_said(destination, generator):
    """Red if an old promotion's evidence is taken for the new move."""
    export(destination, generator, name="one")
    export(destination, generator, name="two")
    client = registry.connect(destination.tracking_uri)
    client.set_registered_model_alias(destination.model_name, "champion", "1")
    record = production.settle(destination)
    assert (record.who, record.to_version) == ("unknown", 1)
    assert "outside this pipeline" in record.why
    assert state(destination)["served"] == [1]
    assert production.settle(destination) is None


def test_a_registry_that_is_down_costs_no_second_version(destination, generator, monkeypatch):
    """Red if the error is swallowed, or the push is repeated under a new number."""

    def down(*_, **__):
        raise mlflow.exceptions.MlflowException("connection refused")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "create_model_version", down)
        with pytest.raises(RegistryError, match="connection refused"):
            export(destination, generator)
    assert export(destination, generator).properties["version"] == 1
    assert state(destination) == ONE
