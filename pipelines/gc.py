"""What a root no longer needs: artifacts that nothing in use reaches, dead work, old run records.

In use is what a registry alias, the promotion log's last records, ``models.config`` or a version in the serving
directory was made from, and what that was made from in turn: an evaluation keeps its model and its examples.
MLflow's own store and the caches are not touched.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from gan_components.artifacts import Manifest
from gan_components.export import promotions
from pipelines.workspace import Workspace, read_manifest

_LOCKS = ("promotions/*.lock", "artifacts/*/.lock-*", "runs/*/chief.lock")
_REMAINS = (".removed-", ".replaced-")
_RESUMABLE_SECONDS = 7 * 24 * 3600.0


class RootBusyError(RuntimeError):
    """Another run holds a lock below the root; nothing was deleted (exit code 1)."""


@dataclass(frozen=True)
class Garbage:
    """A directory that can go.

    Attributes:
        path: where it lies.
        why: in words.
        num_bytes: size of its files.
    """

    path: Path
    why: str
    num_bytes: int


def reached(artifacts: Mapping[Path, Manifest | None], in_use: Mapping[str, str], *, keep: int) -> dict[Path, str]:
    """Which artifacts stay, and why in words. A pure function: it looks at nothing but its arguments.

    Args:
        artifacts: all of a root, ``.../<stage>/<fingerprint>``; None for a manifest that cannot be read.
        in_use: why a fingerprint is in use.
        keep: how many of the newest of each stage stay, whatever uses them.
    """
    readable = {path: manifest for path, manifest in artifacts.items() if manifest}
    why = {path: in_use[path.name] for path in artifacts if path.name in in_use}
    for stage in {path.parent.name for path in readable}:
        newest = sorted(
            (path for path in readable if path.parent.name == stage),
            key=lambda path: readable[path].created_at,
            reverse=True,
        )
        for path in newest[:keep]:
            why.setdefault(path, f"among the {keep} newest")
    waiting = list(why)
    while waiting:
        manifest = artifacts[waiting.pop()]
        if manifest is None:
            continue
        name = f"{manifest.kind} {manifest.fingerprint}"
        for path, other in readable.items():
            makes_it = other.content_digest in manifest.recipe.inputs.values()
            # Without its record a generator that waits as candidate would be exported once more.
            records_it = other.kind == "PushedModel" and manifest.content_digest in other.recipe.inputs.values()
            if path not in why and (makes_it or records_it):
                why[path] = f"{'input' if makes_it else 'record'} of {name}"
                waiting.append(path)
    return why


def find(workspace: Workspace, *, keep: int) -> list[Garbage]:
    """What can go now.

    Args:
        workspace: whose root is looked through.
        keep: how many of the newest artifacts a stage, run records and promotions a model stay.

    Raises:
        RegistryError: the registry did not answer, so that nobody knows what is in use.
    """
    places = [*(workspace.root / "artifacts").glob("*/*/"), *(workspace.root / "runs").glob("*/")]
    remains = [path for path in places if path.name.startswith(_REMAINS)]
    unfinished = [path for path in places if path.name.startswith(".work-")]
    runs = [path for path in places if path.parent.name == "runs" and path not in remains]
    made = [path for path in places if path not in {*remains, *unfinished, *runs}]

    uses = in_use(workspace, keep=keep)
    stays = reached({path: read_manifest(path) for path in made}, uses, keep=keep)
    garbage = [_garbage(path, "nothing in use reaches it") for path in made if path not in stays]
    # A crash in a forced rebuild leaves an artifact under its other names alone.
    missing = uses.keys() - {path.name for path in made}
    garbage += [_garbage(path, "left by a crash") for path in remains if _fingerprint(path) not in missing]
    for path in unfinished:
        idle_seconds = time.time() - _last_change(path)
        if idle_seconds > _RESUMABLE_SECONDS and _fingerprint(path) not in missing:
            garbage.append(_garbage(path, f"unfinished, untouched for {idle_seconds / 86400:.0f} days"))
    old_runs = sorted(runs, key=_last_change, reverse=True)[keep:]
    garbage += [_garbage(path, f"not among the {keep} newest runs") for path in old_runs]
    return sorted(garbage, key=lambda one: one.path)


def in_use(workspace: Workspace, *, keep: int) -> dict[str, str]:
    """Why a fingerprint is in use: by every registry alias, by the logs, by the serving directory."""
    from gan_components.export import registry, serving_directory

    uses: dict[str, str] = {}
    for name in registry.model_names(workspace.tracking_uri):
        for alias, version in registry.aliased(workspace.tracking_uri, name).items():
            for kind in ("model_fingerprint", "evaluation_fingerprint"):
                uses.setdefault(version.tags.get(kind, ""), f"{name}@{alias} in the registry")
    for directory, provenance in serving_directory.provenances(workspace.serving_root).items():
        uses.setdefault(str(provenance.get("model_fingerprint", "")), f"served from {directory}")
    for log in sorted((workspace.root / "promotions").glob("*.jsonl")):
        for promotion in promotions.read_all(workspace.root, log.stem)[-keep:]:
            text = f"{promotion.model} version {promotion.to_version} in the promotion log"
            uses.setdefault(promotion.model_fingerprint, text)
            uses.setdefault(promotion.evaluation_fingerprint, text)
    return uses


@contextmanager
def idle(workspace: Workspace) -> Iterator[None]:
    """Keeps runs from starting a stage that was made before; what they look for next, they wait for.

    Raises:
        RootBusyError: a run is at work.
    """
    root = workspace.root
    locks = [path for place in _LOCKS for path in sorted(root.glob(place))]
    with ExitStack() as stack:
        for path in locks:
            lock = FileLock(path, is_singleton=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise RootBusyError(
                    f"another run is at work below {root} (it holds {path.relative_to(root)}); "
                    "nothing was deleted, try again when it has ended"
                ) from None
            stack.callback(lock.release)
        yield


def delete(garbage: list[Garbage]) -> None:
    """Deletes it; killed in between, it leaves whole directories and remains that the next call finds."""
    for one in garbage:
        removed = one.path.with_name(f"{_REMAINS[0]}{one.path.name}")
        shutil.rmtree(one.path.rename(removed))


def _fingerprint(path: Path) -> str:
    """Of the artifact that a directory such as ``.work-<fingerprint>`` belongs to."""
    return path.name.partition("-")[2]


def _garbage(path: Path, why: str) -> Garbage:
    sizes = (file.lstat().st_size for file in path.rglob("*") if file.is_symlink() or file.is_file())
    return Garbage(path, why, sum(sizes))


def _last_change(directory: Path) -> float:
    return max(path.lstat().st_mtime for path in (directory, *directory.rglob("*")))
