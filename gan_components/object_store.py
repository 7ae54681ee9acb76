"""Addresses in object stores, ``s3://bucket/path`` and ``gs://bucket/path``, through fsspec.

What lies there is brought to a directory, or sent from one, by explicit copies; TensorFlow never sees such an
address. Credentials are the store's own: its environment variables and files.
"""

import os
from typing import TYPE_CHECKING

from gan_components.errors import InputError

if TYPE_CHECKING:
    from fsspec.spec import AbstractFileSystem

# The protocol of an address, and the extra that brings what speaks it. ``memory`` is for tests.
_EXTRAS = {"s3": "s3", "gs": "gcs", "memory": None}


def is_address(place: str | os.PathLike[str]) -> bool:
    """Whether a place is an address with a protocol, and no path of this machine."""
    return "://" in str(place)


def connect(address: str) -> "tuple[AbstractFileSystem, str]":
    """The store of an address, and the path in it, without a slash at its end.

    Raises:
        InputError: another protocol, no bucket, or the extra that speaks it is not installed.

    Example:
        >>> connect("memory://photos/2026/")[1]
        '/photos/2026'
    """
    # Here, since most commands speak to no store.
    import fsspec

    protocol, _, path = address.partition("://")
    if protocol not in _EXTRAS or not path.strip("/"):
        raise InputError(f"{address} is no address of a store; expected s3://BUCKET/PATH or gs://BUCKET/PATH")
    try:
        store = fsspec.filesystem(protocol)
    except ImportError as error:
        raise InputError(
            f"{address} needs the extra [{_EXTRAS[protocol]}] ({error}); "
            f"pip install 'gan-pipelines[{_EXTRAS[protocol]}]'"
        ) from None
    return store, store._strip_protocol(address).rstrip("/")
