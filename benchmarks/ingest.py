"""How fast images become Examples, beside TFDS' own ways, and how fast training reads them.

    python benchmarks/ingest.py [--fashion DIRECTORY] [--parts fashion,jpeg,reading,memory] [--rounds 3] [--quick]

- fashion: all 70,000 images of Fashion-MNIST; jpeg: 5,000 JPEGs of 500x400 pixels, made here, cut and resized to
  64x64 RGB. The stage `ingest` with its defaults takes turns with `download_and_prepare` of a TFDS builder whose
  examples come from a plain generator, and of one whose examples come from `beam.Create | beam.Map` on Beam's
  in-memory runner. All write ArrayRecord; ours also does without copies of an image, and searches for
  near-duplicates and computes statistics and digests.
- reading: images/s of the batches that training takes, of the 28-pixel images, in batches of 64.
- memory: peak memory of ingesting 70,000 and 700,000 images of 28 pixels, all processes together. Other programs
  that use TensorFlow must run during both or neither: a library's pages are divided among all who use it.

Fashion-MNIST's files are in Debian's package dataset-fashion-mnist. Ratios are medians over the rounds of the
ratio within a round.
"""

import argparse
import gzip
import os
import statistics
import struct
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from measure import Contender, claim, claim_of, note, report
from PIL import Image

from gan_components.ingestion.config import BeamConfig, Fraction, IngestConfig, NamedSplit

CONTENDERS = ("ours", "plain", "beam")
FASHION = IngestConfig(source="idx", holdout=NamedSplit(split="test"))
JPEG = IngestConfig(source="image_folder", size=64, channels=3)
# Processes for both sizes: by default the smaller one would make do without.
PROCESSES = BeamConfig(options=["--direct_num_workers=2", "--direct_running_mode=multi_processing"])
SYNTHETIC = IngestConfig(source="tfds", holdout=Fraction(fraction=0.2), beam=PROCESSES)
BATCH_SIZE = 64
# Twenty times the images/s of `dcgan` at 28 pixels in float32, see benchmarks/train_throughput.py.
READING_BOUND = 18_000


def few_of(fashion: Path, directory: Path, count: int) -> Path:
    """The first images of each of the IDX files."""
    directory.mkdir()
    for path in fashion.glob("*.gz"):
        content = gzip.decompress(path.read_bytes())
        rank = content[3]
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        entry = int(np.prod(shape[1:]))
        start = 4 + 4 * rank
        header = content[:4] + struct.pack(f">{rank}I", count, *shape[1:])
        (directory / path.stem).write_bytes(header + content[start : start + count * entry])
    return directory


