"""Settings that MLflow reads from the environment. Needs no MLflow, so that it can be called before its import."""

import os

_DEFAULTS = {
    # Its telemetry would call out from machines that must not.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # "View run at ..." on stdout would break the one JSON document of `--json`.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Its notes on database migrations are not this program's output.
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # The pipeline shows its own progress.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow's own defaults keep a caller waiting for minutes when a server is down.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def set_defaults() -> None:
    """Sets what the user has not set. Call it before MLflow is imported: some of it is read only then."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
