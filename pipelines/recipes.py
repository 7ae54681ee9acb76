"""What each stage of a run would make, and from what: its recipe, of which the fingerprint is taken."""

from typing import Any

from gan_components.artifacts import Artifact, Evaluation, Examples, PushedModel, TrainedModel
from gan_components.evaluation import config as evaluation
from gan_components.export import config as exporting
from gan_components.fingerprints import Recipe
from gan_components.ingestion import config as ingestion
from gan_components.training import config as training
from pipelines.config import PipelineConfig
from pipelines.outcome import Request, Stage
from pipelines.records import RunRecord

KINDS: dict[Stage, type[Artifact]] = {
    "ingest": Examples,
    "train": TrainedModel,
    "evaluate": Evaluation,
    "export": PushedModel,
}


def recipe_of(
    stage: Stage,
    made: dict[Stage, Any],
    config: PipelineConfig,
    request: Request,
    record: RunRecord | None = None,
) -> Recipe:
    """The recipe of a stage, from the artifacts of those before it.

    Args:
        stage: which one.
        made: the artifacts of the stages before it.
        config: of which the stage's section counts.
        request: where the data lie, and the weights of the evaluation.
        record: of the scheduled run that this is a task of: it sees the data as the first task did.
    """
    match stage:
        case "ingest":
            recipe = ingestion.recipe(request.data, config.ingest, seed=config.seed, verify=request.verify)
            return recipe.model_copy(update={"inputs": {"source": record.source}}) if record else recipe
        case "train":
            return training.recipe(made["ingest"], config.train, seed=config.seed)
        case "evaluate":
            return evaluation.recipe(
                made["train"], made["ingest"], config.evaluate, seed=config.seed, weights=request.weights
            )
        case "export":
            return exporting.recipe(made["train"], made["evaluate"], config.export, seed=config.seed)
