"""Archives of pictures: as good as a folder, and never a way out of it."""

import gzip
import io
import json
import stat
import tarfile
import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image

from gan_components import examples
from gan_components.errors import InputError
from gan_components.ingestion import archives
from gan_components.ingestion.config import IngestConfig, NamedSplit, recipe
from gan_components.pictures import UnreadableError
from tests.gan_components.ingestion.folders import CONFIG, fill, make, picture


def pack(folder, path):
    """Packs a folder as its users would: with the folder itself around everything."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(folder.parent), zipfile.ZIP_DEFLATED)
    else:
        with tarfile.open(path, "w:gz" if path.name.lower().endswith("gz") else "w") as archive:
            archive.add(folder, folder.name)
    return path


def png(number):
    buffer = io.BytesIO()
    Image.fromarray(picture(number)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path, entries):
    """Writes ``(name, content)`` pairs, or pairs of a TarInfo and content."""
    with tarfile.open(path, "w:gz" if path.name.lower().endswith("gz") else "w") as archive:
        for name, content in entries:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path, entries):
    """Writes ``(name or ZipInfo, content)`` pairs."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("data") / "pictures", 40)


@pytest.fixture(scope="module")
def from_folder(folder, tmp_path_factory):
    return make(folder, tmp_path_factory.mktemp("out"))


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "A.TGZ"])
def test_an_archive_is_as_good_as_its_folder(folder, from_folder, tmp_path, name):
    """Red if a picture is lost or gets another's label, or the folder around everything becomes the class."""
    made = make(pack(folder, tmp_path / name), tmp_path / "out")
    assert made.content_digest == from_folder.content_digest
    index = [json.loads(line) for line in (made.directory / "index.jsonl").read_text().splitlines()]
    assert sorted(name for row in index for name in row["sources"])[0] == "pictures/cat/000.png"


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_split_of_an_archive(tmp_path, suffix):
    """Red if the folder train is taken for the wrapping folder, or for a class."""
    fill(tmp_path / "data" / "train", 10)
    fill(tmp_path / "data" / "test", 4, first=10)
    config = CONFIG.model_copy(update={"holdout": NamedSplit(split="test")})
    known = examples.Properties.of(
        make(pack(tmp_path / "data", tmp_path / f"a.{suffix}"), tmp_path / "out", config)
    )
    assert (known.num_train, known.num_holdout, known.class_names) == (10, 4, ["cat", "dog"])


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize("table", ["dataset.json", "l.csv"])
def test_table_in_an_archive(tmp_path, write, table):
    """Red if a table inside is not read: StyleGAN's by itself, others by name."""
    entries = [(f"00000/img{number}.png", png(number)) for number in range(20)]
    rows = [(name, "ab"[place % 2]) for place, (name, _) in enumerate(entries)]
    assert archives.wrapper([name for name, _ in entries]) == "00000/"
    text = (
        json.dumps({"labels": rows})
        if table == "dataset.json"
        else "\n".join(["file,label", *map(",".join, rows)])
    )
    path = write(tmp_path / f"a.{'zip' if write is write_zip else 'tar'}", [*entries, (table, text.encode())])
    config = CONFIG.model_copy(update={"labels": "auto" if table == "dataset.json" else table})
    made = make(path, tmp_path / "out", config)
    assert examples.Properties.of(made).class_names == ["a", "b"]
    with pytest.raises(InputError, match=r"holds no other\.csv"):
        make(path, tmp_path / "out", CONFIG.model_copy(update={"labels": "other.csv"}))


def test_table_with_a_row_for_a_broken_member(tmp_path):
    """Red if a table is refused because of a row for a picture in quarantine."""
    entries = [(f"{number}.png", png(number)) for number in range(40)]
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "0.png"
    table = json.dumps({name: "ab"[place % 2] for place, (name, _) in enumerate(entries)} | {"link.png": "a"})
    path = write_tar(tmp_path / "a.tar", [*entries, (link, b""), ("dataset.json", table.encode())])
    known = examples.Properties.of(make(path, tmp_path / "out"))
    assert (known.class_names, known.num_quarantined) == (["a", "b"], 1)


