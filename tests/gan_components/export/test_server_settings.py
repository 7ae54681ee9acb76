"""The files a server is started with: as its own protos and YAML read them, and never over a user's."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from gan_components.export import server_settings, serving_directory
from gan_components.export.destination import Destination

INT64, STRING, BOOL, MESSAGE = 3, 9, 8, 11  # FieldDescriptorProto.Type


def message(name: str, **fields: tuple) -> type:
    """A message as TF Serving declares it. Its wheel ships neither session_bundle_config nor monitoring_config.

    Each field is ``(number, type, repeated, type name)``.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package="served", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    declared = file.message_type.add(name=name)
    for field, (number, kind, repeated, type_name) in fields.items():
        declared.field.add(name=field, number=number, type=kind, label=3 if repeated else 1, type_name=type_name)
    if name == "MonitoringConfig":
        nested = declared.nested_type.add(name="PrometheusConfig")
        nested.field.add(name="enable", number=1, type=BOOL, label=1)
        nested.field.add(name="path", number=2, type=STRING, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"served.{name}"))


INT64_VALUE = (MESSAGE, False, ".google.protobuf.Int64Value")
BATCHING = message(
    "BatchingParameters",
    max_batch_size=(1, *INT64_VALUE),
    batch_timeout_micros=(2, *INT64_VALUE),
    max_enqueued_batches=(3, *INT64_VALUE),
    num_batch_threads=(4, *INT64_VALUE),
    allowed_batch_sizes=(6, INT64, True, None),
)
MONITORING = message(
    "MonitoringConfig", prometheus_config=(1, MESSAGE, False, ".served.MonitoringConfig.PrometheusConfig")
)


@pytest.fixture
def place(tmp_path) -> Destination:
    return Destination("digits", tmp_path / "se$rving", tmp_path, "sqlite://")


def read(place: Destination, name: str) -> str:
    return (place.serving_root / name).read_text()


def test_batches_are_those_of_the_warm_up(place):
    """Red if a size is left out, or the largest is not `max_batch_size`: the server would not start."""
    server_settings.write(place, (1, 4, 16))
    batching = text_format.Parse(read(place, "batching.config"), BATCHING())
    assert list(batching.allowed_batch_sizes) == [1, 4, 16]
    assert batching.max_batch_size.value == 16
    assert batching.batch_timeout_micros.value > 0


def test_metrics_are_where_prometheus_looks(place):
    """Red if monitoring is off."""
    server_settings.write(place, (1,))
    monitoring = text_format.Parse(read(place, "monitoring.config"), MONITORING())
    assert monitoring.prometheus_config.enable is True
    assert monitoring.prometheus_config.path == "/monitoring/prometheus/metrics"


@pytest.mark.parametrize("base_path", [None, "/models/digits"])
def test_compose_starts_a_server_that_finds_everything(place, base_path):
    """Red if the mount and the paths of the flags or of models.config do not meet."""
    place = replace(place, base_path=base_path)
    server_settings.write(place, (1, 8))
    serving_directory.write_models_config(place.serving_root, "digits", [1], base_path=base_path)
    (service,) = yaml.safe_load(read(place, "compose.yaml").replace("$$", "$"))["services"].values()
    assert service["image"] == "tensorflow/serving"
    assert {port.split(":")[1] for port in service["ports"]} == {"8500", "8501"}
    (mount,) = service["volumes"]
    assert (mount["source"], mount["read_only"]) == (str(place.serving_root), True)
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in service["command"])
    for name, file in [
        ("model_config_file", "models.config"),
        ("batching_parameters_file", "batching.config"),
        ("monitoring_config_file", "monitoring.config"),
    ]:
        path = Path(flags[name])
        assert path.parent == Path(mount["target"])
        assert path.name == file
        assert (place.serving_root / file).exists()
    assert int(flags["model_config_file_poll_wait_seconds"]) > 0
    assert "enable_batching" in flags
    (entry,) = serving_directory.read_models_config(place.serving_root).model_config_list.config
    assert Path(entry.base_path).parent == Path(mount["target"])


def test_what_nobody_edited_follows_the_settings_and_what_somebody_edited_stays(place):
    """Red if a file is written only once, or written over an edit."""
    server_settings.write(place, (1, 8))
    edited = read(place, "compose.yaml").replace("tensorflow/serving", "registry.local/serving")
    (place.serving_root / "compose.yaml").write_text(edited)
    (place.serving_root / "monitoring.config").write_text("")
    server_settings.write(place, (1, 16))
    assert "allowed_batch_sizes: 16" in read(place, "batching.config")
    assert read(place, "compose.yaml") == edited
    assert read(place, "monitoring.config") == ""
