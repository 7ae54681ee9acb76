"""The child's side of taking turns: a JSON line in, a JSON line out. Standard library only."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class Turns:
    """Questions from stdin, answers to what was stdout.

    From then on the process's stdout is its stderr, so that no library's greeting becomes an answer.
    """

    def __init__(self) -> None:
        self._answers: TextIO = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The questions until the parent closes the pipe."""
        while (question := self.wait()) is not None:
            yield question

    def wait(self) -> dict[str, Any] | None:
        """The next question; None when there are no more."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def answer(self, **fields: Any) -> None:
        self._answers.write(json.dumps(fields) + "\n")
        self._answers.flush()
