"""GAN stages and what they share. `pipelines` composes them; see the README for the order of the data.

Names are imported on first use: reading a configuration must not import TensorFlow.
"""

import importlib

_ORIGIN = {
    "ingest": "gan_components.ingestion.stage",
    "train": "gan_components.training.stage",
    "evaluate": "gan_components.evaluation.stage",
    "export": "gan_components.export.stage",
    "Examples": "gan_components.artifacts",
    "TrainedModel": "gan_components.artifacts",
    "Evaluation": "gan_components.artifacts",
    "PushedModel": "gan_components.artifacts",
    "Generator": "gan_components.generators",
}

__all__ = list(_ORIGIN)


def __getattr__(name: str) -> object:
    if name not in _ORIGIN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_ORIGIN[name]), name)
