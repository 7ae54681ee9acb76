"""The registered model: images from seeds, by MLflow's pyfunc interface, over the SavedModel that is served.

MLflow stores this file beside the SavedModel and runs it where the model is loaded ("models from code"). It
stands alone: whoever loads the model needs TensorFlow and MLflow, not the package that trained it.

    model = mlflow.pyfunc.load_model("models:/digits@champion")
    model.predict(np.arange(4))                                            # uint8 [4, H, W, C]
    model.predict([7, 8], params={"labels": [3, 5], "format": "png"})      # two PNG pictures as bytes
"""

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

_BATCH_SIZE = 256
_FORMATS = {"array": ("images", "images"), "png": ("serving_default", "image_bytes")}


class SeededGenerator(PythonModel):
    """One image a seed; the same seed gives the same image."""

    def load_context(self, context):
        """Loads the SavedModel that lies beside this file."""
        # Here and not above: MLflow also runs this file where the model is only stored.
        import tensorflow as tf

        self._model = tf.saved_model.load(context.artifacts["generator"])

    def predict(self, context, model_input, params=None):
        """Draws images.

        Args:
            context: given by MLflow.
            model_input: the seeds: integers as list or array ``[N]``, or a dict or data frame with the one
                key ``seed``.
            params: ``labels``, one class a seed (−1 or none: drawn from the seed by the training frequencies);
                ``format``: ``array`` (default) or ``png``.

        Returns:
            uint8 ``[N, H, W, C]``, or a list of N byte strings.

        Raises:
            MlflowException: another input than the seeds, or labels and a format that do not fit.
        """
        params = params or {}
        seeds = _seeds(model_input)
        labels = np.asarray(params.get("labels", []), np.int64)
        name = params.get("format", "array")
        if name not in _FORMATS:
            raise MlflowException.invalid_parameter_value(
                f"format must be one of {sorted(_FORMATS)}, got {name!r}"
            )
        signature_name, output = _FORMATS[name]
        signature = self._model.signatures[signature_name]
        inputs = {"seed": seeds}
        if "label" in signature.structured_input_signature[1]:
            inputs["label"] = labels if len(labels) else np.full(len(seeds), -1)
            if len(inputs["label"]) != len(seeds):
                raise MlflowException.invalid_parameter_value(
                    f"give one label a seed: got {len(labels)} labels for {len(seeds)} seeds"
                )
        elif len(labels):
            raise MlflowException.invalid_parameter_value(
                "this generator was trained without labels; leave them out"
            )
        rows = np.concatenate([self._rows(signature, inputs, i)[output] for i in _starts(len(seeds))])
        return rows if name == "array" else rows.tolist()

    def _rows(self, signature, inputs, start):
        import tensorflow as tf

        batch = {key: tf.constant(value[start : start + _BATCH_SIZE]) for key, value in inputs.items()}
        return {key: value.numpy() for key, value in signature(**batch).items()}


def _starts(count):
    return range(0, max(count, 1), _BATCH_SIZE)  # no seeds: one empty batch, which has the right shape


def _seeds(model_input):
    """The seeds as int64 [N]. A misspelt or unknown input is refused: ignored, it would change the images."""
    if hasattr(model_input, "keys"):  # a dict or a data frame
        if list(model_input.keys()) != ["seed"]:
            raise MlflowException.invalid_parameter_value(
                f"this model takes the one input 'seed', got {list(model_input.keys())}; give labels as "
                "params={'labels': [...]}"
            )
        model_input = model_input["seed"]
    seeds = np.asarray(model_input)
    if seeds.size == 0:
        seeds = seeds.astype(np.int64)
    if seeds.ndim != 1 or not np.issubdtype(seeds.dtype, np.integer):
        raise MlflowException.invalid_parameter_value(
            f"seeds must be integers [N], got {seeds.dtype} {list(seeds.shape)}"
        )
    return seeds.astype(np.int64)


mlflow.models.set_model(SeededGenerator())
