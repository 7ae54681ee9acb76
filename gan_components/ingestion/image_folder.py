"""Pictures in files: below a folder, or packed into one archive."""

import os
from collections.abc import Iterator
from pathlib import Path

from gan_components.errors import InputError
from gan_components.ingestion import archives, files, labels, spans
from gan_components.ingestion.archives import Member
from gan_components.ingestion.files import File
from gan_components.ingestion.items import Item, Source, dealt
from gan_components.ingestion.spans import Folder
from gan_components.pictures import UnreadableError


def folders(found: list[Folder], how: str | None, holdout_split: str | None, *, paired: bool) -> Source:
    """The images below some folders: the data directory, or one folder a span.

    Args:
        found: the folders.
        how: where labels are, as in the ``ingest`` section.
        holdout_split: the sub-folder that is held out; None: there is none.
        paired: the images of two domains lie below ``first`` and, under the same names, below ``second``.

    Raises:
        InputError: no images, or labels, splits or pairs that do not fit them.
    """
    inside = [(folder, *pair) for folder in found for pair in _pairs(folder.root, paired=paired)]
    # Classes and sides are named below each span's folder.
    names = [file.name for _, file, _ in inside]
    table = spans.label_table(found, how)
    held_out = labels.held_out(names, holdout_split)
    class_names, classes = labels.read(
        names,
        how,
        # Below first/, train/ and the split held out, the next folder names the class.
        depth=1 if paired or holdout_split else 0,
        where=str(table.path if table else os.path.commonpath([folder.root for folder in found])),
        table=files.content(table) if table else None,
    )
    images = [folder.named(file) for folder, file, _ in inside]
    partners = [partner for _, _, partner in inside]
    return Source(class_names, len(images), dealt(_file_items, images, partners, classes, held_out))


def _pairs(root: Path, *, paired: bool) -> list[tuple[File, File | None]]:
    """The images below `root`, or if they are paired those below ``first``, each with the one below ``second``."""
    found = files.images(root)
    if not paired:
        return [(file, None) for file in found]
    below = {
        domain: {file.name.removeprefix(domain): file for file in found if file.name.startswith(domain)}
        for domain in ("first/", "second/")
    }
    one, other = below.values()
    alone = sorted(
        {file.name for file in found} - {domain + name for name in one.keys() & other for domain in below}
    )
    if alone:
        raise InputError(
            f"{root}: with second_domain: folder, each image lies in the sub-folder first and, under the same "
            f"name, in second; {labels.first(alone)} have no partner there; add it or move them away"
        )
    return [(file, other[name]) for name, file in one.items()]


def _file_items(
    found: list[File], partners: list[File | None], classes: list[int | None], held_out: list[bool | None]
) -> Iterator[Item]:
    for file, partner, label, side in zip(found, partners, classes, held_out, strict=True):
        yield Item(file.name, file.path, label, side, partner.path if partner else None)


def archive(path: Path, how: str | None, holdout_split: str | None) -> Source:
    """The images in an archive, as if it were unpacked; arguments and errors as of :func:`folders`."""
    members = archives.members(path)
    found = archives.pictures(members)
    sound = [member.name for member in found if not member.problem]
    everything = {member.name: member for member in members}
    # A table beside a folder says where names begin.
    wrapper = "" if labels.table_name(how, everything) in everything else archives.wrapper(sound)
    others = {name.removeprefix(wrapper): member for name, member in everything.items()}
    table = labels.table_name(how, others)
    # A table may also have rows for what cannot be read; such names alone make no classes.
    counted = list(dict.fromkeys(member.name for member in found)) if table else sound
    names = [name.removeprefix(wrapper) for name in counted]
    held_out = labels.held_out(names, holdout_split)
    class_names, classes = labels.read(
        names,
        how,
        depth=0 if holdout_split is None else 1,
        where=f"{path}/{table}" if table else str(path),
        table=_table(path, others, table) if table else None,
    )
    known = dict(zip(counted, zip(classes, held_out, strict=True), strict=True))
    return Source(class_names, len(found), archives.chunks(path, "", found, known))


def _table(path: Path, members: dict[str, Member], name: str) -> bytes:
    if name not in members:
        raise InputError(f"{path} holds no {name}; check ingest.labels")
    (content,) = archives.read(path, [members[name]])
    if isinstance(content, UnreadableError):
        raise InputError(f"{path}/{name} cannot be read ({content}); pack it again or change ingest.labels")
    return content
