"""Schedulers' files, checked by what reads them. Each test names the one-line change that turns it red."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
import venv
from pathlib import Path
from types import SimpleNamespace

import kubernetes_validate
import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from typer.testing import CliRunner

from gan_components.errors import InputError
from pipelines import config, schedule_command
from pipelines.outcome import EXIT_CODES, STAGES, Request
from pipelines.schedule_command import app
from pipelines.schedules.job import require_cron

ROOT = Path(__file__).parents[2]
SCHEDULERS = Path(__file__).parent / "schedulers"
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


@pytest.mark.parametrize("scheduler", ["cron", "airflow", "kubernetes", "kubeflow"])
@pytest.mark.parametrize("address", ["s3://bucket/photos", "gs://bucket/data/{YYYY}-{MM}-{DD}/"])
def test_addresses_of_stores_stay_what_they_are(scheduler, address):
    """Red if --data is made an absolute path, or must be one."""
    image = IMAGE if scheduler in ("kubernetes", "kubeflow") else ()
    assert f"--data={address}" in schedule(scheduler, "folder", *NIGHTLY, *image, "--data", address)


@pytest.mark.parametrize(
    "expression",
    ["0 3 * * *", "*/15 0-6,22 1 jan-mar,12 MON-fri", "59 23 31 12 6", "0 0 29 2 *", "0 0 31 2 0", "0  3 * * *"],
)
def test_cron_expressions_that_all_schedulers_read(expression):
    """Red if a list, a range, a step, a name or either end of a field is forgotten."""
    assert expression in schedule("cron", "digits", "--cron", expression)


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


class Program:
    """Stands where `gan-pipelines` does, notes how it is called, and ends as a shell script says."""

    def __init__(self, directory: Path):
        self.path = directory / "bin" / "gan-pipelines"
        self._note = self.path.with_name("called.json")
        self.path.parent.mkdir()
        self.says("exit 0")

    def says(self, script: str) -> None:
        self.path.write_text(
            f"#!{os.path.realpath(sys.base_exec_prefix)}/bin/python3\n"
            "import json, os, sys\n"
            f"with open({str(self._note)!r}, 'a') as file:\n"
            "    print(json.dumps([sys.argv[1:], os.environ.get('MLFLOW_TRACKING_URI')]), file=file)\n"
            "print('work', file=sys.stderr)\n"
            "print('the verdict', flush=True)\n"
            f"os.execl('/bin/sh', 'sh', '-c', {script!r}, *sys.argv)\n"
        )
        self.path.chmod(0o755)

    @property
    def calls(self) -> list[tuple[list[str], str | None]]:
        return [tuple(json.loads(line)) for line in self._note.read_text().splitlines()]


@pytest.fixture
def program(tmp_path, monkeypatch) -> Program:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    program = Program(tmp_path)
    # The program lies beside the Python that runs the command, as in any installation.
    monkeypatch.setattr(schedule_command, "sys", SimpleNamespace(executable=str(program.path.with_name("python"))))
    return program


class Crontab:
    """One line, run as cron runs it."""

    def __init__(self, program: Program, root: Path):
        self.program, self.root = program, root

    def start(self, *words: str, deadline: str = "23h") -> subprocess.Popen:
        *comments, line = schedule("cron", "digits", *NIGHTLY, "--root", str(self.root), *words).splitlines()
        assert all(comment.startswith("#") for comment in comments)
        assert line.startswith("0 3 * * * ")
        command = line.removeprefix("0 3 * * * ")
        # Cron: a percent sign is a line break, unless a backslash stands before it.
        assert "%" not in command.replace(r"\%", "")
        command = command.replace(r"\%", "%").replace(" 23h ", f" {deadline} ")
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            env={"PATH": "/usr/bin:/bin"},
            cwd=self.program.path.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, deadline: str = "23h") -> tuple[int, str]:
        """The exit code, and what cron would send by mail."""
        process = self.start(*words, deadline=deadline)
        mail, _ = process.communicate(timeout=60)
        return process.returncode, mail


@pytest.fixture
def crontab(program, tmp_path) -> Crontab:
    return Crontab(program, tmp_path / "the 'root', 100%")


def test_cron_runs_the_command_as_it_was_meant(crontab, program):
    """Red if a word is not quoted, a percent sign not escaped, or an option left out."""
    words = ("--data", HOSTILE, "--weights", "w.pt", "--serving-root", "/srv/serving", "--set", "seed=3")
    code, mail = crontab.run(*words, "--tracking-uri", "https://mlflow.org/%7Ea")
    assert (code, mail) == (0, "")
    ((called, tracking_uri),) = program.calls
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
def test_cron_mails_the_code_and_the_verdict(crontab, program, code):
    """Red if the code is lost behind the redirection, or the mail does not say what happened."""
    program.says(f"exit {code}")
    got, mail = crontab.run()
    assert got == code
    assert f"exit code {code}" in mail
    assert mail.endswith("the verdict\n")


def test_cron_lets_no_second_run_start(crontab, program):
    """Red without the lock, or if it were held only by the shell that took it."""
    program.says("touch started; for i in $(seq 500); do [ -e finish ] && exit 0; sleep 0.02; done")
    first = crontab.start()
    started = crontab.root / "started"
    deadline = time.monotonic() + 30
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    code, mail = crontab.run()
    assert (code, "exit code 75" in mail) == (75, True)
    assert len(program.calls) == 1
    (crontab.root / "finish").touch()
    assert first.wait(timeout=30) == 0
    assert crontab.run()[0] == 0


def test_cron_stops_a_run_at_its_deadline(crontab, program):
    """Red without `timeout`, or if it killed at once: a run that is asked to stop saves its work."""
    program.says("trap 'touch asked; exit 143' TERM; for i in $(seq 500); do sleep 0.02; done")
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
    """Red if the Dockerfile's user or volume changes alone, a privilege comes back, or an address is a path."""
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
    assert "cannot be written to" in refused("kubernetes", "digits", *NIGHTLY, *IMAGE, "--serving-root", "/srv")
    (container,) = pod("digits", "--serving-root", "s3://models/serving")["containers"]
    assert "--serving-root=s3://models/serving" in container["args"]
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
    """Red if a key is misspelt, if a stage waits for none or calls another, or if Kubeflow's own cache is on."""
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
    """Red if Kubeflow is given the five fields: it reads the first as seconds."""
    assert "--cron-expression '0 0 3 * * *'" in schedule("kubeflow", "digits", *NIGHTLY, *IMAGE)


