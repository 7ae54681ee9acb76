"""What is wanted of a run, and what became of it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import JsonValue

from gan_components.errors import InputError

Stage = Literal["ingest", "train", "evaluate", "export"]
STAGES: tuple[Stage, ...] = get_args(Stage)

Verdict = Literal["pushed", "unchanged", "blocked", "stopped", "failed"]
EXIT_CODES: dict[Verdict, int] = {"pushed": 0, "unchanged": 0, "stopped": 0, "blocked": 99, "failed": 1}


@dataclass(frozen=True)
class Request:
    """Which part of the chain is wanted: the flags of ``gan-pipelines run``.

    Attributes:
        data: where the images lie; None if the source is built in.
        until: the last stage to run.
        only: the one stage to run; those before it must be done.
        force: the stage to rebuild.
        run_id: shared by the tasks of one scheduled run; names a directory.
        verify: read every byte instead of trusting sizes and times.
        weights: file of a published network's weights, which evaluation may need.
        bless: why failed checks of quality are overruled; None: they are not.
        resume_from: unfinished training under other settings or code, to go on with knowingly.

    Raises:
        InputError: the flags do not go together, or the run id could leave its directory.
    """

    data: str | None = None
    until: Stage | None = None
    only: Stage | None = None
    force: Stage | None = None
    run_id: str | None = None
    verify: bool = False
    weights: Path | None = None
    bless: str | None = None
    resume_from: Path | None = None

    def __post_init__(self) -> None:
        if self.until and self.only:
            raise InputError("--until and --only cannot be given together; choose one")
        if self.bless is not None and not self.bless.strip():
            raise InputError("--bless needs a reason, which goes on record; say who decided, and why")
        if self.run_id is not None and not re.fullmatch(r"\w[\w.:+-]*", self.run_id, re.ASCII):
            raise InputError(
                f"--run-id {self.run_id!r} must be letters, digits and . : + - _, and begin with a letter or digit"
            )

    @property
    def last(self) -> Stage:
        return self.only or self.until or "export"

    @property
    def stages(self) -> tuple[Stage, ...]:
        return STAGES[: STAGES.index(self.last) + 1]


@dataclass(frozen=True)
class Step:
    """What became of one stage, and why, in words."""

    stage: Stage
    status: Literal["hit", "miss", "depends", "ran", "blocked", "failed"]
    reason: str
    artifact: Path | None = None
    seconds: float = 0.0

    def document(self) -> dict[str, JsonValue]:
        """The step as ``--json`` prints it."""
        return {
            "stage": self.stage,
            "status": self.status,
            "reason": self.reason,
            "artifact": str(self.artifact) if self.artifact else None,
            "seconds": round(self.seconds, 3),
        }


@dataclass
class Outcome:
    """The result of a run. It is filled as the run goes, so that it also tells how far a failed one came.

    Attributes:
        verdict: ``failed`` until something better is known.
        steps: the stages that ended, in order.
        metrics: of the evaluation: value, low, high and protocol by name.
        drift: how the data differ from the champion's, and whether that matters; None without a champion.
        blessing: the gate's decision.
        pushed: version, path, registry version and, if it has one, address of the generator in production.
        mlflow_run_id: the parent run; None if nothing executed.
        error: what went wrong, in one line.
    """

    run_id: str
    verdict: Verdict = "failed"
    steps: list[Step] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    drift: dict[str, JsonValue] | None = None
    blessing: dict[str, JsonValue] | None = None
    pushed: dict[str, JsonValue] | None = None
    mlflow_run_id: str | None = None
    error: str | None = None

    @property
    def made(self) -> dict[Stage, Path]:
        """The artifact of each stage that has one."""
        return {step.stage: step.artifact for step in self.steps if step.artifact}

    def document(self) -> dict[str, Any]:
        """The outcome as ``run --json`` prints it."""
        return {
            "run_id": self.run_id,
            "verdict": self.verdict,
            "stages": [step.document() for step in self.steps],
            "metrics": self.metrics,
            "drift": self.drift,
            "blessing": self.blessing,
            "pushed": self.pushed,
            "mlflow_run_id": self.mlflow_run_id,
            "error": self.error,
        }
