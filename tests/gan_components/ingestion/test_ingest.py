"""A folder goes in, Examples come out: complete, deterministic, or not at all."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from gan_components import examples
from gan_components.artifacts import Examples
from gan_components.domains import SECOND_DOMAINS, edges
from gan_components.errors import ArtifactError, InputError
from gan_components.ingestion import beam, identity, stage
from gan_components.ingestion.config import BeamConfig, Fraction, IngestConfig, NamedSplit, recipe
from gan_components.ingestion.stage import ingest
from tests.gan_components.ingestion.folders import CONFIG, fill, make, picture, save


def lines(artifact, name):
    return [json.loads(line) for line in (artifact.directory / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """60 pictures of two classes, and four copies under other names, one of them in the other class."""
    data = fill(tmp_path_factory.mktemp("data"), 60)
    for number in (0, 2, 4):
        save(data / "cat" / f"copy{number}.png", number)
    save(data / "cat" / "copy1.png", 1)
    return make(data, tmp_path_factory.mktemp("out"))


def test_every_picture_once_with_its_label(made):
    """Red if a picture is lost, changed by encoding, or gets another's label or id."""
    expected = {identity.pixel_key(picture(number)).hex(): number for number in range(60)}
    seen = {}
    for name in ("train", "holdout"):
        split = examples.read(made, name)
        assert split.ids == sorted(split.ids)
        assert split.labels.dtype == np.int64
        for image, label, key in zip(split.images, split.labels, split.ids, strict=True):
            number = expected[key]
            np.testing.assert_array_equal(image, picture(number))
            # The copy of picture 1 in the other class: the smaller label stands.
            assert label == (0 if number == 1 else number % 2)
            seen[number] = name
    assert sorted(seen) == list(range(60))


def test_properties(made):
    """Red if a count is wrong: 64 files, 4 of them copies, 1 copy in another class."""
    properties = examples.Properties.of(made)
    assert properties.num_train + properties.num_holdout == 60
    assert (properties.num_duplicates, properties.num_label_conflicts) == (4, 1)
    assert properties.class_names == ["cat", "dog"]
    train = examples.read(made, "train")
    np.testing.assert_allclose(properties.class_frequencies, np.bincount(train.labels) / len(train.labels))


def test_statistics_are_those_of_the_pixels(made):
    """Red if the variance is divided by N - 1, or channels are mixed. Sums are exact, so 1e-12 is rounding."""
    statistics = json.loads((made.directory / "statistics.json").read_text())
    for name in ("train", "holdout"):
        images = examples.read(made, name).images.astype(np.float64)
        np.testing.assert_allclose(statistics["splits"][name]["mean"], images.mean((0, 1, 2)), rtol=1e-12)
        np.testing.assert_allclose(statistics["splits"][name]["std"], images.std((0, 1, 2)), rtol=1e-12)
    assert statistics["source_sizes"] == {"8x8": 60}


def test_index_names_all_copies(made):
    """Red if the index forgets the names of duplicates."""
    index = {row["id"]: row for row in lines(made, "index.jsonl")}
    row = index[identity.pixel_key(picture(1)).hex()]
    assert row["sources"] == ["cat/copy1.png", "dog/001.png"]


