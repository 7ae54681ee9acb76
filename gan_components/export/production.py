"""What is in production: the registry's alias, the server's configuration and the promotion log, moved together.

They move in this order, and what a crash leaves is put right by :func:`settle`, which every export and every
promotion calls first:

==================== ====================================================================================
crash                leaves
==================== ====================================================================================
before the alias     the old production, complete; a version that waits
after the alias      the new champion in the registry, the old one still served, no log line: `settle` ends it
after models.config  the new champion served, no log line: `settle` writes it from the version's tags
before its mirror    the old champion served at the address, no log line: `settle` ends both
after the log line   with a server that is asked: old and new listed; `settle` ends the move
==================== ====================================================================================

With the address of a server the move is two steps there: both versions are listed until the server says that the
new one is available, then the new one alone. Without an address nobody can say so, and the new one alone is
listed at once: the server itself keeps what it serves until what it is told to serve is loaded (its
AvailabilityPreservingPolicy), and a request that names no version must not be answered by the outgoing one, as it
would be after a rollback to a lower number.

A serving root at an address is updated after each change of the local one, so that it sees the same steps.

The alias is the only truth: `settle` also follows one that was moved by hand.
"""

import json
import logging

from gan_components.errors import InputError
from gan_components.export import model_server, promotions, registry, serving_directory, serving_mirror
from gan_components.export.destination import Destination
from gan_components.export.errors import ServerError

_log = logging.getLogger(__name__)

_EVIDENCE = "promotion"
# One poll of models.config (ten seconds in the compose file), and the loading of a large generator.
_SERVER_TIMEOUT_SECONDS = 120.0


def promote(destination: Destination, registry_version: str, *, why: str) -> promotions.Promotion | None:
    """Puts a registered version into production; a rollback is the same with an older version.

    Args:
        destination: the model's places.
        registry_version: its number in the registry.
        why: for the log.

    Returns:
        The new log record; None if this version is in production already.

    Raises:
        InputError: no such version, or its directory is not under the serving root.
        RegistryError: the registry did not answer; repeating is safe.
        ServerError: it is in production, but the server does not serve it yet; repeating ends the move.
        MirrorError: the serving root's address is behind; :func:`settle` ends the move.
    """
    uri, name = destination.tracking_uri, destination.model_name
    with promotions.lock(destination.root, name):
        settle(destination)
        champion = registry.champion(uri, name)
        if champion and champion.version == registry_version:
            return None
        version = registry.by_number(uri, name, registry_version)
        if version is None:
            raise InputError(f"the registry has no version {registry_version} of {name!r}")
        if not _stands(destination, version):
            raise InputError(
                f"{name} version {registry_version} (serving version {version.serving_version}) has no directory "
                f"under {destination.serving_root}, so it cannot go into production; export.keep_versions says "
                "how many of the newest stay"
            )
        evidence = {"when": promotions.now(), "who": promotions.caller(), "why": why}
        registry.promote(uri, name, registry_version, evidence={_EVIDENCE: json.dumps(evidence)})
        return settle(destination)


def settle(destination: Destination) -> promotions.Promotion | None:
    """Brings ``models.config`` and the promotion log in line with the aliases ``champion`` and ``candidate``.

    Returns:
        The log record that was missing, if one was.

    Raises:
        RegistryError: the registry did not answer; nothing was changed.
        ServerError: the server does not serve the champion; it stays listed beside the outgoing version.
        MirrorError: the serving root's address is behind; repeating ends the move.
    """
    with promotions.lock(destination.root, destination.model_name):
        aliases = registry.aliased(destination.tracking_uri, destination.model_name)
        champion, candidate = aliases.get(registry.CHAMPION), aliases.get(registry.CANDIDATE)
        canary = candidate if candidate and _stands(destination, candidate) and candidate != champion else None
        if champion is None or not _stands(destination, champion):
            if champion:
                _log.warning(
                    "the champion of %s, version %s, has no directory under %s; models.config stays",
                    champion.name,
                    champion.version,
                    destination.serving_root,
                )
            _list(destination, None, canary)
            return None
        outgoing = _outgoing(destination, champion) if destination.server else []
        _list(destination, sorted([*outgoing, _number(champion)]), canary)
        record = _log_move(destination, champion)
        if outgoing and destination.server:
            _await(destination.server, champion, outgoing)
            _list(destination, [_number(champion)], canary)
        return record


