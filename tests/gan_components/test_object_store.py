"""Addresses of object stores: what is none, and what needs an extra that is not there."""

import fsspec
import pytest

from gan_components import object_store
from gan_components.errors import InputError


@pytest.mark.parametrize("address", ["http://host/photos", "s3://", "gs:///", "file:///etc"])
def test_what_is_no_address(address):
    """Red if any protocol of fsspec is taken, such as that of this machine's files, or an empty bucket."""
    with pytest.raises(InputError, match="is no address of a store; expected s3://"):
        object_store.connect(address)


@pytest.mark.parametrize("protocol, extra", [("s3", "s3"), ("gs", "gcs")])
def test_the_missing_extra_is_named(protocol, extra, monkeypatch):
    """Red if the import error of fsspec, which names another project's package, is all that is said."""

    def missing(protocol):
        raise ImportError(f"install what speaks {protocol}")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    with pytest.raises(InputError, match=rf"{protocol}://bucket needs .* pip install 'gan-pipelines\[{extra}\]'"):
        object_store.connect(f"{protocol}://bucket")
