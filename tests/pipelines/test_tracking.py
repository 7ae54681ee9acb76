"""What MLflow is told of a run. Each test names the one-line change that turns it red."""

import pytest

from gan_components import artifacts
from gan_components.artifacts import TrainedModel
from gan_components.export import registry
from gan_components.export.destination import Destination
from gan_components.fingerprints import Recipe
from pipelines.tracking import Tracker


@pytest.fixture(scope="module")
def destination(tmp_path_factory):
    root = tmp_path_factory.mktemp("tracking")
    return Destination(
        model_name="digits", serving_root=root / "serving", root=root, tracking_uri=f"sqlite:///{root}/mlflow.db"
    )


def recipe(stage: str) -> Recipe:
    config = {"batch_size": 64, "bounds": {"coverage": {"min": 0.5}}}
    return Recipe(stage=stage, config=config, inputs={"examples": "aa"}, seed=3, code={}, libraries={})


def test_a_stage_is_a_child_with_its_settings_and_curves(destination, tmp_path):
    """Red if the parent's id, a parameter or the step of a metric is left out."""
    made = recipe("train")
    work = artifacts.work_directory(tmp_path / "model", made)
    (work / "history.jsonl").write_text('{"step": 50, "d_loss": 1.5}\n{"step": 100, "d_loss": 1.25}\n')
    model = TrainedModel.seal(tmp_path / "model", made, properties={"num_steps": 100})
    tracker = Tracker(destination, run_name="night")
    with tracker.stage(made) as stage_run:
        stage_run.log(model)
    tracker.close("pushed")
    client = registry.connect(destination.tracking_uri)
    run, parent = client.get_run(stage_run.run_id), client.get_run(tracker.parent_run_id)
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.params["bounds.coverage.min"] == "0.5"
    assert run.data.params["seed"] == "3"
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "d_loss")] == [
        (50, 1.5),
        (100, 1.25),
    ]
    assert (parent.data.tags["verdict"], parent.info.status) == ("pushed", "FINISHED")


def test_a_skipped_stage_links_the_run_that_made_it(destination):
    """Red if only what is skipped after the first executed stage is linked: ingestion mostly comes before it."""
    first = Tracker(destination, run_name="first")
    with first.stage(recipe("ingest")) as made:
        pass
    second = Tracker(destination, run_name="second")
    second.skipped(recipe("ingest"))
    with second.stage(recipe("evaluate")):
        pass
    second.close("unchanged")
    parent = registry.connect(destination.tracking_uri).get_run(second.parent_run_id)
    assert parent.data.tags["ingest.run_id"] == made.run_id


def test_a_failed_stage_is_marked(destination):
    """Red if the child run stays RUNNING, or the error is swallowed."""
    tracker = Tracker(destination, run_name="broken")
    with pytest.raises(ValueError, match="boom"), tracker.stage(recipe("train")) as stage_run:
        raise ValueError("boom")
    assert registry.connect(destination.tracking_uri).get_run(stage_run.run_id).info.status == "FAILED"


def test_nothing_executed_means_no_run(destination):
    """Red if a run in which all is done opens MLflow."""
    tracker = Tracker(destination, run_name="idle")
    tracker.skipped(recipe("ingest"))
    tracker.close("unchanged")
    assert tracker.parent_run_id is None
