"""The stage ``train``: Examples in, TrainedModel out."""

import hashlib
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from pydantic import JsonValue

from gan_components import artifacts, generators, randomness
from gan_components.artifacts import Examples, Progress, TrainedModel, no_progress
from gan_components.errors import ConfigError, DivergedError
from gan_components.examples import Properties
from gan_components.fingerprints import Recipe, digest_json
from gan_components.networks.architectures import ARCHITECTURES
from gan_components.training import (
    checkpoints,
    cluster,
    distribution,
    fitting,
    health,
    monitors,
    players,
    quality,
    rollbacks,
    warm_start,
)
from gan_components.training import config as training_config
from gan_components.training.config import TrainConfig
from gan_components.training.gan import GAN

logger = logging.getLogger(__name__)


def train(
    examples: Examples,
    config: TrainConfig,
    *,
    out: Path,
    seed: int,
    cache: Path,
    progress: Progress = no_progress,
    initial: TrainedModel | None = None,
) -> TrainedModel:
    """Trains a generator and seals its moving average as a SavedModel.

    A run that was killed goes on from its last checkpoint, if nothing in its recipe changed, and ends with
    the bits of an uninterrupted run on the same kind of machine and number of devices.

    Args:
        examples: what to learn; only the split ``train`` is read.
        config: the section ``train``.
        out: the artifact's directory.
        seed: of the initial weights, the order of the data, latents and labels.
        cache: root of what stages share; training keeps nothing there.
        progress: told the finished steps, the losses and images/s.
        initial: whose networks to start from, if they are alike; None: random weights.

    Raises:
        InputError: fewer images than a batch, or a shape that the network cannot make.
        ConfigError: the section does not fit the examples or the devices.
        TrainingError: a loss stopped being finite.
        SystemExit: 143 or 130 after SIGTERM or SIGINT, when a checkpoint was saved.
    """
    recipe = training_config.recipe(examples, config, seed=seed)
    description = _describe(examples, config, seed=seed, recipe=recipe)
    work = artifacts.work_directory(out, recipe, resume=True)

    def watchers(gan: GAN) -> list[keras.callbacks.Callback]:
        report = monitors.Report(
            progress,
            batch_size=config.batch_size,
            num_steps=config.num_steps,
            interval_steps=config.log_interval_steps,
        )
        return [*_watchers(gan, examples, description, config, seed=seed, work=work, cache=cache), report]

    def begin(gan: GAN) -> None:
        warm_start.begin(gan, initial, description, config, work)

    gan, taken = _trained(examples, description, config, seed=seed, work=work, begin=begin, watchers=watchers)
    best = quality.restore_best(gan, work / "best") if config.quality_interval_steps else None
    monitors.check_finite(gan.ema_generator, step=config.num_steps)
    checkpoints.prune(work / "checkpoints", keep=1)
    shutil.rmtree(work / "generator", ignore_errors=True)
    generators.save(gan.ema_generator, work / "generator", description)
    return TrainedModel.seal(
        out,
        recipe,
        properties={
            **description.model_dump(mode="json", exclude={"provenance"}),
            "network": config.network.name,
            "num_steps": config.num_steps,
            "rollbacks": taken,
            "best": best,
            "started_from": warm_start.started_from(work),
            "taken_over": artifacts.taken_over(work),
        },
        content_digest=_content_digest(gan.ema_generator, description),
    )


def join(examples: Examples, config: TrainConfig, *, out: Path, seed: int) -> None:
    """A worker's part of :func:`train` under ``multi_worker``: computes its rows of every batch, writes nothing.

    Every worker of ``TF_CONFIG`` but the first calls this with the arguments of the first one's :func:`train`,
    once that has begun, on the same file system: all read the checkpoint from which it goes on.
    """
    recipe = training_config.recipe(examples, config, seed=seed)
    description = _describe(examples, config, seed=seed, recipe=recipe)
    work = artifacts.work_path(out, recipe)
    _trained(
        examples, description, config, seed=seed, work=work, watchers=lambda gan: [monitors.StopOnNonFinite()]
    )


