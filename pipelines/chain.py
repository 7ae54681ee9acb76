"""The four stages in order: what is there already, what must run, and what may be served.

The only file that knows the order, and the only one that knows the champion. The champion enters no fingerprint:
it is read once a run, under the promotion lock, and the comparison with it is decided anew every time.
"""

import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from pydantic import BaseModel, JsonValue, ValidationError

from gan_components.artifacts import (
    Artifact,
    Evaluation,
    Examples,
    Progress,
    PushedModel,
    TrainedModel,
    no_progress,
    write_atomically,
)
from gan_components.errors import ArtifactError, ConfigError
from gan_components.evaluation import config as evaluation
from gan_components.evaluation import gate
from gan_components.export import config as exporting
from gan_components.export import promotions
from gan_components.export.destination import Destination
from gan_components.fingerprints import Recipe
from gan_components.ingestion import config as ingestion
from gan_components.training import config as training
from pipelines.config import PipelineConfig
from pipelines.tracking import StageRun, Tracker
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from gan_components.export import registry

Stage = Literal["ingest", "train", "evaluate", "export"]
STAGES: dict[Stage, type[Artifact]] = {
    "ingest": Examples,
    "train": TrainedModel,
    "evaluate": Evaluation,
    "export": PushedModel,
}

RUN_RECORD = "run.json"
EXIT_CODES = {"pushed": 0, "unchanged": 0, "stopped": 0, "blocked": 99}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a caller wants of a run beside the configuration; the flags of ``gan-pipelines run``."""

    data: str | None = None
    until: Stage | None = None
    only: Stage | None = None
    force: Stage | None = None
    run_id: str | None = None
    verify: bool = False

    @property
    def last(self) -> Stage:
        return self.only or self.until or "export"

    @property
    def stages(self) -> list[Stage]:
        order = list(STAGES)
        return order[: order.index(self.last) + 1]


@dataclass(frozen=True)
class Step:
    """What became of one stage, and why, in words."""

    stage: Stage
    status: Literal["hit", "miss", "depends", "ran", "blocked", "skipped", "failed"]
    reason: str
    artifact: Path | None = None
    seconds: float = 0.0


@dataclass
class Outcome:
    """The result of a run; what ``run --json`` prints."""

    run_id: str
    verdict: Literal["pushed", "unchanged", "blocked", "stopped", "failed"] = "failed"
    steps: list[Step] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    blessing: dict[str, JsonValue] | None = None
    pushed: dict[str, JsonValue] | None = None
    mlflow_run_id: str | None = None
    error: str | None = None

    @property
    def made(self) -> dict[Stage, Path]:
        return {step.stage: step.artifact for step in self.steps if step.artifact}


class RunRecord(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What all tasks of one scheduled run share: ``runs/<run-id>/run.json``."""

    config: dict[str, JsonValue]
    source: str
    mlflow_run_id: str | None = None


