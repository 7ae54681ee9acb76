"""The files that a TF Serving is started with, beside ``models.config``.

- ``batching.config``: requests are put together and padded to the batch sizes that the warm-up file tried.
- ``monitoring.config``: metrics for Prometheus at ``/monitoring/prometheus/metrics``.
- ``compose.yaml``: ``docker compose up`` below the serving root starts the server with all of them.

They belong to the user. A file is written where there is none, and written anew only while it is byte for byte
what was written before: its first line carries the digest of the rest. The server reads all three once, when it
starts.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import yaml

from gan_components.artifacts import write_atomically
from gan_components.export import serving_directory
from gan_components.export.destination import Destination

_log = logging.getLogger(__name__)

_FIRST_LINE = "# Written by gan-pipelines; once edited it is yours and stays as it is."


def write(destination: Destination, batch_sizes: Sequence[int]) -> None:
    """Writes the files that are missing, and brings those up to date that nobody edited.

    Args:
        destination: its serving root gets the files; all models of a server share them.
        batch_sizes: of the warm-up file, in increasing order.
    """
    root = destination.serving_root
    root.mkdir(parents=True, exist_ok=True)
    as_server_sees = Path(destination.base_path).parent if destination.base_path else root.absolute()
    with serving_directory.settings_lock(root):
        _write(root / "batching.config", _batching(batch_sizes))
        _write(root / "monitoring.config", _MONITORING)
        _write(root / "compose.yaml", _compose(root.absolute(), as_server_sees))


_MONITORING = 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n'


def _batching(sizes: Sequence[int]) -> str:
    lines = [
        "# Requests are padded to one of the sizes of the warm-up; one of more rows than the last is refused.",
        f"max_batch_size {{ value: {sizes[-1]} }}",
        *(f"allowed_batch_sizes: {size}" for size in sizes),
        "# How long a request waits for others to share its batch.",
        "batch_timeout_micros { value: 1000 }",
    ]
    return "\n".join(lines) + "\n"


def _compose(here: Path, there: Path) -> str:
    service = {
        "image": "tensorflow/serving",
        "restart": "unless-stopped",
        "ports": ["8500:8500", "8501:8501"],  # gRPC, REST
        "volumes": [{"type": "bind", "source": str(here), "target": str(there), "read_only": True}],
        "command": [
            f"--model_config_file={there / serving_directory.MODELS_CONFIG}",
            "--model_config_file_poll_wait_seconds=10",
            "--enable_batching",
            f"--batching_parameters_file={there / 'batching.config'}",
            f"--monitoring_config_file={there / 'monitoring.config'}",
        ],
    }
    # Compose would take a dollar sign for a variable.
    return yaml.safe_dump({"services": {"serving": service}}, sort_keys=False, width=1000).replace("$", "$$")


def _write(path: Path, body: str) -> None:
    if path.exists():
        first, _, rest = path.read_text().partition("\n")
        if _digest(rest) not in first:
            _log.debug("%s was edited; it stays", path)
            return
        if rest == body:
            return
    write_atomically(path, f"{_FIRST_LINE} {_digest(body)}\n{body}".encode())


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()
