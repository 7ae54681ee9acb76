"""SIGKILL at any moment of an export: nobody ever sees a broken version, and the next export ends with one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gan_components.export.destination import Destination
from tests.gan_components.export import tiny
from tests.gan_components.export.poller import Poller
from tests.gan_components.export.test_export_stage import ONE, state

KILLS = 50


class Exporter:
    """A process that exports in forks; see `exporter.py`."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.gan_components.export.exporter", str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> "Exporter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def export(self, name: str, *, kill_after_seconds: float | None = None) -> tuple[int, float]:
        """The fork's exit status and its seconds."""
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        child = int(self._process.stdout.readline())
        began = time.monotonic()
        if kill_after_seconds is not None:
            time.sleep(kill_after_seconds)
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                print(f"{name} ended before it was killed")
        status = int(self._process.stdout.readline())
        return os.waitstatus_to_exitcode(status), time.monotonic() - began


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_at_fifty_moments(tmp_path):
    """Red if a version is copied in place, or a step does not look for its former try's work."""
    tiny.save(tmp_path / "generator", num_classes=3)

    def train(name: str) -> None:
        model = tiny.trained_model(tmp_path / "artifacts" / name, "one", tmp_path / "generator")
        tiny.evaluation(tmp_path / "artifacts" / name, model)

    train("whole")
    train("again")
    moments = random.Random(0)  # noqa: S311 (no secret)
    died = tries = 0
    with Exporter(tmp_path) as exporter:
        assert exporter.export("whole")[0] == 0  # makes the database
        code, seconds = exporter.export("again")
        assert code == 0
        with Poller(tmp_path / "serving", tmp_path / "serving" / "whole" / "1") as poller:
            while died < KILLS:
                name = f"killed{tries}"
                train(name)
                tries += 1
                code, spent = exporter.export(name, kill_after_seconds=moments.uniform(0.0, seconds))
                if code == -signal.SIGKILL:
                    died += 1
                else:
                    # It ended first: the machine is faster than it was.
                    assert code == 0
                    seconds = min(seconds, spent)
                assert exporter.export(name)[0] == 0
                uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
                found = state(Destination(name, tmp_path / "serving", tmp_path, uri))
                # Number 2 where the first was taken and its push was killed: a number is used once.
                (version,) = found["directories"]
                assert found == {**ONE, "directories": [version], "served": [version], "log": [(None, version)]}
                hidden = {
                    path.name for path in (tmp_path / "serving" / name).iterdir() if path.name.startswith(".")
                }
                assert hidden <= {".push.lock", ".highest-version"}
    assert poller.result["broken"] == []
    assert poller.result["num_seen"] == tries + 2
