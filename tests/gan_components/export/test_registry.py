"""The registry: versions found again, aliases moved in order, a model that loads without this package."""

import base64
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import mlflow
import numpy as np
import pytest
import tensorflow as tf
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

from gan_components.export import registry
from gan_components.export.errors import RegistryError
from gan_components.generators import Generator
from tests.ports import free_ports


def tags(fingerprint: str) -> dict[str, str]:
    return {"fingerprint": fingerprint, "generator_digest": f"of {fingerprint}", "serving_version": "1"}


def aliases(destination) -> dict[str, str]:
    client = registry.connect(destination.tracking_uri)
    return {k: str(v) for k, v in client.get_registered_model(destination.model_name).aliases.items()}


def test_absent_is_what_the_registry_says(destination, generator):
    """Red if any MLflow error counts as "no champion": the gate would take the first-model way."""
    uri, name = destination.tracking_uri, destination.model_name
    assert registry.champion(uri, name) is None
    registry.register(destination, generator, tags=tags("f1"), metrics={})
    assert registry.champion(uri, name) is None
    assert registry.by_number(uri, name, "7") is None
    began = time.monotonic()
    with pytest.raises(RegistryError, match="run the same command again") as caught:
        registry.champion("http://user:secret@127.0.0.1:9", name)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - began < 30  # MLflow's own defaults keep retrying for minutes


def test_a_version_that_vanished_is_an_error(destination, generator, monkeypatch):
    """Red if it counts as "no champion": a first model passes a gate that this one has not passed."""
    uri, name = destination.tracking_uri, destination.model_name
    registry.register(destination, generator, tags=tags("f1"), metrics={})
    registry.promote(uri, name, "1", evidence={})

    def vanished(*_):
        raise mlflow.exceptions.MlflowException("Version 1 not found", error_code=RESOURCE_DOES_NOT_EXIST)

    monkeypatch.setattr(mlflow.MlflowClient, "get_model_version", vanished)
    for ask in (lambda: registry.champion(uri, name), lambda: registry.aliased(uri, name)):
        with pytest.raises(RegistryError, match="Version 1 not found"):
            ask()
    assert registry.by_number(uri, name, "1") is None


def test_a_fingerprint_is_registered_once_with_its_metrics(destination, generator):
    """Red if `register` does not search for the fingerprint, or metrics are logged to the run alone."""
    first = registry.register(destination, generator, tags=tags("f1"), metrics={"fd_pixels": 2.5})
    again = registry.register(destination, generator, tags=tags("f1"), metrics={"fd_pixels": 2.5})
    other = registry.register(destination, generator, tags=tags("f2"), metrics={})
    assert (first.version, again.version, other.version) == ("1", "1", "2")
    assert (first.fingerprint, first.generator_digest, first.serving_version) == ("f1", "of f1", 1)
    client = registry.connect(destination.tracking_uri)
    logged = client.get_logged_model(first.tags["model_id"])
    assert [(metric.key, metric.value) for metric in logged.metrics] == [("fd_pixels", 2.5)]
    run = client.get_run(client.get_model_version(destination.model_name, "1").run_id)
    assert run.info.status == "FINISHED"
    assert [output.model_id for output in run.outputs.model_outputs] == [logged.model_id]


def test_aliases_move_in_order(destination, generator, monkeypatch):
    """Red if the champion moves before `previous` is set, or `previous` is set to the champion on a retry."""
    uri, name = destination.tracking_uri, destination.model_name
    for fingerprint in ("f1", "f2"):
        registry.register(destination, generator, tags=tags(fingerprint), metrics={})
    registry.promote(uri, name, "1", evidence={"why": "first"})
    assert aliases(destination) == {"candidate": "1", "champion": "1"}
    calls = []
    for method in ("set_registered_model_alias", "set_model_version_tag"):
        original = getattr(mlflow.MlflowClient, method)

        def spy(self, *arguments, original=original):
            calls.append(arguments[1:])
            return original(self, *arguments)

        monkeypatch.setattr(mlflow.MlflowClient, method, spy)
    for _ in range(2):
        registry.promote(uri, name, "2", evidence={"why": "better"})
    assert aliases(destination) == {"candidate": "2", "champion": "2", "previous": "1"}
    assert calls[:4] == [("2", "why", "better"), ("candidate", "2"), ("previous", "1"), ("champion", "2")]


@pytest.fixture(scope="module")
def loaded(root, generator):
    from gan_components.export.destination import Destination

    uri = f"sqlite:///{root / 'mlflow.db'}"
    destination = Destination("digits", root / "serving", root, uri)
    version = registry.register(destination, generator, tags=tags("f1"), metrics={})
    registry.promote(uri, "digits", version.version, evidence={})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        return mlflow.pyfunc.load_model("models:/digits@champion")


