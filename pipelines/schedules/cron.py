"""A line for a crontab: locked, logged, with a deadline, silent unless there is something to tell."""

import shlex

from gan_components.errors import InputError
from pipelines.schedules.job import Job

OVERLAP = 75
_LONGEST_LINE = 998

_HEADER = """\
# gan-pipelines: {name}. Mail comes only when the exit code is not 0: 99 blocked by the gate, nothing pushed;
# 2 wrong settings or data; 75 the last run still goes on; 124 stopped at the deadline, the next run resumes;
# 1 anything else.
"""


def text(job: Job) -> str:
    """The line and a comment above it. Needs ``flock`` (util-linux) and ``timeout`` (coreutils) on the machine.

    The lock is the operating system's: it is free as soon as the last process of a run is gone, however it ended.

    Raises:
        InputError: cron could not read the line as it was meant.
    """
    root = shlex.quote(job.root)
    variables = [f"{name}={value}" for name, value in job.environment.items()]
    # At the deadline SIGTERM comes first: training saves a checkpoint.
    words = ("env", *variables, "timeout", "--kill-after=10m", f"{job.deadline_hours}h", *job.command)
    if any("\\" in word for word in words):
        raise InputError("cron reads backslashes in several ways; leave them out of paths and settings")
    command = (
        f"mkdir -p {root}/logs && cd {root} && run={job.name}-$(date -u +%Y%m%dT%H%M%SZ) && "
        f"flock --nonblock --conflict-exit-code {OVERLAP} .schedule-{job.name}.lock "
        f'{shlex.join(words)} --run-id "$run" >>"logs/$run.log" 2>&1 || {{ code=$?; '
        f'echo "gan-pipelines {job.name}: exit code $code, log $PWD/logs/$run.log"; tail -n 3 "logs/$run.log"; '
        "exit $code; }"
    )
    # To cron a percent sign is a line break.
    line = f"{job.cron} {command}".replace("%", r"\%")
    if len(line) > _LONGEST_LINE:
        raise InputError(
            f"the line has {len(line)} characters, and cron may cut it at {_LONGEST_LINE}: put the settings into "
            "a YAML file instead of --set"
        )
    return _HEADER.format(name=job.name) + line + "\n"