def test_identity_of_an_archive(folder, tmp_path):
    """Red if the path enters, or the archive's time does not."""
    path = pack(folder, tmp_path / "a.zip")
    first = recipe(str(path), CONFIG, seed=0).fingerprint
    (tmp_path / "b").mkdir()
    moved = path.rename(tmp_path / "b" / "a.zip")
    assert recipe(str(moved), CONFIG, seed=0).fingerprint == first
    with zipfile.ZipFile(moved, "a") as archive:
        archive.writestr("more.png", png(99))
    assert recipe(str(moved), CONFIG, seed=0).fingerprint != first


def contents(path):
    """Of each picture: its bytes, or the reason."""
    found = archives.pictures(archives.members(path))
    return {
        member.name: str(content) if isinstance(content, UnreadableError) else content
        for member, content in zip(found, archives.read(path, found), strict=True)
    }


@pytest.mark.parametrize(("write", "name"), [(write_zip, "a.zip"), (write_tar, "a.tar"), (write_tar, "a.tgz")])
def test_names_that_lead_out(tmp_path, write, name):
    """Red if such a name passes, or stops the others."""
    bad = ["../a.png", "x/../../a.png", "/etc/a.png", "C:/a.png"]
    found = contents(write(tmp_path / name, [(name, png(1)) for name in [*bad, "猫/ä b\n.png"]]))
    assert found.pop("猫/ä b\n.png") == png(1)
    assert set(found) == set(bad)
    assert set(found.values()) == {"its name leads out of the archive"}


def test_packed_from_the_inside(tmp_path):
    """Red if the ./ of `tar -cf a.tar .` stays: the table would not be found, nor its rows."""
    entries = [(f"./{number}.png", png(number)) for number in range(40)]
    table = json.dumps({f"{number}.png": "ab"[number % 2] for number in range(40)})
    path = write_tar(tmp_path / "a.tar", [*entries, ("./dataset.json", table.encode())])
    assert examples.Properties.of(make(path, tmp_path / "out")).class_names == ["a", "b"]
    assert contents(write_tar(tmp_path / "b.tar", [("./a.png", png(1)), ("a.png", png(2))])) == {
        "a.png": "2 files in the archive have this name"
    }


def test_separator_of_windows(tmp_path):
    """Red if a backslash in a zip is no separator: such archives would lose their classes, or hide a way out."""
    info = [zipfile.ZipInfo("x") for _ in range(2)]
    info[0].filename, info[1].filename = "cat\\a.png", "..\\..\\a.png"
    found = contents(write_zip(tmp_path / "a.zip", [(one, png(1)) for one in info]))
    assert found == {"cat/a.png": png(1), "../../a.png": "its name leads out of the archive"}


def test_equal_names(tmp_path):
    """Red if one of two equally named files silently wins: programs differ in which."""
    with pytest.warns(UserWarning, match="Duplicate"):
        write_zip(tmp_path / "a.zip", [("a.png", png(1)), ("a.png", png(2)), ("b.png", png(3))])
    write_tar(tmp_path / "a.tar", [("a.png", png(1)), ("a.png", png(2)), ("b.png", png(3))])
    for name in ("a.zip", "a.tar"):
        found = contents(tmp_path / name)
        assert found == {"a.png": "2 files in the archive have this name", "b.png": png(3)}


def test_members_that_are_no_files(tmp_path):
    """Red if a link in a tar is followed, or a device is read."""
    kinds = {
        "sym.png": tarfile.SYMTYPE,
        "hard.png": tarfile.LNKTYPE,
        "fifo.png": tarfile.FIFOTYPE,
        "null.png": tarfile.CHRTYPE,
        "disk.png": tarfile.BLKTYPE,
    }
    entries = []
    for name, kind in kinds.items():
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        entries.append((info, b""))
    found = contents(write_tar(tmp_path / "a.tar", [*entries, ("a.png", png(1))]))
    assert found.pop("a.png") == png(1)
    assert [found[name].split(",")[0] for name in kinds] == ["it is a link"] * 2 + ["it is no regular file"] * 3


