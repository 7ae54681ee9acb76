"""Pictures in files: below a folder, or packed into one archive."""

from collections.abc import Iterator
from pathlib import Path

from gan_components.errors import InputError
from gan_components.ingestion import archives, files, labels
from gan_components.ingestion.archives import Member
from gan_components.ingestion.files import File
from gan_components.ingestion.items import Item, Source, dealt
from gan_components.pictures import UnreadableError


def folder(root: Path, how: str | None, holdout_split: str | None, *, paired: bool) -> Source:
    """The images below `root`.

    Args:
        root: the data directory.
        how: where labels are, as in the ``ingest`` section.
        holdout_split: the sub-folder that is held out; None: there is none.
        paired: the images of two domains lie below ``first`` and, under the same names, below ``second``.

    Raises:
        InputError: no images, or labels, splits or pairs that do not fit them.
    """
    found = files.images(root)
    partners: list[File | None] = [None] * len(found)
    if paired:
        found, partners = _pairs(root, found)
    table = files.label_file(root, how)
    names = [file.name for file in found]
    held_out = labels.held_out(names, holdout_split)
    class_names, classes = labels.read(
        names,
        how,
        # Below first/, train/ and the split held out, the next folder names the class.
        depth=1 if paired or holdout_split else 0,
        where=str(table.path if table else root),
        table=files.content(table) if table else None,
    )
    return Source(class_names, len(found), dealt(_file_items, found, partners, classes, held_out))


def _pairs(root: Path, found: list[File]) -> tuple[list[File], list[File | None]]:
    """The files below ``first``, and the file below ``second`` of each."""
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
    return list(one.values()), [other[name] for name in one]


def _file_items(
    found: list[File], partners: list[File | None], classes: list[int | None], held_out: list[bool | None]
) -> Iterator[Item]:
    for file, partner, label, side in zip(found, partners, classes, held_out, strict=True):
        yield Item(file.name, file.path, label, side, partner.path if partner else None)


def archive(path: Path, how: str | None, holdout_split: str | None) -> Source:
    """The images in an archive, as if it were unpacked; arguments and errors as of :func:`folder`."""
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
