"""Infra validation passes what a server can serve and refuses, by name, what it cannot."""

import json
import shutil
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from gan_components.errors import ArtifactError
from gan_components.export import infra_validation, serving_child, warmup
from gan_components.export.infra_validation import Record
from gan_components.generators import DESCRIPTION
from tests.gan_components.export import tiny


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return tiny.servable(tmp_path_factory.mktemp("good") / "generator", num_classes=3)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return tiny.servable(tmp_path_factory.mktemp("pairs") / "generator", num_domains=2)


def validate(saved_model: Path, trained: Path | None = None, *, timeout_seconds: float = 120.0) -> Record:
    return infra_validation.validate(saved_model, trained or saved_model, seed=0, timeout_seconds=timeout_seconds)


def failed(record: Record) -> set[str]:
    return {check.name for check in record.checks if not check.passed}


def copy(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "copy"))


def test_conditional_passes_every_check(good):
    """Red if the child reads PNG strings up to their first zero byte, or feeds inputs in another order."""
    record = validate(good)
    assert record.passed, record.failures
    assert [check.name for check in record.checks] == [
        "graph", "signatures", "answers", "images", "png", "batch", "trained_model", "latents", "warm-up",
    ]  # fmt: skip
    assert all(check.reason for check in record.checks)
    assert "second" not in record.model_dump_json()


def test_unconditional_passes(tmp_path):
    """Red if a label is sent to a generator that takes none."""
    record = validate(tiny.servable(tmp_path / "generator"))
    assert record.passed, record.failures


def test_pairs_pass(pairs):
    """Red if a second domain's outputs are unknown to a check."""
    record = validate(pairs)
    assert record.passed, record.failures


def test_another_second_domain_than_the_trained_one_is_refused(pairs, tmp_path):
    """Red if only the first domain is compared with the trained generator."""

    def other_second(images: tf.Tensor) -> tf.Tensor:
        return tf.concat([images[..., :3], -images[..., 3:]], axis=-1)

    other = tiny.save(tmp_path / "other", num_domains=2, tail=other_second)
    assert failed(validate(pairs, other)) == {"trained_model"}


def test_a_missing_second_domain_is_refused(good, tmp_path):
    """Red if it is enough that one of a signature's outputs is there."""
    broken = copy(good, tmp_path)
    description = broken / "assets.extra" / "generator.json"
    description.write_text(description.read_text().replace('"num_domains": 1', '"num_domains": 2'))
    record = validate(broken, good)
    assert failed(record) == {"signatures"}
    assert "gives ['images'], expected ['images', 'images2']" in record.failures


def test_truncation_and_styles_pass(tmp_path):
    """Red if `truncated` is not asked at 1, `mixed` not past the last layer, or one is left out of the warm-up."""
    model = tiny.servable(tmp_path / "generator", num_classes=3, styled=True)
    record = validate(model)
    assert record.passed, record.failures
    assert {"truncation", "mixing"} <= {check.name for check in record.checks}
    asked = [request.model_spec.signature_name for request in warmup.read(model)]
    assert asked.count("truncated") == asked.count("mixed") == 2


def test_signatures_that_are_not_described_are_asked_and_compared_with_nothing(tmp_path):
    """Red if what `mixed` draws of example inputs is taken for what `images` draws of the golden seeds."""
    saved_model = tiny.servable(tmp_path / "generator", styled=True)
    described = json.loads((saved_model / DESCRIPTION).read_text())
    (saved_model / DESCRIPTION).write_text(json.dumps(described | {"truncation": False, "num_style_layers": 0}))
    record = validate(saved_model)
    assert failed(record) == set()
    assert not {"truncation", "mixing"} & {check.name for check in record.checks}


def test_truncation_that_changes_images_at_1_is_refused(tmp_path, monkeypatch):
    """Red if `truncated(seed, 1)` is not compared with `images(seed)`."""
    call = tiny.Styled.call

    def shifted(self, inputs, training=False):
        return call(
            self, {name: rows + 1.0 if name == "truncation" else rows for name, rows in inputs.items()}, training
        )

    monkeypatch.setattr(tiny.Styled, "call", shifted)
    assert failed(validate(tiny.servable(tmp_path / "generator", styled=True))) == {"truncation"}


def test_a_style_that_is_mixed_in_too_early_is_refused(tmp_path, monkeypatch):
    """Red if `mixed(seed, another, past the last layer)` is not compared with `images(seed)`."""
    monkeypatch.setattr(tiny, "STYLE_LAYERS", 1)
    assert failed(validate(tiny.servable(tmp_path / "generator", styled=True))) == {"mixing"}


def test_missing_variables_load_but_do_not_answer(good, tmp_path):
    """Red if only loading is tried."""
    broken = copy(good, tmp_path)
    shutil.rmtree(broken / "variables")
    record = validate(broken, good)
    assert failed(record) == {"answers"}
    assert "Could not find variable" in record.failures


@pytest.mark.parametrize("size", [0, 1000])
def test_truncated_graph_is_refused(good, tmp_path, size):
    """Red if an unreadable graph raises instead of failing its check."""
    broken = copy(good, tmp_path)
    graph = broken / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:size])
    assert failed(validate(broken, good)) == {"graph"}


def test_python_inside_is_refused_twice(tmp_path):
    """Red if the scan skips the function library, or the child has Python's operations."""

    def through_numpy(images: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda rows: rows, [images], tf.float32)

    record = validate(tiny.servable(tmp_path / "generator", tail=through_numpy))
    assert failed(record) == {"graph", "answers"}
    assert "it calls Python" in record.failures
    assert "No OpKernel was registered" in record.failures


