"""The data set as TFDS knows it: file names, features and metadata around the shards that Beam wrote."""

from pathlib import Path

import tensorflow_datasets as tfds

from gan_components.ingestion.statistics import SPLITS, Summary

_NAME = "examples"


def features(
    image_shape: list[int], class_names: list[str], second_domain: str | None
) -> tfds.features.FeaturesDict:
    """What a record holds: ``id`` (hex of the pixels' key), ``image`` (PNG), of a second domain ``image2`` (PNG),
    and with classes ``label``.
    """
    known = {
        "id": tfds.features.Text(),
        "image": tfds.features.Image(shape=tuple(image_shape), encoding_format="png"),
    }
    if second_domain:
        known["image2"] = tfds.features.Image(shape=tuple(image_shape), encoding_format="png")
    if class_names:
        known["label"] = tfds.features.ClassLabel(names=class_names)
    return tfds.features.FeaturesDict(known)


def assemble(
    parts: Path, buckets: dict[str, Summary], directory: Path, described: tfds.features.FeaturesDict
) -> None:
    """Makes a TFDS data set of the shards in `parts`; ``tfds.builder_from_directory`` opens it.

    Args:
        parts: where :func:`gan_components.ingestion.beam.run` wrote; the shards are moved.
        buckets: its summary of each bucket, in the order of the buckets.
        directory: of the data set; must not exist.
        described: from :func:`features`.
    """
    directory.mkdir()
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=described,
        split_infos=[_moved(parts, buckets, directory, split) for split in SPLITS],
        version="1.0.0",
        description="Images made by gan_components.ingestion.",
        check_data=False,
    )


def _moved(parts: Path, buckets: dict[str, Summary], directory: Path, split: str) -> tfds.core.SplitInfo:
    """Moves the shards of a split to the names that TFDS expects."""
    lengths = {name: summary.num_examples[split] for name, summary in buckets.items()}
    # A bucket without records of this split left an empty shard.
    shards = [parts / f"{split}-{name}" for name, length in lengths.items() if length]
    info = tfds.core.SplitInfo(
        name=split,
        shard_lengths=[length for length in lengths.values() if length],
        num_bytes=sum(path.stat().st_size for path in shards),
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=directory, dataset_name=_NAME, split=split, filetype_suffix="array_record"
        ),
    )
    for path, target in zip(shards, info.filepaths, strict=True):
        path.rename(target)
    return info
