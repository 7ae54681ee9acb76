"""Spans: one folder of images a day or a number, of which a run reads the latest, a window or a range.

``data/{SPAN}`` stands for numbered folders, ``data/{YYYY}-{MM}-{DD}`` for dated ones; the three may stand in
folders of their own (``{YYYY}/{MM}/{DD}``), and more may follow (``{SPAN}/images``). Numbers and days without a
folder are gaps, which are no error.
"""

import dataclasses
import datetime
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Self, TypeVar

from pydantic import BaseModel, Field, model_validator

from gan_components.errors import InputError
from gan_components.ingestion import files
from gan_components.ingestion.files import File

_DIGITS = {"SPAN": r"\d+", "YYYY": r"\d{4}", "MM": r"\d\d", "DD": r"\d\d"}
_PLACEHOLDER = re.compile(r"\{(SPAN|YYYY|MM|DD)\}")

AnyPath = TypeVar("AnyPath", bound=PurePath)


class Window(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The latest span, and those of the days or numbers before it: ``{window: 7}`` is a week."""

    window: int = Field(default=1, ge=1)


class Range(BaseModel, frozen=True, strict=True, extra="forbid"):
    """The spans from the first to the last, both included; dates as ``"2026-11-01"``."""

    range: tuple[int, int] | tuple[datetime.date, datetime.date]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        first, last = self.numbers
        if first > last:
            raise ValueError(f"the first span, {self.range[0]}, comes after the last, {self.range[1]}")
        return self

    @property
    def dated(self) -> bool:
        return isinstance(self.range[0], datetime.date)

    @property
    def numbers(self) -> tuple[int, int]:
        """The range in numbers; a date's is that of the day (its ordinal)."""
        first, last = (day.toordinal() if isinstance(day, datetime.date) else day for day in self.range)
        return first, last


@dataclass(frozen=True)
class Folder:
    """A folder of images; in reports `prefix` stands before its files' names: the span and ``/``, or nothing."""

    prefix: str
    root: Path

    def named(self, file: File) -> File:
        """A file of this folder under a name that no file of another span has."""
        return dataclasses.replace(file, name=self.prefix + file.name)


def folders(data: str | None, spans: Window | Range | None) -> list[Folder]:
    """The folders that a run reads, in the order of their spans: `data` itself if it is no pattern.

    Args:
        data: a directory or a pattern.
        spans: which of the pattern's; None: the latest.

    Raises:
        InputError: no span, or none that is wanted; two folders of one span; a pattern that is none.
    """
    if data is None or not _PLACEHOLDER.search(data):
        if spans is not None:
            raise InputError(
                f"ingest.spans chooses among numbered or dated folders, but --data is {data}; give a pattern such "
                "as --data 'data/{SPAN}' or 'data/{YYYY}-{MM}-{DD}', or leave ingest.spans out"
            )
        return [Folder("", files.image_directory(data))]
    parts = Path(data).expanduser().parts
    start = _start(data, parts)
    found = _find(data, files.directory(str(Path(*parts[:start]))), parts[start:], _folders_in)
    return [
        Folder(f"{_text(span, dated='{DD}' in data)}/", files.directory(str(found[span])))
        for span in _chosen(data, found, spans)
    ]


def fixed_part(data: str) -> str:
    """What stands before the first folder with a placeholder: all of `data` if it is no pattern.

    Example:
        >>> fixed_part("s3://bucket/data/{SPAN}/images")
        's3://bucket/data'
    """
    if not _PLACEHOLDER.search(data):
        return data
    parts = data.split("/")
    return "/".join(parts[: _start(data, parts)])


def choose(data: str, names: list[str], spans: Window | Range | None) -> list[str]:
    """Those of the files below the fixed part of a pattern that :func:`folders` would have a run read.

    Args:
        data: a pattern.
        names: of files that lie elsewhere, relative to :func:`fixed_part`.
        spans: as for :func:`folders`.

    Raises:
        InputError: as :func:`folders`.
    """
    parts = tuple(data[len(fixed_part(data)) :].strip("/").split("/"))
    # Only as deep as the pattern: what lies deeper is inside a span.
    below: defaultdict[PurePosixPath, set[PurePosixPath]] = defaultdict(set)
    for name in names:
        *above, _ = name.split("/", len(parts))
        for depth in range(len(above)):
            below[PurePosixPath(*above[:depth])].add(PurePosixPath(*above[: depth + 1]))
    found = _find(data, PurePosixPath(), parts, lambda folder: sorted(below[folder]))
    chosen = tuple(f"{found[span]}/" for span in _chosen(data, found, spans))
    return [name for name in names if name.startswith(chosen)]


def _start(data: str, parts: tuple[str, ...] | list[str]) -> int:
    """The place of the first part with a placeholder, in a pattern that is checked here."""
    names = sorted(_PLACEHOLDER.findall(data))
    if names not in (["SPAN"], ["DD", "MM", "YYYY"]):
        raise InputError(
            f"{data} must hold {{SPAN}} once, or {{YYYY}}, {{MM}} and {{DD}} once each; correct the pattern"
        )
    return next(place for place, part in enumerate(parts) if _PLACEHOLDER.search(part))


def _chosen(data: str, found: dict[int, AnyPath], spans: Window | Range | None) -> list[int]:
    """The spans that are wanted, in order."""
    dated = "{DD}" in data
    first, last = _bounds(max(found), spans or Window(), dated=dated)
    chosen = [span for span in sorted(found) if first <= span <= last]
    if not chosen:
        wanted, there = (
            f"{_text(one, dated=dated)} to {_text(other, dated=dated)}"
            for one, other in ((first, last), (min(found), max(found)))
        )
        raise InputError(
            f"{data} has no span from {wanted}, of {len(found)} from {there}; change ingest.spans or add images"
        )
    return chosen


def label_table(folders: list[Folder], how: str | None) -> File | None:
    """The file with the labels of these folders' images, if there is one.

    Raises:
        InputError: several spans, each of which might have one.
    """
    tables = [table for folder in folders if (table := files.label_file(folder.root, how))]
    if tables and len(folders) > 1:
        raise InputError(f"{tables[0].path} goes with one span at a time; use one sub-folder a class")
    return tables[0] if tables else None


def _bounds(latest: int, spans: Window | Range, *, dated: bool) -> tuple[int, int]:
    """The first and the last span that are wanted."""
    if isinstance(spans, Window):
        return latest - spans.window + 1, latest
    if spans.dated == dated:
        return spans.numbers
    example = '["2026-11-01", "2026-11-07"]' if dated else "[3, 9]"
    raise InputError(
        f"--data has {'dated' if dated else 'numbered'} folders, and ingest.spans.range is "
        f"{spans.range[0]} to {spans.range[1]}; write it as {example}"
    )


def _find(
    data: str, root: AnyPath, parts: tuple[str, ...], folders_in: Callable[[AnyPath], list[AnyPath]]
) -> dict[int, AnyPath]:
    """Every folder below `root` whose parts fit, by its span: a number, of a date the day's (its ordinal)."""
    matches: list[tuple[AnyPath, dict[str, str]]] = [(root, {})]
    for part in parts:
        literals = _PLACEHOLDER.split(part)
        # Literal text and names of placeholders take turns.
        literals[::2] = map(re.escape, literals[::2])
        literals[1::2] = [f"(?P<{name}>{_DIGITS[name]})" for name in literals[1::2]]
        expression = re.compile("".join(literals), re.ASCII)
        matches = [
            (entry, digits | match.groupdict())
            for folder, digits in matches
            for entry in folders_in(folder)
            if (match := expression.fullmatch(entry.name))
        ]
    found: dict[int, AnyPath] = {}
    for folder, digits in matches:
        span = _number(folder, digits)
        if span in found:
            raise InputError(f"{found[span]} and {folder} are the same span; rename or remove one of them")
        found[span] = folder
    if not found:
        raise InputError(f"no folder fits {data}; check --data, or wait for the first span")
    return found


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); change its permissions") from None


def _number(folder: PurePath, digits: dict[str, str]) -> int:
    if "SPAN" in digits:
        return int(digits["SPAN"])
    try:
        return datetime.date(int(digits["YYYY"]), int(digits["MM"]), int(digits["DD"])).toordinal()
    except ValueError:
        raise InputError(f"{folder} is named after a day that does not exist; rename or remove it") from None


def _text(span: int, *, dated: bool) -> str:
    return datetime.date.fromordinal(span).isoformat() if dated else str(span)
