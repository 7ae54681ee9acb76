"""Starting from a generator that was trained before, instead of from random weights."""

import logging
from pathlib import Path

from gan_components.artifacts import TrainedModel, write_atomically
from gan_components.generators import Description
from gan_components.training import checkpoints
from gan_components.training.config import TrainConfig
from gan_components.training.gan import GAN

_log = logging.getLogger(__name__)
_RECORD = "started_from"


def begin(
    gan: GAN, initial: TrainedModel | None, description: Description, config: TrainConfig, work: Path
) -> None:
    """Gives `gan`, before its first step, the networks of `initial`; optimizers, step and all else start anew.

    The start is a checkpoint: a killed run goes on from it, whatever is in production by then. Of networks that
    are not alike nothing is taken, and the log says so.
    """
    (work / _RECORD).unlink(missing_ok=True)
    if initial is None:
        return
    difference = _difference(initial, description, config)
    if difference:
        _log.warning("starting from random weights, not from those in production: %s", difference)
        return
    checkpoints.load_networks(gan, initial.directory / "checkpoints")
    write_atomically(work / _RECORD, initial.fingerprint.encode())
    checkpoints.save(gan, work / "checkpoints", keep=1)
    _log.info("starting from the networks of %s", initial.directory)


def started_from(work: Path) -> str | None:
    """Fingerprint of the TrainedModel that the training in `work` began with; None: random weights."""
    record = work / _RECORD
    return record.read_text() if record.exists() else None


def _difference(initial: TrainedModel, description: Description, config: TrainConfig) -> str:
    """Why the networks of `initial` do not fit; empty if they do."""
    ours = description.model_dump(mode="json", include={"image_shape", "num_domains", "latent_dim", "class_names"})
    theirs = {name: initial.properties[name] for name in ours}
    ours["network"] = config.network.model_dump(mode="json")
    theirs["network"] = initial.manifest.recipe.config["network"]
    return "; ".join(f"{name} {theirs[name]} is now {ours[name]}" for name in ours if theirs[name] != ours[name])
