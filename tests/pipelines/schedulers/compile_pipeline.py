"""Compiles the pipeline of `schedule kubeflow` with Kubeflow's own SDK, and reads ours with its parsers.

    compile_pipeline.py OURS THEIRS COMMAND...

Runs in Kubeflow's own environment. THEIRS is written; COMMAND is what follows `kfp recurring-run` in OURS' head.
"""

import sys
from pathlib import Path

from kfp import compiler, components, dsl, kubernetes
from kfp.cli.recurring_run import recurring_run

ours, theirs, subcommand, *words = sys.argv[1:]


def component(stage: str):
    def container():
        return dsl.ContainerSpec(
            image="registry.org/gan-pipelines:1.0",
            command=["gan-pipelines"],
            args=[
                *("run", "/etc/gan-pipelines/config.yaml", "--root=/data", "--only", stage),
                *("--run-id", f"digits.{dsl.PIPELINE_JOB_ID_PLACEHOLDER}"),
            ],
        )

    container.__name__ = stage
    return dsl.container_component(container)


@dsl.pipeline(name="digits")
def pipeline():
    before = None
    for stage in ("ingest", "train", "evaluate", "export"):
        task = component(stage)()
        task.set_caching_options(False).set_env_variable("MLFLOW_TRACKING_URI", "https://mlflow.org")
        task.set_cpu_request("2").set_cpu_limit("2").set_memory_request("8Gi").set_memory_limit("8Gi")
        task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(1)
        kubernetes.mount_pvc(task, pvc_name="gan-pipelines", mount_path="/data")
        kubernetes.use_config_map_as_volume(task, config_map_name="digits", mount_path="/etc/gan-pipelines")
        kubernetes.set_timeout(task, 23 * 3600)
        kubernetes.set_security_context(task, run_as_user=10001, run_as_group=10001, run_as_non_root=True)
        if before:
            task.after(before)
        before = task


compiler.Compiler().compile(pipeline, theirs)
components.load_component_from_text(Path(ours).read_text())
recurring_run.commands[subcommand].make_context(subcommand, words)