def _trained(
    examples: Examples,
    description: generators.Description,
    config: TrainConfig,
    *,
    seed: int,
    work: Path,
    watchers: Callable[[GAN], list[keras.callbacks.Callback]],
    begin: Callable[[GAN], None] = lambda gan: None,
) -> tuple[GAN, list[dict[str, JsonValue]]]:
    """Players that have taken all steps, and the roll-backs on the way."""
    randomness.enable_determinism()
    strategy = distribution.strategy(config.strategy, batch_size=config.batch_size)
    taken = rollbacks.read(work)
    while True:
        with strategy.scope():
            gan = players.build(description, config, seed=seed, retry=len(taken))
        start_step = checkpoints.restore_latest(gan, work / "checkpoints")
        if start_step is None:
            begin(gan)
        else:
            logger.info("resuming from step %d of %d", start_step, config.num_steps)
        try:
            fitting.fit(
                gan, examples, config, watchers(gan), seed=players.stream_seed(seed, len(taken)), work=work
            )
            return gan, taken
        except DivergedError as error:
            if len(taken) == config.max_rollbacks:
                raise
            logger.warning("going back to the last checkpoint with half the learning rates: %s", error)
            # All workers see the same numbers and go back together; the first one writes it down.
            chief = cluster.is_chief(config.strategy)
            taken = rollbacks.record(work, error) if chief else [*taken, {}]


def _describe(examples: Examples, config: TrainConfig, *, seed: int, recipe: Recipe) -> generators.Description:
    properties = Properties.of(examples)
    architecture = ARCHITECTURES[config.network.name]
    num_domains: Literal[1, 2] = 2 if properties.second_domain else 1
    if num_domains != architecture.num_domains:
        raise ConfigError(
            f"train.network {config.network.name} makes images of {architecture.num_domains} domain(s), the "
            f"examples have {num_domains}; set ingest.second_domain, or train.network to cogan, so that they agree"
        )
    has_classes = bool(properties.class_names) and num_domains == 1
    if config.conditional and not has_classes:
        raise ConfigError(
            "train.conditional is true, but the examples have no classes (or two domains); set it to null"
        )
    conditional = has_classes if config.conditional is None else config.conditional
    shape = tuple(properties.image_shape)
    num_style_layers = architecture.num_style_layers(config.network, image_shape=shape)
    return generators.Description(
        image_shape=properties.image_shape,
        num_domains=num_domains,
        latent_dim=config.latent_dim,
        latent_distribution=config.latent_distribution,
        truncation=num_style_layers > 0,
        num_style_layers=num_style_layers,
        class_names=properties.class_names if conditional else [],
        class_frequencies=properties.class_frequencies if conditional else [],
        provenance={
            "fingerprint": recipe.fingerprint,
            "examples": examples.content_digest,
            "network": config.network.name,
            "num_steps": config.num_steps,
            "seed": seed,
        },
    )


def _watchers(
    gan: GAN,
    examples: Examples,
    description: generators.Description,
    config: TrainConfig,
    *,
    seed: int,
    work: Path,
    cache: Path,
) -> list[keras.callbacks.Callback]:
    """What watches the training and writes below `work`, in the order in which it acts after a step."""
    start_step = int(gan.step.numpy())
    watchers = [
        monitors.StopOnNonFinite(),
        monitors.History(work / "history.jsonl", interval_steps=config.log_interval_steps, start_step=start_step),
        health.Warnings(work / "warnings.jsonl", interval_steps=config.log_interval_steps, start_step=start_step),
        monitors.Samples(
            work / "samples",
            inputs=monitors.sample_inputs(description, seed=seed),
            channels=description.image_shape[-1],
            interval_steps=config.sample_interval_steps,
            num_steps=config.num_steps,
        ),
    ]
    if config.quality_interval_steps:
        watchers.append(
            quality.Quality(
                work / "best",
                examples=examples,
                description=description,
                interval_steps=config.quality_interval_steps,
                num_steps=config.num_steps,
                start_step=start_step,
                seed=seed,
                cache=cache,
            )
        )
    return watchers


def _content_digest(network: keras.Model, description: generators.Description) -> str:
    """Identity of what is served: weights and description, not the files of a SavedModel, which differ from
    one writing to the next, and not the provenance: equal weights from changed code are the same generator.
    """
    weights = hashlib.sha256()
    for variable in network.variables:
        weights.update(f"{variable.path} {variable.shape} {variable.dtype}\n".encode())
        weights.update(np.ascontiguousarray(variable.numpy()).tobytes())
    return digest_json(
        {
            "weights": weights.hexdigest(),
            "description": description.model_dump(mode="json", exclude={"provenance"}),
        }
    )
