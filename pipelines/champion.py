"""What is in production, as a run sees it: what it compares with, starts from, and need not push again."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from gan_components.artifacts import Artifact, PushedModel, TrainedModel
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
    directory = _training(workspace, log[-1].model_fingerprint)
    if directory is None:
        _log.warning("starting from random weights: what is in production was not trained in this root")
        return None
    return TrainedModel.open(directory)


def trained(version: "registry.Version", config: PipelineConfig, workspace: Workspace) -> TrainedModel:
    """The artifact from which a version of the registry was pushed.

    Raises:
        ArtifactError: it was trained in another root.
    """
    directory = _training(workspace, version.tags.get("model_fingerprint", ""))
    if directory is None:
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


def pushed_before(promotion: promotions.Promotion) -> str:
    """Why a generator that was in production once is not pushed again."""
    return f"this generator already stands in the promotion log as version {promotion.to_version}"


def where(
    workspace: Workspace, model_name: str, pushed: PushedModel | promotions.Promotion
) -> dict[str, JsonValue]:
    """Where a generator is served: from the record of its push, or from the promotion log."""
    if isinstance(pushed, PushedModel):
        found = {key: pushed.properties[key] for key in ("version", "path", "registry_version")}
    else:
        path = workspace.serving_root / model_name / str(pushed.to_version)
        found = {"version": pushed.to_version, "path": str(path), "registry_version": pushed.registry_version}
    if workspace.serving_address:
        found["address"] = f"{workspace.serving_address}/{model_name}/{found['version']}"
    return found


def _training(workspace: Workspace, fingerprint: str) -> Path | None:
    """The directory of a training in this root; None: it was done in another, or what did it is not known."""
    directory = workspace.root / "artifacts" / "train" / fingerprint
    return directory if fingerprint and directory.exists() else None
