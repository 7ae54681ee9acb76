"""Exports whenever it is told to, each time in a fork of its own: importing takes longer than exporting.

A line on stdin names a model and an artifact's home; the answers are the fork's process id, and when it has ended
its exit status.
"""

import os
import sys
import traceback
from pathlib import Path

from gan_components.export.destination import Destination
from tests.gan_components.export.test_export_stage import export


def main(root: Path) -> None:
    for line in sys.stdin:
        destination = Destination(line.strip(), root / "serving", root, f"sqlite:///{root / 'mlflow.db'}")
        child = os.fork()
        if not child:
            code = 1
            try:
                export(destination, root / "generator")
                code = 0
            finally:
                if code:
                    traceback.print_exc()
                os._exit(code)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