def test_tfds_opens_it_without_our_code(made, tmp_path):
    """Red if a feature is written in another form than features.json says, or metadata are incomplete."""
    code = f"""
        import sys, hashlib, struct
        sys.modules["gan_components"] = None
        import tensorflow_datasets as tfds
        builder = tfds.builder_from_directory({str(made.directory / "dataset")!r})
        for split in ("train", "holdout"):
            examples = builder.as_data_source(split)
            assert len(examples) == builder.info.splits[split].num_examples
            for example in examples:
                pixels = example["image"]
                key = hashlib.sha256(struct.pack("<3I", *pixels.shape) + pixels.tobytes()).hexdigest()
                assert example["id"].decode() == key
            print(len(examples), builder.info.features["label"].names[int(example["label"])])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    counts = [int(line.split()[0]) for line in done.stdout.splitlines()]
    assert counts == [made.properties["num_train"], made.properties["num_holdout"]]


@pytest.fixture(scope="module", params=sorted(SECOND_DOMAINS))
def paired(request, tmp_path_factory):
    """The first 30 pictures, each with its partner."""
    config = CONFIG.model_copy(update={"second_domain": request.param})
    return make(fill(tmp_path_factory.mktemp("data"), 30), tmp_path_factory.mktemp("out"), config)


def test_second_domain(paired, made):
    """Red if a partner is another image's, or decides the side: images stand where they stand alone."""
    name = examples.Properties.of(paired).second_domain
    for side in ("train", "holdout"):
        split, alone = examples.read(paired, side), examples.read(made, side)
        assert set(split.ids) < set(alone.ids)
        np.testing.assert_array_equal(split.images2, SECOND_DOMAINS[name](split.images))
        assert alone.images2 is None
        assert split.labels is not None
        statistics = json.loads((paired.directory / "statistics.json").read_text())["splits"][side]
        for images, found in ((split.images, statistics), (split.images2, statistics["second_domain"])):
            np.testing.assert_allclose(found["mean"], images.mean((0, 1, 2)), rtol=1e-12)
            np.testing.assert_allclose(found["std"], images.astype(np.float64).std((0, 1, 2)), rtol=1e-12)
    assert examples.Properties.of(made).second_domain is None


