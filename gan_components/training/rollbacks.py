"""Going back to the last checkpoint after a divergence: what is remembered of it, in ``rollbacks.json``.

The number of entries is the retry number. It is folded into every random stream and halves both learning rates
(:func:`gan_components.training.players.build`): with the same bits the same step would diverge again. The file
outlives a killed process, so that a resumed run goes on with the same number.
"""

import json
from pathlib import Path

from pydantic import JsonValue

from gan_components import artifacts

FILE = "rollbacks.json"
"""In the work directory of a training."""


Rollback = dict[str, JsonValue]
"""``{"retry": 1 for the first of a training, "step": finished steps of the checkpoint, "reason": in words}``."""


def read(work: Path) -> list[Rollback]:
    """The roll-backs so far of the training in the directory `work`, the first one first."""
    path = work / FILE
    return json.loads(path.read_bytes()) if path.exists() else []


def record(work: Path, error: Exception) -> list[Rollback]:
    """Remembers that the training in `work` goes back to its newest checkpoint because of `error`.

    Returns:
        All roll-backs, this one last.
    """
    taken = read(work)
    step = max(reachable_steps(work))
    taken.append({"retry": len(taken) + 1, "step": step, "reason": str(error)})
    artifacts.write_atomically(work / FILE, json.dumps(taken, indent=1).encode())
    return taken


def reachable_steps(work: Path) -> list[int]:
    """The finished steps that the training in `work` can go back to: those of its checkpoints, else 0."""
    names = [path.name for path in (work / "checkpoints").glob("step-*")]
    return sorted(int(name.removeprefix("step-")) for name in names) or [0]
