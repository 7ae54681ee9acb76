"""Data that changed since the champion, by the command line. Each test names what turns it red.

The champion is a record in the promotion log with the manifest of its training, over a first span of digits; the
tests share one root, and never train.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_components.artifacts import Examples, TrainedModel, work_directory
from gan_components.export import promotions
from gan_components.fingerprints import Recipe
from gan_components.ingestion import digits
from tests.commandline import QUICK, Result, call, environment

pytestmark = pytest.mark.slow

SETS = [*QUICK, "ingest.source=image_folder", "ingest.holdout={fraction: 0.2}"]
SPAN_IMAGES = 1_200


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Spans 1 and 2: digits; 3: others, inverted."""
    folder = tmp_path_factory.mktemp("data")
    images, labels = digits.read()
    order = np.random.default_rng(0).permutation(len(images))
    for span in (1, 2, 3):
        for place in order[(span - 1) * SPAN_IMAGES : span * SPAN_IMAGES]:
            path = folder / str(span) / str(labels[place]) / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - images[place] if span == 3 else images[place]).save(path)
    return folder


def run(data: Path, root: Path, span: int, *arguments: str, sets: tuple[str, ...] = ()) -> Result:
    chosen = f"ingest.spans={{range: [{span}, {span}]}}"
    until = () if "--until" in arguments else ("--until", "ingest")
    spans = str(data / "{SPAN}")
    return call("run", "digits", "--data", spans, *until, *arguments, root=root, sets=[*SETS, chosen, *sets])


@pytest.fixture(scope="module")
def root(data, tmp_path_factory) -> Path:
    """A root whose champion was trained on span 1."""
    root = tmp_path_factory.mktemp("drift") / "root"
    first = run(data, root, 1)
    assert (first.code, first.document["drift"]) == (0, None), first.stderr
    examples = Examples.open(Path(first.document["stages"][0]["artifact"]))
    recipe = Recipe(
        stage="train", config={}, inputs={"examples": examples.content_digest}, seed=0, code={}, libraries={}
    )
    out = root / "artifacts" / "train" / recipe.fingerprint
    work_directory(out, recipe)
    model = TrainedModel.seal(out, recipe)
    promotions.append(
        root,
        promotions.Promotion(
            when=promotions.now(),
            who="test",
            model="digits",
            from_version=None,
            to_version=4,
            registry_version="4",
            generator_digest=model.content_digest,
            model_fingerprint=model.fingerprint,
            evaluation_fingerprint="",
            metric="",
            protocol="",
            extractor="",
            value=0.0,
            why="",
        ),
    )
    return root


def test_the_same_data_are_not_compared(data, root):
    """Red if the digests are not looked at: something would be measured, and cached."""
    same = run(data, root, 1)
    assert same.document["drift"]["verdict"] == "none"
    assert same.document["drift"]["champion_version"] == 4
    assert same.statuses == {"ingest": "hit"}
    assert not (root / "cache" / "drift").exists()


def test_a_new_sample_goes_on_and_a_shift_is_reported(data, root):
    """Red if the sides are not the champion's and this run's, or the outcome and ``drift.json`` do not tell."""
    resampled = run(data, root, 2)
    assert (resampled.code, resampled.document["drift"]["verdict"]) == (0, "none"), resampled.stderr
    assert len(resampled.document["drift"]["differences"]) == 4
    shifted = run(data, root, 3)
    assert (shifted.code, shifted.document["drift"]["verdict"]) == (0, "warn"), shifted.stderr
    assert "brightness" in shifted.document["drift"]["reason"]
    assert "brightness" in shifted.stderr
    written = root / "runs" / shifted.document["run_id"] / "drift.json"
    assert json.loads(written.read_text()) == shifted.document["drift"]


def test_a_block_stops_before_training_and_is_decided_anew(data, root):
    """Red if thresholds enter a fingerprint or the cache, or if training begins in spite of a block."""
    blocking = ("drift.block.pixel_moments=0.5",)
    for span, code in ((3, 99), (2, 0)):
        blocked = run(data, root, span, sets=blocking)
        assert blocked.code == code, blocked.stderr
        assert blocked.statuses == {"ingest": "hit"}
    stopped = run(data, root, 3, "--until", "train", sets=blocking)
    assert (stopped.code, stopped.document["verdict"]) == (99, "blocked")
    assert stopped.statuses == {"ingest": "hit", "train": "blocked"}
    overruled = run(data, root, 3, "--bless", "the new scanner\ninverts", sets=blocking)
    assert (overruled.code, overruled.document["drift"]["verdict"]) == (0, "warn")
    assert "the new scanner" in overruled.document["drift"]["reason"]


def test_a_decided_difference_imports_nothing_heavy(data, root):
    """Red if the measured differences are not cached, or TensorFlow is imported to read them."""
    script = (
        "import sys\n"
        "from pipelines.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(sorted({'tensorflow', 'keras', 'mlflow', 'scipy'} & set(sys.modules)), file=sys.stderr)\n"
    )
    words = [word for text in [*SETS, "ingest.spans={range: [3, 3]}"] for word in ("--set", text)]
    arguments = ["run", "digits", "--data", str(data / "{SPAN}"), "--until", "ingest", "--root", str(root), *words]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=environment(root)
    )
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
    assert "drift     warn: " in done.stdout


def test_images_that_do_not_compare(data, root):
    """Red if another shape is measured anyway, or passes where drift is to block."""
    for sets, verdict in (((), "warn"), (("drift.block.features=0.9",), "block")):
        larger = run(data, root, 2, sets=("ingest.size=32", *sets))
        assert larger.document["drift"]["verdict"] == verdict
        assert "28x28x1" in larger.document["drift"]["reason"]


def test_the_champions_images_are_gone(data, root):
    """Red if a comparison that cannot be made counts as no drift. The last test: it renames them."""
    run(data, root, 1)
    champion = promotions.read_all(root, "digits")[-1]
    trained = root / "artifacts" / "train" / champion.model_fingerprint
    trained.rename(trained.with_name(".gone"))
    found = run(data, root, 2).document["drift"]
    assert found["verdict"] == "warn"
    assert "manifest.json is missing" in found["reason"]