def new_run_id() -> str:
    """A name for a run: UTC time and four random digits; sorts by time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(2)


def plan(config: PipelineConfig, workspace: Workspace, request: Request) -> list[Step]:
    """What :func:`run` would do and why, without running anything or importing TensorFlow."""
    steps: list[Step] = []
    made: dict[Stage, Artifact] = {}
    record = _read_record(workspace, request.run_id, config)
    for stage in request.stages:
        waiting = [step.stage for step in steps if step.status != "hit"]
        if waiting:
            steps.append(Step(stage, "depends", f"on what {waiting[0]} will give"))
            continue
        recipe = _recipe(stage, made, config, request, record)
        artifact, reason = workspace.find(STAGES[stage], recipe, verify=request.verify)
        served = (
            promotions.pushed(workspace.root, config.name, made["train"].content_digest)
            if (stage == "export")
            else None
        )
        if served:
            steps.append(Step(stage, "hit", _serves(served), artifact.directory if artifact else None))
        elif artifact and request.force != stage:
            made[stage] = artifact
            steps.append(Step(stage, "hit", reason, artifact.directory))
        else:
            steps.append(Step(stage, "miss", "forced" if artifact else reason))
    return steps


@dataclass
class Run:
    """One pass through the chain; what is done already is not done again.

    Attributes:
        config: the experiment.
        workspace: where everything lies.
        request: which part of the chain.
        outcome: filled as the run goes, so that it tells what was done also when :meth:`execute` raises.
        on_step: told of each stage as it ends.
        progress: told of the work inside a stage.
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
        record = _read_record(self.workspace, self.request.run_id, self.config)
        self.tracker = Tracker(
            self._destination(),
            run_name=self.outcome.run_id,
            parent_run_id=record.mlflow_run_id if record else None,
        )
        try:
            for stage in self.request.stages:
                began = time.monotonic()
                try:
                    recipe = _recipe(stage, self.made, self.config, self.request, record)
                    if record is None:
                        record = RunRecord(config=_settings(self.config), source=recipe.inputs["source"])
                        self._write(RUN_RECORD, record.model_dump())
                    if stage == "export":
                        self._export(recipe)
                    else:
                        self.made[stage] = self._make(stage, recipe)
                except BaseException as error:
                    text = str(error) or type(error).__name__
                    self._done(Step(stage, "failed", text, None, time.monotonic() - began))
                    raise
                if stage == "evaluate" and not self._passes():
                    return
            if self.request.last != "export":
                self.outcome.verdict = "stopped"
        finally:
            self.outcome.mlflow_run_id = self.tracker.parent_run_id
            self.tracker.close(self.outcome.verdict)
            if record and record.mlflow_run_id != self.tracker.parent_run_id:
                self._write(RUN_RECORD, record.model_dump() | {"mlflow_run_id": self.tracker.parent_run_id})

    def _make(self, stage: Stage, recipe: Recipe) -> Artifact:
        """The artifact of one of the first three stages: found, or made under its lock."""
        out = self.workspace.artifact_path(recipe)
        with self.workspace.lock(out):
            artifact, reason = self.workspace.find(STAGES[stage], recipe, verify=self.request.verify)
            if artifact and self.request.force != stage:
                self.tracker.link(recipe)
                self._done(Step(stage, "hit", reason, artifact.directory))
                return artifact
            if self.request.only not in (None, stage):
                raise ArtifactError(
                    f"--only {self.request.only} needs {stage}, which is not there ({reason}); "
                    f"run with --until {stage} first"
                )
            return self._execute(stage, recipe, "forced" if artifact else reason, self._build(stage, out))

    def _execute(
        self, stage: Stage, recipe: Recipe, reason: str, build: Callable[[StageRun], Artifact]
    ) -> Artifact:
        """Runs `build` as a tracked stage and reports what became of it."""
        _log.info("%s runs: %s", stage, reason)
        self.workspace.require_free_space()
        began = time.monotonic()
        with self.tracker.stage(recipe) as stage_run:
            artifact = build(stage_run)
            stage_run.log(artifact)
        self._done(Step(stage, "ran", reason, artifact.directory, time.monotonic() - began))
        return artifact

    def _build(self, stage: Stage, out: Path) -> Callable[[StageRun], Artifact]:
        """The stage, ready to be called. Its imports are heavy: they wait until something must run."""

        def build(stage_run: StageRun) -> Artifact:
            given: Any = {
                "out": out,
                "seed": self.config.seed,
                "cache": self.workspace.cache,
                "progress": self.progress,
            }
            if stage == "ingest":
                from gan_components.ingestion.stage import ingest

                return ingest(self.request.data, self.config.ingest, **given)
            if stage == "train":
                from gan_components.training.stage import train

                return train(self._examples, self.config.train, **given)
            from gan_components.evaluation.stage import evaluate

            return evaluate(self._model, self._examples, self.config.evaluate, **given)

        return build

    def _passes(self) -> bool:
        """Reads the evaluation's own checks; what they block is blocked whatever the champion is."""
        path = self._evaluation.directory / "metrics.json"
        self.outcome.metrics = json.loads(path.read_text())
        return self._decide(gate.absolute_verdict(self._evaluation))

    def _decide(self, blessing: gate.Blessing) -> bool:
        """Keeps the decision where people and machines look for it; whether it is a blessing."""
        self.outcome.blessing = blessing.model_dump(mode="json")
        self._write("blessing.json", self.outcome.blessing)
        if not blessing.blessed:
            self.outcome.verdict = "blocked"
            if self.request.last == "export":
                self._done(Step("export", "blocked", blessing.reason))
        return blessing.blessed

    def _export(self, recipe: Recipe) -> None:
        """Blesses and pushes under the promotion lock, unless this generator was pushed before."""
        out = self.workspace.artifact_path(recipe)
        root, name = self.workspace.root, self.config.name
        with promotions.lock(root, name):
            artifact, reason = self.workspace.find(PushedModel, recipe, verify=self.request.verify)
            served = promotions.pushed(root, name, self._model.content_digest)
            if served or artifact:
                # Also with --force: only `promote` moves a generator that was pushed before.
                self.tracker.link(recipe)
                why = _serves(served) if served else reason
                self._done(Step("export", "hit", why, artifact.directory if artifact else None))
                self.outcome.verdict = "unchanged"
                self.outcome.pushed = _pushed(artifact, served, self.workspace, name)
                return
            if not self._decide(self._bless()):
                return

            def build(stage_run: StageRun) -> Artifact:
                from gan_components.export.stage import export

                return export(
                    self._model,
                    self._evaluation,
                    self.config.export,
                    destination=self._destination(stage_run.run_id),
                    blessing=self.outcome.blessing or {},
                    out=out,
                    seed=self.config.seed,
                    cache=self.workspace.cache,
                    progress=self.progress,
                )

            pushed = cast(PushedModel, self._execute("export", recipe, reason, build))
            self.outcome.verdict = "pushed"
            self.outcome.pushed = _pushed(pushed, None, self.workspace, name)

    def _bless(self) -> gate.Blessing:
        """Compares with the champion, re-measured over the same examples with the same settings."""
        from gan_components.export import registry

        champion = registry.champion(self.workspace.tracking_uri, self.config.name)
        primary = self.outcome.metrics[gate.primary_metric(self._evaluation)]
        return gate.bless(
            self._evaluation,
            champion=self._evaluate_champion(champion) if champion else None,
            best=promotions.best(
                self.workspace.root,
                self.config.name,
                protocol=primary["protocol"],
                extractor=primary["extractor"],
            ),
            config=self.config.evaluate,
        )

    def _evaluate_champion(self, champion: "registry.Version") -> Evaluation:
        """The champion's Evaluation, cached like any other: by its generator, the examples and the section."""
        fingerprint = champion.tags.get("model_fingerprint", "")
        directory = self.workspace.root / "artifacts" / "train" / fingerprint
        if not fingerprint or not directory.exists():
            raise ArtifactError(
                f"the champion of {self.config.name!r}, version {champion.version}, was not trained in "
                f"{self.workspace.root}, so it cannot be measured here; run in the root that trained it, or move "
                "the alias `champion`"
            )
        model = TrainedModel.open(directory)
        recipe = evaluation.recipe(model, self._examples, self.config.evaluate, seed=self.config.seed)
        out = self.workspace.artifact_path(recipe)
        with self.workspace.lock(out):
            found, _ = self.workspace.find(Evaluation, recipe)
            if found:
                return found
            _log.info("evaluating the champion, version %s, to compare with it", champion.version)
            from gan_components.evaluation.stage import evaluate

            return evaluate(
                model,
                self._examples,
                self.config.evaluate,
                out=out,
                seed=self.config.seed,
                cache=self.workspace.cache,
                progress=self.progress,
            )

    def _destination(self, mlflow_run_id: str | None = None) -> Destination:
        return Destination(
            model_name=self.config.name,
            serving_root=self.workspace.serving_root,
            root=self.workspace.root,
            tracking_uri=self.workspace.tracking_uri,
            mlflow_run_id=mlflow_run_id,
        )

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

    def _write(self, name: str, value: JsonValue) -> None:
        directory = self.workspace.run_directory(self.outcome.run_id)
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / name, json.dumps(value, indent=1).encode())


