"""Labels and splits of pictures in files, from their names or a table (CSV or JSON)."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Container, Sequence
from pathlib import PurePosixPath

from gan_components.errors import InputError

# What the data set tools of StyleGAN 2 and 3 write: https://github.com/NVlabs/stylegan3.
STYLEGAN_LABELS = "dataset.json"
TABLE_SUFFIXES = (".csv", ".json")


def held_out(names: list[str], split: str | None, *, shards: bool = False) -> list[bool] | list[None]:
    """Whether each file is held out: those below the folder `split` are, those below ``train`` are not.

    Args:
        names: of the files, relative to the data directory.
        split: None: every answer is None.
        shards: the files hold many images each; then the beginning of their names, such as ``train-00003``, does
            as well as a folder.

    Raises:
        InputError: a file outside these folders, or one of them without files.
    """
    if split is None or not names:
        return [None] * len(names)
    sides = [re.split("[-_./]", name)[0] if shards else PurePosixPath(name).parts[0] for name in names]
    others = [name for name, side in zip(names, sides, strict=True) if side not in ("train", split)]
    if others or len(set(sides)) < 2:
        raise InputError(
            f"holdout: {{split: {split}}} needs all images of a folder in its sub-folders train and {split}, "
            + (f"or in files named train-* and {split}-*, " if shards else "")
            + (f"but {_first(others)} lie elsewhere" if others else f"found only {sides[0]}")
            + "; move them or use holdout: {fraction: 0.2}"
        )
    return [side == split for side in sides]


def table_name(how: str | None, names: Container[str]) -> str | None:
    """Which file has the labels: the one that `how` names, or StyleGAN's if it is among `names`; else None."""
    if how == "auto":
        return STYLEGAN_LABELS if STYLEGAN_LABELS in names else None
    return how if how is not None and how.endswith(TABLE_SUFFIXES) else None


def read(
    names: list[str], how: str | None, *, depth: int, where: str, table: bytes | None
) -> tuple[list[str], list[int | None]]:
    """Class names, and each file's class.

    Args:
        names: of the image files, relative to the data directory.
        how: ``auto``, ``folders``, the name of a table or None, as in the ``ingest`` section.
        depth: how many leading folders of a name do not name classes.
        where: the table, or the data directory; for messages.
        table: content of the file :func:`table_name`; None: there is no such file.

    Raises:
        InputError: labels that do not fit the files; names the first offenders and counts them.
    """
    if how is None:
        found: list[str] = []
    elif table is not None:
        found = _from_table(table, where, names)
    else:
        found = _from_folders(where, names, depth, needed=how == "folders")
    return indexed(found) if found else ([], [None] * len(names))


def given(
    names: list[str], found: list[str | None], how: str | None, *, where: str
) -> tuple[list[str], list[int | None]]:
    """Class names, and each record's class, where records carry their labels themselves.

    Args:
        names: of the records; for messages.
        found: their labels.
        how: ``auto`` or None, as in the ``ingest`` section.
        where: the data; for messages.

    Raises:
        InputError: some have a label and some have none.
    """
    missing = [name for name, label in zip(names, found, strict=True) if label is None]
    if how is None or len(missing) == len(found):
        return [], [None] * len(found)
    if missing:
        raise InputError(
            f"{where}: of {len(found)} images, {_first(missing)} have no label; "
            "add them or set ingest.labels: null"
        )
    return indexed([label for label in found if label is not None])


def indexed(labels: Sequence[str]) -> tuple[list[str], list[int | None]]:
    """Class names in order, by number if all are numbers and otherwise by name; and the place of each label."""
    class_names = _in_order(set(labels))
    index = {name: place for place, name in enumerate(class_names)}
    return class_names, [index[label] for label in labels]


def _from_folders(where: str, names: list[str], depth: int, *, needed: bool) -> list[str]:
    folders = [PurePosixPath(name).parts[depth:-1] for name in names]
    classes = [parts[0] for parts in folders if parts]
    # One folder only wraps the images; it tells no classes apart.
    if not needed and len(set(classes)) < 2:
        return []
    if len(classes) < len(names):
        loose = [name for name, parts in zip(names, folders, strict=True) if not parts]
        raise InputError(
            f"{where}: {_first(loose)} lie outside the class folders; move them into one, "
            "or set ingest.labels: null"
        )
    return classes


def _from_table(content: bytes, where: str, names: list[str]) -> list[str]:
    rows = _json_rows(content, where) if where.lower().endswith(".json") else _csv_rows(content, where)
    if rows is None:
        return []
    pairs = [(PurePosixPath(name).as_posix(), label) for name, label in rows]
    labels = {name: label for name, label in pairs if label}
    existing = set(names)
    misfits = {
        "named in it are no images of this source": [name for name, _ in pairs if name not in existing],
        "are named more than once": [name for name, times in Counter(n for n, _ in pairs).items() if times > 1],
        "have no label": [name for name in names if name not in labels],
    }
    if any(misfits.values()):
        reasons = "; ".join(f"{_first(found)} {what}" for what, found in misfits.items() if found)
        raise InputError(f"{where} does not fit the images: {reasons}. Correct the file or ingest.labels")
    return [labels[name] for name in names]


def _csv_rows(content: bytes, where: str) -> list[tuple[str, str]]:
    try:
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        if not {"file", "label"} <= set(rows.fieldnames or []):
            raise InputError(f"{where} must have the columns file and label, has {rows.fieldnames}")
        return [(row["file"] or "", row["label"] or "") for row in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{where} cannot be read as UTF-8 CSV ({error}); check ingest.labels") from None


def _json_rows(content: bytes, where: str) -> list[tuple[str, str]] | None:
    """Files and labels, or None where StyleGAN's table says that there are none."""
    try:
        # Objects as tuples of pairs: a name that stands twice is seen, and no object passes for an array.
        table = json.loads(content.decode("utf-8-sig"), object_pairs_hook=lambda pairs: tuple(pairs))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} cannot be read as UTF-8 JSON ({error}); check ingest.labels") from None
    if not isinstance(table, tuple):
        raise InputError(f'{where} must be {{"labels": [[FILE, LABEL], ...]}} or {{FILE: LABEL, ...}}')
    rows = dict(table).get("labels", table)
    if rows is None:
        return None
    for row in rows if isinstance(rows, list | tuple) else [rows]:
        match row:
            case [str(), str()]:
                pass
            case [str(), int() as label] if not isinstance(label, bool):
                pass
            case _:
                raise InputError(
                    f"{where} has the entry {str(row)[:80]}, expected a file with one whole number or text as its "
                    "label; correct it, or set ingest.labels to folders or null"
                )
    return [(name, str(label)) for name, label in rows]


def _in_order(names: set[str]) -> list[str]:
    """By number if all are numbers, otherwise by name."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _first(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} file{'s' if len(names) > 1 else ''} ({shown})"
