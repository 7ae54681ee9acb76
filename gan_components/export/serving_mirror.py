"""The serving root at an address: a mirror of the local one, in an order that stands in for the missing rename.

The local serving root stays the truth; its locks and renames need a file system. TF Serving takes any number
below a model for a version, and can load one as soon as its ``saved_model.pb`` is there. So that file comes last
of a version and goes first, and ``models.config`` comes after the versions that it names. Whatever was
interrupted, the next :func:`update` ends.

One root owns one address: the object ``.owner`` says which. Nothing is written to an address with things of
another owner. After a takeover by hand (the error says how) the versions that stood there stay untouched.
"""

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsspec.spec import AbstractFileSystem
from google.protobuf import text_format
from pydantic import BaseModel

from gan_components import locks, object_store
from gan_components.artifacts import write_atomically
from gan_components.errors import InputError
from gan_components.export import serving_directory
from gan_components.export.destination import Destination
from gan_components.export.errors import MirrorError

_log = logging.getLogger(__name__)

_OWNER = ".owner"
_CLAIMS = ".mirror.json"
_GRAPH = "saved_model.pb"
_VERSION = re.compile(r"([^/.][^/]*/[0-9]+)/.+")


class _Claims(BaseModel):
    """What a root remembers of its addresses.

    Attributes:
        owner: the root's name, which no other has.
        left: by address, the versions ``<model>/<number>`` that stood there before and are another root's.
    """

    owner: str
    left: dict[str, list[str]] = {}


@dataclass(frozen=True)
class _Place:
    """An address, its store, and the local serving root that it mirrors."""

    root: Path
    address: str
    store: AbstractFileSystem
    path: str

    @classmethod
    def at(cls, root: Path, address: str) -> "_Place":
        root.mkdir(parents=True, exist_ok=True)
        return cls(root, address, *object_store.connect(address))

    def sizes(self) -> dict[str, int]:
        """The size of every object there, by its name below the address."""
        # Others write there too: what this process listed before says nothing.
        self.store.invalidate_cache()
        found = self.store.find(self.path, detail=True)
        return {name.removeprefix(f"{self.path}/"): info["size"] for name, info in found.items()}

    def read(self, name: str) -> bytes:
        return self.store.cat_file(f"{self.path}/{name}")

    def write(self, name: str, data: bytes) -> None:
        self.store.pipe_file(f"{self.path}/{name}", data)

    def upload(self, name: str) -> None:
        self.store.put_file(str(self.root / name), f"{self.path}/{name}")

    def remove(self, name: str) -> None:
        self.store.rm_file(f"{self.path}/{name}")


def update(destination: Destination) -> None:
    """Makes the address look like the local serving root; does nothing without an address.

    Versions that are not whole there come first, then the settings, ``models.config`` last of them; then go the
    versions that are gone here. Hidden names, and ``compose.yaml``, which mounts a directory, stay here.

    Raises:
        InputError: the address is none, or belongs to another root.
        MirrorError: the store failed; repeating goes on from there.
    """
    root, address = destination.serving_root, destination.serving_address
    if address is None:
        return
    place = _Place.at(root, address)
    with locks.held(root / ".mirror.lock", f"updating {address}"):
        with _explained(destination, "listing it"):
            there = place.sizes()
            left = _claimed(place, there)
        # One look at both: other models' versions come and go meanwhile.
        with serving_directory.settings_lock(root):
            settings, standing = _settings(place), _standing(root)
        for version in sorted(standing - left):
            with _explained(destination, f"uploading {version}"):
                _upload(place, version, there)
        for name, data in settings.items():
            with _explained(destination, f"writing {name}"):
                if name not in there or place.read(name) != data:
                    place.write(name, data)
        for version in sorted(_versions(there) - standing - left):
            with _explained(destination, f"removing {version}"):
                _remove(place, version, there)


def highest_version(destination: Destination) -> int:
    """The highest version of the model at the address, whoever put it there; 0 without any, or an address.

    Raises:
        MirrorError: the store failed.
    """
    if destination.serving_address is None:
        return 0
    with _explained(destination, "listing it"):
        there = _Place.at(destination.serving_root, destination.serving_address).sizes()
    models = (version.split("/") for version in _versions(there))
    return max((int(number) for name, number in models if name == destination.model_name), default=0)


def try_out(serving_root: Path, address: str) -> None:
    """Lists an address, writes an object there and removes it.

    Raises:
        InputError: the address is none, or belongs to another root.
    """
    place = _Place.at(serving_root, address)
    _require_own(place, place.sizes(), _claims(serving_root))
    place.write(".writable", b"")
    place.remove(".writable")


