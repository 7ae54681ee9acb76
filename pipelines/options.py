"""Arguments and options that commands share, and the workspace that they name."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.outcome import Stage
from pipelines.workspace import Workspace

ConfigName = Annotated[str, typer.Argument(metavar="CONFIG", help="A preset's name or a YAML file.")]
Root = Annotated[
    Path, typer.Option(envvar="GAN_PIPELINES_ROOT", help="Where artifacts, cache, runs and registry lie.")
]
Data = Annotated[
    str | None, typer.Option(help="The images: a folder, or what the preset's source reads; also s3:// and gs://.")
]
Weights = Annotated[Path | None, typer.Option(show_default="download", help="Weights of inception or keras:NAME.")]
ServingRoot = Annotated[
    str | None,
    typer.Option(show_default="ROOT/serving", help="Where TF Serving reads: a directory, s3://... or gs://..."),
]
Images = Annotated[str, typer.Argument(help="Folder, .npz, .npy, TFDS directory or SavedModel.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override, e.g. train.batch_size=128.")
]
Until = Annotated[Stage | None, typer.Option(help="Stop after this stage.")]
Only = Annotated[Stage | None, typer.Option(help="Run this stage; earlier ones must be done.")]
Force = Annotated[Stage | None, typer.Option(help="Rebuild this stage.")]
RunId = Annotated[str | None, typer.Option(help="Share one plan and MLflow run between tasks.")]
Verify = Annotated[bool, typer.Option(help="Read every byte instead of trusting sizes and times.")]
Bless = Annotated[str | None, typer.Option(metavar="WHY", help="Overrule failed checks of quality, on record.")]
ResumeFrom = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Go on with unfinished training of other settings or code.")
]
Json = Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")]


def workspace_at(root: Path, serving_root: str | None) -> Workspace:
    """The workspace that the options and the environment name."""
    return Workspace.at(
        root,
        serving_root=serving_root,
        tracking_uri=os.environ.get("MLFLOW_TRACKING_URI"),
        server=os.environ.get("GAN_PIPELINES_SERVER"),
    )
