"""What this machine's processor can do."""

import functools
from pathlib import Path


@functools.cache
def instructions() -> frozenset[str]:
    """Names of its instruction sets, such as ``avx2`` and ``amx_bf16``, as Linux has them; elsewhere empty."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return frozenset(next((line.split()[2:] for line in lines if line.startswith("flags")), []))
