"""What is in production, as a run sees it: what it compares with, starts from, and need not push again."""

import logging
from typing import TYPE_CHECKING, cast

from gan_components.artifacts import Artifact, TrainedModel
from gan_components.errors import ArtifactError
from gan_components.export import promotions
from pipelines.config import PipelineConfig
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from gan_components.export import registry

_log = logging.getLogger(__name__)


def promotion_of(model: Artifact, config: PipelineConfig, workspace: Workspace) -> promotions.Promotion | None:
    """The promotion of this very generator, if it ever was in production."""
    return promotions.pushed(workspace.root, config.name, model.content_digest)


def start_of_training(config: PipelineConfig, workspace: Workspace) -> TrainedModel | None:
    """What was promoted last, if training is to start from it and it was trained here."""
    log = promotions.read_all(workspace.root, config.name)
    if not config.train.warm_start or not log:
        return None
    directory = workspace.root / "artifacts" / "train" / log[-1].model_fingerprint
    if not directory.exists():
        _log.warning("starting from random weights: what is in production was not trained in this root")
        return None
    return TrainedModel.open(directory)


def trained(version: "registry.Version", config: PipelineConfig, workspace: Workspace) -> TrainedModel:
    """The artifact from which a version of the registry was pushed.

    Raises:
        ArtifactError: it was trained in another root.
    """
    fingerprint = version.tags.get("model_fingerprint", "")
    directory = workspace.root / "artifacts" / "train" / fingerprint
    if not fingerprint or not directory.exists():
        raise ArtifactError(
            f"the champion of {config.name!r}, version {version.version}, was not trained in "
            f"{workspace.root}, so it cannot be measured here; run in the root that trained it, or move "
            "the alias `champion`"
        )
    return TrainedModel.open(directory)


def incomparable(champion: TrainedModel, candidate: TrainedModel) -> str:
    """Why no distance of the champion compares with the candidate's; empty if one does."""
    theirs, ours = (one.properties["image_shape"] for one in (champion, candidate))
    if theirs == ours:
        return ""
    shapes = ["x".join(str(side) for side in cast(list[int], shape)) for shape in (theirs, ours)]
    return f"the champion makes images of {shapes[0]}, this generator of {shapes[1]}: they do not compare"
