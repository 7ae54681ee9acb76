"""Looks at a serving root as TF Serving does, in a process of its own, a thousand times as often.

    python poller.py SERVING_ROOT SAVED_MODEL

A version is broken if it is there and is not whole: every file of SAVED_MODEL with its size, and the record of
the push. ``models.config`` is broken if it names a version that is not whole. Ends with its stdin, and prints
what it saw.
"""

import json
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Self


class Poller:
    """The parent's side; `result` is there when the context ends."""

    def __init__(self, serving_root: Path, saved_model: Path) -> None:
        command = [sys.executable, __file__, str(serving_root), str(saved_model)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.result: dict[str, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        said, _ = self._process.communicate(timeout=60)
        self.result = json.loads(said)


def whole(version: Path, files: dict[str, int]) -> bool:
    try:
        json.loads((version / "assets.extra" / "push.json").read_text())
        return all((version / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError):
        return False


def look(root: Path, files: dict[str, int], seen: set[str], broken: set[str]) -> None:
    for version in root.glob("*/*/"):
        if re.fullmatch("[0-9]+", version.name):
            seen.add(str(version))
            # One that was removed between the two looks is no broken one.
            if not whole(version, files) and version.is_dir():
                broken.add(str(version))
    try:
        config = (root / "models.config").read_text()
    except FileNotFoundError:
        return
    for entry in config.split("  config {")[1:]:
        path, numbers = re.findall('base_path: "(.*)"', entry), re.findall(r"versions: (\d+)", entry)
        if len(path) != 1 or not numbers:
            broken.add(f"models.config: {entry}")
        broken.update(f"models.config: {n}" for n in numbers if not whole(Path(path[0], n), files))


def main(root: Path, saved_model: Path) -> None:
    paths = [path for path in saved_model.rglob("*") if path.is_file() and path.name != "push.json"]
    files = {path.relative_to(saved_model).as_posix(): path.stat().st_size for path in paths}
    seen: set[str] = set()
    broken: set[str] = set()
    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), done.set())).start()
    while not done.wait(0.001):
        look(root, files, seen, broken)
    print(json.dumps({"num_seen": len(seen), "broken": sorted(broken)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