def test_pyfunc_draws_the_generators_images(loaded, generator):
    """Red if labels are not passed on, or the seeds of a later batch restart."""
    trained = Generator.load(generator)
    seeds = np.arange(300)
    np.testing.assert_array_equal(loaded.predict(seeds), trained.images(seeds))
    np.testing.assert_array_equal(loaded.predict([5, 7]), trained.images([5, 7]))
    np.testing.assert_array_equal(loaded.predict({"seed": np.array([5, 7], np.int32)}), trained.images([5, 7]))
    given = loaded.predict([5, 7], params={"labels": [2, 1]})
    np.testing.assert_array_equal(given, trained.images([5, 7], [2, 1]))
    assert loaded.predict([]).shape == (0, 8, 8, 3)


def test_pyfunc_gives_png(loaded):
    """Red if `format` is ignored."""
    pictures = loaded.predict([5, 7], params={"format": "png"})
    decoded = [tf.io.decode_png(picture).numpy() for picture in pictures]
    np.testing.assert_array_equal(decoded, loaded.predict([5, 7]))


@pytest.mark.parametrize(
    ("given", "params", "reason"),
    [
        ({"seed": [1], "label": [2]}, {}, r"takes the one input 'seed', got \['seed', 'label'\]"),
        ({"seeds": [1]}, {}, r"takes the one input 'seed', got \['seeds'\]"),
        ([0.5], {}, "seeds must be integers"),
        ([1, 2], {"labels": [1]}, "one label a seed"),
        ([1], {"format": "gif"}, r"format must be one of \['array', 'png'\]"),
    ],
)
def test_pyfunc_refuses_what_it_does_not_know(loaded, given, params, reason):
    """Red without the mark in `_signature`: MLflow drops unknown inputs, and the images are silently others."""
    with pytest.raises(mlflow.exceptions.MlflowException, match=reason):
        loaded.predict(given, params=params)


def test_pyfunc_says_what_it_takes(loaded):
    """Red if the schema is left out: clients read it."""
    schema = loaded.metadata.get_input_schema().to_dict()
    assert schema == [
        {"name": "seed", "type": "tensor", "tensor-spec": {"dtype": "int64", "shape": (-1,)}},
    ]
    assert [param.name for param in loaded.metadata.get_params_schema()] == ["labels", "format"]


@pytest.mark.slow
def test_the_registered_model_needs_no_code_of_ours(loaded, root, tmp_path):
    """Red if `pyfunc_model.py` imports this package."""
    code = (
        "import sys, json\n"
        "sys.modules['gan_components'] = sys.modules['pipelines'] = None\n"
        "import mlflow, numpy as np\n"
        "images = mlflow.pyfunc.load_model('models:/digits@champion').predict(np.arange(4))\n"
        "print(json.dumps([str(images.dtype), images.tolist()]))"
    )
    environment = {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}", "MLFLOW_DISABLE_TELEMETRY": "true"}
    child = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    dtype, images = json.loads(child.stdout)
    assert dtype == "uint8"
    np.testing.assert_array_equal(images, loaded.predict(np.arange(4)))


@pytest.mark.slow
def test_several_processes_may_open_a_fresh_database(tmp_path):
    """Red without the lock in `connect`: they create the same tables, and all but one fail."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gan_components.export import registry\n"
        f"here = Path({str(tmp_path)!r})\n"
        "(here / sys.argv[1]).touch()\n"
        "while len(list(here.glob('ready*'))) < 4: pass\n"
        f"assert registry.champion('sqlite:///{tmp_path}/mlflow.db', 'digits') is None\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, f"ready{i}"], stderr=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    errors = [child.communicate(timeout=300)[1] for child in children]
    assert [child.returncode for child in children] == [0] * 4, errors


@pytest.mark.long
def test_mlflow_serves_the_registered_model(loaded, root, tmp_path):
    """Red if the stored model needs this package, or the scoring server cannot read its signature."""
    host, port = "127.0.0.1", str(free_ports(1)[0])
    address = f"{host}:{port}"
    command = [sys.executable, "-P", "-m", "mlflow", "models", "serve", "-m", "models:/digits@champion"]
    # It starts uvicorn by its name, as an activated environment finds it.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [*command, "--env-manager", "local", "--host", host, "--port", port],
            env=os.environ
            | {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}", "PATH": path, "PYTHONPATH": ""},
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it starts a server of its own, which must end with it
        )
    try:
        while not _answers(address):
            assert server.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.5)
        images = _invoke(address, {"inputs": {"seed": [5, 7]}, "params": {"labels": [2, 1]}})
        np.testing.assert_array_equal(images, loaded.predict([5, 7], params={"labels": [2, 1]}))
        pictures = _invoke(address, {"inputs": {"seed": [5, 7]}, "params": {"format": "png"}})
        assert [base64.b64decode(one) for one in pictures] == loaded.predict([5, 7], params={"format": "png"})
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/ping", timeout=10):
            return True
    except OSError:
        return False


def _invoke(address: str, body: dict) -> list:
    request = urllib.request.Request(
        f"http://{address}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 (our own server)
        return json.load(response)["predictions"]
