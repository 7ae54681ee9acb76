"""``schedule``: prints the file with which another scheduler calls ``gan-pipelines run``."""

import sys
import zoneinfo
from pathlib import Path
from typing import Annotated

import typer

from gan_components.errors import InputError
from gan_components.object_store import is_address
from pipelines import config, terminal
from pipelines.options import ConfigName, Data, Overrides, Root, ServingRoot, Weights
from pipelines.schedules import airflow, cron, kubeflow, kubernetes
from pipelines.schedules.job import Job
from pipelines.schedules.kubernetes import CONFIG_FILE, VOLUME, Container

app = typer.Typer(help="Print the file that lets another scheduler run the pipeline.", no_args_is_help=True)

Cron = Annotated[str, typer.Option("--cron", metavar="EXPR", help="Minute, hour, day of month, month, weekday.")]
DeadlineHours = Annotated[int, typer.Option(min=1, max=8760, help="A longer run is stopped; the next resumes it.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(envvar="MLFLOW_TRACKING_URI", help="MLflow as the job reaches it; without, in ROOT."),
]
TimeZone = Annotated[str, typer.Option(help="Of the cron expression, such as Europe/Berlin.")]

# Paths in the container, which this machine's environment says nothing about.
RootInside = Annotated[Path, typer.Option(help=f"Root in the container: the volume {VOLUME}, or below it.")]
ServingRootInside = Annotated[
    str | None,
    typer.Option(help="Where TF Serving reads, on the volume, s3://... or gs://...; without, ROOT/serving."),
]
Image = Annotated[str, typer.Option(help="Made with the project's Dockerfile.")]
Claim = Annotated[str, typer.Option(metavar="NAME", help=f"PersistentVolumeClaim, mounted at {VOLUME}.")]
Cpus = Annotated[int, typer.Option(min=1, help="Processors: request and limit.")]
MemoryGib = Annotated[int, typer.Option(min=1, help="Memory in GiB: request and limit.")]
Gpus = Annotated[int, typer.Option(min=0, help="NVIDIA GPUs: request and limit.")]


@app.command("cron", epilog="Example: gan-pipelines schedule cron digits --cron '0 3 * * *' --root /srv/gan")
def for_cron(
    name: ConfigName,
    when: Cron,
    root: Root = Path("gan-runs"),
    data: Data = None,
    weights: Weights = None,
    serving_root: ServingRoot = None,
    overrides: Overrides = None,
    deadline_hours: DeadlineHours = 23,
    tracking_uri: TrackingUri = None,
) -> None:
    """A line for a crontab of this machine: locked, logged, with a deadline."""
    with terminal.edge(as_json=False):
        places = {"--root": root, "--data": data, "--weights": weights, "--serving-root": serving_root}
        job = _job_here(name, when, overrides, places, deadline_hours, tracking_uri)
        typer.echo(cron.text(job), nl=False)


@app.command(
    "airflow",
    epilog="Example: gan-pipelines schedule airflow digits --cron '0 3 * * *' --root /srv/gan > dags/digits.py",
)
def for_airflow(
    name: ConfigName,
    when: Cron,
    root: Root = Path("gan-runs"),
    data: Data = None,
    weights: Weights = None,
    serving_root: ServingRoot = None,
    overrides: Overrides = None,
    deadline_hours: DeadlineHours = 23,
    tracking_uri: TrackingUri = None,
    time_zone: TimeZone = "UTC",
) -> None:
    """A DAG for Airflow 3: one task a stage, run by this installation on the worker."""
    with terminal.edge(as_json=False):
        places = {"--root": root, "--data": data, "--weights": weights, "--serving-root": serving_root}
        job = _job_here(name, when, overrides, places, deadline_hours, tracking_uri)
        typer.echo(airflow.text(job, time_zone=_known(time_zone)), nl=False)


@app.command(
    "kubernetes",
    epilog="Example: gan-pipelines schedule kubernetes digits --cron '0 3 * * *' --image registry.org/gan:1.0 "
    "| kubectl apply -f -",
)
def for_kubernetes(
    name: ConfigName,
    when: Cron,
    image: Image,
    claim: Claim = "gan-pipelines",
    root: RootInside = Path(VOLUME),
    data: Data = None,
    weights: Weights = None,
    serving_root: ServingRootInside = None,
    overrides: Overrides = None,
    deadline_hours: DeadlineHours = 23,
    tracking_uri: TrackingUri = None,
    time_zone: TimeZone = "UTC",
    cpus: Cpus = 2,
    memory_gib: MemoryGib = 8,
    gpus: Gpus = 0,
) -> None:
    """A Kubernetes CronJob, with a ConfigMap if CONFIG is a file."""
    with terminal.edge(as_json=False):
        places = {"--root": root, "--data": data, "--weights": weights, "--serving-root": serving_root}
        job = _job_inside(name, when, overrides, places, deadline_hours, tracking_uri)
        container = Container(image, claim, cpus, memory_gib, gpus, _config_text(name))
        typer.echo(kubernetes.text(job, container, time_zone=_known(time_zone)), nl=False)


@app.command(
    "kubeflow",
    epilog="Example: gan-pipelines schedule kubeflow digits --cron '0 3 * * *' --image registry.org/gan:1.0 "
    "> pipeline.yaml",
)
def for_kubeflow(
    name: ConfigName,
    when: Cron,
    image: Image,
    claim: Claim = "gan-pipelines",
    root: RootInside = Path(VOLUME),
    data: Data = None,
    weights: Weights = None,
    serving_root: ServingRootInside = None,
    overrides: Overrides = None,
    deadline_hours: DeadlineHours = 23,
    tracking_uri: TrackingUri = None,
    cpus: Cpus = 2,
    memory_gib: MemoryGib = 8,
    gpus: Gpus = 0,
) -> None:
    """A pipeline for Kubeflow Pipelines v2: one task a stage. Its head says how to make it recur."""
    with terminal.edge(as_json=False):
        places = {"--root": root, "--data": data, "--weights": weights, "--serving-root": serving_root}
        job = _job_inside(name, when, overrides, places, deadline_hours, tracking_uri)
        container = Container(image, claim, cpus, memory_gib, gpus, _config_text(name))
        typer.echo(kubeflow.text(job, container), nl=False)


# What `run` takes as a path, by option.
_Places = dict[str, Path | str | None]


def _job_here(
    name: str,
    when: str,
    overrides: list[str] | None,
    places: _Places,
    deadline_hours: int,
    tracking_uri: str | None,
) -> Job:
    """The job on a machine like this one. It will start in another directory: paths are made absolute."""
    absolute = {
        option: str(place) if is_address(place) else str(Path(place).expanduser().absolute())
        for option, place in places.items()
        if place is not None
    }
    path = name if name in config.presets() else str(Path(name).absolute())
    # Neither cron's nor Airflow's PATH knows this virtual environment.
    program = Path(sys.executable).with_name("gan-pipelines")
    if not program.exists():
        raise InputError(
            f"{program} is not there; install the package with the Python that runs this: pip install ."
        )
    return _job(name, when, [str(program), "run", path], overrides, absolute, deadline_hours, tracking_uri)


def _job_inside(
    name: str,
    when: str,
    overrides: list[str] | None,
    places: _Places,
    deadline_hours: int,
    tracking_uri: str | None,
) -> Job:
    """The job in a container, whose only writable directory is the volume."""
    inside = {option: str(place) for option, place in places.items() if place is not None}
    for option, place in inside.items():
        if not is_address(place) and (not place.startswith("/") or ".." in Path(place).parts):
            raise InputError(f"{option} {place!r} must be an absolute path in the container")
        writable = option == "--root" or (option == "--serving-root" and not is_address(place))
        if writable and not Path(place).is_relative_to(VOLUME):
            raise InputError(f"{option} {place!r} cannot be written to: choose {VOLUME}, the volume, or below")
    path = name if name in config.presets() else CONFIG_FILE
    return _job(name, when, ["gan-pipelines", "run", path], overrides, inside, deadline_hours, tracking_uri)


def _job(
    name: str,
    when: str,
    words: list[str],
    overrides: list[str] | None,
    places: dict[str, str],
    deadline_hours: int,
    tracking_uri: str | None,
) -> Job:
    settings = config.load(name, overrides or ())
    if settings.train.strategy == "multi_worker":
        raise InputError("train.strategy multi_worker needs one process a worker, a schedule starts a single one")
    # OPTION=VALUE in one word: a value may begin with a dash.
    options = [f"{option}={place}" for option, place in places.items()]
    options += [f"--set={override}" for override in overrides or ()]
    return Job(settings.name, when, (*words, *options), places["--root"], deadline_hours, tracking_uri)


def _config_text(name: str) -> str | None:
    """The configuration's text, if it is a file and so unknown to the image."""
    return None if name in config.presets() else Path(name).read_text(encoding="utf-8")


def _known(time_zone: str) -> str:
    try:
        zoneinfo.ZoneInfo(time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise InputError(f"--time-zone {time_zone!r} is unknown; for example UTC or Europe/Berlin") from None
    return time_zone
