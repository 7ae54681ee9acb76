"""The ways an export, a registry or a server fails that are not the user's input."""


class InfraValidationError(RuntimeError):
    """A generator that a server could not load or would answer wrongly; nothing was pushed (exit code 1)."""


class RegistryError(RuntimeError):
    """The MLflow registry gave no usable answer; what was done before is kept (exit code 1)."""


class ServerError(RuntimeError):
    """A model server gave no usable answer; what was done before is kept (exit code 1)."""


class MirrorError(RuntimeError):
    """The serving root's address is not what the local one is; repeating goes on from there (exit code 1)."""


class BusyError(ServerError):
    """A model server that may answer a little later: out of reach, overloaded or too slow."""