def _claims(root: Path) -> _Claims:
    """What the root remembers. Its name is written down before anybody is told of it."""
    path = root / _CLAIMS
    if not path.exists():
        write_atomically(path, _Claims(owner=uuid.uuid4().hex).model_dump_json().encode())
    return _Claims.model_validate_json(path.read_bytes())


def _require_own(place: _Place, there: dict[str, int], claims: _Claims) -> None:
    if not there:
        return
    owner = place.read(_OWNER).decode().strip() if _OWNER in there else None
    if owner != claims.owner:
        whose = f"belongs to the root {owner}" if owner else f"holds things ({min(there)}) and belongs to nobody"
        raise InputError(
            f"{place.address} {whose}, not to {place.root}, and one root owns one address. Choose an empty one, "
            f"or if nobody else writes there any more, take it over by writing {claims.owner} into "
            f"{place.address}/{_OWNER}: what stands there then stays, but models.config becomes this root's"
        )


def _claimed(place: _Place, there: dict[str, int]) -> set[str]:
    """Makes the address this root's if it is nobody's; the versions there that are not this root's."""
    claims = _claims(place.root)
    _require_own(place, there, claims)
    if place.address not in claims.left:
        found, standing = _versions(there), _standing(place.root)
        for version in sorted(found & standing):
            push = f"{version}/{serving_directory.PUSH.as_posix()}"
            if push not in there or place.read(push) != (place.root / push).read_bytes():
                raise InputError(
                    f"{place.address}/{version} is another generator than {place.root / version}; choose another "
                    "address, or remove one of the two"
                )
        claims.left[place.address] = sorted(found - standing)
        write_atomically(place.root / _CLAIMS, claims.model_dump_json().encode())
    if _OWNER not in there:
        place.write(_OWNER, claims.owner.encode())
    return set(claims.left[place.address])


def _versions(there: dict[str, int]) -> set[str]:
    """What a server would take for a version, as ``<model>/<number>``, whole or not."""
    return {match[1] for name in there if (match := _VERSION.fullmatch(name))}


def _standing(root: Path) -> set[str]:
    models = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return {f"{path.name}/{number}" for path in models for number in serving_directory.versions(path)}


def _settings(place: _Place) -> dict[str, bytes]:
    """The files that a server is started with, ``models.config`` last, with the paths as they are there."""
    paths = [path for path in sorted(place.root.glob("*.config")) if not path.name.startswith(".")]
    settings = {path.name: path.read_bytes() for path in paths}
    if settings.pop(serving_directory.MODELS_CONFIG, None) is not None:
        settings[serving_directory.MODELS_CONFIG] = _models_config(place)
    return settings


def _models_config(place: _Place) -> bytes:
    """Names the models' directories at the address; here they stay paths, which retention and `gc` follow."""
    config = serving_directory.read_models_config(place.root)
    for entry in config.model_config_list.config:
        path = Path(entry.base_path)
        if path.is_relative_to(place.root.absolute()):
            entry.base_path = f"{place.address}/{path.relative_to(place.root.absolute()).as_posix()}"
    return text_format.MessageToString(config).encode()


def _upload(place: _Place, version: str, there: dict[str, int]) -> None:
    directory, graph = place.root / version, f"{version}/{_GRAPH}"
    try:
        files = {
            path.relative_to(place.root).as_posix(): path.stat().st_size
            for path in directory.rglob("*")
            if path.is_file()
        }
        missing = {name for name, size in files.items() if there.get(name) != size}
        if not missing:
            return
        if graph in there:
            # Somebody took other files away. Until they are back, no server must try to load it.
            place.remove(graph)
        for name in sorted(missing - {graph}):
            place.upload(name)
        place.upload(graph)
    except FileNotFoundError:
        # Retired by another run meanwhile, which will also remove what is there of it.
        if directory.exists():
            raise
    else:
        _log.info("uploaded %s/%s", place.address, version)


def _remove(place: _Place, version: str, there: dict[str, int]) -> None:
    names = [name for name in there if name.startswith(f"{version}/")]
    for name in sorted(names, key=lambda name: name != f"{version}/{_GRAPH}"):
        place.remove(name)
    _log.info("removed %s/%s", place.address, version)


@contextmanager
def _explained(destination: Destination, step: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # each store's library has errors of its own, of no common class
        root, address = destination.root, destination.serving_address
        again = f"gan-pipelines promote {destination.model_name} champion --root {root} --serving-root {address}"
        raise MirrorError(
            f"{address} is not up to date; what failed is {step}: {type(error).__name__}: {error}. "
            f"{destination.serving_root} is whole; when the store is well, repeat only this with `{again}`, or "
            "leave it to the next run"
        ) from error
