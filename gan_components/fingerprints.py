"""What decides an artifact's content, and the hash of it.

A fingerprint covers the stage, its configuration, the *content* of its inputs, the seed, the code that
runs and the libraries under it. Paths and times never enter it, so that a cache can move between
machines, and a re-run that yields equal content is still a hit downstream.
"""

import ast
import functools
import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, JsonValue

PACKAGE = "gan_components"
_ROOT = Path(__file__).parent


class Recipe(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Everything that decides the content of one artifact.

    Attributes:
        stage: ``ingest``, ``train``, ``evaluate`` or ``export``.
        config: the stage's resolved configuration section.
        inputs: content digest of each input artifact or source, by name.
        seed: the pipeline's seed.
        code: digest of each source file that the stage can reach, by path below ``gan_components``.
        libraries: version of each third-party distribution that this code imports.
    """

    stage: str
    config: dict[str, JsonValue]
    inputs: dict[str, str]
    seed: int
    code: dict[str, str]
    libraries: dict[str, str]

    @classmethod
    def of(cls, stage: str, room: str, config: BaseModel, inputs: dict[str, str], seed: int) -> "Recipe":
        """The recipe of `stage`, whose code lives in ``gan_components/<room>``."""
        code, libraries = closure(room)
        return cls(
            stage=stage,
            config=config.model_dump(mode="json"),
            inputs=inputs,
            seed=seed,
            code=code,
            libraries=libraries,
        )

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits of the SHA-256 of this recipe."""
        return digest_json(self.model_dump(mode="json"))[:32]

    def differences(self, other: "Recipe") -> list[str]:
        """Why this recipe is not `other`, in words, such as ``train.batch_size 64 → 128``."""
        reasons = [
            f"{self.stage}.{key} {old} → {new}"
            for key, old, new in _changes(flat(other.config), flat(self.config))
        ]
        if other.seed != self.seed:
            reasons.append(f"seed {other.seed} → {self.seed}")
        reasons += [f"input changed: {name}" for name, _, _ in _changes(other.inputs, self.inputs)]
        reasons += [f"code changed: {PACKAGE}/{path}" for path, _, _ in _changes(other.code, self.code)]
        reasons += [f"{name} {old} → {new}" for name, old, new in _changes(other.libraries, self.libraries)]
        return reasons


def digest_json(value: JsonValue) -> str:
    """SHA-256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def closure(room: str) -> tuple[dict[str, str], dict[str, str]]:
    """The code that a room can reach, and the libraries which that code imports.

    Follows the import statements of every module in ``gan_components/<room>``, inside the package, without
    running any of it. Files beside the modules (templates) count with their bytes. Comments and docstrings do
    not count.

    Returns:
        ``({path: digest}, {distribution: version})``.
    """
    code: dict[str, str] = {}
    third_party: set[str] = set()
    waiting = sorted(path for path in (_ROOT / room).rglob("*") if path.is_file())
    while waiting:
        path = waiting.pop()
        name = path.relative_to(_ROOT).as_posix()
        if name in code or "__pycache__" in name:
            continue
        if path.suffix != ".py":
            code[name] = digest_file(path)
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for module in _imports(tree):
            if module.split(".")[0] == PACKAGE:
                waiting += _files(module)
            else:
                third_party.add(module)
        code[name] = hashlib.sha256(ast.dump(_without_docstrings(tree)).encode()).hexdigest()
    return dict(sorted(code.items())), _versions(third_party)


def _imports(tree: ast.Module) -> Iterator[str]:
    """Dotted names that a module imports; of ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError("relative imports are not followed by fingerprints; import absolutely")
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(module: str) -> list[Path]:
    """Source files that importing a module of this package runs: its packages' ``__init__`` and itself."""
    found, folder = [], _ROOT
    for part in module.split(".")[1:]:
        found.append(folder / "__init__.py")
        if (folder / f"{part}.py").is_file():
            found.append(folder / f"{part}.py")
            break
        folder = folder / part
    found.append(folder / "__init__.py")
    return [path for path in found if path.is_file()]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return tree


def _versions(modules: set[str]) -> dict[str, str]:
    names = {name for module in modules if (name := _distribution(module))}
    return {name: importlib.metadata.version(name) for name in sorted(names)}


def _distribution(module: str) -> str | None:
    """What a module was installed with; of several that share its package, the one that holds the module's file.

    Others that come into the package (``google`` is protobuf's, and that of all Google's clients) change nothing.
    """
    package = module.split(".")[0]
    names = [] if package in sys.stdlib_module_names else _distributions().get(package, [])
    if len(names) < 2:
        return names[0] if names else None
    path = module.replace(".", "/")
    return next((name for name in names if {f"{path}.py", f"{path}/__init__.py"} & _installed_files(name)), None)


@functools.cache
def _installed_files(distribution: str) -> frozenset[str]:
    return frozenset(map(str, importlib.metadata.files(distribution) or []))


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {k: sorted(v) for k, v in importlib.metadata.packages_distributions().items()}


def flat(tree: dict[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """A tree of sections as one level of dotted keys."""
    rows: dict[str, JsonValue] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            rows |= flat(value, f"{prefix}{key}.")
        else:
            rows[prefix + key] = value
    return rows


def _changes(old: dict, new: dict) -> Iterator[tuple[str, JsonValue, JsonValue]]:
    for key in sorted(old.keys() | new.keys()):
        if old.get(key) != new.get(key):
            yield key, old.get(key), new.get(key)
