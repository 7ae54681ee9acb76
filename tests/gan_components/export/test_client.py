"""A generator answers alike in this process, from the registry, and over REST and gRPC.

The server is `model_server.py`: written for these tests, on the official protos and the C API; not TF Serving.
"""

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from gan_components.errors import InputError
from gan_components.export import client, registry, samples
from gan_components.export.errors import ServerError
from gan_components.export.serving_address import Address
from gan_components.generators import Generator
from tests.gan_components.export import tiny
from tests.gan_components.export.model_server import ModelServer

KINDS = ("rest", "grpc")
SEEDS = np.array([0, 5, 2**63 - 1])


@pytest.fixture(scope="module")
def server(generator):
    server = ModelServer(generator).start()
    yield server
    server.stop()


@pytest.fixture
def fresh(server) -> ModelServer:
    """The server with nothing asked, and quick again afterwards."""
    server.asked.clear()
    server.num_requests = 0
    yield server
    server.num_busy, server.pause_seconds = 0, 0.0


@pytest.fixture(scope="module")
def styled(tmp_path_factory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("styled") / "generator", num_classes=3, styled=True)


def answers(model: str, **options) -> dict[str, np.ndarray]:
    """Everything that a conditional generator answers for three seeds."""
    labels = np.array([2, 0, -1])
    with client.connect(model, **options) as source:
        png = source.predict("serving_default", {"seed": SEEDS, "label": labels})
        latents = source.predict("latents", {"seed": SEEDS})["latents"]
        drawn = source.predict("from_latents", {"latents": latents, "label": np.array([2, 0, 1])})
        return {**png, "latents": latents, **drawn, "decoded": samples.draw(source, SEEDS, labels)}


