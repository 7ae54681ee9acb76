"""Ingests, or reads what was ingested, at its turn: ``python -m peers.ingest_turns ours|plain|beam``."""

import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gan_components import examples
from gan_components.artifacts import Examples
from gan_components.ingestion import stage
from gan_components.ingestion.config import IngestConfig
from peers import tfds_builders
from peers.turns import Turns

_SAMPLE_SECONDS = 0.2


def ingest(contender: str, data: str, config: IngestConfig, num_classes: int, out: Path) -> dict[str, Any]:
    if contender == "ours":
        made = stage.ingest(data, config, out=out / "made", seed=0, cache=out)
        return {
            "digest": made.content_digest,
            **{name: made.properties[name] for name in ("num_train", "num_holdout")},
        }
    builder = {"plain": tfds_builders.Plain, "beam": tfds_builders.OnBeam}[contender]
    count = tfds_builders.prepare(
        builder, data=data, size=config.size, channels=config.channels, num_classes=num_classes, data_dir=str(out)
    )
    return {"num_train": count, "num_holdout": 0}


def read(directory: str, *, batch_size: int, num_steps: int) -> dict[str, float]:
    """Images/s of the batches that training takes, from memory and record by record."""
    made = Examples.open(Path(directory))
    rates = {}
    for name, limit in (("memory", examples.MEMORY_LIMIT_BYTES), ("records", 0)):
        examples.MEMORY_LIMIT_BYTES = limit
        batches = iter(
            examples.batches(made, batch_size=batch_size, seed=0, start_step=0, num_steps=num_steps + 50)
        )
        # The first batches fill the queues.
        for _ in range(50):
            next(batches)
        began = time.perf_counter()
        for _ in range(num_steps):
            next(batches)
        rates[name] = num_steps * batch_size / (time.perf_counter() - began)
    return rates


def measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work returns, its seconds, and processor seconds and peak memory with its children.

    ``peak_bytes`` counts pages of files too, such as libraries', which the kernel drops when memory is short, and
    of which a process has a smaller part while strangers use the same library. ``peak_anonymous_bytes`` does not.
    """
    peak, peak_anonymous, finished = 0, 0, threading.Event()

    def watch() -> None:
        nonlocal peak, peak_anonymous
        while not finished.wait(_SAMPLE_SECONDS):
            peak = max(peak, proportional_bytes(os.getpid(), "Pss"))
            peak_anonymous = max(peak_anonymous, proportional_bytes(os.getpid(), "Pss_Anon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, cpu_began = time.perf_counter(), cpu_seconds()
    try:
        answer = work()
        seconds, cpu = time.perf_counter() - began, cpu_seconds() - cpu_began
    finally:
        finished.set()
        watcher.join()
    return {
        **answer,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "peak_bytes": peak,
        "peak_anonymous_bytes": peak_anonymous,
    }


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def proportional_bytes(pid: int, kind: str) -> int:
    """Memory of a process and all its children; pages that several hold are divided among them (PSS).

    Args:
        pid: of the process.
        kind: a line of ``smaps_rollup``: ``Pss``, or of the pages of no file ``Pss_Anon``.
    """
    process = Path("/proc", str(pid))
    try:
        lines = (process / "smaps_rollup").read_text().splitlines()
        children = [
            int(child)
            for task in (process / "task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        # It ended meanwhile.
        return 0
    own = next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{kind}:")), 0)
    return own + sum(proportional_bytes(child, kind) for child in children)


def main() -> None:
    contender = sys.argv[1]
    turns = Turns()
    for question in turns:
        if question["do"] == "read":
            turns.answer(
                **read(question["directory"], batch_size=question["batch_size"], num_steps=question["num_steps"])
            )
            continue
        config = IngestConfig.model_validate_json(question["config"])
        data, num_classes = question["data"], question["num_classes"]
        with tempfile.TemporaryDirectory(dir=question["scratch"]) as temporary:
            out = Path(temporary)
            answer = measured(lambda: ingest(contender, data, config, num_classes, out))  # noqa: B023 (called at once)
            if question.get("keep"):
                (out / "made").rename(question["keep"])
        turns.answer(**answer)


if __name__ == "__main__":
    main()