def test_second_images_are_content(tmp_path, monkeypatch):
    """Red if the second images do not enter the content digest: pairs would be found under others' digest."""
    data = fill(tmp_path / "data", 20)
    digests = [make(data, tmp_path / "alone").content_digest]
    config = CONFIG.model_copy(update={"second_domain": "edges"})
    digests.append(make(data, tmp_path / "first", config).content_digest)
    monkeypatch.setitem(SECOND_DOMAINS, "edges", lambda images: edges(images) // 2)
    digests.append(make(data, tmp_path / "second", config).content_digest)
    assert len(set(digests)) == 3


def test_tfds_opens_pairs_without_our_code(paired, tmp_path):
    """Red if `image2` is missing from features.json, or written in another form than it says."""
    code = f"""
        import sys, numpy as np
        sys.modules["gan_components"] = None
        import tensorflow_datasets as tfds
        builder = tfds.builder_from_directory({str(paired.directory / "dataset")!r})
        for split in ("train", "holdout"):
            examples = builder.as_data_source(split)
            np.save(f"{{split}}.npy", [[one["image"], one["image2"]] for one in examples])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for side in ("train", "holdout"):
        split, found = examples.read(paired, side), np.load(tmp_path / f"{side}.npy")
        np.testing.assert_array_equal(found[:, 0], split.images)
        np.testing.assert_array_equal(found[:, 1], split.images2)


def test_content_is_what_counts(made, tmp_path, monkeypatch):
    """Red if file names, order, encoding or the number of shards enter the digest, or a label does not."""
    data = tmp_path / "data"
    for number in range(60):
        save(data / ("cat" if number % 2 == 0 or number == 1 else "dog") / f"{99 - number}.bmp", number)
    monkeypatch.setattr(stage, "_SHARD_BYTES", 64 * 8 * 8 * 3 // 4)
    other = make(data, tmp_path / "out")
    assert len(list(other.directory.glob("dataset/*.array_record-*"))) > 4
    assert other.content_digest == made.content_digest
    assert other.fingerprint != made.fingerprint
    for name in ("train", "holdout"):
        ours, theirs = examples.read(made, name), examples.read(other, name)
        assert ours.ids == theirs.ids
        np.testing.assert_array_equal(ours.images, theirs.images)
    (data / "cat" / "98.bmp").rename(data / "dog" / "98.bmp")
    assert make(data, tmp_path / "out").content_digest != made.content_digest


def test_shards_do_not_depend_on_scheduling(made, tmp_path):
    """Red if records are written in the order in which they arrive, or not serialised deterministically."""
    again = make(fill_like(made, tmp_path / "data"), tmp_path / "out")
    shards = [path.name for path in made.directory.glob("dataset/*.array_record-*")]
    assert len(shards) == 2
    for name in shards:
        assert (again.directory / "dataset" / name).read_bytes() == (
            made.directory / "dataset" / name
        ).read_bytes()


def fill_like(artifact, data):
    """The distinct pictures of `artifact`, in a folder where they are listed the other way round."""
    for number in range(60):
        save(data / ("cat" if number % 2 == 0 or number == 1 else "dog") / f"{99 - number}.png", number)
    return data


def test_adding_data_moves_nothing(made, tmp_path):
    """Red if the side depends on anything else than the pixels: position, count, name, seed."""
    more = make(fill(tmp_path / "data", 90), tmp_path / "out")
    for name, other in (("train", "holdout"), ("holdout", "train")):
        old, new = set(examples.read(made, name).ids), set(examples.read(more, name).ids)
        assert old <= new
        assert not old & set(examples.read(more, other).ids)


def test_fraction_is_met(tmp_path):
    """Red if the fraction is taken for the other side. 200 throws: six standard deviations are 0.2."""
    config = CONFIG.model_copy(update={"holdout": Fraction(fraction=0.7)})
    properties = examples.Properties.of(make(fill(tmp_path / "data", 200), tmp_path / "out", config))
    assert abs(properties.num_holdout / 200 - 0.7) < 0.2


def test_named_split_keeps_held_out_pixels_out_of_training(tmp_path):
    """Red if a picture on both sides is trained on, or its side is drawn."""
    fill(tmp_path / "data" / "train", 10)
    fill(tmp_path / "data" / "test", 10, first=8)
    config = CONFIG.model_copy(update={"holdout": NamedSplit(split="test")})
    made = make(tmp_path / "data", tmp_path / "out", config)
    properties = examples.Properties.of(made)
    assert (properties.num_train, properties.num_holdout, properties.num_on_both_sides) == (8, 10, 2)
    assert properties.class_names == ["cat", "dog"]


def test_near_duplicates_across_the_splits_are_told(tmp_path):
    """Red if the second JPEG compression of a training picture is not noticed. Noise in 8 x 8 blocks."""
    for number in range(6):
        picture_ = Image.fromarray(np.kron(picture(number), np.ones((8, 8, 1), np.uint8)))
        for split, quality in (("train", 95), ("test", 80)):
            path = tmp_path / "data" / split / f"{number if split == 'train' else 5 * number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            if split == "train" or number < 2:
                picture_.save(path, quality=quality)
    config = IngestConfig(source="image_folder", size=64, channels=3, holdout=NamedSplit(split="test"))
    made = make(tmp_path / "data", tmp_path / "out", config)
    assert examples.Properties.of(made).num_near_duplicates == 2
    sources = {row["id"]: row["sources"] for row in lines(made, "index.jsonl")}
    pairs = sorted((sources[p["holdout"]], sources[p["train"]]) for p in lines(made, "near_duplicates.jsonl"))
    assert pairs == [(["test/0.jpg"], ["train/0.jpg"]), (["test/5.jpg"], ["train/1.jpg"])]
    assert examples.Properties.of(made).num_near_duplicates_within is None


def test_near_duplicates_within_a_split_are_told_on_request(tmp_path, caplog):
    """Red if only held-out images are looked at, or those of the other split count, too."""
    for split, quality, count in (("train", 95, 6), ("train", 80, 3), ("test", 70, 5)):
        (tmp_path / "data" / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.kron(picture(number), np.ones((8, 8, 1), np.uint8))
            Image.fromarray(pixels).save(tmp_path / "data" / split / f"{number}-{quality}.jpg", quality=quality)
    config = IngestConfig(
        source="image_folder", size=64, channels=3, holdout=NamedSplit(split="test"), near_duplicates="everywhere"
    )
    made = make(tmp_path / "data", tmp_path / "out", config)
    properties = examples.Properties.of(made)
    assert (properties.num_near_duplicates, properties.num_near_duplicates_within) == (5, 6)
    assert "6 images look like another one of their split: near_duplicates.jsonl" in caplog.messages
    sources = {row["id"]: row["sources"][0] for row in lines(made, "index.jsonl")}
    within = [line for line in lines(made, "near_duplicates.jsonl") if "like" in line]
    pairs = {(sources[line["train"]], sources[line["like"]]) for line in within}
    better, worse = ([f"train/{number}-{quality}.jpg" for number in range(3)] for quality in (95, 80))
    assert pairs == {*zip(better, worse, strict=True), *zip(worse, better, strict=True)}


def test_broken_files_go_to_quarantine(tmp_path):
    """Red if one broken file stops the run, vanishes without a word, or is counted as an image."""
    data = fill(tmp_path / "data", 60)
    (data / "cat" / "text.png").write_text("no picture")
    Image.fromarray(picture(1, side=64)).save(data / "dog" / "cut.jpg")
    (data / "dog" / "cut.jpg").write_bytes((data / "dog" / "cut.jpg").read_bytes()[:900])
    (data / "cat" / "README.txt").write_text("not an image file, not counted")
    made = make(data, tmp_path / "out")
    assert [row["file"] for row in lines(made, "quarantine.jsonl")] == ["cat/text.png", "dog/cut.jpg"]
    assert all(row["reason"] for row in lines(made, "quarantine.jsonl"))
    properties = examples.Properties.of(made)
    assert (properties.num_train + properties.num_holdout, properties.num_quarantined) == (60, 2)


@pytest.mark.parametrize(
    ("broken", "whole", "message"),
    [(8, 0, "8 of 8 images cannot be used"), (4, 60, "4 of 64 images cannot be used"), (0, 3, "went to")],
)
def test_nothing_left_half_written(tmp_path, broken, whole, message):
    """Red if too many broken files pass, or anything stays behind after the refusal."""
    data = fill(tmp_path / "data", whole)
    data.mkdir(exist_ok=True)
    for number in range(broken):
        (data / f"{number}.png").write_text("no picture")
    config = CONFIG.model_copy(update={"labels": None})
    with pytest.raises(InputError, match=message):
        make(data, tmp_path / "out", config)
    assert list((tmp_path / "out").iterdir()) == []


def test_source_that_changes_meanwhile(tmp_path, monkeypatch):
    """Red without the second look at the source: the artifact would lie under the old data's fingerprint."""
    data = fill(tmp_path / "data", 20)
    run = beam.run

    def run_and_add(*args, **kwargs):
        run(*args, **kwargs)
        fill(data, 1, first=20)

    monkeypatch.setattr(beam, "run", run_and_add)
    with pytest.raises(InputError, match="changed while it was read"):
        make(data, tmp_path / "out")


def test_unknown_runner(tmp_path):
    """Red if Beam's own error for a misspelt runner comes through."""
    config = IngestConfig.model_validate({**CONFIG.model_dump(), "beam": {"runner": "NoRunner"}})
    with pytest.raises(InputError, match=r"ingest\.beam\.runner"):
        make(fill(tmp_path / "data", 20), tmp_path / "out", config)


def test_progress_counts_to_the_end(tmp_path):
    """Red if progress is not reported, runs backwards or stops short."""
    calls = []
    data = fill(tmp_path / "data", 20)
    ingest(
        str(data), CONFIG, out=tmp_path / "out", seed=0, cache=tmp_path, progress=lambda *call: calls.append(call)
    )
    assert [done for done, _, _ in calls] == sorted(done for done, _, _ in calls)
    assert calls[0][:2] == (0, 20)
    assert calls[-1][:2] == (20, 20)


PROCESSES = CONFIG.model_copy(
    update={"beam": BeamConfig(options=["--direct_num_workers=2", "--direct_running_mode=multi_processing"])}
)


def contents(artifact):
    """The bytes of each file, apart from the manifest, which holds times."""
    files = [path for path in artifact.directory.rglob("*") if path.is_file() and path.name != "manifest.json"]
    return {path.relative_to(artifact.directory): path.read_bytes() for path in files}


def test_workers_start_without_tensorflow():
    """Red if a module on the workers' way imports it: each process would start seconds later."""
    code = "import sys, gan_components.ingestion.beam; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
def test_no_byte_depends_on_the_runner(tmp_path, monkeypatch):
    """Red if a record depends on the process that made it: the order of spills, the copy that is kept.

    300 pictures are five tasks for two processes. The run of two is killed when the first of its tasks is done.
    """
    monkeypatch.setattr(stage, "_SHARD_BYTES", 300 * 8 * 8 * 3 // 4)
    data = fill(tmp_path / "data", 280)
    for number in range(20):
        save(data / "dog" / f"copy{number}.png", number)
    expected = make(data, tmp_path / "out")
    code = f"""
        import os, signal, sys, time
        from pathlib import Path
        from gan_components.ingestion import beam, stage
        from tests.gan_components.ingestion.folders import make
        from tests.gan_components.ingestion.test_ingest import PROCESSES
        stage._SHARD_BYTES = {stage._SHARD_BYTES}
        def watch(counter, *_):
            while not list(counter.parent.glob("spill-*")):
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGKILL)
        beam._watch = watch
        make(Path(sys.argv[1]), Path(sys.argv[2]), PROCESSES)
    """
    out = tmp_path / "processes"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), data, out], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    made = make(data, out, PROCESSES)
    assert len(list(made.directory.glob("dataset/*.array_record-*"))) == 8
    assert made.content_digest == expected.content_digest
    assert contents(made) == contents(expected)


