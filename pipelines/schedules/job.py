"""What every scheduler is told: which command, when, and for how long at most."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from gan_components.errors import InputError
from pipelines.outcome import EXIT_CODES

# The two exit codes that another try cannot change.
BLOCKED, WRONG_INPUT = EXIT_CODES["blocked"], 2

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
# Field, lowest, highest, names of the values from the lowest on.
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _WEEKDAYS),
)
_LONGEST_MONTHS_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


@dataclass(frozen=True)
class Job:
    """One pipeline, run again and again.

    Attributes:
        name: the model's, which names the job too.
        cron: when, as ``minute hour day-of-month month day-of-week``.
        command: the words of ``gan-pipelines run CONFIG ...``, the program first.
        root: of the pipeline, as the job sees it.
        deadline_hours: a run that takes longer is stopped; the next one resumes it.
        tracking_uri: the MLflow server or store; None for the one in the root.

    Raises:
        InputError: the cron expression is none, or a word cannot stand in a file of lines.
    """

    name: str
    cron: str
    command: tuple[str, ...]
    root: str
    deadline_hours: int
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        require_cron(self.cron)
        for word in (*self.command, self.root, self.tracking_uri or ""):
            if not word.isprintable():
                raise InputError(f"{word!r} holds a line break or a control character; a schedule cannot carry it")
        if self.tracking_uri and "@" in urlsplit(self.tracking_uri).netloc:
            raise InputError(
                "MLFLOW_TRACKING_URI holds credentials, which would be written into the file; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD where the job runs"
            )

    @property
    def environment(self) -> dict[str, str]:
        """Variables that the command needs beside the scheduler's own."""
        return {"MLFLOW_TRACKING_URI": self.tracking_uri} if self.tracking_uri else {}


def require_cron(expression: str) -> None:
    """Checks five fields as all four schedulers read them: numbers, names, ``*``, ``a-b``, ``/step`` and lists.

    Raises:
        InputError: naming the field that is wrong.
    """
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise InputError(
            f"--cron {expression!r} has {len(fields)} fields, five are needed: minute, hour, day of month, month, "
            "day of week; for example '0 3 * * *' for every night at three"
        )
    values = [_values(text, *field) for text, field in zip(fields, _FIELDS, strict=True)]
    days, months = values[2:4]
    if fields[4] == "*" and min(days) > max(_LONGEST_MONTHS_DAYS[month - 1] for month in months):
        raise InputError(f"--cron {expression!r} never comes: no such month has {min(days)} days")


def _values(text: str, field: str, lowest: int, highest: int, names: tuple[str, ...]) -> set[int]:
    """The values that one field of an expression stands for."""
    wanted = f"{lowest}-{highest}" + (f" or {names[0]}-{names[-1]}" if names else "")
    if field == "day of week":
        wanted += ", with 0 for Sunday"
    values: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(?:\*|(\w+)(?:-(\w+))?)(?:/(\d+))?", part, re.ASCII)
        if not found:
            raise InputError(f"--cron: {field} {text!r} cannot be read; it takes {wanted}, *, a-b, */n and lists")
        first, last, step = found.groups()
        if step and first and not last:
            raise InputError(f"--cron: {field} {part!r} has a step but no range; write {first}-{highest}/{step}")
        start = lowest if first is None else _number(first, names, lowest)
        end = highest if first is None else start if last is None else _number(last, names, lowest)
        if not lowest <= start <= end <= highest or (step and not 0 < int(step) <= highest):
            raise InputError(f"--cron: {field} {part!r} is out of range; it takes {wanted}")
        values.update(range(start, end + 1, int(step or 1)))
    return values


def _number(text: str, names: tuple[str, ...], lowest: int) -> int:
    """A number or a name's number; -1, which no field takes, for anything else."""
    if text.isdecimal():
        return int(text)
    return names.index(text.lower()) + lowest if text.lower() in names else -1