def _recipe(
    stage: Stage,
    made: dict[Stage, Any],
    config: PipelineConfig,
    request: Request,
    record: RunRecord | None,
) -> Recipe:
    match stage:
        case "ingest":
            recipe = ingestion.recipe(request.data, config.ingest, seed=config.seed, verify=request.verify)
            # Every task of one scheduled run sees the data as the first one did.
            return recipe.model_copy(update={"inputs": {"source": record.source}}) if record else recipe
        case "train":
            return training.recipe(made["ingest"], config.train, seed=config.seed)
        case "evaluate":
            return evaluation.recipe(made["train"], made["ingest"], config.evaluate, seed=config.seed)
        case "export":
            return exporting.recipe(made["train"], made["evaluate"], config.export, seed=config.seed)


def _settings(config: PipelineConfig) -> dict[str, JsonValue]:
    return config.model_dump(mode="json", by_alias=True)


def _read_record(workspace: Workspace, run_id: str | None, config: PipelineConfig) -> RunRecord | None:
    """The record of a run id that was used before, if its settings are these."""
    if run_id is None:
        return None
    path = workspace.run_directory(run_id) / RUN_RECORD
    try:
        record = RunRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError:
        raise ArtifactError(f"{path} cannot be read; delete it or choose another --run-id") from None
    if record.config != _settings(config):
        raise ConfigError(f"run {run_id!r} was planned with other settings; choose another --run-id")
    return record


def _serves(record: promotions.Promotion) -> str:
    return f"this generator already stands in the promotion log as version {record.to_version}"


def _pushed(
    artifact: PushedModel | None, record: promotions.Promotion | None, workspace: Workspace, name: str
) -> dict[str, JsonValue]:
    """Where a generator is served: from the record of its push, or from the promotion log."""
    if artifact:
        return {key: artifact.properties[key] for key in ("version", "path", "registry_version")}
    if record is None:
        raise ValueError("neither a push nor a promotion is given")
    path = workspace.serving_root / name / str(record.to_version)
    return {"version": record.to_version, "path": str(path), "registry_version": record.registry_version}
