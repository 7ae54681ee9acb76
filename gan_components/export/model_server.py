"""What a running TF Serving says of a model, by its REST API."""

import http.client
import json
import time
import urllib.error
import urllib.request

from gan_components.errors import InputError
from gan_components.export.errors import ServerError

_POLL_SECONDS = 0.5
_REQUEST_TIMEOUT_SECONDS = 10.0


def wait_until_available(server: str, model: str, version: int, *, timeout_seconds: float) -> None:
    """Returns when the server answers requests with this version.

    Args:
        server: address of the REST API, such as ``http://localhost:8501``.
        model: the entry's name in ``models.config``.
        version: its number.
        timeout_seconds: must cover one poll of ``models.config`` and the loading.

    Raises:
        InputError: `server` is no HTTP address.
        ServerError: it does not answer, or not with this version in time.
    """
    deadline = time.monotonic() + timeout_seconds
    while (state := _state(server, model, version)) != "AVAILABLE":
        if time.monotonic() > deadline:
            raise ServerError(
                f"{model} version {version} is not available at {server} after {timeout_seconds:g} s ({state})"
            )
        time.sleep(_POLL_SECONDS)


def _state(server: str, model: str, version: int) -> str:
    """``AVAILABLE``, or another state or reason in words."""
    if not server.startswith(("http://", "https://")):
        raise InputError(f"the server's address must be http://HOST:PORT of its REST API, got {server!r}")
    url = f"{server.rstrip('/')}/v1/models/{model}/versions/{version}"
    try:
        with urllib.request.urlopen(url, timeout=_REQUEST_TIMEOUT_SECONDS) as response:  # noqa: S310 (http above)
            (status,) = json.load(response)["model_version_status"]
            return f"{status['state']} {status['status']['error_message']}".strip()
    except urllib.error.HTTPError as error:
        # It knows neither a version that it was not told of yet, nor a model.
        if error.code == http.HTTPStatus.NOT_FOUND:
            return "not known to the server"
        return f"the server answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
        return f"no usable answer: {error}"
