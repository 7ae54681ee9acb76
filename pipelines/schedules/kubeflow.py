"""A pipeline for Kubeflow Pipelines v2: its intermediate representation as YAML, one task a stage."""

import shlex
from pathlib import PurePosixPath
from typing import Any

from gan_components.errors import InputError
from pipelines.outcome import STAGES, Stage
from pipelines.schedules.job import Job
from pipelines.schedules.kubernetes import (
    CONFIG_FILE,
    GPU,
    USER_ID,
    VOLUME,
    Container,
    object_name,
    yaml_documents,
)

_GIB_IN_GB = 1.073741824
_RUN_ID = "{{$.pipeline_job_uuid}}"

# A recurring run is the server's, not the file's. Its cron expression begins with seconds.
_HEADER = """\
# gan-pipelines: {name}. Kubeflow cannot tell exit codes apart, so nothing is tried again: a task that fails with
# 99 was blocked by the gate, with 2 settings or data are wrong; the next run goes on where this one stopped.
# To run it on schedule, one run at a time, in UTC:
#   kfp recurring-run create --experiment-name {name} --job-name {name} --cron-expression {cron} --no-catchup \\
#     --max-concurrency 1 --pipeline-package-path FILE
"""
_CONFIG_MAP = """\
# The configuration must be there first:
#   kubectl create configmap {name} --from-file={key}=CONFIG
"""


def text(job: Job, container: Container) -> str:
    """The pipeline and, as a second document, what it needs of Kubernetes: the volume and the user.

    Kubeflow's own cache is off: the pipeline knows better what is done already.

    Raises:
        InputError: Kubeflow would read a word of the command as a placeholder.
    """
    for word in job.command:
        if "{{" in word or "$(" in word:
            raise InputError(f"{word!r} holds a placeholder of Kubeflow's; leave out {{{{ and $(")
    name = object_name(job)
    pipeline = {
        "components": {f"comp-{stage}": {"executorLabel": f"exec-{stage}"} for stage in STAGES},
        "deploymentSpec": {
            "executors": {f"exec-{stage}": {"container": _container(job, container, stage)} for stage in STAGES}
        },
        "pipelineInfo": {"name": name},
        "root": {"dag": {"tasks": {stage: _task(stage) for stage in STAGES}}},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.17.0",
    }
    executors = {f"exec-{stage}": _platform(job, container) for stage in STAGES}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    header = _HEADER.format(name=name, cron=shlex.quote(f"0 {job.cron}"))
    if container.config is not None:
        header += _CONFIG_MAP.format(name=name, key=PurePosixPath(CONFIG_FILE).name)
    return header + yaml_documents(pipeline, platform)


def _task(stage: Stage) -> dict[str, Any]:
    before = STAGES[: STAGES.index(stage)][-1:]
    return {
        # Empty: off.
        "cachingOptions": {},
        "componentRef": {"name": f"comp-{stage}"},
        **({"dependentTasks": list(before)} if before else {}),
        "taskInfo": {"name": stage},
    }


def _container(job: Job, container: Container, stage: Stage) -> dict[str, Any]:
    program, *arguments = job.command
    memory, cpus, gpus = f"{container.memory_gib}Gi", str(container.cpus), str(container.gpus)
    # Each limit twice: servers before 2.3 read the number, later ones the text.
    resources: dict[str, Any] = {
        "cpuLimit": float(container.cpus),
        "cpuRequest": float(container.cpus),
        "memoryLimit": container.memory_gib * _GIB_IN_GB,
        "memoryRequest": container.memory_gib * _GIB_IN_GB,
        "resourceCpuLimit": cpus,
        "resourceCpuRequest": cpus,
        "resourceMemoryLimit": memory,
        "resourceMemoryRequest": memory,
    }
    if container.gpus:
        resources["accelerator"] = {"count": gpus, "type": GPU, "resourceCount": gpus, "resourceType": GPU}
    return {
        "image": container.image,
        "command": [program],
        "args": [*arguments, "--only", stage, "--run-id", f"{job.name}.{_RUN_ID}"],
        "env": [{"name": key, "value": value} for key, value in job.environment.items()],
        "resources": resources,
    }


def _platform(job: Job, container: Container) -> dict[str, Any]:
    claim = {"runtimeValue": {"constant": container.claim}}
    platform: dict[str, Any] = {
        "activeDeadlineSeconds": str(job.deadline_hours * 3600),
        # The claim twice too: `constant` for servers that do not know the parameter yet.
        "pvcMount": [{"mountPath": VOLUME, "constant": container.claim, "pvcNameParameter": claim}],
        "securityContext": {"runAsUser": str(USER_ID), "runAsGroup": str(USER_ID), "runAsNonRoot": True},
    }
    if container.config is not None:
        config = {"runtimeValue": {"constant": object_name(job)}}
        platform["configMapAsVolume"] = [
            {
                "mountPath": str(PurePosixPath(CONFIG_FILE).parent),
                "configMapName": object_name(job),
                "configMapNameParameter": config,
                "optional": False,
            }
        ]
    return platform