def environment(request: pytest.FixtureRequest, scheduler: str) -> Path:
    """The Python of a virtual environment with one scheduler's pinned packages; made once, in pytest's cache."""
    requirements = SCHEDULERS / f"{scheduler}.txt"
    key = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:12]
    directory = request.config.cache.mkdir(f"{scheduler}-{key}")
    python = directory / "bin" / "python"
    if not (directory / "complete").exists():
        probe = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(directory)]
        reached = subprocess.run([*probe, "kfp-pipeline-spec"], capture_output=True, text=True)
        if reached.returncode:
            pytest.skip(f"needs a package index: {reached.stderr.strip().splitlines()[-1]}")
        venv.create(directory, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
        (directory / "complete").touch()
    return python


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_kubeflow_own_compiler_writes_the_same(request, own_config, tmp_path):
    """Red if any value differs from what Kubeflow's SDK writes, or its command line has no such option."""
    python = environment(request, "kubeflow")
    options = ("--gpus", "1", "--tracking-uri", "https://mlflow.org")
    text = schedule("kubeflow", str(own_config), *NIGHTLY, *IMAGE, *options)
    ours, theirs = tmp_path / "FILE", tmp_path / "theirs.yaml"
    ours.write_text(text)
    comments = " ".join(line.strip("# \\") for line in text.splitlines() if line.startswith("#"))
    command = comments.split("kfp recurring-run ")[1].split(" FILE")[0] + " FILE"
    script = [python, SCHEDULERS / "compile_pipeline.py", ours, theirs, *shlex.split(command)]
    done = subprocess.run(script, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list(yaml.safe_load_all(text)) == list(yaml.safe_load_all(theirs.read_text()))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_airflow_runs_it_and_tells_a_block_from_a_mistake(request, program, tmp_path):
    """In Airflow itself: the DAG is read by its DagBag and run, once for each exit code a pipeline has.

    Red if a name is not in Airflow 3; if Jinja or bash changes a word; if 99 fails, 2 is tried again or 1 is not;
    if the tasks of a run do not share its id.
    """
    python = environment(request, "airflow")
    program.says('case "$*" in *"--only evaluate"*) exit $EVALUATE_EXITS;; esac')
    uri = "https://mlflow.org/{{ 7*7 }}.sh"
    words = ("--root", str(tmp_path / "root"), "--data", HOSTILE, "--tracking-uri", uri)
    dags = tmp_path / "dags"
    dags.mkdir()
    # No test waits for five minutes.
    text = schedule("airflow", "digits", *NIGHTLY, *words).replace("timedelta(minutes=5)", "timedelta(0)")
    (dags / "digits.py").write_text(text)
    variables = {
        "PATH": "/usr/bin:/bin",
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    result = tmp_path / "result.json"
    for script in (
        ["-m", "airflow", "db", "migrate"],
        [SCHEDULERS / "run_dag.py", dags, result, "0", "99", "2", "1"],
    ):
        done = subprocess.run([python, *script], env=variables, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text())
    assert {
        code: (one["run"], one["tasks"]["evaluate"], one["tasks"]["export"][0]) for code, one in found.items()
    } == {
        "0": ("success", ["success", 1], "success"),
        "99": ("success", ["skipped", 1], "skipped"),
        "2": ("failed", ["failed", 1], "upstream_failed"),
        "1": ("failed", ["failed", 3], "upstream_failed"),
    }
    run_id = f"digits.{found['0']['run_id']}"
    assert Request(run_id=run_id)
    expected = ["run", "digits", f"--root={tmp_path / 'root'}", f"--data={HOSTILE}", "--only"]
    assert [called for called, _ in program.calls[: len(STAGES)]] == [
        [*expected, stage, "--run-id", run_id] for stage in STAGES
    ]
    assert {given for _, given in program.calls} == {uri}
    assert not list(tmp_path.rglob("pwned"))
