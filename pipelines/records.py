"""What stands in ``runs/<run-id>``: the plan that the tasks of one scheduled run share, and what came of it.

The first task writes down the settings and the identity of the data in ``run.json``; the others see the data as it
did, even if files were added since, and log to the same MLflow run. Each leaves its outcome in ``summary.json``.
"""

import json
import secrets
import time
from pathlib import Path
from typing import Self

from pydantic import BaseModel, JsonValue, ValidationError

from gan_components.artifacts import write_atomically
from gan_components.errors import ArtifactError, ConfigError
from pipelines.config import PipelineConfig
from pipelines.outcome import Outcome, Request
from pipelines.workspace import Workspace

_FILE, _SUMMARY = "run.json", "summary.json"


class RunRecord(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The plan of a run.

    Attributes:
        config: the resolved settings.
        source: identity of the data.
        mlflow_run_id: the parent run; None until a stage executed.
    """

    config: dict[str, JsonValue]
    source: str
    mlflow_run_id: str | None = None

    @classmethod
    def begin(cls, config: PipelineConfig, source: str) -> Self:
        return cls(config=_settings(config), source=source)

    @classmethod
    def of(cls, request: Request, config: PipelineConfig, workspace: Workspace) -> Self | None:
        """What the tasks of one scheduled run share, once the first of them wrote it down; see :meth:`read`."""
        return cls.read(workspace.run_directory(request.run_id), config) if request.run_id else None

    @classmethod
    def read(cls, directory: Path, config: PipelineConfig) -> Self | None:
        """The record of a run that began before; None if there is none.

        Raises:
            ConfigError: it began with other settings.
            ArtifactError: it cannot be read.
        """
        path = directory / _FILE
        try:
            record = cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            raise ArtifactError(f"{path} cannot be read; delete it or choose another --run-id") from None
        if record.config != _settings(config):
            raise ConfigError(f"run {directory.name!r} was planned with other settings; choose another --run-id")
        return record

    def write(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / _FILE, self.model_dump_json(indent=1).encode())


def write_summary(directory: Path, outcome: Outcome) -> None:
    """Keeps what ``run --json`` prints, for a scheduler to pick up: the last task's, where tasks share a run."""
    directory.mkdir(parents=True, exist_ok=True)
    write_atomically(directory / _SUMMARY, json.dumps(outcome.document(), indent=1).encode())


def new_run_id() -> str:
    """A name for a run: UTC time and four random digits; sorts by time."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()) + "-" + secrets.token_hex(2)


def _settings(config: PipelineConfig) -> dict[str, JsonValue]:
    return config.model_dump(mode="json", by_alias=True)
