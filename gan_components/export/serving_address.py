"""Where a model server answers for a model: ``http://HOST:PORT/NAME`` and the like."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from gan_components.errors import InputError

SCHEMES = ("http", "https", "grpc", "grpcs")

# TF Serving's own path may be pasted as it is, with or without `/v1/models`.
_PATH = re.compile(r"(?:/v1/models)?/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?/?")


@dataclass(frozen=True)
class Address:
    """A model of a server.

    Attributes:
        scheme: ``http`` or ``https`` for REST, ``grpc`` or ``grpcs`` for gRPC; those with s are encrypted.
        host: with the port.
        model: its name in the server's configuration; a canary is an entry of its own (``digits_canary``).
        version: asked for by number; None: by label, or the latest that is loaded.
        label: asked for by a label of the server's configuration.

    Example:
        >>> Address.parse("grpc://localhost:8500/digits/labels/stable").label
        'stable'
    """

    scheme: str
    host: str
    model: str
    version: int | None = None
    label: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``SCHEME://HOST:PORT/NAME``, with ``/versions/N`` or ``/labels/LABEL`` behind it if wanted.

        Raises:
            InputError: it is another text.
        """
        parts = urlsplit(text)
        # A password would end up in logs, as part of the address.
        if "@" in parts.netloc:
            raise InputError(
                "an address with user and password is not supported; put a proxy that knows them before it"
            )
        found = _PATH.fullmatch(parts.path)
        if parts.scheme not in SCHEMES or not parts.netloc or not found or parts.query or parts.fragment:
            raise InputError(
                f"{text!r} is no address of a served model; expected http://HOST:8501/NAME or "
                "grpc://HOST:8500/NAME (https, grpcs: encrypted), if wanted with /versions/N or /labels/LABEL "
                "behind it"
            )
        name, version, label = found.groups()
        return cls(parts.scheme, parts.netloc, name, int(version) if version else None, label)

    @property
    def path(self) -> str:
        """The model as TF Serving's REST names it: ``/v1/models/NAME/versions/N``."""
        chosen = f"/versions/{self.version}" if self.version is not None else ""
        chosen = f"/labels/{self.label}" if self.label is not None else chosen
        return f"/v1/models/{self.model}{chosen}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}{self.path.removeprefix('/v1/models')}"

    def not_found(self, states: dict[int, str] | None) -> InputError:
        """The error for a server that does not have the model.

        Args:
            states: of each version of the model that the server knows; None: it knows no such model.
        """
        if not states:
            return InputError(
                f"the server at {self.host} knows no model {self.model!r}; check the name in its models.config"
            )
        known = ", ".join(f"{version} is {state}" for version, state in sorted(states.items()))
        found = "loaded no version" if self.version is None else f"not loaded version {self.version}"
        return InputError(f"{self.host} has {found} of {self.model!r}: {known}")
