"""Evaluation -> PushedModel: a blessed generator goes into production, once.

The steps: copy and warm-up file, infra validation, push by rename, registration, promotion, record. Nothing
outside the work directory changes before infra validation has passed. From there each step finds what it did in
a former try by the generator's digest; so whenever the process is killed, running again ends with one version
in the serving directory, one in the registry and one line in the log.
"""

import json
import logging
import shutil
from pathlib import Path

from pydantic import JsonValue

from gan_components import artifacts
from gan_components.artifacts import Evaluation, Progress, PushedModel, TrainedModel, no_progress
from gan_components.errors import NotBlessedError
from gan_components.export import (
    infra_validation,
    production,
    promotions,
    registry,
    server_settings,
    serving_directory,
    serving_mirror,
    warmup,
)
from gan_components.export.config import ExportConfig, recipe
from gan_components.export.destination import Destination as Destination
from gan_components.export.errors import InfraValidationError
from gan_components.fingerprints import digest_json

_log = logging.getLogger(__name__)
_STEPS = 5


def export(
    model: TrainedModel,
    evaluation: Evaluation,
    config: ExportConfig,
    *,
    destination: Destination,
    blessing: dict[str, JsonValue],
    out: Path,
    seed: int,
    cache: Path,
    progress: Progress = no_progress,
) -> PushedModel:
    """Pushes, registers and promotes a blessed generator.

    Args:
        model: the trained generator.
        evaluation: its measurements.
        config: the export section.
        destination: where it goes.
        blessing: the gate's decision, with ``blessed``, ``reason`` and ``checks``.
        out: the artifact's directory.
        seed: chooses the seeds whose images infra validation compares.
        cache: unused; every stage is given one.
        progress: told of each step.

    Raises:
        NotBlessedError: the gate did not bless this generator.
        InfraValidationError: a server could not serve it; nothing was pushed.
        RegistryError: MLflow did not answer; running again goes on from there.
        ServerError: the generator is in production, but the server that was asked does not serve it.
        MirrorError: the serving root's address is behind; running again goes on from there.
    """
    if blessing.get("blessed") is not True:
        raise NotBlessedError(
            f"the generator of {model.directory} is not blessed ({blessing.get('reason', 'no reason given')}); "
            "only a blessed one is pushed"
        )
    made = recipe(model, evaluation, config, seed=seed)
    # Not the export's fingerprint: the same generator must be found again also after its evaluation changed.
    identity = model.content_digest
    work = artifacts.work_directory(out, made)
    servable = work / "servable"

    progress(0, _STEPS, "validating as a server would")
    shutil.copytree(model.generator_directory, servable)
    warmup.write(servable, config.warmup_batch_sizes)
    validation = _validated(servable, model.generator_directory, config, work, seed=seed)

    with promotions.lock(destination.root, destination.model_name):
        progress(1, _STEPS, "pushing")
        version = serving_directory.push(
            servable,
            destination.serving_root,
            destination.model_name,
            identity,
            provenance={"generator_digest": model.content_digest, "model_fingerprint": model.fingerprint},
            above=max(
                promotions.highest_version(destination.root, destination.model_name),
                serving_mirror.highest_version(destination),
            ),
        )
        path = destination.serving_root / destination.model_name / str(version)
        server_settings.write(destination, config.warmup_batch_sizes)
        serving_mirror.update(destination)
        progress(2, _STEPS, "registering")
        registered = registry.register(
            destination,
            path,
            tags=_tags(model, evaluation, blessing, version) | {"fingerprint": identity},
            metrics={name: metric["value"] for name, metric in _metrics(evaluation).items()},
        )
        progress(3, _STEPS, "promoting" if config.promote == "auto" else "waiting for `promote`")
        _promote(destination, registered, model, config, blessing)
        production.retire(destination, config.keep_versions)

    progress(4, _STEPS, "writing the record")
    shutil.rmtree(servable)
    push: dict[str, JsonValue] = {
        "version": version,
        "path": str(path),
        "registry_version": registered.version,
    }
    _write(work / "push.json", push)
    _write(work / "blessing.json", blessing)
    pushed = PushedModel.seal(
        out,
        made,
        properties={**push, "blessing": blessing, "infra_validation": validation},
        content_digest=digest_json({"generator": model.content_digest, **push}),
    )
    progress(_STEPS, _STEPS, f"version {version}")
    return pushed


def _validated(
    servable: Path, trained: Path, config: ExportConfig, work: Path, *, seed: int
) -> dict[str, JsonValue]:
    """The record of infra validation, also left in the work directory when it fails."""
    if config.infra_validation:
        record = infra_validation.validate(
            servable, trained, seed=seed, timeout_seconds=config.infra_validation_timeout_seconds
        )
        text: dict[str, JsonValue] = {"passed": record.passed, **record.model_dump(mode="json")}
    else:
        _log.warning("export.infra_validation is false: nobody has tried whether a server can load this")
        text = {"passed": None, "checks": []}
    _write(work / "infra_validation.json", text)
    if text["passed"] is False:
        raise InfraValidationError(
            f"a server would not serve this generator as it was trained: {record.failures}. Nothing was pushed; "
            f"the checks are in {work / 'infra_validation.json'}"
        )
    return text


def _promote(
    destination: Destination,
    registered: registry.Version,
    model: TrainedModel,
    config: ExportConfig,
    blessing: dict[str, JsonValue],
) -> None:
    # What was in production once comes back only by `promote`: a retry must not undo a rollback.
    known = promotions.pushed(destination.root, destination.model_name, model.content_digest)
    if config.promote == "auto" and known is None:
        production.promote(destination, registered.version, why=f"export: {blessing.get('reason', 'blessed')}")
        return
    if known is None:
        registry.set_candidate(destination.tracking_uri, registered.name, registered.version)
    production.settle(destination)


def _tags(
    model: TrainedModel, evaluation: Evaluation, blessing: dict[str, JsonValue], version: int
) -> dict[str, str]:
    """What the registry must know of a version: enough to write its promotion from it alone."""
    name = str(evaluation.properties["primary_metric"])
    metric = _metrics(evaluation)[name]
    return {
        "generator_digest": model.content_digest,
        "model_fingerprint": model.fingerprint,
        "evaluation_fingerprint": evaluation.fingerprint,
        "data_digest": model.manifest.recipe.inputs.get("examples", ""),
        "serving_version": str(version),
        "blessing": str(blessing.get("reason", "blessed")),
        "metric": name,
        "protocol": str(metric["protocol"]),
        "extractor": str(metric.get("extractor", "")),
        "value": repr(float(metric["value"])),
    }


def _metrics(evaluation: Evaluation) -> dict[str, dict]:
    return json.loads((evaluation.directory / "metrics.json").read_bytes())


def _write(path: Path, value: JsonValue) -> None:
    artifacts.write_atomically(path, json.dumps(value, indent=1).encode())
