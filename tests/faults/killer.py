"""Runs the command line and kills it (SIGKILL) at the n-th call of a function: ``killer.py module:name n -- …``.

The kill comes before the function runs (`n`), or after it has (`n+`).
"""

import functools
import importlib
import os
import signal
import sys

from pipelines.cli import app


def arm(target: str, count: int, after: bool) -> None:
    module, _, path = target.partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for part in owners:
        owner = getattr(owner, part)
    original = getattr(owner, name)
    calls = 0

    @functools.wraps(original)
    def deadly(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == count and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*arguments, **options)
        if calls == count and after:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


if __name__ == "__main__":
    target, count, dashes, *arguments = sys.argv[1:]
    assert dashes == "--"
    arm(target, int(count.rstrip("+")), count.endswith("+"))
    app(arguments)
