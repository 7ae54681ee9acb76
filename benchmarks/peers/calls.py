"""Times calls that follow one another. Needs NumPy alone."""

import time
from collections.abc import Callable

import numpy as np


def timed(call: Callable[[], object], *, seconds: float) -> dict[str, float]:
    """Calls for so long, at least ten times, and says how long a call took."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < 10 or time.perf_counter() < end:
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    median, p95 = np.percentile(took, [50, 95]) * 1e3
    return {"median_ms": float(median), "p95_ms": float(p95)}
