"""What every benchmark prints, and contenders that take turns on the same cores."""

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gan_components import processor

_HERE = Path(__file__).parent
_LOAD_AT_START = round(os.getloadavg()[0], 2)
_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, and the versions that decide speed.

    ``load_average_at_start`` is of the minute before: numbers from a busy machine say so themselves.
    """
    return {
        "processor": _processor(),
        "instructions": [name for name in _INSTRUCTIONS if name in processor.instructions()],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_average_at_start": _LOAD_AT_START,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("tensorflow", "keras", "numpy")},
    }


def claim(text: str, value: float | None, unit: str, bound: str, *, low: float = 0.0, high: float = 0.0) -> dict:
    """One claim, met or not.

    Args:
        text: what is claimed.
        value: the median over the repetitions; None where it could not be measured, which does not hold.
        unit: of the value, such as ``ratio``.
        bound: ``>= 1.5`` or ``<= 0.25``.
        low: smallest of the repetitions.
        high: largest of the repetitions; where it is not above `low`, no range is printed.

    Example:
        >>> claim("faster", 1.6, "ratio", ">= 1.5")["holds"]
        True
    """
    relation, limit = bound.split()
    if relation not in ("<=", ">="):
        raise ValueError(f"a bound is '<= NUMBER' or '>= NUMBER', got {bound!r}")
    holds = value is not None and (value <= float(limit) if relation == "<=" else value >= float(limit))
    spread = {"low": low, "high": high} if high > low else {}
    return {"claim": text, "value": value, **spread, "unit": unit, "bound": bound, "holds": holds}


def claim_of(text: str, values: Sequence[float], unit: str, bound: str) -> dict:
    """:func:`claim` about the median of repetitions, with their range; about nothing, one that does not hold."""
    if not values:
        return claim(text, None, unit, bound)
    return claim(text, statistics.median(values), unit, bound, low=min(values), high=max(values))


def report(benchmark: str, claims: list[dict], **details: Any) -> None:
    """Prints the result as the last line of stdout, one JSON object."""
    print(json.dumps({"benchmark": benchmark, "machine": machine(), **details, "claims": claims}), flush=True)


def note(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)


class Contender:
    """A child process that works only when it is asked: a module below ``benchmarks`` with :class:`turns.Turns`.

    Contenders share the cores but no process, so that no framework's thread pool or memory sits in another's
    way, and one at a time has a turn.
    """

    def __init__(
        self,
        name: str,
        module: str,
        arguments: Sequence[str] = (),
        *,
        python: str = sys.executable,
        threads: int = 2,
    ) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by __exit__)
        paths = [str(_HERE), os.environ.get("PYTHONPATH", "")]
        self._process = subprocess.Popen(
            [python, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=os.environ
            | {
                "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                "OMP_NUM_THREADS": str(threads),
                "TF_NUM_INTRAOP_THREADS": str(threads),
                "TF_NUM_INTEROP_THREADS": str(threads),
                "TF_CPP_MIN_LOG_LEVEL": "2",
                "CUDA_VISIBLE_DEVICES": "-1",
            },
        )

    def __enter__(self) -> "Contender":
        return self

    def __exit__(self, *exception: object) -> None:
        """Lets the child end by itself: its turns are over when its input ends."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def ask(self, **question: Any) -> dict[str, Any]:
        """Gives the child a turn and waits for its answer.

        Raises:
            RuntimeError: the child died; with the end of what it wrote to stderr.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError(f"{self.name} has no pipes")
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            answer = ""
        else:
            answer = self._process.stdout.readline()
        if not answer:
            self._log.seek(0)
            raise RuntimeError(f"{self.name} died; its stderr ends:\n{self._log.read()[-4000:]}")
        return json.loads(answer)


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
