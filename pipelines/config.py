"""One YAML file is one experiment: a section a stage, strict, frozen, explained when wrong.

Nothing here imports TensorFlow: `--help` and `plan` must answer at once.
"""

import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, Field, JsonValue, ValidationError, field_validator
from pydantic_core import ErrorDetails

from gan_components.errors import ConfigError
from gan_components.evaluation.config import EvaluateConfig
from gan_components.export.config import CANARY, ExportConfig
from gan_components.ingestion.config import IngestConfig
from gan_components.metrics.drift_limits import DriftConfig
from gan_components.training.config import TrainConfig

PRESETS = Path(__file__).parent / "presets"
_MAX_BYTES = 1 << 20


class PipelineConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Everything that changes a pipeline's result or its cost, and nothing else.

    Paths of one machine, devices, credentials and verbosity are flags or environment.
    """

    schema_version: Literal[1] = Field(alias="schema")
    # Also the served model's and the registered model's name: TF Serving and MLflow both accept these letters.
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    seed: int = Field(default=0, ge=0, lt=2**31)
    ingest: IngestConfig
    train: TrainConfig
    evaluate: EvaluateConfig
    export: ExportConfig
    # Read by the chain alone: it changes no artifact, only whether a run goes on.
    drift: DriftConfig = DriftConfig()

    @field_validator("name")
    @classmethod
    def _no_canary(cls, name: str) -> str:
        if name.endswith(CANARY):
            raise ValueError(f"must not end in {CANARY}, under which the candidate of another model is served")
        return name


def presets() -> dict[str, Path]:
    """Name and file of every preset that ships with the package."""
    return {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}


def load(name: str, overrides: Iterable[str] = ()) -> PipelineConfig:
    """Loads a preset or a file, applies overrides, checks every key.

    Args:
        name: a preset's name or a YAML file.
        overrides: ``section.key=value`` texts; the value is read as YAML.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (the nearest known one is named), a wrong type.
    """
    path = presets().get(name, Path(name))
    data = _read(path, name)
    for override in overrides:
        _apply(data, override)
    try:
        # Through JSON: strict validation of Python objects would refuse a YAML list for a tuple.
        return PipelineConfig.model_validate_json(json.dumps(data))
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise ConfigError(f"{path}: " + "; ".join(lines)) from None
    except TypeError as error:
        raise ConfigError(f"{path}: {error} (only text, numbers, booleans, lists and maps)") from None


def dump(config: PipelineConfig) -> str:
    """The resolved configuration as YAML that :func:`load` takes back."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True), sort_keys=False)


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases (they can blow up a small file) and without repeated keys."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        repeated = {key for key in keys if keys.count(key) > 1}
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {min(repeated)!r} stands there twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


def _read(path: Path, name: str) -> dict[str, JsonValue]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{path} is larger than {_MAX_BYTES} bytes; that is no configuration file")
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (FileNotFoundError, NotADirectoryError):
        near = difflib.get_close_matches(name, presets(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"presets: {', '.join(presets())}"
        raise ConfigError(f"{name!r} is neither a preset nor a file; {hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold a map with schema, name, ingest, train, evaluate, export")
    return data


def _apply(data: dict, override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes KEY=VALUE such as train.batch_size=128, got {override!r}")
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None
    *sections, last = key.split(".")
    for section in sections:
        if data.get(section) is None:
            data[section] = {}
        data = data[section]
        if not isinstance(data, dict):
            raise ConfigError(f"--set {override!r}: {section!r} is not a section")
    data[last] = value


def _explain(item: ErrorDetails) -> str:
    where = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, _known_keys(PipelineConfig), n=1, cutoff=0.5)
        return f"unknown key {where!r}" + (f", did you mean {near[0]!r}?" if near else "")
    if item["type"] == "missing":
        return f"key {where!r} is missing"
    got = item["input"]
    return f"{where}: {item['msg']}" + ("" if isinstance(got, dict | list) else f", got {got!r}")


def _known_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        yield key
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _known_keys(field.annotation, f"{key}.")