def test_every_kind_of_model_answers_to_the_bit(server, generator, destination):
    """Red if seeds pass a float on their way, latents lose digits, or an output is taken for another."""
    expected = answers(str(generator))
    trained = Generator.load(generator)
    np.testing.assert_array_equal(expected["decoded"], trained.images(SEEDS, [2, 0, -1]))
    assert expected["image_bytes"][0].startswith(b"\x89PNG")
    tags = {"fingerprint": "f", "generator_digest": "d", "serving_version": "1"}
    registry.register(destination, generator, tags=tags, metrics={})
    registry.set_candidate(destination.tracking_uri, destination.model_name, "1")
    registered = f"models:/{destination.model_name}"
    for model in (*server.addresses.values(), f"{registered}@candidate", f"{registered}/1"):
        got = answers(model, tracking_uri=destination.tracking_uri)
        assert got.keys() == expected.keys()
        for name, value in expected.items():
            assert got[name].dtype == value.dtype, (model, name)
            np.testing.assert_array_equal(got[name], value, err_msg=f"{model} {name}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_is_asked_for_by_number_or_label(server, kind):
    """Red if number or label do not reach the server: it would answer with the latest."""
    address = server.addresses[kind]
    for chosen in ("", "/versions/3", "/labels/stable"):
        with client.connect(f"{address}{chosen}") as source:
            assert source.takes("serving_default", "label")
    for chosen, reason in {
        "/versions/4": "has not loaded version 4 of 'tiny': 3 is AVAILABLE, 4 is LOADING",
        "/labels/canary": "Unrecognized servable version label: canary",
    }.items():
        with pytest.raises(InputError, match=reason), client.connect(f"{address}{chosen}"):
            pass
    with (
        pytest.raises(InputError, match="knows no model 'tinny'"),
        client.connect(address.replace("tiny", "tinny")),
    ):
        pass


def test_addresses():
    """Red if TF Serving's own path cannot be pasted, or a text that is no address is asked."""
    assert Address.parse("http://h:1/v1/models/digits/versions/7") == Address("http", "h:1", "digits", version=7)
    assert str(Address.parse("grpcs://h:1/digits/labels/stable/")) == "grpcs://h:1/digits/labels/stable"
    for text in (
        "http://h:1",
        "http://h:1/a/b",
        "http://h:1/digits:predict",
        "http://h:1/digits?x=1",
        "ftp://h/d",
    ):
        with pytest.raises(InputError, match="expected http://HOST:8501/NAME"):
            Address.parse(text)
    with pytest.raises(InputError, match="user and password") as caught:
        Address.parse("http://me:secret@h:1/digits")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_go_in_several_requests(fresh, generator, monkeypatch, kind):
    """Red if a request holds more rows than a server's batches, more bytes than a message, or rows get lost."""
    seeds = np.arange(70)
    expected = Generator.load(generator).images(seeds)
    with client.connect(fresh.addresses[kind]) as source:
        np.testing.assert_array_equal(samples.draw(source, seeds), expected)
        assert [rows for _, rows in fresh.asked] == [32, 32, 6]
        fresh.asked.clear()
        monkeypatch.setattr(client, "_MAX_BYTES", 20 * 8 * 8 * 3)
        np.testing.assert_array_equal(samples.draw(source, seeds), expected)
        assert [rows for _, rows in fresh.asked] == [20, 20, 20, 10]


@pytest.mark.parametrize("kind", KINDS)
def test_a_busy_server_is_asked_again_a_refusing_one_is_not(fresh, kind):
    """Red if nothing is tried again, or without end, or what can never help is."""
    fresh.num_busy = 2
    with client.connect(fresh.addresses[kind], num_retries=2) as source:
        fresh.num_requests = 0
        with pytest.raises(InputError, match=r"indices\[0\] = 12 is not in \[0, 3\)"):
            source.predict("serving_default", {"seed": SEEDS[:1], "label": np.array([12])})
        assert fresh.num_requests == 1
        fresh.num_busy, fresh.num_requests = 5, 0
        with pytest.raises(ServerError, match=r"queue is full.* try 3, the last one"):
            samples.draw(source, SEEDS)
        assert fresh.num_requests == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_starts_late_is_waited_for(generator, kind):
    """Red if a refused connection is final."""
    late = ModelServer(generator)
    with (
        pytest.raises(ServerError, match="try 1, the last one"),
        client.connect(late.addresses[kind], num_retries=0),
    ):
        pass
    timer = threading.Timer(1.0, late.start)
    timer.start()
    try:
        with client.connect(late.addresses[kind]) as source:
            assert samples.draw(source, SEEDS).shape == (3, 8, 8, 3)
    finally:
        timer.join()
        late.stop()


@pytest.mark.parametrize(("kind", "reason"), [("rest", "no answer in time"), ("grpc", "DEADLINE_EXCEEDED")])
def test_a_slow_server_is_given_up(fresh, kind, reason):
    """Red if requests wait without end."""
    fresh.pause_seconds = 3.0
    began = time.monotonic()
    with (
        pytest.raises(ServerError, match=reason),
        client.connect(fresh.addresses[kind], timeout_seconds=0.2, num_retries=1),
    ):
        pass
    assert time.monotonic() - began < 2.5  # two tries of 0.2 s, a pause of 0.5 s, and a busy machine


def test_what_is_no_model_server_is_said(tmp_path):
    """Red if another server's page is shown as a traceback."""
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{other.server_port}/digits"
        with pytest.raises(InputError, match="knows no model"), client.connect(f"http://{address}"):
            pass
        with pytest.raises(ServerError, match="UNAVAILABLE"), client.connect(f"grpc://{address}", num_retries=0):
            pass
        other.shutdown()
    with pytest.raises(InputError, match="is no generator's SavedModel"), client.connect(str(tmp_path)):
        pass
    with pytest.raises(InputError, match="is no address of a served model"), client.connect("s3://bucket/digits"):
        pass


def test_wrong_requests_are_refused_before_they_are_sent(fresh, generator, tmp_path):
    """Red if labels are dropped for a generator without classes, or a server is left to find the fault."""
    with client.connect(str(tiny.save(tmp_path / "plain"))) as plain:
        assert samples.draw(plain, SEEDS).shape == (3, 8, 8, 3)
        with pytest.raises(InputError, match="trained without labels"):
            samples.draw(plain, SEEDS, np.array([1, 1, 1]))
    with client.connect(str(generator)) as conditional, pytest.raises(InputError, match="label 3 is none"):
        samples.draw(conditional, SEEDS, np.array([1, 2, 3]))
    with client.connect(fresh.addresses["rest"]) as source:
        for signature, inputs, reason in (
            ("nonsense", {"seed": SEEDS}, "does not serve 'nonsense'; it serves from_latents, images"),
            ("images", {"seed": SEEDS}, r"takes \['label', 'seed'\], got \['seed'\]"),
            ("latents", {"seed": SEEDS[:, None]}, r"'seed' as int64 \[N\], .* got int64 \[3, 1\]"),
            ("latents", {"seed": SEEDS / 2}, r"'seed' as int64 \[N\], .* got float64 \[3\]"),
            ("latents", {"seed": SEEDS[:0]}, r"'seed' as int64 \[N\], .* got int64 \[0\]"),
            ("images", {"seed": SEEDS, "label": SEEDS[:1]}, "as many rows of each input"),
        ):
            with pytest.raises(InputError, match=reason):
                source.predict(signature, inputs)
        with pytest.raises(InputError, match="no truncation"):
            samples.draw_truncated(source, SEEDS, np.ones(3, np.float32))
        with pytest.raises(InputError, match="mixes no styles"):
            samples.draw_mixed(source, SEEDS, SEEDS, SEEDS)
        with pytest.raises(InputError, match="give --labels"):
            next(samples.walk(source, SEEDS, num_frames=2))
    assert fresh.asked == []


def test_truncation_draws_towards_the_mean(styled):
    """Red if psi is dropped on the way, or not given a row each."""
    labels = np.array([1, 1, 1])
    with client.connect(str(styled)) as source:
        whole = samples.draw(source, SEEDS, labels)
        np.testing.assert_array_equal(samples.draw_truncated(source, SEEDS, np.ones(3, np.float32), labels), whole)
        mixed = samples.draw_truncated(source, SEEDS, np.array([1, 0, 0], np.float32), labels)
    np.testing.assert_array_equal(mixed[0], whole[0])
    np.testing.assert_array_equal(mixed[1], mixed[2])
    assert np.any(mixed[1] != whole[1])


def test_mixing_takes_the_later_layers_from_the_other_seed(styled):
    """Red if seed and style seed change places, or the layer is dropped on the way."""
    labels, others = np.array([1, 1, 1]), SEEDS + 1
    with client.connect(str(styled)) as source:
        whole, other = (samples.draw(source, seeds, labels) for seeds in (SEEDS, others))
        mixed = samples.draw_mixed(source, SEEDS, others, np.array([0, 1, tiny.STYLE_LAYERS]), labels)
        drawn = samples.draw_mixed(source, SEEDS, others, np.full(3, tiny.STYLE_LAYERS))
        np.testing.assert_array_equal(drawn, samples.draw(source, SEEDS))
    np.testing.assert_array_equal(mixed[0], other[0])
    np.testing.assert_array_equal(mixed[2], whole[2])
    assert np.any(mixed[1] != whole[1])
    assert np.any(mixed[1] != other[1])


def test_pairs_stand_beside_one_another(tmp_path):
    """Red if the second domain is left out, or taken for the first."""
    saved = tiny.save(tmp_path / "generator", num_domains=2)
    with client.connect(str(saved)) as source:
        drawn = samples.draw(source, SEEDS)
        assert samples.image_size(source) == drawn.shape[1:3]
    np.testing.assert_array_equal(drawn, np.concatenate(Generator.load(saved).pairs(SEEDS), axis=2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_passes_each_seed_and_comes_back(server, generator, kind):
    """Red if legs begin in between, if the last leg does not lead to the first seed, or labels are mixed up."""
    labels = np.array([2, 0])
    with client.connect(server.addresses[kind]) as source:
        frames = list(samples.walk(source, SEEDS, labels, num_frames=4))
    assert len(frames) == 3 * 4
    trained = Generator.load(generator)
    for leg, seed in enumerate(SEEDS):
        both = np.concatenate(list(trained.images([seed, seed], labels)), axis=1)
        np.testing.assert_array_equal(frames[4 * leg], both)
    steps = [np.abs(a.astype(int) - b).mean() for a, b in zip(frames, frames[1:] + frames[:1], strict=True)]
    assert max(steps[-4:]) < 3 * np.median(steps)  # a jump back would be several steps at once


def test_slerp_keeps_length_and_pace():
    """Red if it is a straight line (its middle is 0.71 long), or does not begin and end where it should."""
    a, b = np.array([1.0, 0, 0], np.float32), np.array([0, 1.0, 0], np.float32)
    path = samples.slerp(a, b, np.linspace(0, 1, 5))
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1.0, atol=1e-6)  # float32
    np.testing.assert_allclose(np.arctan2(path[:, 1], path[:, 0]), np.linspace(0, np.pi / 2, 5), atol=1e-6)
    np.testing.assert_allclose(samples.slerp(a, 3 * a, np.array([0.5]))[0], 2 * a)  # no arc


def test_rest_needs_no_tensorflow(server):
    """Red if a module on the way imports it at its top."""
    code = (
        "import sys, numpy as np\n"
        "from gan_components.export import client, samples\n"
        f"with client.connect({server.addresses['rest']!r}) as source:\n"
        "    assert samples.draw(source, np.arange(2)).shape == (2, 8, 8, 3)\n"
        "assert not {'tensorflow', 'mlflow', 'grpc'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
