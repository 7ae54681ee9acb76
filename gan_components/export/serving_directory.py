"""The directory that TF Serving watches: version numbers as directories, and ``models.config``.

The server picks up any child whose name is a number and asks for no completeness mark. So a version is built
under a name that is none and renamed when it is whole.
"""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from google.protobuf import text_format
from pydantic import JsonValue
from tensorflow_serving.config import model_server_config_pb2

from gan_components.artifacts import sync, write_atomically
from gan_components.errors import InputError
from gan_components.export.config import CANARY

PUSH = Path("assets.extra") / "push.json"
MODELS_CONFIG = "models.config"
_HIGHEST = ".highest-version"
_LOCK = ".push.lock"


def versions(model_directory: Path) -> list[int]:
    """The version numbers that a server sees in a model's directory, in order."""
    if not model_directory.is_dir():
        return []
    return sorted(int(path.name) for path in model_directory.iterdir() if re.fullmatch("[0-9]+", path.name))


def find(serving_root: Path, model_name: str, fingerprint: str) -> int | None:
    """The version that was pushed under `fingerprint`; None if there is none."""
    for version in versions(serving_root / model_name):
        path = serving_root / model_name / str(version) / PUSH
        if path.exists() and json.loads(path.read_text())["fingerprint"] == fingerprint:
            return version
    return None


def push(
    saved_model: Path,
    serving_root: Path,
    model_name: str,
    fingerprint: str,
    *,
    provenance: dict[str, JsonValue],
    above: int = 0,
) -> int:
    """Makes a SavedModel visible to the server as a new version, in one rename.

    Args:
        saved_model: directory to copy.
        serving_root: parent of the models' directories.
        model_name: the model's directory below it.
        fingerprint: what is pushed once is found again by it, never pushed twice.
        provenance: written into the version's ``assets.extra/push.json`` beside fingerprint and version.
        above: a number that was used before, though its directory may be gone.

    Returns:
        The version: one more than the highest ever used.
    """
    model_directory = serving_root / model_name
    model_directory.mkdir(parents=True, exist_ok=True)
    with FileLock(model_directory / _LOCK):
        for leftover in model_directory.glob(f".staging-{fingerprint}*"):
            shutil.rmtree(leftover)
        found = find(serving_root, model_name, fingerprint)
        if found is not None:
            return found
        version = _next_version(model_directory, above)
        staging = model_directory / f".staging-{fingerprint}"
        shutil.copytree(saved_model, staging)
        (staging / PUSH).parent.mkdir(exist_ok=True)
        (staging / PUSH).write_text(
            json.dumps({"fingerprint": fingerprint, "version": version, **provenance}, indent=1)
        )
        for path in [*staging.rglob("*"), staging]:
            sync(path)
        staging.rename(model_directory / str(version))
        sync(model_directory)
        return version


def read_models_config(serving_root: Path) -> model_server_config_pb2.ModelServerConfig:
    """What ``models.config`` says; empty if there is none.

    Raises:
        InputError: it is not a ModelServerConfig.
    """
    path = serving_root / MODELS_CONFIG
    config = model_server_config_pb2.ModelServerConfig()
    if not path.exists():
        return config
    try:
        return text_format.Parse(path.read_text(), config)
    except text_format.ParseError as error:
        raise InputError(
            f"{path} is not a ModelServerConfig text proto ({error}); correct it, or delete it to have it "
            "written anew (models of other pipelines must then be added again)"
        ) from None


def listed(serving_root: Path, model_name: str) -> list[int]:
    """The versions that ``models.config`` has the server serve under this name; empty without an entry."""
    for entry in read_models_config(serving_root).model_config_list.config:
        if entry.name == model_name:
            return list(entry.model_version_policy.specific.versions)
    return []


def named(serving_root: Path, base_path: str) -> set[int]:
    """The versions of a model's directory that any entry of ``models.config`` lists or labels."""
    config = read_models_config(serving_root)
    entries = [entry for entry in config.model_config_list.config if entry.base_path == base_path]
    return {
        version
        for entry in entries
        for version in (*entry.model_version_policy.specific.versions, *entry.version_labels.values())
    }


