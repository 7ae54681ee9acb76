"""Do this run's data still look like those of the champion? Decided on every run, and no part of any fingerprint.

The champion is read from the promotion log, and what was measured is cached by the two data sets' digests: a run
with nothing to do imports neither MLflow nor TensorFlow for it.
"""

import logging
from pathlib import Path

from pydantic import TypeAdapter

from gan_components.artifacts import Examples, TrainedModel, write_atomically
from gan_components.errors import ArtifactError
from gan_components.export import promotions
from gan_components.fingerprints import closure, digest_json
from gan_components.metrics import drift_limits
from gan_components.metrics.drift_limits import Difference, Drift
from pipelines.config import PipelineConfig
from pipelines.outcome import Outcome
from pipelines.workspace import Workspace

_DIFFERENCES = TypeAdapter(list[Difference])

_log = logging.getLogger(__name__)


def check(
    config: PipelineConfig, workspace: Workspace, examples: Examples, outcome: Outcome, *, bless: str | None
) -> Drift | None:
    """Compares `examples` with those that the champion was trained on, and keeps the decision where people look.

    Args:
        config: the experiment; its section ``drift`` has the limits.
        workspace: where the champion's artifacts lie.
        examples: of this run.
        outcome: of this run; its ``drift`` is filled, and ``drift.json`` in the run's directory says the same.
        bless: why a block is overruled; None: it is not.

    Returns:
        The decision; None without a champion.
    """
    # A finished line of the log never changes: no lock is needed to read the last one.
    log = promotions.read_all(workspace.root, config.name)
    if not log:
        return None
    found = _compared(config, workspace, log[-1], examples)
    found = found.model_copy(update={"champion_version": log[-1].to_version})
    if bless:
        found = drift_limits.overruled(found, bless)
    if found.verdict != "none":
        _log.warning("drift: %s", found.reason)
    outcome.drift = found.model_dump(mode="json")
    path = workspace.run_directory(outcome.run_id) / "drift.json"
    write_atomically(path, found.model_dump_json(indent=1).encode())
    return found


def _compared(
    config: PipelineConfig, workspace: Workspace, champion: promotions.Promotion, examples: Examples
) -> Drift:
    artifacts = workspace.root / "artifacts"
    try:
        model = TrainedModel.open(artifacts / "train" / champion.model_fingerprint)
        digest = model.manifest.recipe.inputs["examples"]
        if digest == examples.content_digest:
            return Drift(verdict="none", reason="the champion was trained on the same images")
        theirs = _examples(artifacts / "ingest", digest)
    except ArtifactError as error:
        return drift_limits.undecided(f"the champion's images cannot be compared with: {error}", config.drift)
    shapes = [one.properties["image_shape"] for one in (theirs, examples)]
    if shapes[0] != shapes[1]:
        words = ["x".join(str(side) for side in shape) for shape in shapes]
        reason = f"the champion was trained on images of {words[0]}, these are {words[1]}: they do not compare"
        return drift_limits.undecided(reason, config.drift)
    return drift_limits.decide(_differences(workspace.cache, theirs, examples), config.drift)


def _examples(directory: Path, content_digest: str) -> Examples:
    """The Examples of this content among the artifacts in `directory`."""
    for place in sorted(directory.glob("[!.]*")):
        try:
            examples = Examples.open(place)
        except ArtifactError:
            continue
        if examples.content_digest == content_digest:
            return examples
    raise ArtifactError(f"{directory} holds none of content {content_digest[:12]}; ingest them there again")


def _differences(cache: Path, theirs: Examples, ours: Examples) -> list[Difference]:
    code, libraries = closure("metrics")
    key = digest_json(
        {"champion": theirs.content_digest, "run": ours.content_digest, "code": {**code, **libraries}}
    )
    path = cache / "drift" / f"{key[:32]}.json"
    if path.exists():
        return _DIFFERENCES.validate_json(path.read_bytes())
    _log.info("comparing the data with the champion's")
    from gan_components.metrics import drift

    differences = drift.measure(theirs, ours)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, _DIFFERENCES.dump_json(differences, indent=1))
    return differences
