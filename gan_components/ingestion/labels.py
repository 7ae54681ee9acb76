"""Labels and splits of an image folder, from the names of its files or a CSV file."""

import csv
from collections import Counter
from pathlib import Path, PurePosixPath

from gan_components.errors import InputError


def held_out(names: list[str], split: str | None) -> list[bool] | list[None]:
    """Whether each file is held out: those below the folder `split` are, those below ``train`` are not.

    Args:
        names: of the files, relative to the data directory.
        split: None: every answer is None.

    Raises:
        InputError: a file outside these folders, or one of them without files.
    """
    if split is None:
        return [None] * len(names)
    sides = [PurePosixPath(name).parts[0] for name in names]
    others = [name for name, side in zip(names, sides, strict=True) if side not in ("train", split)]
    if others or len(set(sides)) < 2:
        raise InputError(
            f"holdout: {{split: {split}}} needs all images of a folder in its sub-folders train and {split}, "
            + (f"but {_first(others)} lie elsewhere" if others else f"found only {sides[0]}")
            + "; move them or use holdout: {fraction: 0.2}"
        )
    return [side == split for side in sides]


def read(root: Path, names: list[str], how: str | None, *, depth: int) -> tuple[list[str], list[int | None]]:
    """Class names, and each file's class.

    Args:
        root: the data directory.
        names: of the image files, relative to `root`.
        how: ``auto``, ``folders``, a CSV file's name or None, as in the ``ingest`` section.
        depth: how many leading folders of a name do not name classes.

    Raises:
        InputError: labels that do not fit the files; names the first offenders and counts them.
    """
    if how is None:
        return [], [None] * len(names)
    if how.endswith(".csv"):
        found = _from_csv(root / how, names)
    else:
        found = _from_folders(root, names, depth, needed=how == "folders")
    class_names = _in_order(set(found))
    index = {name: place for place, name in enumerate(class_names)}
    return class_names, [index[label] for label in found] if found else [None] * len(names)


def _from_folders(root: Path, names: list[str], depth: int, *, needed: bool) -> list[str]:
    folders = [PurePosixPath(name).parts[depth:-1] for name in names]
    classes = [parts[0] for parts in folders if parts]
    # One folder only wraps the images; it tells no classes apart.
    if not needed and len(set(classes)) < 2:
        return []
    if len(classes) < len(names):
        loose = [name for name, parts in zip(names, folders, strict=True) if not parts]
        raise InputError(
            f"{root}: {_first(loose)} lie outside the class folders; move them into one, "
            "or set ingest.labels: null"
        )
    return classes


def _from_csv(path: Path, names: list[str]) -> list[str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not {"file", "label"} <= set(rows.fieldnames or []):
                raise InputError(f"{path} must have the columns file and label, has {rows.fieldnames}")
            pairs = [(PurePosixPath(row["file"] or "").as_posix(), row["label"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as UTF-8 CSV ({error}); check ingest.labels") from None
    labels = {name: label for name, label in pairs if label}
    existing = set(names)
    misfits = {
        "named in it are no images of this folder": [name for name, _ in pairs if name not in existing],
        "are named more than once": [name for name, times in Counter(n for n, _ in pairs).items() if times > 1],
        "have no label": [name for name in names if name not in labels],
    }
    if any(misfits.values()):
        reasons = "; ".join(f"{_first(found)} {what}" for what, found in misfits.items() if found)
        raise InputError(f"{path} does not fit the images: {reasons}. Correct the file or ingest.labels")
    return [labels[name] for name in names]


def _in_order(names: set[str]) -> list[str]:
    """By number if all are numbers, otherwise by name."""
    if all(name.isdecimal() for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _first(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} file{'s' if len(names) > 1 else ''} ({shown})"