def test_work_done_twice_at_the_same_time(tmp_path, monkeypatch):
    """Red if two workers with the same task or bucket write to one file, or a picture is counted for each."""
    data = fill(tmp_path / "data", 30)
    expected = make(data, tmp_path / "out")

    def twice(function):
        def both(*args, **kwargs):
            with ThreadPoolExecutor(2) as pool:
                first, second = [pool.submit(function, *args, **kwargs) for _ in range(2)]
                return (first.result(), second.result())[0]

        return both

    monkeypatch.setattr(beam, "convert", twice(beam.convert))
    monkeypatch.setattr(beam, "write", twice(beam.write))
    assert contents(make(data, tmp_path / "twice")) == contents(expected)


@pytest.mark.parametrize(("num_chunks", "cores", "flags"), [(64, 4, 4), (63, 4, None), (64, 1, None)])
def test_a_process_a_core_where_there_is_work(num_chunks, cores, flags, monkeypatch):
    """Red if a large source stays on one core by default, or a small one waits for processes to start."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    processes = [f"--direct_num_workers={flags}", "--direct_running_mode=multi_processing"]
    assert beam._flags(BeamConfig(), num_chunks)[:2] == (processes if flags else [])
    chosen = BeamConfig(options=["--direct_num_workers=1"])
    assert beam._flags(chosen, num_chunks) == chosen.options


@pytest.mark.slow
def test_killed_run_leaves_nothing_readable(made, tmp_path):
    """Red if the artifact stands in its place before it is sealed, or remains disturb the next run."""
    data = fill_like(made, tmp_path / "data")
    code = """
        import os, signal, sys
        from pathlib import Path
        from gan_components.ingestion import beam
        from tests.gan_components.ingestion.folders import make
        original = beam.write
        def die(*args, **options):
            original(*args, **options)
            os.kill(os.getpid(), signal.SIGKILL)
        beam.write = die
        make(Path(sys.argv[1]), Path(sys.argv[2]))
    """
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), data, out], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
    fingerprint = recipe(str(data), CONFIG, seed=0).fingerprint
    for left in out.iterdir():
        with pytest.raises(ArtifactError):
            Examples.open(left)
    again = make(data, out)
    assert again.content_digest == made.content_digest
    assert list(out.iterdir()) == [out / fingerprint]
    assert Examples.open(out / fingerprint, verify=True).manifest == again.manifest
