"""The files that schedulers read, checked by what reads them. Each test names the one-line change that turns it red."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from typer.testing import CliRunner

from gan_components.errors import InputError
from pipelines import config
from pipelines.outcome import EXIT_CODES
from pipelines.schedule_command import app
from pipelines.schedules.job import require_cron

ROOT = Path(__file__).parents[2]
NIGHTLY = ("--cron", "0 3 * * *")
IMAGE = ("--image", "registry.org/gan-pipelines:1.0")
# A path that every layer between here and the program would like to read as something else: shells, cron, Jinja,
# YAML, Python. (Kubeflow's and Kubernetes' own placeholders have tests of their own.)
HOSTILE = """/srv/my photos/it's "50%", {{ 7*7 }} {% x %} {# y #} `touch pwned` ; touch pwned # : - é $HOME.sh"""


def schedule(*words: str) -> str:
    """What the command prints on stdout; it must succeed."""
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*words: str) -> str:
    """The message of a command that must end with 2 and print nothing on stdout."""
    result = CliRunner().invoke(app, words)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


@pytest.mark.parametrize(
    "expression",
    ["0 3 * * *", "*/15 0-6,22 1 jan-mar,12 MON-fri", "59 23 31 12 6", "0 0 29 2 *", "0 0 31 2 0", "0  3 * * *"],
)
def test_cron_expressions_that_all_schedulers_read(expression):
    """Red if a list, a range, a step, a name or either end of a field is forgotten."""
    require_cron(expression)


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("0 3 * *", "4 fields"),
        ("@daily", "1 fields"),
        ("0 3 * * * *", "6 fields"),
        ("60 3 * * *", "minute '60'"),
        ("0 24 * * *", "hour '24'"),
        ("0 3 0 * *", "day of month '0'"),
        ("0 3 * 13 *", "month '13'"),
        ("0 3 * * 7", "0 for Sunday"),
        ("0 3 * * monday", "day of week 'monday'"),
        ("5-1 3 * * *", "minute '5-1'"),
        ("*/0 3 * * *", "minute"),
        ("5/10 3 * * *", "5-59/10"),
        ("0 3 30 feb *", "never comes"),
        ("0 3 * * *; reboot", "6 fields"),
        ("0 3 * * $(x)", "day of week"),
        ("% 3 * * *", "minute '%'"),
    ],
)
def test_cron_expressions_that_some_scheduler_refuses(expression, said):
    """Red if a bound is one too wide, or if text that no field takes reaches the file."""
    with pytest.raises(InputError, match="--cron") as error:
        require_cron(expression)
    assert said in str(error.value)


@pytest.mark.parametrize("scheduler", ["cron", "airflow", "kubernetes", "kubeflow"])
def test_a_wrong_configuration_is_refused_at_once(scheduler):
    """Red if the configuration is not loaded, or an option does not reach the check."""
    image = IMAGE if scheduler in ("kubernetes", "kubeflow") else ()
    assert "batch_size" in refused(scheduler, "digits", *NIGHTLY, *image, "--set", "train.batch_sise=3")
    assert "fields" in refused(scheduler, "digits", "--cron", "daily", *image)
    assert "credentials" in refused(scheduler, "digits", *NIGHTLY, *image, "--tracking-uri", "http://me:pw@host")
    assert "line break" in refused(scheduler, "digits", *NIGHTLY, *image, "--data", "/a\nb")
    assert "one process" in refused(scheduler, "digits", *NIGHTLY, *image, "--set", "train.strategy=multi_worker")


