"""Runs the command line as its users do: a child process, outside the test runner's environment."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

OFFLINE = Path(__file__).parent / "e2e" / "offline"

# Small enough for a test, real in every stage: 60 steps of a thin network on all 5,000 digits.
QUICK = [
    "train.num_steps=60",
    "train.network.base_channels=16",
    "train.batch_size=32",
    "evaluate.num_samples=1000",
    "evaluate.bounds={fd_classifier: {max: 1.0e+6}}",
]


@dataclass(frozen=True)
class Result:
    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> dict:
        """The one JSON document on stdout; anything beside it is an error."""
        return json.loads(self.stdout)

    @property
    def statuses(self) -> dict[str, str]:
        return {step["stage"]: step["status"] for step in self.document["stages"]}


def environment(root: Path) -> dict[str, str]:
    """A user's environment: no CI or test-runner variables (libraries behave differently under them)."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("CI", "PYTEST", "MLFLOW", "GAN_PIPELINES"))}
    return kept | {
        "PYTHONPATH": str(OFFLINE),
        "FORBIDDEN_CONNECTIONS": str(root.parent / "connections.log"),
        "CUDA_VISIBLE_DEVICES": "-1",
    }


def command(name: str, *arguments: str, root: Path, sets: list[str] | None = None) -> list[str]:
    overrides = [word for text in (QUICK if sets is None else sets) for word in ("--set", text)]
    return [sys.executable, "-m", "pipelines", name, *arguments, "--root", str(root), "--json", *overrides]


def call(
    name: str,
    *arguments: str,
    root: Path,
    sets: list[str] | None = None,
    variables: dict[str, str] | None = None,
    timeout_seconds: float = 540,
) -> Result:
    done = subprocess.run(
        command(name, *arguments, root=root, sets=sets),
        capture_output=True,
        text=True,
        env=environment(root) | (variables or {}),
        timeout=timeout_seconds,
        cwd=root.parent,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def summary(result: Result, root: Path) -> dict:
    """What the run left for its scheduler."""
    return json.loads((root / "runs" / result.document["run_id"] / "summary.json").read_text())
