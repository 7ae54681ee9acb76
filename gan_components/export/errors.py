"""The ways an export fails that are not the user's input."""


class InfraValidationError(RuntimeError):
    """A generator that a server could not load or would answer wrongly; nothing was pushed (exit code 1)."""


class RegistryError(RuntimeError):
    """The MLflow registry gave no usable answer; what was done before is kept (exit code 1)."""


class ServerError(RuntimeError):
    """The model server does not serve what is in production; what was done before is kept (exit code 1)."""
