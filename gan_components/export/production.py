"""What is in production: the registry's alias, the server's configuration and the promotion log, moved together.

They move in this order, and what a crash leaves is put right by :func:`settle`, which every export and every
promotion calls first:

==================== ====================================================================================
crash                leaves
==================== ====================================================================================
before the alias     the old production, complete; a version that waits
after the alias      the new champion in the registry, the old one still served, no log line: `settle` ends it
after models.config  the new champion served, no log line: `settle` writes it from the version's tags
==================== ====================================================================================

The alias is the only truth: `settle` also follows one that was moved by hand.
"""

import json
import logging

from gan_components.errors import InputError
from gan_components.export import promotions, registry, serving_directory
from gan_components.export.destination import Destination

_log = logging.getLogger(__name__)

_EVIDENCE = "promotion"


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
        if not _is_served_here(destination, version):
            raise InputError(
                f"{name} version {registry_version} (serving version {version.serving_version}) has no directory "
                f"under {destination.serving_root}; it must be pushed again before it can go into production"
            )
        evidence = {"when": promotions.now(), "who": promotions.caller(), "why": why}
        registry.promote(uri, name, registry_version, evidence={_EVIDENCE: json.dumps(evidence)})
        return settle(destination)


def settle(destination: Destination) -> promotions.Promotion | None:
    """Brings ``models.config`` and the promotion log in line with the alias ``champion``.

    Returns:
        The log record that was missing, if one was.
    """
    root, name = destination.root, destination.model_name
    with promotions.lock(root, name):
        champion = registry.champion(destination.tracking_uri, name)
        if champion is None:
            return None
        serving_version = champion.serving_version
        if serving_version is None or not _is_served_here(destination, champion):
            _log.warning(
                "the champion of %s, version %s, has no directory under %s; the server's configuration stays",
                name,
                champion.version,
                destination.serving_root,
            )
            return None
        serving_directory.write_models_config(
            destination.serving_root, name, [serving_version], base_path=destination.base_path
        )
        log = promotions.read_all(root, name)
        last = log[-1] if log else None
        if last and (last.registry_version, last.generator_digest) == (
            champion.version,
            champion.generator_digest,
        ):
            return None
        record = _record(champion, last)
        promotions.append(root, record)
        _log.info("%s version %d is in production: %s", name, record.to_version, record.why)
        return record


def _is_served_here(destination: Destination, version: registry.Version) -> bool:
    model_directory = destination.serving_root / destination.model_name
    return version.serving_version in serving_directory.versions(model_directory)


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
