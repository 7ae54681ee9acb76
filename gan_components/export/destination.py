"""Where a generator goes."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Destination:
    """Where a generator is served, registered and recorded.

    Attributes:
        model_name: in TF Serving's directory and in MLflow's registry.
        serving_root: holds ``<model_name>/<version>/`` and ``models.config``.
        root: holds ``promotions/<model_name>.jsonl``, and ``mlartifacts/`` of a local MLflow store.
        tracking_uri: MLflow's store or server.
        mlflow_run_id: the run that the model is logged under; None makes one.
        base_path: the model's directory as the server sees it; None: as this machine sees it.
        serving_address: ``s3://BUCKET/PATH`` or ``gs://BUCKET/PATH`` that mirrors the serving root; None: nowhere.
        server: address of TF Serving's REST API, such as ``http://localhost:8501``, to ask what is available;
            None: nobody is asked.
    """

    model_name: str
    serving_root: Path
    root: Path
    tracking_uri: str
    mlflow_run_id: str | None = None
    base_path: str | None = None
    serving_address: str | None = None
    server: str | None = None
