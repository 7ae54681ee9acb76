"""The stage ``evaluate``: loads the generator as it is served, draws, measures, judges, reports."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, JsonValue

from gan_components import artifacts
from gan_components import examples as example_data
from gan_components.artifacts import Evaluation, Examples, Progress, TrainedModel, no_progress
from gan_components.domains import SECOND_DOMAINS
from gan_components.errors import ConfigError
from gan_components.evaluation import classes, report, score
from gan_components.evaluation.config import EvaluateConfig, distance_names, recipe
from gan_components.evaluation.gate import Check, bound_check
from gan_components.fingerprints import Recipe, digest_json
from gan_components.generators import Generator
from gan_components.metrics import features, memorization_verdict
from gan_components.metrics.features import store

_AGREEMENT_IMAGES = 1_000


def evaluate(
    model: TrainedModel,
    examples: Examples,
    config: EvaluateConfig,
    *,
    out: Path,
    seed: int,
    cache: Path,
    weights: Path | None = None,
    progress: Progress = no_progress,
) -> Evaluation:
    """Measures a generator and writes what it found.

    Args:
        model: its generator is loaded as the SavedModel that would be served.
        examples: the images it was trained on and those it never saw.
        config: the ``evaluate`` section.
        out: directory of the Evaluation: ``metrics.json``, ``classes.json``, ``memorization.json``,
            ``checks.json``, ``extractor.json``, ``report.html`` and its pictures, and ``parzen.json`` if that is
            measured. The same inputs give the same content.
        seed: of the pipeline; decides which subsets are drawn, never the seeds of the images.
        cache: root of the shared caches; trained extractors and the features of real images lie there.
        weights: file of a published network's weights, for ``features: inception`` and ``keras:NAME``.
        progress: called after each step.

    Raises:
        ConfigError: a bound on a metric that this evaluation does not measure.
        InputError: fewer than 40 images in a split, or no weights.
    """
    made = recipe(model, examples, config, seed=seed, weights=weights)
    num_steps = 8 if config.parzen else 7
    steps = iter(range(1, num_steps + 1))

    def tell(text: str) -> None:
        progress(next(steps), num_steps, text)

    train = example_data.read(examples, "train")
    holdout = example_data.read(examples, "holdout")
    counts = example_data.Properties.of(examples)
    num_classes = len(counts.class_names)
    primary, kernel = distance_names(features.space(config.features, num_classes))
    generator = Generator.load(model.generator_directory)
    agrees = primary == "fd_classifier" and generator.description.num_classes == num_classes
    extra = {"class_agreement"} if agrees else set()
    extra |= {"parzen_log_likelihood"} if config.parzen else set()
    extra |= {"pixel_agreement", "pixel_agreement_unrelated"} if counts.second_domain in SECOND_DOMAINS else set()
    extra |= {"inception_score", "sfid"} if primary == "fid" else set()
    _require_measured(config.bounds, {primary, kernel}, extra)
    work = artifacts.work_directory(out, made)

    tell(f"features: {config.features}")
    extractor = features.extractor(
        config.features, train.images, train.labels, num_classes=num_classes, cache=cache, weights=weights
    )
    tell(f"drawing {config.num_samples} images")
    generated = generator.images(range(config.num_samples))
    images = (generated, train.images, holdout.images)

    def stored(compute: Callable[[], dict[str, np.ndarray]], split: str) -> dict[str, np.ndarray]:
        digest = f"{examples.content_digest}/{split}"
        return store.stored(compute, images_digest=digest, identity=extractor.identity, cache=cache)

    layer = extractor.identity.layer
    of_generated = extractor.layers(generated)
    of_holdout = stored(lambda: extractor.layers(holdout.images), "holdout")
    # Of the many training images only what is compared.
    of_train = stored(lambda: {layer: extractor.features(train.images)}, "train")
    sides = score.Sides(
        generated=of_generated[layer],
        holdout=of_holdout[layer],
        train=of_train[layer],
        identity=extractor.identity,
    )
    tell("distances")
    metrics = score.distances(sides, seed=seed)
    if primary == "fid":
        metrics |= score.of_inception(of_generated, of_holdout, digest=extractor.identity.digest, seed=seed)
    tell("precision, recall, density, coverage")
    metrics |= score.coverage(sides, seed=seed)
    by_class: list[classes.ByClass] = []
    if extractor.predict is not None:
        asked = None
        if agrees:
            wanted = np.arange(min(_AGREEMENT_IMAGES, config.num_samples)) % num_classes
            asked = wanted, extractor.predict(generator.images(range(len(wanted)), wanted))
            metrics["class_agreement"] = classes.agreement(*asked, extractor.identity)
        read = extractor.predict(generated), extractor.predict(holdout.images)
        by_class = classes.by_class(counts.class_names, *read, asked)
    # Pairs of two folders have no function that tells what a second image should be.
    if counts.second_domain in SECOND_DOMAINS:
        pairs = generator.pairs(range(min(_AGREEMENT_IMAGES, config.num_samples)))
        metrics |= score.pixel_agreement(pairs, counts.second_domain)
    content: dict[str, Any] = {}
    if config.parzen:
        tell("Parzen-window log-likelihood")
        metrics["parzen_log_likelihood"], window = score.log_likelihood(*images, seed=seed)
        content["parzen"] = {"unit": "nats", "sigma": window.sigma, "validation": list(window.curve.items())}
    tell("memorization")
    copies, closest = score.memorized(
        images,
        sides,
        config=config,
        seed=seed,
        duplicates=(
            counts.num_duplicates,
            counts.num_duplicates + counts.num_train + counts.num_holdout,
        ),
    )
    checks = _checks(metrics, copies, config)

    tell("report")
    content |= {
        "metrics": {name: metric.model_dump(mode="json") for name, metric in metrics.items()},
        "classes": [one.model_dump(mode="json") for one in by_class],
        "memorization": copies.model_dump(mode="json"),
        "checks": [check.model_dump(mode="json") for check in checks],
        "extractor": extractor.identity.model_dump(mode="json"),
    }
    for name, value in content.items():
        (work / f"{name}.json").write_text(json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False))
    pictures = report.pictures(generated, train.images, closest, training_images=config.report_training_images)
    for name, data in pictures.items():
        (work / f"{name}.png").write_bytes(data)
    page = report.render(
        metrics,
        by_class,
        copies,
        checks,
        pictures,
        history=_history(model.directory / "history.jsonl"),
        primary=primary,
        provenance=_provenance(model, examples, config, made, extractor.identity),
    )
    (work / "report.html").write_text(page, encoding="utf-8")
    tell("done")
    return Evaluation.seal(
        out,
        made,
        properties={"primary_metric": primary, "memorization": copies.verdict},
        content_digest=digest_json(content),
    )


def _require_measured(bounds: Mapping[str, BaseModel], distances: set[str], extra: set[str]) -> None:
    """Refuses bounds that could never be checked, before anything is computed."""
    measured = distances | {f"{name}_train" for name in distances}
    measured |= {"precision", "recall", "density", "coverage", *extra}
    unknown = sorted(set(bounds) - measured)
    if unknown:
        raise ConfigError(
            f"evaluate.bounds names {', '.join(unknown)}, which is not measured here; "
            f"measured are {', '.join(sorted(measured))}"
        )


def _checks(
    metrics: dict[str, score.Metric], copies: memorization_verdict.Report, config: EvaluateConfig
) -> list[Check]:
    allowed = {"PASS"} | ({"UNDECIDED"} if config.undecided == "allow" else set())
    reason = f"memorization {copies.verdict}: {copies.reason}"
    checks = [Check(name="memorization", passed=copies.verdict in allowed, value=None, bound=None, reason=reason)]
    for name, bound in config.bounds.items():
        checks += bound_check(name, metrics[name].value, bound)
    return checks


def _history(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _provenance(
    model: TrainedModel, examples: Examples, config: EvaluateConfig, made: Recipe, identity: features.Identity
) -> dict[str, JsonValue]:
    return {
        "generator": model.content_digest,
        "trained by": model.fingerprint,
        "examples": examples.content_digest,
        "evaluation": made.fingerprint,
        "extractor": f"{identity.name}, {identity.layer}, {identity.dimension} features, {identity.digest}",
        "seed": made.seed,
        "section": json.dumps(config.model_dump(mode="json")),
        "libraries": ", ".join(f"{name} {version}" for name, version in made.libraries.items()),
    }
