"""A generator that answers its signatures with arrays, wherever it is: in a file, in the registry, on a server.

Requests are checked here, cut into batches and tried again where that can help, so that every kind of model
behaves alike. The modules `serving_in_process`, `serving_rest` and `serving_grpc` carry one batch to one kind.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from gan_components.artifacts import Progress, no_progress
from gan_components.errors import InputError
from gan_components.export.errors import BusyError, ServerError
from gan_components.export.serving_address import Address
from gan_components.export.signature import Signature

Answer = TypeVar("Answer")

# The largest batch that the warm-up file asks for by default; a server that batches may refuse larger ones.
_MAX_ROWS = 32
# gRPC's own limit of a message: what a proxy on the way lets through.
_MAX_BYTES = 4 * 2**20
_FIRST_PAUSE_SECONDS = 0.5
_REGISTRY = "models:/"

_log = logging.getLogger(__name__)


class Transport(Protocol):
    """Carries one request to one model and back; raises InputError, ServerError, or BusyError if it may pass."""

    def signatures(self) -> dict[str, Signature]: ...
    def predict(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]: ...
    def close(self) -> None: ...


@contextmanager
def connect(
    model: str, *, tracking_uri: str | None = None, timeout_seconds: float = 60.0, num_retries: int = 4
) -> Iterator["Client"]:
    """Opens a model.

    Args:
        model: the directory of a generator's SavedModel; ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``; or
            the address of a model of TF Serving, see :class:`serving_address.Address`.
        tracking_uri: MLflow's store or server, for the second kind.
        timeout_seconds: for one answer of a server.
        num_retries: further tries of a request that a server could not answer in time, or was not there for. The
            pause before each is twice the one before, half a second at first.

    Raises:
        InputError: no such model, or no such version.
        RegistryError: the registry did not answer.
        ServerError: the server did not answer.

    Example:
        >>> with connect("http://localhost:8501/digits") as client:
        ...     client.predict("latents", {"seed": np.arange(4)})["latents"].shape
        (4, 100)
    """
    transport = _transport(model, tracking_uri, timeout_seconds)
    try:
        yield Client(transport, num_retries=num_retries)
    finally:
        transport.close()


class Client:
    """See :func:`connect`.

    Attributes:
        signatures: what the model answers, by name.
    """

    def __init__(self, transport: Transport, *, num_retries: int) -> None:
        self._transport = transport
        self._pauses = [_FIRST_PAUSE_SECONDS * 2**i for i in range(num_retries)]
        self.signatures = self._tried(transport.signatures)

    def takes(self, signature: str, name: str) -> bool:
        """Whether a signature is served and has an input of this name."""
        return signature in self.signatures and name in self.signatures[signature].inputs

    def predict(
        self, signature: str, inputs: Mapping[str, np.ndarray], progress: Progress = no_progress
    ) -> dict[str, np.ndarray]:
        """Asks a signature for any number of rows.

        Args:
            signature: its name.
            inputs: one array an input, of equal first dimensions, at least one row.
            progress: told of the rows that are answered.

        Returns:
            One array an output; text as an array of bytes objects.

        Raises:
            InputError: the model does not serve this signature, or not with these inputs.
            ServerError: the server did not answer, or something else than it said it would.
        """
        served = self._served(signature)
        _check_inputs(signature, served, inputs)
        total, step = len(next(iter(inputs.values()))), self._batch_size
        parts = []
        for start in range(0, total, step):
            batch = {name: column[start : start + step] for name, column in inputs.items()}
            part = self._tried(partial(self._transport.predict, signature, batch))
            _check_outputs(signature, served, part, rows=min(step, total - start))
            parts.append(part)
            progress(min(start + step, total), total, f"rows of {signature}")
        return {name: np.concatenate([part[name] for part in parts]) for name in served.outputs}

    @property
    def _batch_size(self) -> int:
        """Rows of one request: no message is larger than an image or :data:`_MAX_BYTES`, whichever is more."""
        # A PNG has no size beforehand, but is hardly larger than its pixels, which every generator serves too.
        rows = [sum(one.row_bytes for one in served.outputs.values()) for served in self.signatures.values()]
        return max(1, min(_MAX_ROWS, _MAX_BYTES // max([*rows, 1])))

    def _served(self, name: str) -> Signature:
        if name not in self.signatures:
            raise InputError(
                f"this model does not serve {name!r}; it serves {', '.join(self.signatures) or 'nothing'}"
            )
        return self.signatures[name]

    def _tried(self, ask: Callable[[], Answer]) -> Answer:
        """Asks, and asks again after a pause if that may help."""
        for pause_seconds in self._pauses:
            try:
                return ask()
            except BusyError as error:
                _log.warning("%s; trying again in %g s", error, pause_seconds)
                time.sleep(pause_seconds)
        try:
            return ask()
        except BusyError as error:
            raise ServerError(f"{error}. That was try {len(self._pauses) + 1}, the last one") from None


def _transport(model: str, tracking_uri: str | None, timeout_seconds: float) -> Transport:
    # Most of these imports are heavy, and only one is needed.
    if "://" in model:
        address = Address.parse(model)
        if address.scheme in ("http", "https"):
            from gan_components.export.serving_rest import RestTransport

            return RestTransport(address, timeout_seconds=timeout_seconds)
        from gan_components.export.serving_grpc import GrpcTransport

        return GrpcTransport(address, timeout_seconds=timeout_seconds)
    from gan_components.export.serving_in_process import InProcessTransport

    if not model.startswith(_REGISTRY):
        return InProcessTransport(Path(model).expanduser())
    from gan_components.export import registry

    if tracking_uri is None:
        raise InputError(f"{model} needs the address of its registry")
    with tempfile.TemporaryDirectory(prefix="registered-") as directory:
        return InProcessTransport(registry.download(tracking_uri, model.removeprefix(_REGISTRY), Path(directory)))


def _check_inputs(name: str, served: Signature, inputs: Mapping[str, np.ndarray]) -> None:
    if "label" in inputs and "label" not in served.inputs:
        raise InputError("this generator was trained without labels; leave them out")
    if set(inputs) != set(served.inputs):
        raise InputError(f"{name!r} takes {sorted(served.inputs)}, got {sorted(inputs)}")
    if len({len(column) for column in inputs.values()}) != 1:
        counts = {key: len(column) for key, column in inputs.items()}
        raise InputError(f"{name!r} takes as many rows of each input; got {counts}")
    for key, column in inputs.items():
        if not len(column) or not served.inputs[key].fits(column):
            got = f"{column.dtype} {list(column.shape)}"
            raise InputError(f"{name!r} takes {key!r} as {served.inputs[key]}, at least one row; got {got}")


def _check_outputs(name: str, served: Signature, answer: Mapping[str, np.ndarray], *, rows: int) -> None:
    for key, expected in served.outputs.items():
        if key not in answer or not expected.fits(answer[key]) or len(answer[key]) != rows:
            got = f"{answer[key].dtype} {list(answer[key].shape)}" if key in answer else "nothing"
            raise ServerError(
                f"{name!r} answered {got} for {key!r}, expected {rows} rows of {expected}: this is not what the "
                "model says of itself"
            )
