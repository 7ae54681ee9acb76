"""An Airflow 3 DAG: one task a stage, all tasks of a run under one run id."""

import re
import shlex

from pipelines.outcome import STAGES
from pipelines.schedules.job import BLOCKED, WRONG_INPUT, Job

# Public names of Airflow 3 alone. Each value below goes in by repr: no text of a user becomes code.
_DAG = '''\
"""gan-pipelines, one task a stage. What the gate blocks (exit code {blocked}) is skipped, with what follows."""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException


def refuse(last_line: str) -> None:
    """Wrong settings or data (exit code {wrong}) fail at once: a retry would find them as they are."""
    if last_line == {wrong_line!r}:
        raise AirflowFailException("wrong settings or data; the log's last lines say which")


with DAG(
    dag_id={name!r},
    schedule={cron!r},
    start_date=pendulum.datetime(2026, 1, 1, tz={time_zone!r}),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours={deadline_hours!r}),
    default_args={{"retries": 2, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True}},
    tags=["gan-pipelines"],
):
    commands = {{
{commands}
    }}
    before = None
    for stage, command in commands.items():
        task = BashOperator(
            task_id=stage,
            bash_command=command,
            skip_on_exit_code={blocked!r},
            output_processor=refuse,
        )
        if before:
            before >> task
        before = task
'''
_WRONG_LINE = f"exit code {WRONG_INPUT}"


def text(job: Job, *, time_zone: str) -> str:
    """The DAG's source. All tasks share a run id made of the DAG's run, also when one is tried again.

    The program must be on the worker, at the same path.
    """
    commands = {stage: _bash(job, stage) for stage in STAGES}
    return _DAG.format(
        name=job.name,
        cron=job.cron,
        time_zone=time_zone,
        deadline_hours=job.deadline_hours,
        commands="\n".join(f"        {stage!r}: {command!r}," for stage, command in commands.items()),
        blocked=BLOCKED,
        wrong=WRONG_INPUT,
        wrong_line=_WRONG_LINE,
    )


def _bash(job: Job, stage: str) -> str:
    """The stage's command for bash, which Airflow first reads as a Jinja template.

    The run id comes from the environment that Airflow sets, as data; two DAGs may share a root and a date.
    """
    variables = [f"{name}={value}" for name, value in job.environment.items()]
    words = shlex.join(("env", *variables, *job.command, "--only", stage))
    # shlex quotes every word with a brace, so that '' splits one in two pieces without changing it.
    words = re.sub(r"\{(?=[{%#])", "{''", words)
    return (
        f'{words} --run-id "$AIRFLOW_CTX_DAG_ID.$AIRFLOW_CTX_DAG_RUN_ID" '
        f'|| {{ code=$?; [ $code -eq {WRONG_INPUT} ] || exit $code; echo "{_WRONG_LINE}"; }}'
    )