class Cron:
    """This machine's side of a crontab: a program that notes how it was called, and the line run as cron runs it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch):
        self.root = directory / "the 'root', 100%"
        self.program = directory / "bin" / "gan-pipelines"
        self.program.parent.mkdir()
        self.says("exit 0")
        monkeypatch.setattr(sys, "executable", str(self.program.with_name("python")))

    def says(self, script: str) -> None:
        note = self.program.with_name("called.json")
        self.program.write_text(
            f"#!{os.path.realpath(sys.base_exec_prefix)}/bin/python3\n"
            "import json, os, subprocess, sys\n"
            f"with open({str(note)!r}, 'a') as file:\n"
            "    file.write(json.dumps([sys.argv[1:], os.environ.get('MLFLOW_TRACKING_URI')]) + '\\n')\n"
            "print('work', file=sys.stderr); print('the verdict', flush=True)\n"
            f"os.execl('/bin/sh', 'sh', '-c', {script!r})\n"
        )
        self.program.chmod(0o755)

    @property
    def calls(self) -> list:
        return [json.loads(line) for line in self.program.with_name("called.json").read_text().splitlines()]

    def start(self, *words: str, deadline: str = "23h") -> subprocess.Popen:
        *comments, line = schedule("cron", "digits", *NIGHTLY, "--root", str(self.root), *words).splitlines()
        assert all(comment.startswith("#") for comment in comments)
        assert line.startswith("0 3 * * * ")
        command = line.removeprefix("0 3 * * * ")
        assert "%" not in command.replace(r"\%", "")
        command = command.replace(r"\%", "%").replace(" 23h ", f" {deadline} ")
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.program.parent)},
            cwd=self.program.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, deadline: str = "23h") -> tuple[int, str]:
        process = self.start(*words, deadline=deadline)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said


@pytest.fixture
def crontab(tmp_path, monkeypatch) -> Cron:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Cron(tmp_path, monkeypatch)


def test_cron_runs_the_command_as_it_was_meant(crontab):
    """Red if a word is not quoted, a percent sign not escaped, or an option left out."""
    words = ("--data", HOSTILE, "--weights", "w.pt", "--serving-root", "/srv/serving", "--set", "seed=3")
    code, mail = crontab.run(*words, "--tracking-uri", "https://mlflow.org/%7Ea")
    assert (code, mail) == (0, "")
    ((called, tracking_uri),) = crontab.calls
    *given, option, run_id = called
    assert given == [
        "run",
        "digits",
        f"--root={crontab.root}",
        f"--data={HOSTILE}",
        f"--weights={Path.cwd() / 'w.pt'}",
        "--serving-root=/srv/serving",
        "--set=seed=3",
    ]
    assert tracking_uri == "https://mlflow.org/%7Ea"
    assert option == "--run-id"
    assert (crontab.root / "logs" / f"{run_id}.log").read_text() == "work\nthe verdict\n"
    assert not list(crontab.root.parent.rglob("pwned"))


@pytest.mark.parametrize("code", [1, 2, 99])
def test_cron_mails_the_code_and_the_verdict(crontab, code):
    """Red if the code is lost behind the redirection, or the mail does not say what happened."""
    crontab.says(f"exit {code}")
    got, mail = crontab.run()
    assert got == code
    assert f"exit code {code}" in mail
    assert mail.endswith("the verdict\n")


def test_cron_lets_no_second_run_start(crontab):
    """Red without the lock, or if it were held only by the shell that took it."""
    crontab.says("touch started; while [ ! -e finish ]; do sleep 0.02; done")
    first = crontab.start()
    started = crontab.root / "started"
    deadline = time.monotonic() + 30
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    code, mail = crontab.run()
    assert (code, "exit code 75" in mail) == (75, True)
    assert len(crontab.calls) == 1
    (crontab.root / "finish").touch()
    assert first.wait(timeout=30) == 0
    assert crontab.run()[0] == 0


def test_cron_stops_a_run_at_its_deadline(crontab):
    """Red without `timeout`, or if it killed at once: the run must be asked to stop, so that it can save its work."""
    crontab.says("trap 'touch asked; exit 143' TERM; while :; do sleep 0.02; done")
    code, mail = crontab.run(deadline="1s")
    assert (code, "exit code 124" in mail) == (124, True)
    assert (crontab.root / "asked").exists()


def test_cron_refuses_what_it_would_misread():
    """Red if a line is printed that cron cuts, or a backslash that some crons drop."""
    assert "backslash" in refused("cron", "digits", *NIGHTLY, "--data", "a\\b")
    assert "YAML file" in refused("cron", "digits", *NIGHTLY, "--data", "/" + "a" * 900)


@pytest.fixture
def own_config(tmp_path) -> Path:
    """A configuration that is no preset, with what YAML in YAML could stumble over."""
    path = tmp_path / "faces.yaml"
    path.write_text((config.PRESETS / "digits.yaml").read_text() + "# 'é': {{ x }} $(HOME)\n")
    return path


def cron_job(*words: str) -> dict:
    *_, document = yaml.safe_load_all(schedule("kubernetes", *words, *NIGHTLY, *IMAGE))
    return document["spec"]


def pod(*words: str) -> dict:
    return cron_job(*words)["jobTemplate"]["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", ["1.31", kubernetes_validate.latest_version()])
def test_kubernetes_own_schema_takes_it(own_config, version):
    """Red if a key is misspelt, misplaced or of the wrong type: the strict schemas know every key."""
    words = ("--gpus", "1", "--tracking-uri", "https://mlflow.org", "--data", HOSTILE)
    text = schedule("kubernetes", str(own_config), *words, *NIGHTLY, *IMAGE, "--time-zone", "Europe/Berlin")
    config_map, job = yaml.safe_load_all(text)
    for document in (config_map, job):
        kubernetes_validate.validate(document, version, strict=True)
    assert (config_map["kind"], job["kind"]) == ("ConfigMap", "CronJob")
    assert job["spec"]["timeZone"] == "Europe/Berlin"


def test_kubernetes_carries_a_configuration_file_along(own_config):
    """Red if the image is left to find a file of this machine, or the file is mounted elsewhere."""
    config_map, job = yaml.safe_load_all(schedule("kubernetes", str(own_config), *NIGHTLY, *IMAGE))
    spec = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (mount,) = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "config"]
    (volume,) = [one for one in spec["volumes"] if one["name"] == "config"]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    ((key, text),) = config_map["data"].items()
    assert text == own_config.read_text()
    assert spec["containers"][0]["args"][1] == f"{mount['mountPath']}/{key}"
    assert "config" not in str(pod("digits"))


def test_kubernetes_neither_overlaps_nor_repeats_in_vain():
    """Red with Kubernetes' defaults: overlap is allowed there, and every failure is tried six times more."""
    spec = cron_job("digits", "--deadline-hours", "5")
    assert spec["concurrencyPolicy"] == "Forbid"
    job = spec["jobTemplate"]["spec"]
    assert job["activeDeadlineSeconds"] == 5 * 3600
    failing = [rule for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob"]
    # One rule a code: the Job's condition then says which it was.
    assert [rule["onExitCodes"]["values"] for rule in failing] == [[EXIT_CODES["blocked"]], [2]]
    template = job["template"]["spec"]
    assert {rule["onExitCodes"]["containerName"] for rule in failing} == {template["containers"][0]["name"]}
    assert template["restartPolicy"] == "Never"


def test_kubernetes_pod_is_the_dockerfiles_user_and_writes_to_one_volume():
    """Red if the Dockerfile's user or volume changes alone, or a privilege comes back."""
    spec = pod("digits", "--claim", "gan-data")
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"\nUSER {spec['securityContext']['runAsUser']}\n" in dockerfile
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsUser"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["automountServiceAccountToken"] is False
    (claim,) = [volume["name"] for volume in spec["volumes"] if "persistentVolumeClaim" in volume]
    (path,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == claim]
    assert f"\nVOLUME {path}\n" in dockerfile
    assert f"--root={path}" in container["args"]
    assert "cannot be written to" in refused("kubernetes", "digits", *NIGHTLY, *IMAGE, "--root", "/srv")
    assert "absolute" in refused("kubernetes", "digits", *NIGHTLY, *IMAGE, "--data", "photos")


def test_kubernetes_gives_the_program_every_word_as_it_was():
    """Red without the doubled dollar sign, which Kubernetes takes as the beginning of a variable."""
    words = ("--data", f"{HOSTILE} $(HOME) $$ $(X", "--set", "evaluate.bounds={fd_classifier: {max: 1.0e+6}}")
    (container,) = pod("digits", *words)["containers"]
    assert container["command"] == ["gan-pipelines"]
    # Kubernetes: $(NAME) is a variable's value, $$ is $.
    read = [
        re.sub(r"\$\((\w+)\)|\$\$", lambda found: "value" if found[1] else "$", one) for one in container["args"]
    ]
    assert read == ["run", "digits", "--root=/data", f"--data={words[1]}", f"--set={words[3]}"]


@pytest.mark.parametrize("name", ["1e3", "0o17", "on", "null", "1_000", "0x1f"])
def test_yaml_names_stay_texts(name):
    """Red with PyYAML's own quoting: it leaves 1e3 and 0o17 bare, which are numbers to YAML 1.2."""
    text = schedule("kubernetes", "digits", *NIGHTLY, *IMAGE, "--set", f"name='{name}'")
    assert f"  name: '{name.replace('_', '-')}'\n" in text


@pytest.mark.parametrize(
    "words",
    [
        ("--image", "a b"),
        ("--image", "-x"),
        ("--claim", "My_Claim"),
        ("--set", "name=" + "a" * 53),
        ("--time-zone", "../etc/passwd"),
        ("--time-zone", "Mars"),
    ],
)
def test_kubernetes_names_are_checked(words):
    """Red if a name is first refused by the server, at night."""
    image = () if words[0] == "--image" else IMAGE
    assert "error:" in refused("kubernetes", "digits", *NIGHTLY, *image, *words)


def kubeflow(*words: str) -> tuple[pipeline_spec_pb2.PipelineSpec, pipeline_spec_pb2.PlatformSpec]:
    """The two documents, parsed by Kubeflow's own messages: an unknown key or a wrong type is an error."""
    pipeline, platform = yaml.safe_load_all(schedule("kubeflow", *words, *NIGHTLY, *IMAGE))
    return (
        json_format.ParseDict(pipeline, pipeline_spec_pb2.PipelineSpec()),
        json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec()),
    )