def test_insisting_on_xla_is_refused(tmp_path):
    """Red if `_XlaMustCompile` is not looked for: the wheel has XLA, a server has it switched off."""
    record = validate(tiny.servable(tmp_path / "generator", tail=tf.function(tf.identity, jit_compile=True)))
    assert "graph" in failed(record)
    assert "must be compiled by XLA" in record.failures


def test_images_that_depend_on_their_batch_are_refused(tmp_path):
    """Red if batch sizes are not compared."""
    record = validate(
        tiny.servable(tmp_path / "generator", tail=lambda x: x - tf.reduce_mean(x, axis=0, keepdims=True))
    )
    assert "batch" in failed(record)


def test_a_seed_that_gives_another_image_each_time_is_refused(tmp_path):
    """Red if `from_latents(latents(seed))` is not compared with `images(seed)`."""
    record = validate(
        tiny.servable(tmp_path / "generator", tail=lambda x: x + tf.random.normal(tf.shape(x), stddev=0.5))
    )
    assert failed(record) >= {"batch", "latents"}


def test_another_generator_than_the_trained_one_is_refused(good, tmp_path):
    """Red if the served images are compared with themselves."""
    other = tiny.save(tmp_path / "other", num_classes=3, seed=1)
    assert failed(validate(good, other)) == {"trained_model"}


def test_other_pixels_in_the_png_are_refused(tmp_path, monkeypatch):
    """Red if PNG pictures are not decoded."""
    encode = tf.io.encode_png
    monkeypatch.setattr(tf.io, "encode_png", lambda image: encode(255 - image))
    assert failed(validate(tiny.servable(tmp_path / "generator"))) == {"png"}


def test_signatures_must_be_what_the_description_says(good, tmp_path):
    """Red if signatures are only listed, not compared with the description."""
    broken = copy(good, tmp_path)
    description = broken / "assets.extra" / "generator.json"
    description.write_text(description.read_text().replace('"0",', "").replace('"1",', "").replace('"2"', ""))
    record = validate(broken, good)
    assert failed(record) == {"signatures"}
    assert "takes ['label', 'seed'], expected ['seed']" in record.failures


def record_of(signature: str, key: str, value: list, dtype: tf.DType) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = signature
    request.inputs[key].CopyFrom(tf.make_tensor_proto(value, dtype=dtype))
    return log_of(request)


def log_of(request: predict_pb2.PredictRequest) -> bytes:
    log = prediction_log_pb2.PredictLog(request=request)
    return prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString()


def write_records(saved_model: Path, records: list[bytes]) -> None:
    with tf.io.TFRecordWriter(str(saved_model / warmup.REQUESTS)) as writer:
        for record in records:
            writer.write(record)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (record_of("nonsense", "seed", [1], tf.int64), "unknown signature 'nonsense'"),
        (record_of("latents", "seed", [1.0], tf.float32), "which takes {'seed': 'int64'}"),
        (record_of("latents", "seed", [[1]], tf.int64), "record 0 (latents) makes the server refuse"),
    ],
    ids=["signature", "type", "fails when run"],
)
def test_a_wrong_warmup_record_is_refused(good, tmp_path, record, reason):
    """Red if the warm-up file is parsed but not replayed, or replayed without its names and types."""
    broken = copy(good, tmp_path)
    write_records(broken, [record])
    result = validate(broken, good)
    assert failed(result) == {"warm-up"}
    assert reason in result.failures


def test_warmup_files_that_a_server_cannot_read(good, tmp_path):
    """Red if the limit of 1000 records or the kind of log is not checked."""
    broken = copy(good, tmp_path)
    one = record_of("latents", "seed", [1], tf.int64)
    write_records(broken, [one] * 1000)
    assert len(warmup.read(broken)) == 1000
    write_records(broken, [one] * 1001)
    with pytest.raises(ArtifactError, match="more than 1000 records"):
        warmup.read(broken)
    session_run = prediction_log_pb2.PredictionLog(session_run_log=prediction_log_pb2.SessionRunLog())
    write_records(broken, [session_run.SerializeToString()])
    with pytest.raises(ArtifactError, match="session_run_log, not a predict_log"):
        warmup.read(broken)
    path = broken / warmup.REQUESTS
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="damaged"):
        warmup.read(broken)


def test_warmup_asks_every_signature_at_every_size(good):
    """Red if a signature or a batch size is left out."""
    asked = [
        (request.model_spec.signature_name, next(iter(request.inputs.values())).tensor_shape.dim[0].size)
        for request in warmup.read(good)
    ]
    signatures = ["from_latents", "images", "latents", "serving_default"]
    assert sorted(asked) == [(name, rows) for name in signatures for rows in (1, 8)]


CRASH = """
import os, signal
assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_crash_and_a_hang_are_failures(good, tmp_path, monkeypatch):
    """Red if the child's exit code is ignored, it is given a GPU, or it may run for ever."""
    script = tmp_path / "crash.py"
    script.write_text(CRASH)
    monkeypatch.setattr(serving_child, "__file__", str(script))
    record = validate(good)
    assert failed(record) == {"answers"}
    assert "killed by SIGSEGV" in record.failures
    script.write_text("import time; time.sleep(60)")
    assert "no answer within 0.5 s" in validate(good, timeout_seconds=0.5).failures
