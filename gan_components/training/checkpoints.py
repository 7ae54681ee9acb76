"""Everything a resume needs, in directories that are complete or absent.

``checkpoints/step-00000500/`` is written under another name, brought to the disk and renamed into place. A
process killed at any moment, also in the middle of a write, leaves the checkpoint before; a torn one is never
seen under its final name, so there is nothing to fall back from, and damage that is found is an error.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from gan_components.artifacts import sync
from gan_components.errors import ArtifactError
from gan_components.training.gan import GAN

_PARTIAL = ".partial"
_NETWORKS = ("generator", "discriminator", "ema_generator")


def save(gan: GAN, directory: Path, *, keep: int) -> Path:
    """Writes the state of `gan` as ``directory/step-<finished steps>`` and deletes all but the newest `keep`.

    Saving a step twice replaces nothing: the state is a function of the step.
    """
    final = directory / f"step-{int(gan.step.numpy()):08d}"
    if not final.exists():
        partial = directory / _PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _checkpoint(gan).write(str(partial / "state"))
        for path in [*partial.iterdir(), partial]:
            sync(path)
        partial.rename(final)
        sync(directory)
    prune(directory, keep=keep)
    return final


def restore_latest(gan: GAN, directory: Path) -> int | None:
    """Loads the newest checkpoint in `directory`, if there is one.

    Returns:
        Finished steps; None without a checkpoint.

    Raises:
        ArtifactError: it does not hold exactly the state of `gan`, or cannot be read.
    """
    complete = _complete(directory)
    if not complete:
        return None
    try:
        # Without the assertion a value that finds no variable (an optimizer not built yet) is dropped in
        # silence, and training goes on from the wrong state.
        _checkpoint(gan).read(str(complete[-1] / "state")).assert_consumed()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ArtifactError(
            f"checkpoint {complete[-1]} does not fit this training or is damaged: {error}; "
            "delete it to resume from the one before"
        ) from error
    return int(gan.step.numpy())


def load_networks(gan: GAN, directory: Path) -> None:
    """Gives `gan` the networks of the newest checkpoint in `directory`, and nothing else of it.

    Raises:
        ArtifactError: it does not hold such networks, or cannot be read.
    """
    newest = _complete(directory)[-1]
    checkpoint = tf.train.Checkpoint(**_variables(gan, _NETWORKS))
    try:
        status = checkpoint.read(str(newest / "state"))
        status.assert_existing_objects_matched()
    except (AssertionError, ValueError, tf.errors.OpError) as error:
        raise ArtifactError(f"checkpoint {newest} does not hold these networks or is damaged: {error}") from error
    status.expect_partial()


def prune(directory: Path, *, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints, and the remains of a killed write."""
    shutil.rmtree(directory / _PARTIAL, ignore_errors=True)
    for old in _complete(directory)[:-keep]:
        # Renamed first: a kill in the middle of the deletion must not leave half a checkpoint.
        doomed = old.rename(directory / _PARTIAL)
        shutil.rmtree(doomed)


def _complete(directory: Path) -> list[Path]:
    return sorted(directory.glob("step-*"))


def _checkpoint(gan: GAN) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        **_variables(gan, (*_NETWORKS, "d_optimizer", "g_optimizer")),
        step=gan.step,
        ada_p=gan.ada_p,
        ada_signs=gan.ada_signs,
        windows={name: metric.variables for name, metric in gan.windows.items()},
    )


def _variables(gan: GAN, names: Sequence[str]) -> dict[str, list[keras.Variable]]:
    # Lists of variables, not the networks: what TensorFlow finds of a Keras model leaves out the layers that
    # a model keeps in a list, without a word.
    return {name: list(getattr(gan, name).variables) for name in names}
