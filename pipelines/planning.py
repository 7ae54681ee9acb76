"""What a run would do and why, before it does anything."""

from dataclasses import replace

from gan_components.artifacts import Artifact
from gan_components.evaluation import config as evaluation
from pipelines import champion, remote_data
from pipelines.config import PipelineConfig
from pipelines.outcome import Request, Stage, Step
from pipelines.recipes import KINDS, recipe_of
from pipelines.records import RunRecord
from pipelines.workspace import Workspace


def plan(config: PipelineConfig, workspace: Workspace, request: Request) -> list[Step]:
    """What :class:`pipelines.chain.Run` would do and why, without running anything or importing TensorFlow.

    Images that lie in an object store are copied to the root's cache all the same: their copies' times tell.
    """
    evaluation.require_usable_weights(config.evaluate.features, request.weights)
    record = RunRecord.of(request, config, workspace)
    data = remote_data.localize(request.data, config.ingest, workspace, refresh=record is None)
    request = replace(request, data=data.path)
    steps: list[Step] = []
    made: dict[Stage, Artifact] = {}
    for stage in request.stages:
        waiting = [step.stage for step in steps if step.status != "hit"]
        if waiting:
            steps.append(Step(stage, "depends", f"on what {waiting[0]} will give"))
            continue
        with data.errors_name_it():
            recipe = recipe_of(stage, made, config, request, record)
        artifact, reason = workspace.find(KINDS[stage], recipe, verify=request.verify)
        if stage == "export" and (served := champion.promotion_of(made["train"], config, workspace)):
            why = champion.pushed_before(served)
            steps.append(Step(stage, "hit", why, artifact.directory if artifact else None))
        elif artifact and request.force != stage:
            made[stage] = artifact
            steps.append(Step(stage, "hit", reason, artifact.directory))
        else:
            steps.append(Step(stage, "miss", "forced" if artifact else reason))
    return steps
