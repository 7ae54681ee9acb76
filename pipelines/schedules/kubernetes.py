"""A Kubernetes CronJob: one pod a run, no overlap, no privileges, one volume."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from gan_components.errors import InputError
from pipelines.schedules.job import BLOCKED, WRONG_INPUT, Job

# As the Dockerfile has them: the one directory that is written to, and who writes.
VOLUME = "/data"
USER_ID = 10001
CONFIG_FILE = "/etc/gan-pipelines/config.yaml"
GPU = "nvidia.com/gpu"

# Kubernetes adds eleven characters to a CronJob's name, and 63 are all there are.
_LONGEST_NAME = 52
_DNS_NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
# A checkpoint is written after SIGTERM; Kubernetes' own 30 s may not be enough.
_GRACE_SECONDS = 300
_RETRIES = 2


@dataclass(frozen=True)
class Container:
    """The container that runs the pipeline.

    Attributes:
        image: made by the Dockerfile, or from that one.
        claim: the PersistentVolumeClaim that holds the root, mounted at ``/data``.
        cpus: requested, and the limit.
        memory_gib: requested, and the limit.
        gpus: NVIDIA's; 0 for none.
        config: text of the configuration file if CONFIG is no preset: it travels along as a ConfigMap.

    Raises:
        InputError: a name that Kubernetes would not take.
    """

    image: str
    claim: str
    cpus: int
    memory_gib: int
    gpus: int
    config: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w./:@-]*", self.image, re.ASCII):
            raise InputError(
                f"--image {self.image!r} is no image's name; for example registry.org/gan-pipelines:1.0"
            )
        if not re.fullmatch(_DNS_NAME, self.claim) or len(self.claim) > 253:
            raise InputError(f"--claim {self.claim!r} is no Kubernetes name: lower-case letters, digits, - and .")


def text(job: Job, container: Container, *, time_zone: str) -> str:
    """The CronJob as YAML, and before it a ConfigMap if the configuration is a file."""
    name = object_name(job)
    labels = {"app.kubernetes.io/name": "gan-pipelines", "app.kubernetes.io/instance": name}
    metadata = {"name": name, "labels": labels}
    cron_job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata,
        "spec": {
            "schedule": job.cron,
            "timeZone": time_zone,
            "concurrencyPolicy": "Forbid",
            # A start that was missed for longer than this is left to the next night.
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {
                "spec": {
                    "backoffLimit": _RETRIES,
                    "activeDeadlineSeconds": job.deadline_hours * 3600,
                    "podFailurePolicy": {"rules": _failure_rules()},
                    "template": {"metadata": {"labels": labels}, "spec": _pod(job, container)},
                }
            },
        },
    }
    if container.config is None:
        return yaml_documents(cron_job)
    config_map = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {PurePosixPath(CONFIG_FILE).name: container.config},
    }
    return yaml_documents(config_map, cron_job)


def object_name(job: Job) -> str:
    """The job's name as Kubernetes takes it.

    Raises:
        InputError: it is too long.
    """
    name = job.name.replace("_", "-").rstrip("-")
    if len(name) > _LONGEST_NAME:
        raise InputError(
            f"{name!r} has {len(name)} characters, a CronJob's name has at most {_LONGEST_NAME}; "
            "choose a shorter `name`"
        )
    return name


def yaml_documents(*documents: dict[str, Any]) -> str:
    """YAML that version 1.1 and 1.2 read alike."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=115, allow_unicode=True)


def _failure_rules() -> list[dict[str, Any]]:
    """Neither the gate's verdict nor wrong input changes by trying again; a lost node is no failure at all.

    One rule an exit code: the Job's condition names the code and the rule, which tells a block from a mistake.
    """
    return [
        *(
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": "gan-pipelines", "operator": "In", "values": [code]},
            }
            for code in (BLOCKED, WRONG_INPUT)
        ),
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _pod(job: Job, container: Container) -> dict[str, Any]:
    resources: dict[str, Any] = {"cpu": str(container.cpus), "memory": f"{container.memory_gib}Gi"}
    if container.gpus:
        resources[GPU] = str(container.gpus)
    mounts = [{"name": "root", "mountPath": VOLUME}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 (the pod's own)
    volumes: list[dict[str, Any]] = [
        {"name": "root", "persistentVolumeClaim": {"claimName": container.claim}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if container.config is not None:
        directory = str(PurePosixPath(CONFIG_FILE).parent)
        mounts.append({"name": "config", "mountPath": directory})
        volumes.append({"name": "config", "configMap": {"name": object_name(job)}})
    program, *arguments = job.command
    return {
        # Required by podFailurePolicy; the Job makes a new pod instead.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "gan-pipelines",
                "image": container.image,
                "command": [program],
                # $(NAME) is expanded in arguments; $$ stands for a plain dollar sign.
                "args": [word.replace("$", "$$") for word in arguments],
                "env": [{"name": key, "value": value} for key, value in job.environment.items()],
                "resources": {"requests": resources, "limits": resources},
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # The verdict's line, in `kubectl describe pod`.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }


class _Dumper(yaml.SafeDumper):
    """Writes values out instead of referring to them, and quotes what YAML 1.2 would read as a number."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    if "\n" in value:
        style: str | None = "|"
    else:
        style = "'" if re.match(r"[-+.]?\d", value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)
