"""A generator's SavedModel, answered by TensorFlow in this process."""

from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import json_format

from gan_components.errors import InputError
from gan_components.export import metagraph, signature
from gan_components.generators import DESCRIPTION, Description


class InProcessTransport:
    """Answers the signatures of the SavedModel in `directory`, which may be deleted afterwards.

    Raises:
        InputError: there is no generator's SavedModel.
        ArtifactError: it is damaged.
    """

    def __init__(self, directory: Path) -> None:
        if not (directory / DESCRIPTION).is_file():
            raise InputError(
                f"{directory} is no generator's SavedModel: it has no {DESCRIPTION}. Expected the directory "
                "`generator` of a trained model or a version below the serving root"
            )
        self._definitions = metagraph.signatures(metagraph.read(directory))
        self._num_classes = Description.model_validate_json((directory / DESCRIPTION).read_bytes()).num_classes
        self._model = tf.saved_model.load(str(directory))

    def signatures(self) -> dict[str, signature.Signature]:
        return signature.by_name(
            {
                name: json_format.MessageToDict(definition, preserving_proto_field_name=True)
                for name, definition in self._definitions.items()
            }
        )

    def predict(self, name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        labels = inputs.get("label", np.empty(0, np.int64))
        if len(labels) and labels.max() >= self._num_classes:
            raise InputError(f"label {labels.max()} is none of this generator's, 0 to {self._num_classes - 1}")
        answer = self._model.signatures[name](**{key: tf.constant(column) for key, column in inputs.items()})
        return {key: tensor.numpy() for key, tensor in answer.items()}

    def close(self) -> None:
        pass