def test_links_and_passwords_in_a_zip(tmp_path):
    """Red if a link's target is taken for a picture, or a password ends in RuntimeError."""
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    write_zip(tmp_path / "a.zip", [(link, b"/etc/passwd"), ("secret.png", png(1)), ("a.png", png(2))])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    # The first flag bit, in the local header and in the directory.
    data[data.index(b"secret.png") - 30 + 6] |= 1
    data[data.rindex(b"secret.png") - 46 + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    found = contents(tmp_path / "a.zip")
    assert found.pop("a.png") == png(2)
    assert found == {
        "link.png": "it is a link, and links in archives are not followed",
        "secret.png": "it is encrypted",
    }


def test_damage_inside_a_zip(tmp_path):
    """Red if the checksum is not looked at, or damage to one member stops the others."""
    write_zip(tmp_path / "a.zip", [("a.png", png(1)), ("b.png", png(2))])
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(png(1)) + 100] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    found = contents(tmp_path / "a.zip")
    assert found == {"a.png": "BadZipFile: Bad CRC-32 for file 'a.png'", "b.png": png(2)}


def test_a_member_larger_than_declared(tmp_path):
    """Red if more is unpacked than the directory declares: a gigabyte may hide behind ten bytes."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(50_000_000))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    place = data.rindex(b"a.png") - 46 + 24
    data[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    tracemalloc.start()
    assert "CRC" in contents(tmp_path / "a.zip")["a.png"]
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_bombs(tmp_path, monkeypatch):
    """Red if an archive is opened whatever it unpacks to. In a tar.gz the first header must be enough."""
    monkeypatch.setattr(archives, "MAX_BYTES_AT_ANY_RATIO", 2**20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(20):
            archive.writestr(f"{number}.png", bytes(100_000))
    write_tar(tmp_path / "a.tgz", [("a.png", bytes(2_000_000))])
    info = tarfile.TarInfo("a.png")
    info.size = 2**40
    (tmp_path / "b.tgz").write_bytes(gzip.compress(info.tobuf() + bytes(1024)))
    for name in ("a.zip", "a.tgz", "b.tgz"):
        with pytest.raises(InputError, match="which pictures do not"):
            archives.members(tmp_path / name)
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 1000)
    write_zip(tmp_path / "c.zip", [("a.png", bytes(1001))])
    assert contents(tmp_path / "c.zip") == {"a.png": "it has 1001 bytes, more than 1000"}
    monkeypatch.setattr(archives, "MAX_MEMBERS", 10)
    write_tar(tmp_path / "c.tar", [(f"{number}.png", b"") for number in range(11)])
    with pytest.raises(InputError, match="more than 10 files"):
        archives.members(tmp_path / "c.tar")


@pytest.mark.parametrize("name", ["a.tar", "a.tgz"])
def test_a_name_of_megabytes(tmp_path, name):
    """Red if a header is read whole, as long as it says it is."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**25
    data = info.tobuf(tarfile.GNU_FORMAT) + bytes(2**25 + 2048)
    (tmp_path / name).write_bytes(gzip.compress(data) if name == "a.tgz" else data)
    with pytest.raises(InputError, match="a header of 33554432 bytes"):
        archives.members(tmp_path / name)


