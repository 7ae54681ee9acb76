"""A generator as MLflow's logged model: SavedModel, the pyfunc that serves it, signature and requirements."""

import importlib.metadata
import tempfile
import warnings
from pathlib import Path

import numpy as np

from gan_components.export import mlflow_environment

mlflow_environment.set_defaults()

import mlflow.pyfunc  # noqa: E402 (reads the environment when it is imported)
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus  # noqa: E402
from mlflow.models import Model, ModelSignature  # noqa: E402
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec  # noqa: E402

# Of the artifacts that `pyfunc_model.py` reads.
GENERATOR = "generator"
_PYFUNC_MODEL = Path(__file__).with_name("pyfunc_model.py")
_REQUIREMENTS = ("mlflow", "numpy", "tensorflow")


def upload(
    client: MlflowClient,
    run_id: str,
    name: str,
    saved_model: Path,
    tags: dict[str, str],
    metrics: dict[str, float],
) -> LoggedModel:
    """The SavedModel with its pyfunc, uploaded; the upload of a former try if it was finished."""
    experiment_id = client.get_run(run_id).info.experiment_id
    same = f"tags.fingerprint = '{tags['fingerprint']}'"
    for found in client.search_logged_models([experiment_id], filter_string=same):
        if found.status == LoggedModelStatus.READY:
            return found
        client.delete_logged_model(found.model_id)
    model = client.create_logged_model(
        experiment_id, name=name, source_run_id=run_id, tags=tags, model_type="generator"
    )
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    with tempfile.TemporaryDirectory(prefix="pyfunc-") as directory:
        path = Path(directory) / "model"
        _save_pyfunc(path, saved_model, model, run_id)
        client.log_model_artifacts(model.model_id, str(path))
    for key, value in metrics.items():
        client.log_metric(run_id, key, value, model_id=model.model_id)
    return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _save_pyfunc(path: Path, saved_model: Path, model: LoggedModel, run_id: str) -> None:
    with warnings.catch_warnings():
        # MLflow asks for an input example, which would only repeat the signature.
        warnings.simplefilter("ignore", UserWarning)
        mlflow.pyfunc.save_model(
            str(path),
            python_model=str(_PYFUNC_MODEL),
            artifacts={GENERATOR: str(saved_model)},
            signature=_signature(),
            pip_requirements=[f"{package}=={importlib.metadata.version(package)}" for package in _REQUIREMENTS],
            mlflow_model=Model(
                artifact_path=model.artifact_location,
                model_uuid=model.model_id,
                run_id=run_id,
                model_id=model.model_id,
            ),
        )


def _signature() -> ModelSignature:
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.int64), (-1,), "seed")]),
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1, -1))]),
        params=ParamSchema([ParamSpec("labels", "long", [], shape=(-1,)), ParamSpec("format", "string", "array")]),
    )
    # MLflow's own check would drop inputs that the schema does not know, with a warning: wrong images instead
    # of an error. With this mark it hands everything to the model, which checks it itself and refuses.
    signature._is_signature_from_type_hint = True
    return signature
