"""MLflow runs: one parent a pipeline run, one child an executed stage.

A tracking server that is down must not cost a trained model: what cannot be logged is named once in the log, and
the pipeline goes on. (Registration, in `gan_components.export.registry`, is the opposite: it fails loudly.) A run
in which nothing executes never gets here and never imports MLflow.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gan_components.artifacts import Artifact
from gan_components.export.destination import Destination
from gan_components.fingerprints import Recipe, flat

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)

# MLflow's limits for one request.
_METRICS_PER_BATCH = 1000
_PARAMS_PER_BATCH = 100
_PARAM_LENGTH = 6000

# What each stage shows people; a trailing slash means: the folder's last picture.
_PICTURES = {"ingest": ["grid.png"], "train": ["samples/"], "evaluate": ["report.html", "*.png"]}


class Tracker:
    """The MLflow side of one pipeline run; opens its parent run when the first stage executes.

    Args:
        destination: tracking server or store; the experiment is named after the model.
        run_name: the pipeline run's id.
        parent_run_id: an earlier parent to go on with (tasks of one schedule share one).
    """

    def __init__(self, destination: Destination, *, run_name: str, parent_run_id: str | None = None) -> None:
        self.destination = destination
        self._run_name = run_name
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._skipped: list[Recipe] = []
        self._down = False
        self.parent_run_id = parent_run_id

    @contextmanager
    def stage(self, recipe: Recipe) -> Iterator["StageRun"]:
        """Opens the child run of a stage, and closes it with the stage's fate."""
        run_id = self._attempt(lambda client: self._open(client, recipe))
        run = StageRun(self, run_id)
        try:
            yield run
        except BaseException:
            run.close("FAILED")
            raise
        run.close("FINISHED")

    def skipped(self, recipe: Recipe) -> None:
        """Takes down a stage that was a hit; :meth:`close` names the run that made it on the parent."""
        self._skipped.append(recipe)

    def close(self, verdict: str) -> None:
        """Ends the parent run, if a stage executed, with the pipeline's verdict."""
        if self._client and (parent := self.parent_run_id):
            self._attempt(lambda client: self._end(client, parent, verdict))

    def _end(self, client: "MlflowClient", parent: str, verdict: str) -> None:
        for recipe in self._skipped:
            same = f"tags.fingerprint = '{recipe.fingerprint}'"
            for made in client.search_runs([self._experiment_id], same, max_results=1):
                client.set_tag(parent, f"{recipe.stage}.run_id", made.info.run_id)
        client.set_tag(parent, "verdict", verdict)
        client.set_terminated(parent, "FAILED" if verdict == "failed" else "FINISHED")

    def _attempt(self, action: Callable[["MlflowClient"], str | None]) -> str | None:
        """Runs `action` unless the server was found to be down; only the first failure is logged."""
        if self._down:
            return None
        from gan_components.export import registry

        try:
            if self._client is None:
                self._client = registry.connect(self.destination.tracking_uri)
                self._open_parent(self._client)
            return action(self._client)
        except registry.UNREACHABLE as error:
            self._down = True
            _log.warning(
                "MLflow at %s cannot be used; this run goes on without tracking: %s",
                self.destination.tracking_uri,
                str(error).splitlines()[0],
            )
            return None

    def _open_parent(self, client: "MlflowClient") -> None:
        from gan_components.export import registry

        self._experiment_id = registry.experiment(client, self.destination)
        if self.parent_run_id is None:
            run = client.create_run(self._experiment_id, run_name=self._run_name, tags={"kind": "pipeline"})
            self.parent_run_id = run.info.run_id

    def _open(self, client: "MlflowClient", recipe: Recipe) -> str:
        from mlflow.entities import Param

        tags = {
            "mlflow.parentRunId": self.parent_run_id,
            "stage": recipe.stage,
            "fingerprint": recipe.fingerprint,
        }
        run_id = client.create_run(self._experiment_id, run_name=recipe.stage, tags=tags).info.run_id
        params = {
            "seed": recipe.seed,
            **flat(recipe.config),
            **{f"input.{k}": v for k, v in recipe.inputs.items()},
        }
        rows = [Param(key, str(value)[:_PARAM_LENGTH]) for key, value in params.items()]
        for i in range(0, len(rows), _PARAMS_PER_BATCH):
            client.log_batch(run_id, params=rows[i : i + _PARAMS_PER_BATCH])
        return run_id


class StageRun:
    """The child run of one executed stage; `run_id` is None while the server is down."""

    def __init__(self, tracker: Tracker, run_id: str | None) -> None:
        self._tracker = tracker
        self.run_id = run_id

    def log(self, artifact: Artifact) -> None:
        """Uploads what the stage measured: numbers by step, counts, pictures, the data's digest."""
        if run_id := self.run_id:
            name = self._tracker.destination.model_name
            self._tracker._attempt(lambda client: _upload(client, run_id, artifact, dataset_name=name))

    def close(self, status: str) -> None:
        if run_id := self.run_id:
            self._tracker._attempt(lambda client: client.set_terminated(run_id, status))


def _upload(client: "MlflowClient", run_id: str, artifact: Artifact, *, dataset_name: str) -> None:
    from mlflow.entities import Dataset, DatasetInput, Metric

    now = int(time.time() * 1000)
    rows = [Metric(name, value, now, step) for name, value, step in _numbers(artifact)]
    for i in range(0, len(rows), _METRICS_PER_BATCH):
        client.log_batch(run_id, metrics=rows[i : i + _METRICS_PER_BATCH])
    for path in _pictures(artifact):
        client.log_artifact(run_id, str(path))
    client.set_tag(run_id, "artifact", str(artifact.directory))
    if artifact.kind == "Examples":
        dataset = Dataset(
            name=dataset_name,
            digest=artifact.content_digest[:32],  # MLflow takes 36 characters at most
            source_type="directory",
            source=json.dumps({"path": str(artifact.directory)}),
        )
        client.log_inputs(run_id, datasets=[DatasetInput(dataset)])


def _numbers(artifact: Artifact) -> Iterator[tuple[str, float, int]]:
    for name, value in artifact.properties.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value, 0
    history = artifact.directory / "history.jsonl"
    if history.exists():
        for line in history.read_text().splitlines():
            row = json.loads(line)
            step = row.pop("step")
            yield from ((name, value, step) for name, value in row.items() if isinstance(value, int | float))
    metrics = artifact.directory / "metrics.json"
    if metrics.exists():
        for name, metric in json.loads(metrics.read_text()).items():
            yield name, metric["value"], 0


def _pictures(artifact: Artifact) -> Iterator[Path]:
    for pattern in _PICTURES.get(artifact.manifest.recipe.stage, []):
        if pattern.endswith("/"):
            yield from sorted((artifact.directory / pattern).glob("*.png"))[-1:]
        else:
            yield from sorted(artifact.directory.glob(pattern))