def write_models_config(
    serving_root: Path,
    model_name: str,
    versions: Sequence[int] | None,
    *,
    canary: int | None = None,
    base_path: str | None = None,
) -> None:
    """Has the server serve exactly these versions of a model; other models' entries stay as they are.

    The entries of this model are replaced as a whole. A running server sees the change when it polls the file
    (``--model_config_file_poll_wait_seconds``).

    Args:
        serving_root: directory of ``models.config``.
        model_name: the entry's name.
        versions: the only ones to serve; None: the entry of that name stays as it is.
        canary: a version with an entry of its own, ``<model_name>_canary``. A request that names no version is
            answered with the highest one of an entry; so it never meets the canary.
        base_path: the model's directory as the server sees it; default: its absolute path here.
    """
    serving_root.mkdir(parents=True, exist_ok=True)
    with settings_lock(serving_root):
        old = read_models_config(serving_root)
        served = {model_name + CANARY: [] if canary is None else [canary]}
        if versions is not None:
            served[model_name] = list(versions)
        entries = [entry for entry in old.model_config_list.config if entry.name not in served]
        for name, numbers in served.items():
            entry = model_server_config_pb2.ModelConfig(
                name=name,
                base_path=base_path or default_base_path(serving_root, model_name),
                model_platform="tensorflow",
            )
            entry.model_version_policy.specific.versions.extend(numbers)
            # Without a number the policy would be the server's default: the latest.
            entries += [entry] if numbers else []
        new = model_server_config_pb2.ModelServerConfig()
        new.model_config_list.config.extend(sorted(entries, key=lambda entry: entry.name))
        # A server does not start with a file that names nothing.
        if new.model_config_list != old.model_config_list:
            write_atomically(serving_root / MODELS_CONFIG, text_format.MessageToString(new).encode())


def default_base_path(serving_root: Path, model_name: str) -> str:
    """A model's directory, as a server sees it that has the serving root at the same place."""
    return str((serving_root / model_name).absolute())


def settings_lock(serving_root: Path) -> FileLock:
    """Held while a file of the whole server is read and replaced: several pipelines may share one."""
    return FileLock(serving_root / f".{MODELS_CONFIG}.lock")


def remove_old(model_directory: Path, *, keep: int, named: set[int]) -> list[int]:
    """Removes a model's old versions, each in one rename before its files go.

    Args:
        model_directory: holds the versions.
        keep: how many of the newest stay.
        named: versions that stay whatever their age.

    Returns:
        The removed versions. Their numbers are never used again.
    """
    with FileLock(model_directory / _LOCK):
        for leftover in model_directory.glob(".removed-*"):
            shutil.rmtree(leftover)
        old = [version for version in versions(model_directory)[:-keep] if version not in named]
        for version in old:
            removed = (model_directory / str(version)).rename(model_directory / f".removed-{version}")
            shutil.rmtree(removed)
        return old


def provenances(serving_root: Path) -> dict[Path, dict[str, JsonValue]]:
    """What every version below a serving root, and every one that its ``models.config`` names, was pushed with."""
    directories = {path.parents[1] for path in serving_root.glob(f"*/[0-9]*/{PUSH.as_posix()}")}
    for entry in read_models_config(serving_root).model_config_list.config:
        for version in entry.model_version_policy.specific.versions:
            directories.add(Path(entry.base_path) / str(version))
    return {
        directory: json.loads((directory / PUSH).read_text())
        for directory in sorted(directories)
        if (directory / PUSH).exists()
    }


def _next_version(model_directory: Path, above: int) -> int:
    """Takes a number. It is written down first: one whose push crashed or whose directory went is not reused."""
    record = model_directory / _HIGHEST
    recorded = int(record.read_text()) if record.exists() else 0
    version = max([above, recorded, *versions(model_directory)]) + 1
    write_atomically(record, str(version).encode())
    return version
