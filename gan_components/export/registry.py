"""The MLflow registry. Versions are found again by their fingerprint; aliases say what is in production.

The alias ``champion`` is the only truth about production, ``candidate`` is the last version that passed infra
validation, ``previous`` is where a rollback goes. Tags belong to a version and do not move with an alias.

MLflow's fluent functions (``mlflow.log_model`` ...) read process-wide settings; everything here goes through a
client that is told its address.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from gan_components.errors import InputError
from gan_components.export import mlflow_environment
from gan_components.export.destination import Destination
from gan_components.export.errors import RegistryError

mlflow_environment.set_defaults()

import mlflow.artifacts  # noqa: E402 (reads the environment when it is imported)
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.models import Model  # noqa: E402

from gan_components.export import logged_model  # noqa: E402

UNREACHABLE = (MlflowException, RegistryError)
"""What a call to MLflow raises when the server or store does not answer as it should."""

CANDIDATE, CHAMPION, PREVIOUS = "candidate", "champion", "previous"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        name: registered model.
        version: its number in the registry, as text.
        tags: what :func:`register` wrote; see the properties.
    """

    name: str
    version: str
    tags: Mapping[str, str]

    @property
    def fingerprint(self) -> str | None:
        return self.tags.get("fingerprint")

    @property
    def generator_digest(self) -> str | None:
        return self.tags.get("generator_digest")

    @property
    def serving_version(self) -> int | None:
        text = self.tags.get("serving_version")
        return int(text) if text else None


def connect(tracking_uri: str) -> MlflowClient:
    """A client for a tracking server or store, whose database is ready to use.

    Two processes that open a new SQLite database at once would both create its tables, and one would fail; so
    the first use happens under a lock of our own.

    Raises:
        RegistryError: no usable store at this address.
    """
    with _explained(tracking_uri):
        if not tracking_uri.startswith("sqlite:///"):
            return MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        database = Path(tracking_uri.removeprefix("sqlite:///"))
        database.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(database.with_name(f".{database.name}.lock")):
            client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
            client.search_experiments(max_results=1)
            client.search_registered_models(max_results=1)
            return client


def champion(tracking_uri: str, name: str) -> Version | None:
    """The version in production; None only if the registry answered that there is none."""
    return by_alias(tracking_uri, name, CHAMPION)


def by_alias(tracking_uri: str, name: str, alias: str) -> Version | None:
    """The version that an alias points to; None only if the registry answered that there is none.

    Raises:
        RegistryError: the registry did not answer.
    """
    client = connect(tracking_uri)
    with _explained(tracking_uri):
        version = _aliases(client, name).get(alias)
        # An alias of a version that vanished is an error, not "no champion": the gate would let anything pass.
        return _version(client.get_model_version(name, version)) if version else None


def aliased(tracking_uri: str, name: str) -> dict[str, Version]:
    """Every alias of a registered model and the version it points to; empty for a model that is not registered.

    Raises:
        RegistryError: the registry did not answer, or an alias points to a version that vanished.
    """
    client = connect(tracking_uri)
    with _explained(tracking_uri):
        aliases = _aliases(client, name)
        versions = {number: _version(client.get_model_version(name, number)) for number in set(aliases.values())}
        return {alias: versions[number] for alias, number in sorted(aliases.items())}


def model_names(tracking_uri: str) -> list[str]:
    """Every registered model, also those of other pipelines that share the registry."""
    client = connect(tracking_uri)
    with _explained(tracking_uri):
        names: list[str] = []
        token = None
        while True:
            page = client.search_registered_models(max_results=100, page_token=token)
            names += [model.name for model in page]
            token = page.token
            if not token:
                return names


def by_number(tracking_uri: str, name: str, version: str) -> Version | None:
    """The version with this number; None only if the registry answered that there is none."""
    client = connect(tracking_uri)
    with _explained(tracking_uri):
        try:
            return _version(client.get_model_version(name, version))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise


def download(tracking_uri: str, wanted: str, directory: Path) -> Path:
    """Fetches a registered generator's SavedModel into a directory.

    Args:
        tracking_uri: the registry.
        wanted: ``NAME@ALIAS`` or ``NAME/VERSION``.
        directory: exists.

    Returns:
        The SavedModel's own directory below it.

    Raises:
        InputError: no such version.
        RegistryError: the registry did not answer.
    """
    found = re.fullmatch("([^@/]+)(?:@([^@/]+)|/([0-9]+))", wanted)
    if not found:
        raise InputError(f"models:/{wanted} names no version; expected models:/NAME@ALIAS or models:/NAME/VERSION")
    name, alias, number = found.groups()
    version = by_alias(tracking_uri, name, alias) if alias else by_number(tracking_uri, name, number)
    if version is None:
        raise InputError(f"the registry has no models:/{wanted}; see `gan-pipelines history {name}`")
    with _explained(tracking_uri):
        source = connect(tracking_uri).get_model_version_download_uri(name, version.version)
        path = mlflow.artifacts.download_artifacts(source, dst_path=str(directory), tracking_uri=tracking_uri)
        flavour = Model.load(path).flavors["python_function"]
    return Path(path) / flavour["artifacts"][logged_model.GENERATOR]["path"]


