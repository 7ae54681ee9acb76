"""The four stages in order: what is there already, what must run, and what may be served.

The only file that knows the order, and what the champion decides. The champion enters no fingerprint:
it is read once a run, under the promotion lock, and the comparison with it is decided anew every time.
"""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

from gan_components.artifacts import (
    Artifact,
    Evaluation,
    Examples,
    Progress,
    PushedModel,
    TrainedModel,
    no_progress,
    take_over,
    write_atomically,
)
from gan_components.errors import ArtifactError, InputError
from gan_components.evaluation import config as evaluation
from gan_components.evaluation import gate
from gan_components.export import promotions
from gan_components.fingerprints import Recipe
from pipelines import champion, drift, remote_data, workers
from pipelines.config import PipelineConfig
from pipelines.outcome import Outcome, Request, Stage, Step
from pipelines.recipes import KINDS, recipe_of
from pipelines.records import RunRecord
from pipelines.tracking import StageRun, Tracker
from pipelines.workspace import Workspace

_log = logging.getLogger(__name__)


@dataclass
class Run:
    """One pass through the chain; what is done already is not done again.

    Attributes:
        config: the experiment.
        workspace: where everything lies; its root is there.
        request: which part of the chain.
        outcome: filled as the run goes.
        on_step: told of each stage as it ends.
        progress: told of the work inside a stage.
        made: the artifacts so far.
    """

    config: PipelineConfig
    workspace: Workspace
    request: Request
    outcome: Outcome
    on_step: Callable[[Step], None] = lambda step: None
    progress: Progress = no_progress
    made: dict[Stage, Artifact] = field(default_factory=dict)

    def execute(self) -> None:
        """Runs the stages that are wanted, in order.

        Raises:
            InputError: settings or data cannot be used.
            ArtifactError: ``--only`` needs an earlier stage that is not there.
        """
        if self.config.train.strategy == "multi_worker" and self.request.run_id is None:
            raise InputError("train.strategy multi_worker needs the same --run-id for every worker; give one")
        evaluation.require_usable_weights(self.config.evaluate.features, self.request.weights)
        with workers.led(self.config, self.workspace, self.outcome):
            self._execute_stages()

    def _execute_stages(self) -> None:
        if self.request.last == "export":
            self._update_mirror()
        directory = self.workspace.run_directory(self.outcome.run_id)
        record = RunRecord.of(self.request, self.config, self.workspace)
        self.tracker = Tracker(
            self.workspace.destination(self.config.name),
            run_name=self.outcome.run_id,
            parent_run_id=record.mlflow_run_id if record else None,
        )
        try:
            for stage in self.request.stages:
                began = time.monotonic()
                try:
                    if stage == "ingest":
                        # Every task of one schedule takes the data as the first one copied them.
                        data = remote_data.localize(
                            self.request.data,
                            self.config.ingest,
                            self.workspace,
                            refresh=record is None,
                            progress=self.progress,
                        )
                        self.request = replace(self.request, data=data.path)
                    with data.errors_name_it():
                        recipe = recipe_of(stage, self.made, self.config, self.request, record)
                        if record is None:
                            record = RunRecord.begin(self.config, recipe.inputs["source"])
                            record.write(directory)
                        self._stage(stage, recipe)
                except BaseException as error:
                    stopped = isinstance(error, SystemExit | KeyboardInterrupt)
                    text = "stopped by a signal" if stopped else str(error) or type(error).__name__
                    self._done(Step(stage, "failed", text, None, time.monotonic() - began))
                    raise
                if self.outcome.verdict == "blocked":
                    return
            if self.request.last != "export":
                self.outcome.verdict = "stopped"
        finally:
            self.outcome.mlflow_run_id = self.tracker.parent_run_id
            self.tracker.close(self.outcome.verdict)
            if record and self.tracker.parent_run_id != record.mlflow_run_id:
                record.model_copy(update={"mlflow_run_id": self.tracker.parent_run_id}).write(directory)

    def _update_mirror(self) -> None:
        """Ends what a former run did not bring to the serving root's address; a wrong one costs no training."""
        if self.workspace.serving_address:
            from gan_components.export import serving_mirror

            serving_mirror.update(self.workspace.destination(self.config.name))

    def _stage(self, stage: Stage, recipe: Recipe) -> None:
        if stage == "export":
            self._export(recipe)
            return
        self.made[stage] = self._find_or_make(stage, recipe)
        if stage == "ingest":
            self._compare_data()
        elif stage == "evaluate":
            self.outcome.metrics = json.loads((self._evaluation.directory / "metrics.json").read_text())
            # What the evaluation's own checks block is blocked whatever the champion is.
            self._decide(gate.absolute_verdict(self._evaluation))

    def _compare_data(self) -> None:
        """Stops before training if the data are too unlike the champion's."""
        found = drift.check(self.config, self.workspace, self._examples, self.outcome, bless=self.request.bless)
        if found and found.verdict == "block":
            self.outcome.verdict = "blocked"
            if self.request.last != "ingest":
                self._done(Step("train", "blocked", found.reason))

    def _find_or_make(self, stage: Stage, recipe: Recipe) -> Artifact:
        """The artifact of one of the first three stages: found, or made under its lock."""
        with self.workspace.lock(self.workspace.artifact_path(recipe)):
            artifact, reason = self.workspace.find(KINDS[stage], recipe, verify=self.request.verify)
            if artifact and self.request.force != stage:
                if stage == "train" and self.request.resume_from:
                    raise InputError("this training is done already; leave --resume-from out")
                self.tracker.skipped(recipe)
                self._done(Step(stage, "hit", reason, artifact.directory))
                return artifact
            if self.request.only not in (None, stage):
                raise ArtifactError(
                    f"--only {self.request.only} needs {stage}, which is not there ({reason}); "
                    f"run with --until {stage} first"
                )
            return self._execute(recipe, "forced" if artifact else reason, lambda _: self._make(stage, recipe))

    def _execute(self, recipe: Recipe, reason: str, make: Callable[[StageRun], Artifact]) -> Artifact:
        """Runs `make` as a tracked stage and reports what became of it."""
        stage = cast(Stage, recipe.stage)
        _log.info("%s runs: %s", stage, reason)
        self.workspace.require_free_space()
        began = time.monotonic()
        with self.tracker.stage(recipe) as stage_run:
            artifact = make(stage_run)
            stage_run.log(artifact)
        self._done(Step(stage, "ran", reason, artifact.directory, time.monotonic() - began))
        return artifact

    def _make(self, stage: Stage, recipe: Recipe) -> Artifact:
        """Calls the stage. Its imports are heavy: they wait until something must run."""
        if stage == "ingest":
            from gan_components.ingestion.stage import ingest

            request = self.request
            if recipe_of(stage, {}, self.config, request) != recipe:
                raise InputError(
                    f"the data changed since run {request.run_id!r} was planned, and what it planned with was "
                    "never ingested; choose another --run-id"
                )
            return ingest(request.data, self.config.ingest, verify=request.verify, **self._given(recipe))
        if stage == "train":
            from gan_components.training.stage import train

            given = self._given(recipe)
            if self.request.resume_from:
                take_over(self.request.resume_from, given["out"], recipe)
            workers.call(self.config, self.workspace, self.outcome, self._examples.directory, given["out"])
            initial = champion.start_of_training(self.config, self.workspace)
            return train(self._examples, self.config.train, initial=initial, **given)
        return self._evaluate(self._model, recipe)

    def _evaluate(self, model: TrainedModel, recipe: Recipe) -> Evaluation:
        from gan_components.evaluation.stage import evaluate

        weights = self.request.weights
        return evaluate(model, self._examples, self.config.evaluate, weights=weights, **self._given(recipe))

    def _given(self, recipe: Recipe) -> dict[str, Any]:
        """What every stage is given beside its artifacts and its section."""
        return {
            "out": self.workspace.artifact_path(recipe),
            "seed": self.config.seed,
            "cache": self.workspace.cache,
            "progress": self.progress,
        }

    def _export(self, recipe: Recipe) -> None:
        """Blesses and pushes under the promotion lock, unless this generator was pushed before."""
        with promotions.lock(self.workspace.root, self.config.name):
            artifact, reason = self.workspace.find(PushedModel, recipe, verify=self.request.verify)
            served = champion.promotion_of(self._model, self.config, self.workspace)
            pushed = artifact or served
            if pushed:
                # Also with --force: only `promote` moves a generator that was pushed before.
                self.tracker.skipped(recipe)
                why = champion.pushed_before(served) if served else reason
                self._done(Step("export", "hit", why, artifact.directory if artifact else None))
                self.outcome.verdict = "unchanged"
            elif not self._decide(self._bless()):
                return
            else:
                pushed = cast(PushedModel, self._execute(recipe, reason, lambda run: self._push(recipe, run)))
                self.outcome.verdict = "pushed"
            self.outcome.pushed = champion.where(self.workspace, self.config.name, pushed)

    def _push(self, recipe: Recipe, stage_run: StageRun) -> PushedModel:
        from gan_components.export.stage import export

        return export(
            self._model,
            self._evaluation,
            self.config.export,
            destination=self.workspace.destination(self.config.name, stage_run.run_id),
            blessing=self.outcome.blessing or {},
            **self._given(recipe),
        )

    def _decide(self, blessing: gate.Blessing) -> bool:
        """Keeps the decision where people and machines look for it; whether it is a blessing."""
        if self.request.bless:
            blessing = gate.overruled(blessing, self.request.bless)
        self.outcome.blessing = blessing.model_dump(mode="json")
        directory = self.workspace.run_directory(self.outcome.run_id)
        write_atomically(directory / "blessing.json", json.dumps(self.outcome.blessing, indent=1).encode())
        if not blessing.blessed:
            self.outcome.verdict = "blocked"
            if self.request.last == "export":
                self._done(Step("export", "blocked", blessing.reason))
        return blessing.blessed

    def _bless(self) -> gate.Blessing:
        """Compares with the champion, re-measured over the same examples with the same settings."""
        from gan_components.export import production, registry

        root, name = self.workspace.root, self.config.name
        # A run that died between the alias and the log is put right first.
        production.settle(self.workspace.destination(name))
        version = registry.champion(self.workspace.tracking_uri, name)
        primary = self.outcome.metrics[gate.primary_metric(self._evaluation)]
        trained = champion.trained(version, self.config, self.workspace) if version else None
        incomparable = champion.incomparable(trained, self._model) if trained else ""
        return gate.bless(
            self._evaluation,
            champion=self._evaluate_champion(trained) if trained and not incomparable else None,
            incomparable=incomparable,
            best=promotions.best(root, name, protocol=primary["protocol"], extractor=primary["extractor"]),
            config=self.config.evaluate,
        )

    def _evaluate_champion(self, model: TrainedModel) -> Evaluation:
        """The champion's Evaluation, cached like any other: by its generator, the examples and the section."""
        made: dict[Stage, Artifact] = {"ingest": self._examples, "train": model}
        recipe = recipe_of("evaluate", made, self.config, self.request)
        with self.workspace.lock(self.workspace.artifact_path(recipe)):
            found, _ = self.workspace.find(Evaluation, recipe)
            if found is None:
                _log.info("evaluating the champion, to compare with it")
            return found or self._evaluate(model, recipe)

    @property
    def _examples(self) -> Examples:
        return cast(Examples, self.made["ingest"])

    @property
    def _model(self) -> TrainedModel:
        return cast(TrainedModel, self.made["train"])

    @property
    def _evaluation(self) -> Evaluation:
        return cast(Evaluation, self.made["evaluate"])

    def _done(self, step: Step) -> None:
        self.outcome.steps.append(step)
        self.on_step(step)
