"""TFDS builders as its guide teaches them, over the images that the project's ingestion makes of a source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from gan_components import images
from gan_components.ingestion import idx

Example = tuple[str, dict[str, Any]]


def example(name: str, content: "Path | np.ndarray", label: int, size: int, channels: int) -> Example:
    """Key and features of one image: of a file its centre square, resized."""
    if isinstance(content, Path):
        with Image.open(content) as picture:
            fitted = images.fit(picture.convert("L" if channels == 1 else "RGB"), size, "crop")
        content = np.asarray(fitted)
    return name, {"id": name, "image": content.reshape(size, size, channels), "label": label}


def items(data: Path) -> Iterator[tuple[str, "Path | np.ndarray", int]]:
    """Name, file or pixels, and label of each image in a directory of IDX files or of a folder a class."""
    folders = sorted(path for path in data.iterdir() if path.is_dir())
    for label, folder in enumerate(folders):
        for path in sorted(folder.iterdir()):
            yield f"{folder.name}/{path.name}", path, label
    if not folders:
        for split, files in idx.find(data, test=True).items():
            for place, (pixels, label) in enumerate(zip(*idx.read(*files), strict=True)):
                yield f"{split}#{place}", pixels, int(label)


class Plain(tfds.core.GeneratorBasedBuilder):
    """Examples from a generator."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, data: str, size: int, channels: int, num_classes: int, **options: Any) -> None:
        self._data, self._size, self._channels, self._num_classes = Path(data), size, channels, num_classes
        super().__init__(file_format="array_record", **options)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(self._size, self._size, self._channels), encoding_format="png"),
            "label": tfds.features.ClassLabel(num_classes=self._num_classes),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {"train": self._generate_examples()}

    def _generate_examples(self) -> Any:
        for item in items(self._data):
            yield example(*item, self._size, self._channels)


class OnBeam(Plain):
    """Examples from a Beam pipeline."""

    def _generate_examples(self) -> Any:
        import apache_beam as beam

        size, channels = self._size, self._channels
        return beam.Create(list(items(self._data))) | beam.Map(lambda item: example(*item, size, channels))


def prepare(builder: type[Plain], **arguments: Any) -> int:
    """Runs ``download_and_prepare``; returns the number of examples."""
    import apache_beam as beam

    made = builder(**arguments)
    # Named, because Beam's default runner would first try to download a program.
    options = tfds.download.DownloadConfig(
        beam_runner="FnApiRunner", beam_options=beam.options.pipeline_options.PipelineOptions([])
    )
    made.download_and_prepare(download_config=options)
    return made.info.splits["train"].num_examples
