"""A SavedModel behind TensorFlow's C API at its turn: ``python -m peers.serving_session SAVED_MODEL``."""

import sys

import numpy as np

from gan_components.export.serving_child import Server
from peers.calls import timed
from peers.turns import Turns


def main() -> None:
    turns = Turns()
    server = Server(sys.argv[1])
    for question in turns:
        rows = np.arange(question["batch_size"])
        given = {"seed": rows, "label": rows % 10}
        inputs = {tensor: given[name] for name, tensor in question["inputs"].items()}
        outputs = list(question["outputs"].values())
        turns.answer(**timed(lambda i=inputs, o=outputs: server.run(i, o), seconds=question["seconds"]))


if __name__ == "__main__":
    main()
