"""`gan-pipelines sample` as its users type it."""

import numpy as np
import pytest
from PIL import Image

from gan_components.generators import Generator
from tests.commandline import call
from tests.gan_components.export import tiny
from tests.gan_components.export.model_server import ModelServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def generator(tmp_path_factory):
    saved = tiny.save(tmp_path_factory.mktemp("generator") / "generator", num_classes=3, styled=True)
    return saved, Generator.load(saved)


@pytest.fixture(scope="module")
def address(generator):
    server = ModelServer(generator[0]).start()
    yield server.addresses["rest"]
    server.stop()


def sampled(*arguments, root):
    return call("sample", *map(str, arguments), root=root, sets=[])


def test_grids_and_single_files(generator, address, tmp_path):
    """Red if labels do not go round, a label's images are in another column, or a file bears another's name."""
    saved, trained = generator
    done = sampled(saved, "--seeds", "0:6", "--labels", "2,0", "--scale", "2", root=tmp_path)
    assert done.code == 0, done.stderr
    out = tmp_path.parent / "samples.png"
    assert done.document == {"model": str(saved), "out": "samples.png", "kind": "grid", "images": 6}
    expected = trained.images(range(6), [2, 0] * 3)
    pixels = np.asarray(Image.open(out))[::2, ::2]
    assert pixels.shape == (3 * 8, 2 * 8, 3)
    for i, image in enumerate(expected):
        np.testing.assert_array_equal(pixels[8 * (i // 2) :, 8 * (i % 2) :][:8, :8], image)
    files = tmp_path / "files"
    done = sampled(address, "--seeds", "8:11", "--labels", "2,0", "--out", files, root=tmp_path)
    assert done.code == 0, done.stderr
    assert done.document["kind"] == "files"
    assert sorted(path.name for path in files.iterdir()) == [
        "seed08_label2.png", "seed09_label0.png", "seed10_label2.png",
    ]  # fmt: skip
    np.testing.assert_array_equal(np.asarray(Image.open(files / "seed09_label0.png")), trained.images([9], [0])[0])


def test_truncations_and_animations(generator, address, tmp_path):
    """Red if each psi or style does not fill a row, or an animation holds other than its frames."""
    _, trained = generator
    sweep = tmp_path / "sweep.png"
    done = sampled(address, "--seeds", "0:4", "--truncation", "0,1", "--out", sweep, root=tmp_path)
    assert done.code == 0, done.stderr
    rows = np.asarray(Image.open(sweep))
    assert rows.shape == (2 * 8, 4 * 8, 3)
    np.testing.assert_array_equal(rows[8:], np.concatenate(list(trained.images(range(4))), axis=1))
    styles = tmp_path / "styles.png"
    mix = ("--style-seeds", "7,0", "--style-layer", "0")
    done = sampled(address, "--seeds", "0:4", "--labels", "1", *mix, "--out", styles, root=tmp_path)
    assert done.code == 0, done.stderr
    rows = np.asarray(Image.open(styles))
    of_style = trained.images([7, 0], [1, 1])
    np.testing.assert_array_equal(rows, np.concatenate([np.concatenate([one] * 4, axis=1) for one in of_style]))
    gif = tmp_path / "walk.gif"
    done = sampled(address, "--seeds", "0:3", "--labels", "0:3", "--frames", "5", "--out", gif, root=tmp_path)
    assert done.code == 0, done.stderr
    assert done.document["images"] == 15
    with Image.open(gif) as file:
        assert (file.n_frames, file.size, file.info["loop"]) == (15, (16, 16), 0)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["SAVED", "--labels", "3"], 2, "label 3 is none of this generator's"),
        (["SAVED", "--seeds", "5:5"], 2, "expected 1 to 100,000 numbers"),
        (["SAVED", "--seeds", str(2**63)], 2, "below 2^63"),
        (["SAVED", "--seeds", "-1"], 2, "no number and no range"),
        (["SAVED", "--truncation", "nan"], 2, "expected numbers such as 0.7"),
        (["SAVED", "--out", "grid.jpg"], 2, "expected .png, .gif, .mp4"),
        (["SAVED", "--frames", "3"], 2, "--frames is for animations"),
        (["SAVED", "--truncation", "0.5", "--out", "walk.gif"], 2, "knows no truncation"),
        (["SAVED", "--style-layer", "2"], 2, "give these, too"),
        (["SAVED", "--style-seeds", "1", "--truncation", "1"], 2, "not both at once"),
        (["ADDRESS", "--seeds", "0:100000", "--scale", "4"], 2, "larger than 64 megapixels"),
        (["models:/digits@champion"], 2, "there is no registry below"),
        (["http://127.0.0.1:9/digits", "--retries", "1"], 1, "cannot be reached"),
    ],
)
def test_errors_are_one_clear_line(generator, address, tmp_path, arguments, code, reason):
    """Red if a traceback is shown, or a user's mistake ends with another code than 2."""
    words = [{"SAVED": str(generator[0]), "ADDRESS": address}.get(word, word) for word in arguments]
    done = sampled(*words, root=tmp_path / "root")
    assert done.code == code, done.stderr
    assert reason in done.document["error"]
    assert "Traceback" not in done.stderr