def retire(destination: Destination, keep: int) -> None:
    """Removes old versions from the serving directory, never one that an alias or ``models.config`` names.

    Args:
        destination: the model's places.
        keep: how many of the newest stay.
    """
    root, name = destination.serving_root, destination.model_name
    with promotions.lock(destination.root, name):
        aliases = registry.aliased(destination.tracking_uri, name)
        named = {version.serving_version for version in aliases.values() if version.serving_version}
        base_path = destination.base_path or serving_directory.default_base_path(root, name)
        named |= serving_directory.named(root, base_path)
        for version in serving_directory.remove_old(root / name, keep=keep, named=named):
            _log.info("%s version %d is no longer kept for serving", name, version)
        serving_mirror.update(destination)


def _stands(destination: Destination, version: registry.Version) -> bool:
    """Whether the version's directory is under the serving root."""
    model_directory = destination.serving_root / destination.model_name
    return version.serving_version in serving_directory.versions(model_directory)


def _number(version: registry.Version) -> int:
    return int(version.tags["serving_version"])


def _outgoing(destination: Destination, champion: registry.Version) -> list[int]:
    """What the server was told to serve before the champion, as far as it can."""
    root, name = destination.serving_root, destination.model_name
    standing = serving_directory.versions(root / name)
    return [v for v in serving_directory.listed(root, name) if v in standing and v != _number(champion)]


def _list(destination: Destination, versions: list[int] | None, canary: registry.Version | None) -> None:
    serving_directory.write_models_config(
        destination.serving_root,
        destination.model_name,
        versions,
        canary=_number(canary) if canary else None,
        base_path=destination.base_path,
    )
    serving_mirror.update(destination)


def _await(server: str, champion: registry.Version, outgoing: list[int]) -> None:
    try:
        model_server.wait_until_available(
            server, champion.name, _number(champion), timeout_seconds=_SERVER_TIMEOUT_SECONDS
        )
    except ServerError as error:
        raise ServerError(
            f"{error}. It is the champion and in the promotion log, but models.config still lists the outgoing "
            f"version {', '.join(map(str, outgoing))} beside it; when the server is well, end the move with "
            f"`gan-pipelines promote {champion.name} champion`"
        ) from None


def _log_move(destination: Destination, champion: registry.Version) -> promotions.Promotion | None:
    """Writes the log line of the champion's promotion, if it is missing."""
    log = promotions.read_all(destination.root, destination.model_name)
    last = log[-1] if log else None
    if last and (last.registry_version, last.generator_digest) == (champion.version, champion.generator_digest):
        return None
    record = _record(champion, last)
    promotions.append(destination.root, record)
    _log.info("%s version %d is in production: %s", record.model, record.to_version, record.why)
    return record


def _record(champion: registry.Version, last: promotions.Promotion | None) -> promotions.Promotion:
    """The log line of the alias's move, from the evidence that was tagged before it."""
    tags = champion.tags
    evidence = json.loads(tags.get(_EVIDENCE, "{}"))
    if not evidence or (last and evidence["when"] <= last.when):
        # The tag is of an earlier promotion of this version, or there never was one.
        evidence = {
            "when": promotions.now(),
            "who": "unknown",
            "why": "the alias was moved outside this pipeline",
        }
    return promotions.Promotion(
        when=evidence["when"],
        who=evidence["who"],
        model=champion.name,
        from_version=last.to_version if last else None,
        to_version=int(tags["serving_version"]),
        registry_version=champion.version,
        generator_digest=tags["generator_digest"],
        model_fingerprint=tags["model_fingerprint"],
        evaluation_fingerprint=tags["evaluation_fingerprint"],
        metric=tags["metric"],
        protocol=tags["protocol"],
        extractor=tags["extractor"],
        value=float(tags["value"]),
        why=evidence["why"],
    )