def test_less_than_no_bytes(tmp_path, monkeypatch):
    """Red if a negative size is believed: the next member is the same one again, for ever."""
    monkeypatch.setattr(archives, "MAX_MEMBERS", 1000)
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {"size": "-1536"}
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.PAX_FORMAT) + bytes(2048))
    with pytest.raises(InputError, match="a member of -1536 bytes"):
        archives.members(tmp_path / "a.tar")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", b""),
        ("a.zip", b"PK\3\4 no zip"),
        ("a.zip", png(1)),
        ("a.tar", b""),
        ("a.tar", b"no tar" * 1000),
        ("a.tgz", b"no gzip"),
        ("a.tgz", gzip.compress(b"no tar" * 1000, mtime=0)),
    ],
)
def test_no_archives(tmp_path, name, content):
    """Red if an error of zipfile, tarfile or gzip comes through."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} cannot be read as an archive"):
        archives.members(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in ("a.tar", "a.tgz") for damage in ("between", "inside", "header")]
    + [("a.tgz", "packed")],
)
def test_a_tar_cut_short(tmp_path, name, damage):
    """Red if what comes after a cut or a damaged header is silently missing, as tarfile has it."""
    write_tar(tmp_path / "whole.tar", [(f"{number}.png", png(number)) for number in range(4)])
    data = bytearray((tmp_path / "whole.tar").read_bytes())
    third = data.index(b"2.png")
    if damage == "header":
        data[third + 150] ^= 255
    elif damage != "packed":
        data = data[: third if damage == "between" else third + 600]
    packed = gzip.compress(data) if name == "a.tgz" else bytes(data)
    (tmp_path / name).write_bytes(packed[: len(packed) // 2] if damage == "packed" else packed)
    with pytest.raises(InputError, match="cannot be read as an archive"):
        archives.members(tmp_path / name)


def shard(path, numbers, *, sidecar="cls"):
    """A WebDataset shard; pictures take the class of their number's remainder by 3."""
    entries = []
    for number in numbers:
        label = str(number % 3) if sidecar == "cls" else json.dumps({"label": number % 3, "caption": "x"})
        entries += [(f"{number:04d}.jpg.png", png(number)), (f"{number:04d}.{sidecar}", label.encode())]
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_tar(path, entries)


@pytest.mark.parametrize("sidecar", ["cls", "json"])
def test_webdataset(tmp_path, sidecar):
    """Red if a label goes to another sample, a shard is left out, or its side is not that of its name."""
    shard(tmp_path / "data" / "train-000.tar", range(0, 20), sidecar=sidecar)
    shard(tmp_path / "data" / "train-001.tar.gz", range(20, 30), sidecar=sidecar)
    shard(tmp_path / "data" / "test-000.tar", range(30, 40), sidecar=sidecar)
    config = IngestConfig(source="webdataset", size=8, channels=3, holdout=NamedSplit(split="test"))
    made = make(tmp_path / "data", tmp_path / "out", config)
    known = examples.Properties.of(made)
    assert (known.num_train, known.num_holdout, known.class_names) == (30, 10, ["0", "1", "2"])
    train = examples.read(made, "train")
    expected = {picture(number).tobytes(): number % 3 for number in range(40)}
    np.testing.assert_array_equal(train.labels, [expected[image.tobytes()] for image in train.images])


def test_webdataset_without_labels(tmp_path):
    """Red if captions are taken for classes, or a sample without a label gets some."""
    config = IngestConfig(source="webdataset", size=8, channels=3)
    plain = [
        (f"{number}.{end}", png(number) if end == "png" else b'{"caption": "x"}')
        for number in range(40)
        for end in ("png", "json")
    ]
    write_tar(tmp_path / "a.tar", plain)
    assert examples.Properties.of(make(tmp_path / "a.tar", tmp_path / "out", config)).class_names == []
    write_tar(tmp_path / "b.tar", [*plain, ("3.cls", b"7")])
    with pytest.raises(InputError, match=r"of 40 images, 39 files .* have no label"):
        make(tmp_path / "b.tar", tmp_path / "out", config)
    write_tar(tmp_path / "c.tar", [("a.txt", b"")])
    with pytest.raises(InputError, match="holds no images"):
        make(tmp_path / "c.tar", tmp_path / "out", config)