def register(
    destination: Destination, saved_model: Path, *, tags: dict[str, str], metrics: dict[str, float]
) -> Version:
    """Logs a generator as pyfunc model and registers it, or finds the version that a former try registered.

    Args:
        destination: where.
        saved_model: the generator's SavedModel.
        tags: of the version; ``fingerprint`` is what it is found by.
        metrics: attached to the logged model.

    Raises:
        RegistryError: the registry did not answer; repeating is safe.
    """
    uri, name = destination.tracking_uri, destination.model_name
    client = connect(uri)
    with _explained(uri):
        same = f"name = '{name}' and tags.fingerprint = '{tags['fingerprint']}'"
        for found in client.search_model_versions(same):
            if found.tags.get("serving_version") != tags.get("serving_version"):
                # Its directory was retired, and it was pushed anew under another number.
                client.set_model_version_tag(name, found.version, "serving_version", tags["serving_version"])
                found = client.get_model_version(name, found.version)
            return _version(found)
        _create_registered_model(client, name)
        run_id = destination.mlflow_run_id or _own_run(client, destination, tags["fingerprint"])
        model = logged_model.upload(client, run_id, name, saved_model, tags, metrics)
        # The artifacts' own address: a `models:/` source would be looked up in MLflow's process-wide store.
        # Tags are given with the creation, so no version exists without its fingerprint.
        created = client.create_model_version(
            name,
            source=model.artifact_location,
            run_id=run_id,
            tags={**tags, "model_id": model.model_id},
            model_id=model.model_id,
        )
        if destination.mlflow_run_id is None:
            client.set_terminated(run_id)
        _log.info("registered %s version %s", name, created.version)
        return _version(created)


def set_candidate(tracking_uri: str, name: str, version: str) -> None:
    """Points the alias ``candidate`` to `version`."""
    client = connect(tracking_uri)
    with _explained(tracking_uri):
        client.set_registered_model_alias(name, CANDIDATE, version)


def promote(tracking_uri: str, name: str, version: str, *, evidence: dict[str, str]) -> None:
    """Makes `version` the champion and the old champion ``previous``.

    The evidence tags come first and the alias ``champion`` last: a crash leaves the old production, never one
    without evidence. Repeating is harmless.

    Raises:
        RegistryError: the registry did not answer; production is unchanged or complete.
    """
    client = connect(tracking_uri)
    with _explained(tracking_uri):
        for key, value in evidence.items():
            client.set_model_version_tag(name, version, key, value)
        client.set_registered_model_alias(name, CANDIDATE, version)
        old = _aliases(client, name).get(CHAMPION)
        if old and old != version:
            client.set_registered_model_alias(name, PREVIOUS, old)
        client.set_registered_model_alias(name, CHAMPION, version)


def experiment(client: MlflowClient, destination: Destination) -> str:
    """The experiment named after the model, made if it is not there: its id."""
    found = client.get_experiment_by_name(destination.model_name)
    if found:
        return found.experiment_id
    # A server decides where its artifacts lie; a local store must be told, or it takes the working directory.
    local = destination.tracking_uri.startswith("sqlite:")
    location = (destination.root.absolute() / "mlartifacts").as_uri() if local else None
    return client.create_experiment(destination.model_name, artifact_location=location)


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    try:
        # Asking for one alias says INVALID_PARAMETER_VALUE for "no such alias" and for more.
        aliases = client.get_registered_model(name).aliases
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise
    # Some stores give version numbers as text, others as integers.
    return {alias: str(version) for alias, version in aliases.items()}


def _create_registered_model(client: MlflowClient, name: str) -> None:
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _own_run(client: MlflowClient, destination: Destination, fingerprint: str) -> str:
    """A run for an export that was given none; that of a former try if there was one."""
    experiment_id = experiment(client, destination)
    found = client.search_runs([experiment_id], f"tags.fingerprint = '{fingerprint}'", max_results=1)
    if found:
        return found[0].info.run_id
    tags = {"fingerprint": fingerprint, "stage": "export"}
    return client.create_run(experiment_id, run_name="export", tags=tags).info.run_id


def _version(version: ModelVersion) -> Version:
    return Version(name=version.name, version=str(version.version), tags=dict(version.tags))


@contextmanager
def _explained(tracking_uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        # User name and password are part of some addresses and must not reach a log, nor a traceback.
        secret = urlsplit(tracking_uri).netloc.rpartition("@")[0]
        reason = str(error).splitlines()[0].rstrip(". ")
        text = (
            f"the MLflow registry at {tracking_uri} gave no usable answer: {reason}. Check the server and "
            "MLFLOW_TRACKING_URI, then run the same command again: finished steps are found, not repeated"
        )
        raise RegistryError(text.replace(f"{secret}@", "") if secret else text) from None
