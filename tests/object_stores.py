"""Servers on loopback that speak the protocols of object stores; both keep their objects in memory."""

import contextlib
import logging
from collections.abc import Iterator

import fsspec
import pytest
import urllib3
from gcp_storage_emulator.server import create_server
from moto.server import ThreadedMotoServer

from tests.ports import free_ports

HOST = "127.0.0.1"


@contextlib.contextmanager
def served(protocol: str) -> Iterator[dict[str, str]]:
    """An empty store; the variables that lead to it, which are set here.

    Args:
        protocol: ``s3``, or ``gs`` for Google's.
    """
    with {"s3": _s3, "gs": _gs}[protocol]() as variables, pytest.MonkeyPatch.context() as patch:
        for variable, value in variables.items():
            patch.setenv(variable, value)
        # An instance remembers the server of the test before.
        kind = type(fsspec.filesystem(protocol, skip_instance_cache=True))
        kind.clear_instance_cache()
        yield variables
        kind.clear_instance_cache()


@contextlib.contextmanager
def _s3() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(HOST, 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    # What one server keeps the next one in this process finds.
    assert urllib3.request("POST", f"{address}/moto-api/reset", timeout=60).status == 200
    yield {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        # So that a listing of a few objects comes in pages, too.
        "MOTO_S3_DEFAULT_MAX_KEYS": "10",
    }
    server.stop()


@contextlib.contextmanager
def _gs() -> Iterator[dict[str, str]]:
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    (port,) = free_ports(1)
    server = create_server(HOST, port, in_memory=True)
    server.start()
    # No search for the credentials of a virtual machine at Google.
    yield {"STORAGE_EMULATOR_HOST": f"http://{HOST}:{port}", "NO_GCE_CHECK": "true"}
    server.stop()
