"""What this machine can do for a pipeline, found out by trying it. Each check says how to mend what it finds."""

import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gan_components import processor
from gan_components.errors import InputError
from gan_components.training import cluster
from pipelines.workspace import Workspace

_PACKAGES = ("tensorflow", "keras", "apache-beam", "tensorflow-datasets", "mlflow", "tensorflow-serving-api")
_MIN_MEMORY_GIB = 4.0
"""The preset `digits` needs 1.4 GiB, TensorFlow's start-up included (`/usr/bin/time -v make demo`)."""


@dataclass(frozen=True)
class Finding:
    """What a check found. ``limited``: something cannot be done here; ``broken``: no pipeline can run."""

    check: str
    status: Literal["ok", "limited", "broken"]
    text: str


def findings(workspace: Workspace) -> Iterator[Finding]:
    """Tries what `run` needs, the quick things first. A check that raises is broken; its error is the text."""
    checks: dict[str, Callable[[], Finding]] = {
        "python": _python,
        "packages": _packages,
        "memory": _memory,
        "root": lambda: _root(workspace),
        "workers": _workers,
        "registry": lambda: _registry(workspace),
        "serving root": lambda: _serving_root(workspace),
        "devices": _devices,
        "infra validation": _infra_validation,
    }
    for name, check in checks.items():
        try:
            yield check()
        except Exception as error:  # noqa: BLE001 (whatever is wrong with this machine is what is asked for)
            yield Finding(name, "broken", f"{type(error).__name__}: {error}")


def _python() -> Finding:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if not (3, 11) <= sys.version_info < (3, 14):
        return Finding("python", "broken", f"{text}; the package needs 3.11 to 3.13")
    return Finding("python", "ok", text)


def _packages() -> Finding:
    missing, versions = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        text = f"missing: {', '.join(missing)}; install with `pip install -c constraints.txt .`"
        return Finding("packages", "broken", text)
    return Finding("packages", "ok", ", ".join(versions))


def _memory() -> Finding:
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    # Of the processors that this process may use: a container's share, not the machine's.
    text = f"{gib:.1f} GiB, {len(os.sched_getaffinity(0))} processors"
    if gib < _MIN_MEMORY_GIB:
        text += f"; large images and batches want more than {_MIN_MEMORY_GIB:g} GiB"
        return Finding("memory", "limited", text)
    return Finding("memory", "ok", text)


def _root(workspace: Workspace) -> Finding:
    """Locks, renames and free space where the artifacts lie."""
    workspace.create()
    workspace.require_free_space()
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=workspace.root) as name:
        directory = Path(name)
        with workspace.lock(directory / "artifact"):
            (directory / "work").mkdir()
            (directory / "work").rename(directory / "artifact")
    free_gib = shutil.disk_usage(workspace.root).free / 2**30
    return Finding("root", "ok", f"{workspace.root}: writable, locks and renames work, {free_gib:.0f} GiB free")


def _workers() -> Finding:
    if "TF_CONFIG" not in os.environ:
        return Finding("workers", "ok", "TF_CONFIG is not set: one machine")
    role = "the chief" if cluster.is_chief("multi_worker") else "a worker that waits for the chief"
    return Finding("workers", "ok", f"TF_CONFIG is set: this is {role}")


def _registry(workspace: Workspace) -> Finding:
    try:
        workspace.require_registry()
    except InputError:
        return Finding("registry", "ok", "none yet: the first run makes one below the root")
    from gan_components.export import registry

    registry.connect(workspace.tracking_uri)
    return Finding("registry", "ok", f"{workspace.tracking_uri} answers")


def _serving_root(workspace: Workspace) -> Finding:
    if workspace.serving_address is None:
        return Finding("serving root", "ok", f"{workspace.serving_root}: a directory")
    from gan_components.export import serving_mirror

    serving_mirror.try_out(workspace.serving_root, workspace.serving_address)
    return Finding("serving root", "ok", f"{workspace.serving_address}: listed, written to, this root's or empty")


def _devices() -> Finding:
    import tensorflow as tf

    accelerators = [device for kind in ("GPU", "TPU") for device in tf.config.list_physical_devices(kind)]
    if accelerators:
        names = ", ".join(device.name.removeprefix("/physical_device:") for device in accelerators)
        return Finding("devices", "ok", f"{names}; several: set train.strategy to mirrored")
    if "amx_bf16" in processor.instructions():
        text = "no GPU; the processor multiplies bfloat16 matrices: train.precision mixed_bfloat16 is faster"
    else:
        text = "no GPU; without amx_bf16 train.precision float32 is the faster one"
    return Finding("devices", "ok", text)


def _infra_validation() -> Finding:
    if sys.platform != "linux":
        return Finding(
            "infra validation",
            "limited",
            f"needs Linux, this is {sys.platform}; run with --set export.infra_validation=false",
        )
    from gan_components.export import serving_process

    serving_process.try_out()
    return Finding("infra validation", "ok", "TensorFlow's C API answers: exports are tried as a server would")
