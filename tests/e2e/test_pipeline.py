"""The whole way on real digits, by the command line. Each test names the one-line change that turns it red.

The tests share one root and run in the order of the file: that is the story of a nightly job.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commandline import OFFLINE, QUICK, Result, call, environment, summary

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("pipeline") / "root"


@pytest.fixture(scope="module")
def first(root):
    return call("run", "digits", root=root)


def versions(root) -> list[str]:
    return sorted(path.name for path in (root / "serving" / "digits").iterdir() if path.name.isdecimal())


def test_first_run_pushes(first, root):
    """Red if any stage is left out, or if anything beside the document reaches stdout."""
    assert first.code == 0, first.stderr
    document = first.document
    assert document["verdict"] == "pushed"
    assert set(first.statuses.values()) == {"ran"}
    assert versions(root) == [str(document["pushed"]["version"])] == ["1"]
    assert document["metrics"]["fd_classifier"]["protocol"].endswith("_holdout_classifier")
    assert all(check["passed"] for check in document["blessing"]["checks"])
    assert summary(first, root) == document


def test_an_undertrained_but_honest_model_passes_the_memorization_check(first):
    """Red if the check confuses bad images with copied ones."""
    artifact = next(step["artifact"] for step in first.document["stages"] if step["stage"] == "evaluate")
    assert json.loads((Path(artifact) / "memorization.json").read_text())["verdict"] == "PASS"


def test_people_find_pictures_and_a_report(first):
    """Red if the stages stop writing what people look at."""
    artifacts = {step["stage"]: Path(step["artifact"]) for step in first.document["stages"]}
    grids = sorted((artifacts["train"] / "samples").glob("*.png"))
    assert np.asarray(Image.open(grids[-1])).std() > 10  # not blank: strokes on a ground
    report = (artifacts["evaluate"] / "report.html").read_text()
    assert 'src="data:image/png;base64,' in report
    assert "http://" not in report.replace("http://www.w3.org", "")


def test_registry_consumers_get_images(first, root):
    """Red if the alias is not moved or the model needs this package to load."""
    script = (
        "import json, sys, numpy as np, mlflow\n"
        "sys.modules['gan_components'] = sys.modules['pipelines'] = None\n"
        f"mlflow.set_tracking_uri('sqlite:///{root}/mlflow.db')\n"
        "model = mlflow.pyfunc.load_model('models:/digits@champion')\n"
        "images = model.predict(np.arange(4, dtype=np.int64), params={'labels': [3, 3, 3, 3]})\n"
        "np.save(sys.argv[1], images)\n"
    )
    out = root.parent / "images.npy"
    done = subprocess.run(
        [sys.executable, "-c", script, str(out)],
        env=environment(root),
        capture_output=True,
        text=True,
        cwd=root.parent,
    )
    assert done.returncode == 0, done.stderr
    images = np.load(out)
    assert images.shape == (4, 28, 28, 1)
    assert images.dtype == np.uint8


def test_second_run_executes_nothing_and_imports_nothing_heavy(first, root):
    """Red if a stage runs again, or if `run` imports TensorFlow or MLflow before it needs them."""
    script = (
        "import sys\n"
        "from pipelines.cli import app\n"
        "code = 0\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as stop: code = stop.code\n"
        "heavy = {'tensorflow', 'keras', 'mlflow', 'apache_beam'} & set(sys.modules)\n"
        "print(sorted(heavy), code, file=sys.stderr)\n"
    )
    sets = [word for text in QUICK for word in ("--set", text)]
    for command in ("run", "plan"):
        done = subprocess.run(
            [sys.executable, "-c", script, command, "digits", "--root", str(root), "--json", *sets],
            capture_output=True,
            text=True,
            env=environment(root),
        )
        assert done.stderr.splitlines()[-1] == "[] 0", done.stderr
        document = json.loads(done.stdout)
        assert {step["status"] for step in document["stages"]} == {"hit"}
        assert all(step["reason"] for step in document["stages"])
        assert command == "plan" or document["verdict"] == "unchanged"


def test_plan_names_the_reason(first, root):
    """Red if a changed key does not reach the fingerprint, or its reason is not put in words."""
    planned = call("plan", "digits", root=root, sets=[*QUICK, "train.num_steps=61"]).document["stages"]
    assert [step["status"] for step in planned] == ["hit", "miss", "depends", "depends"]
    assert planned[1]["reason"] == "train.num_steps 60 → 61"


@pytest.mark.parametrize(
    ("arguments", "changed", "status"),
    [
        ((), ["evaluate.margin=0.04"], "ran"),
        (("--force", "evaluate"), [], "ran"),
        (("--force", "export"), [], "hit"),
    ],
    ids=["evaluate key", "force evaluate", "force export"],
)
def test_the_same_generator_is_never_pushed_twice(first, root, arguments, changed, status):
    """Red if export looks for its own fingerprint only and not into the promotion log."""
    again = call("run", "digits", *arguments, root=root, sets=QUICK + changed)
    assert again.code == 0, again.stderr
    assert again.document["verdict"] == "unchanged"
    assert again.statuses == {"ingest": "hit", "train": "hit", "evaluate": status, "export": "hit"}
    assert versions(root) == ["1"]


OTHER = [*QUICK, "seed=1", "evaluate.margin=1000.0"]


def test_another_generator_becomes_champion_and_moving_the_alias_back_pushes_nothing(first, root):
    """Red if `run` pushes what the promotion log already names: only a person moves back and forth."""
    second = call("run", "digits", root=root, sets=OTHER)
    assert second.code == 0, second.stderr
    assert second.document["verdict"] == "pushed"
    assert any(check["name"] == "champion" for check in second.document["blessing"]["checks"])
    assert versions(root) == ["1", "2"]
    move = (
        "from mlflow import MlflowClient\n"
        f"client = MlflowClient('sqlite:///{root}/mlflow.db')\n"
        "assert client.get_model_version_by_alias('digits', 'champion').version in (2, '2')\n"
        "client.set_registered_model_alias('digits', 'champion', '1')\n"
    )
    subprocess.run([sys.executable, "-c", move], check=True, env=environment(root), cwd=root.parent)
    for sets in (QUICK, OTHER):
        again = call("run", "digits", root=root, sets=sets)
        assert (again.code, again.document["verdict"]) == (0, "unchanged")
    assert versions(root) == ["1", "2"]


def test_a_worse_model_is_blocked_and_stays_blocked(first, root):
    """Red if the comparison with the champion is dropped, or cached with the evaluation."""
    worse = [*QUICK, "train.num_steps=2"]
    for _ in range(2):
        blocked = call("run", "digits", root=root, sets=worse)
        assert blocked.code == 99, blocked.stderr
        assert blocked.document["verdict"] == "blocked"
        assert blocked.statuses["export"] == "blocked"
        assert "champion" in blocked.document["blessing"]["reason"]
        assert summary(blocked, root) == blocked.document
    assert versions(root) == ["1", "2"]


def test_quality_can_be_overruled_on_record(first, root):
    """Red if ``--bless`` does not reach the gate, or the reason is not kept with the promotion."""
    blessed = call(
        "run",
        "digits",
        "--bless",
        "the old one shows\ntoo few sevens",
        root=root,
        sets=[*QUICK, "train.num_steps=2"],
    )
    assert blessed.code == 0, blessed.stderr
    assert blessed.document["verdict"] == "pushed"
    assert "too few sevens" in blessed.document["blessing"]["reason"]
    assert versions(root) == ["1", "2", "3"]


def test_a_champion_of_another_shape_is_none(first, root):
    """Red if distances of images of 28 and of 32 pixels are compared, or the run ends with an error."""
    larger = call("run", "digits", root=root, sets=[*QUICK, "ingest.size=32", "ingest.holdout={fraction: 0.22}"])
    assert larger.code == 0, larger.stderr
    assert "28x28x1" in json.dumps(larger.document["blessing"]["checks"])
    assert versions(root) == ["1", "2", "3", "4"]


def _promotion(name: str, *arguments: str, root) -> Result:
    return call(name, "digits", *arguments, root=root, sets=[])


def test_a_person_rolls_back_and_forth(first, root):
    """Alias, server configuration and log move together. Red if one of them is left behind."""
    back = _promotion("rollback", "--why", "too few sevens", root=root)
    assert back.code == 0, back.stderr
    assert (back.document["promotion"]["from_version"], back.document["promotion"]["to_version"]) == (4, 3)
    assert "versions: 3" in (root / "serving" / "models.config").read_text()
    forth = _promotion("promote", "4", root=root)
    assert forth.document["promotion"]["to_version"] == 4
    assert "versions: 4" in (root / "serving" / "models.config").read_text()
    again = _promotion("promote", "4", root=root)
    assert (again.code, again.document["promotion"]) == (0, None)
    log = _promotion("history", root=root).document["promotions"]
    assert [(move["to_version"], move["why"]) for move in log[-2:]] == [
        (3, "too few sevens"),
        (4, "promoted by hand"),
    ]


def test_what_cannot_be_promoted(first, root, tmp_path):
    """Red if an unknown version, alias or root ends in a traceback, or an empty registry is made."""
    for arguments, message in ((("9",), "no version 9"), (("canary",), "has the alias 'canary'")):
        refused = _promotion("promote", *arguments, root=root)
        assert refused.code == 2
        assert message in refused.document["error"]
    nowhere = tmp_path / "nowhere"
    assert "no registry" in _promotion("rollback", root=nowhere).document["error"]
    assert _promotion("history", root=nowhere).code == 2
    assert not nowhere.exists()


def test_no_run_connected_anywhere(first, root):
    """Red if a library phones home: every child above wrote its refused connections down."""
    log = root.parent / "connections.log"
    assert not log.exists(), log.read_text()
    assert (OFFLINE / "sitecustomize.py").exists()


@pytest.mark.long
def test_a_server_that_is_down_costs_nothing_but_the_registration(tmp_path):
    """Red if tracking errors reach the stages, or if the next run does not go on from where this one failed."""
    root = tmp_path / "root"
    down = call("run", "digits", root=root, variables={"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"})
    assert down.code == 1, down.stderr
    assert down.statuses == {"ingest": "ran", "train": "ran", "evaluate": "ran", "export": "failed"}
    assert "127.0.0.1:9" in down.document["error"]
    assert not (root / "serving" / "digits").exists()
    again = call("run", "digits", root=root)
    assert again.code == 0, again.stderr
    assert again.statuses == {"ingest": "hit", "train": "hit", "evaluate": "hit", "export": "ran"}


def test_tasks_of_one_schedule_share_a_run(tmp_path):
    """Red if `--run-id` does not keep the source's identity, the settings or the MLflow parent."""
    root, shared = tmp_path / "root", ("--run-id", "night-1")
    first = call("run", "digits", "--until", "ingest", *shared, root=root)
    second = call("run", "digits", "--only", "train", *shared, root=root)
    assert (first.document["verdict"], second.document["verdict"]) == ("stopped", "stopped")
    assert second.statuses == {"ingest": "hit", "train": "ran"}
    assert first.document["mlflow_run_id"] == second.document["mlflow_run_id"] is not None
    other = call("run", "digits", *shared, root=root, sets=[*QUICK, "seed=5"])
    assert other.code == 2
    assert "other settings" in other.document["error"]
