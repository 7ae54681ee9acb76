"""The errors that a user can act on. Each says what happened, what was expected, how to fix it."""


class InputError(ValueError):
    """The data, labels, paths or flags that the user gave cannot be used (exit code 2)."""


class ConfigError(InputError):
    """A configuration file or override does not fit the schema (exit code 2)."""


class ArtifactError(RuntimeError):
    """An artifact is missing, incomplete, damaged or of another schema (exit code 1)."""


class TrainingError(RuntimeError):
    """A training cannot go on, such as after a loss that is not finite (exit code 1)."""


class DivergedError(TrainingError):
    """A loss or a weight is not finite any more: the training may go on from an earlier state."""


class NotBlessedError(RuntimeError):
    """A push was asked for a generator that the gate did not bless (exit code 99)."""