def test_kubeflow_own_messages_take_it(own_config):
    """Red if a key is misspelt; if a stage waits for none or calls another; if Kubeflow's cache answers for ours."""
    data = HOSTILE.replace("{{", "{")
    pipeline, platform = kubeflow(str(own_config), "--gpus", "1", "--data", data)
    tasks = pipeline.root.dag.tasks
    assert {name: list(task.dependent_tasks) for name, task in tasks.items()} == {
        "ingest": [],
        "train": ["ingest"],
        "evaluate": ["train"],
        "export": ["evaluate"],
    }
    for stage, task in tasks.items():
        assert not task.caching_options.enable_cache
        assert task.retry_policy.max_retry_count == 0
        label = pipeline.components[task.component_ref.name].executor_label
        container = pipeline.deployment_spec["executors"][label]["container"]
        assert list(container["args"])[-4:] == ["--only", stage, "--run-id", "digits.{{$.pipeline_job_uuid}}"]
        assert f"--data={data}" in list(container["args"])
        assert platform.platforms["kubernetes"].deployment_spec.executors[label]["pvcMount"]


def test_kubeflow_placeholders_are_refused():
    """Red if a user's text is read as a placeholder."""
    for data in ("/{{$.pipeline_job_uuid}}", "/$(HOME)"):
        assert "placeholder" in refused("kubeflow", "digits", *NIGHTLY, *IMAGE, "--data", data)


def test_kubeflow_cron_begins_with_seconds():
    """Red if the five fields are given to Kubeflow, which reads the first as seconds: every minute of three hours."""
    assert "--cron-expression '0 0 3 * * *'" in schedule("kubeflow", "digits", *NIGHTLY, *IMAGE)