def photographs(directory: Path, count: int) -> Path:
    """JPEG files of 500x400 pixels in ten folders: smooth colours with a photograph's noise, 43 KB each."""
    random = np.random.default_rng(0)
    for number in range(count):
        path = directory / str(number % 10) / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        smooth = Image.fromarray(random.integers(0, 256, (20, 25, 3), np.uint8)).resize((500, 400))
        noisy = np.asarray(smooth) + random.normal(0, 6, (400, 500, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=85)
    return directory


def synthetic(directory: Path, count: int) -> Path:
    """A prepared TFDS data set of `count` distinct grey images of 28x28 pixels, none like another."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter

    from gan_components.ingestion import records

    directory.mkdir()
    random = np.random.default_rng(0)
    features = tfds.features.FeaturesDict(
        {"id": tfds.features.Text(), "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="png")}
    )
    split = tfds.core.SplitInfo(
        name="train",
        shard_lengths=[count],
        num_bytes=0,
        filename_template=tfds.core.ShardedFileTemplate(
            data_dir=directory, dataset_name="synthetic", split="train", filetype_suffix="array_record"
        ),
    )
    (path,) = split.filepaths
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for number in range(count):
        # The brightness differs, as it does among photographs.
        coarse = random.integers(0, 1 + random.integers(32, 256), (4, 4)).astype(np.uint8)
        pixels = np.asarray(Image.fromarray(coarse).resize((28, 28)))[..., None]
        writer.write(records.example(str(number), None, records.png(pixels), None))
    writer.close()
    tfds.folder_dataset.write_metadata(
        data_dir=directory, features=features, split_infos=[split], version="1.0.0", check_data=False
    )
    return directory


def race(
    name: str, data: Path, config: IngestConfig, *, rounds: int, scratch: Path, keep: Path
) -> tuple[list[dict], dict]:
    """The contenders ingest `data` in turns; ours of the last round stays in `keep`."""
    answers: dict[str, list[dict]] = {contender: [] for contender in CONTENDERS}
    with ExitStack() as stack:
        children = {
            contender: stack.enter_context(Contender(contender, "peers.ingest_turns", [contender]))
            for contender in CONTENDERS
        }
        for turn in range(rounds):
            for contender in CONTENDERS if turn % 2 == 0 else reversed(CONTENDERS):
                question = {
                    "do": "ingest",
                    "config": config.model_dump_json(),
                    "data": str(data),
                    "num_classes": 10,
                }
                if contender == "ours" and turn == rounds - 1:
                    question["keep"] = str(keep)
                answer = children[contender].ask(**question, scratch=str(scratch))
                answer["images_per_second"] = (answer["num_train"] + answer["num_holdout"]) / answer["seconds"]
                answers[contender].append(answer)
                note(f"  {name}, {contender}: {answer}")
    ours = answers["ours"]

    def over(contender: str) -> list[float]:
        pairs = zip(ours, answers[contender], strict=True)
        return [mine["images_per_second"] / theirs["images_per_second"] for mine, theirs in pairs]

    claims = [
        claim_of(f"{name}: images/s over TFDS on Beam", over("beam"), "ratio", ">= 5"),
        claim_of(f"{name}: images/s over TFDS' plain generator", over("plain"), "ratio", ">= 1.5"),
        claim_of(
            f"{name}: cores busy on average",
            [each["cpu_seconds"] / each["seconds"] for each in ours],
            "cores",
            ">= 1.5",
        ),
        claim(f"{name}: different digests", len({each["digest"] for each in ours}), "digests", "<= 1"),
    ]
    medians = {
        contender: {
            key: round(statistics.median(each[key] for each in found), 2)
            for key in ("images_per_second", "cpu_seconds", "peak_bytes")
        }
        for contender, found in answers.items()
    }
    return claims, medians


def fashion(directory: Path, *, quick: bool, rounds: int, scratch: Path) -> tuple[list[dict], dict]:
    data = few_of(directory, scratch / "few", 1000) if quick else directory
    return race("Fashion-MNIST", data, FASHION, rounds=rounds, scratch=scratch, keep=scratch / "fashion")


def jpeg(*, count: int, rounds: int, scratch: Path) -> tuple[list[dict], dict]:
    data = photographs(scratch / "photographs", count)
    name = f"{count:,} JPEGs of 500x400"
    return race(name, data, JPEG, rounds=rounds, scratch=scratch, keep=scratch / "jpeg")


def one(question: dict) -> dict:
    """The answer of a fresh process to one question."""
    with Contender("ours", "peers.ingest_turns", ["ours"]) as child:
        return child.ask(**question)


def reading(
    data: Path, config: IngestConfig, *, rounds: int, num_steps: int, scratch: Path
) -> tuple[list[dict], dict]:
    made = scratch / "fashion"
    if not made.exists():
        one(
            {
                "do": "ingest",
                "config": config.model_dump_json(),
                "data": str(data),
                "num_classes": 10,
                "scratch": str(scratch),
                "keep": str(made),
            }
        )
    question = {"do": "read", "directory": str(made), "batch_size": BATCH_SIZE, "num_steps": num_steps}
    answers = [one(question) for _ in range(rounds)]
    note(f"  reading: {answers}")
    bound = f">= {READING_BOUND}"
    return [
        claim_of(f"batches of 28-pixel images, from {way}", [each[way] for each in answers], "images/s", bound)
        for way in ("memory", "records")
    ], {}


def memory(*, few: int, many: int, scratch: Path) -> tuple[list[dict], dict]:
    found = {}
    for count in (few, many):
        data = synthetic(scratch / f"synthetic-{count}", count)
        found[count] = one(
            {
                "do": "ingest",
                "config": SYNTHETIC.model_dump_json(),
                "data": str(data),
                "num_classes": 0,
                "scratch": str(scratch),
            }
        )
        note(f"  memory: {found[count]}")
    claims = []
    for key, what in (("peak_bytes", "peak memory"), ("peak_anonymous_bytes", "peak memory but for files' pages")):
        ratio = found[many][key] / found[few][key]
        claims.append(claim(f"{what} of {many:,} images over that of {few:,}", ratio, "ratio", "<= 1.15"))
    return claims, {f"{count}": answer for count, answer in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--fashion", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--parts", default="fashion,jpeg,reading,memory", help="names, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one round of little work, for a smoke test")
    arguments = parser.parse_args()
    quick, rounds = arguments.quick, 1 if arguments.quick else arguments.rounds
    claims, details = [], {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        parts: dict[str, Callable[[], tuple[list[dict], dict]]] = {
            "fashion": lambda: fashion(arguments.fashion, quick=quick, rounds=rounds, scratch=scratch),
            "jpeg": lambda: jpeg(count=100 if quick else 5000, rounds=rounds, scratch=scratch),
            "reading": lambda: reading(
                arguments.fashion, FASHION, rounds=rounds, num_steps=200 if quick else 3000, scratch=scratch
            ),
            "memory": lambda: memory(
                few=2_000 if quick else 70_000, many=20_000 if quick else 700_000, scratch=scratch
            ),
        }
        chosen = arguments.parts.split(",")
        if unknown := set(chosen) - set(parts):
            parser.error(f"no parts {sorted(unknown)}; choose from {', '.join(parts)}")
        if not arguments.fashion.is_dir() and {"fashion", "reading"} & set(chosen):
            parser.error(
                f"{arguments.fashion} does not exist: apt install dataset-fashion-mnist, or give --fashion"
            )
        for name in chosen:
            note(name)
            found, details[name] = parts[name]()
            claims += found
    report("ingest", claims, rounds=rounds, **details)


if __name__ == "__main__":
    main()
