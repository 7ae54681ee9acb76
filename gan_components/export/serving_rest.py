"""TF Serving over REST. Needs no TensorFlow.

https://www.tensorflow.org/tfx/serving/api_rest: requests and answers are JSON by columns; outputs whose name ends
in ``_bytes`` are base64. Floats come back to the bit, as both sides write enough digits.
"""

import base64
import json
from typing import Any

import numpy as np
import urllib3

from gan_components.errors import InputError
from gan_components.export import signature
from gan_components.export.errors import BusyError, ServerError
from gan_components.export.serving_address import Address

_REFUSED = 400
_NOT_FOUND = 404
_BUSY = (502, 503, 504)


class RestTransport:
    """Asks the model of an `http` or `https` address."""

    def __init__(self, address: Address, *, timeout_seconds: float) -> None:
        self._address = address
        self._signatures: dict[str, signature.Signature] = {}
        # One place retries, for every transport alike: the client.
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(total=timeout_seconds))

    def signatures(self) -> dict[str, signature.Signature]:
        answer = self._asked("GET", f"{self._address.path}/metadata")
        try:
            self._signatures = signature.by_name(answer["metadata"]["signature_def"]["signature_def"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._unreadable(error) from None
        return self._signatures

    def predict(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        columns = {key: column.tolist() for key, column in inputs.items()}
        body = {"signature_name": name, "inputs": columns}
        outputs = self._asked("POST", f"{self._address.path}:predict", body).get("outputs")
        expected = self._signatures[name].outputs
        # A single output stands there without its name.
        named: Any = outputs if len(expected) > 1 else dict.fromkeys(expected, outputs)
        try:
            return {key: _array(named[key], rows.dtype) for key, rows in expected.items()}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._unreadable(error) from None

    def close(self) -> None:
        self._pool.clear()

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        status, answer = self._answer(method, path, body)
        if status == 200:
            return answer
        said = str(answer.get("error", f"HTTP status {status}"))
        if status == _NOT_FOUND:
            raise self._address.not_found(self._states())
        if status == _REFUSED:
            raise InputError(f"{self._address} refused the request: {said}")
        error = BusyError if status in _BUSY else ServerError
        raise error(f"{self._address} answered with HTTP status {status}: {said}")

    def _answer(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        scheme, host = self._address.scheme, self._address.host
        try:
            response = self._pool.request(method, f"{scheme}://{host}{path}", json=body)
        # First, because a refused connection counts as a kind of time-out there.
        except (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ProtocolError) as error:
            raise BusyError(f"{self._address} cannot be reached ({error})") from None
        except urllib3.exceptions.TimeoutError as error:
            raise BusyError(f"{self._address} gave no answer in time ({error})") from None
        except urllib3.exceptions.HTTPError as error:
            raise ServerError(f"{self._address} cannot be asked: {error}") from None
        try:
            answer = json.loads(response.data)
        except ValueError as error:
            # What stands before the server answers in its place, with a page of its own.
            if response.status != 200:
                return response.status, {}
            raise self._unreadable(error) from None
        return response.status, answer if isinstance(answer, dict) else {}

    def _states(self) -> dict[int, str] | None:
        status, answer = self._answer("GET", f"/v1/models/{self._address.model}")
        if status != 200:
            return None
        return {int(one["version"]): str(one["state"]) for one in answer.get("model_version_status", [])}

    def _unreadable(self, error: Exception) -> ServerError:
        reason = f"{type(error).__name__}: {error}"
        return ServerError(f"what {self._address} answered is not what TF Serving answers ({reason})")


def _array(values: Any, dtype: str) -> np.ndarray:
    if dtype == "DT_STRING":
        return np.array([base64.b64decode(value["b64"], validate=True) for value in values], object)
    return np.array(values, signature.TYPES[dtype])
