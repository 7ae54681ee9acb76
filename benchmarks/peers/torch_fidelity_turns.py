"""torch-fidelity's extractor reads images whenever it is its turn; its weights are those of a file.

    python -m peers.torch_fidelity_turns WEIGHTS.npz

torch-fidelity 0.4.0 imports torchvision, which its Inception does not need: the package's own start is left out.
"""

import importlib.util
import sys
import time
import types

import numpy as np
import torch

from peers.turns import Turns


def network(path: str) -> torch.nn.Module:
    package = types.ModuleType("torch_fidelity")
    package.__path__ = list(importlib.util.find_spec("torch_fidelity").submodule_search_locations)
    sys.modules["torch_fidelity"] = package
    import torch_fidelity.feature_extractor_inceptionv3 as reference

    # Its constructor loads the published file; these weights come right after.
    reference.load_state_dict_from_url = lambda *_, **__: {}
    load = reference.FeatureExtractorInceptionV3.load_state_dict
    reference.FeatureExtractorInceptionV3.load_state_dict = lambda self, *_, **__: None
    made = reference.FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    with np.load(path) as file:
        load(made, {name: torch.from_numpy(file[name]) for name in file.files}, strict=False)
    return made.eval()


def main() -> None:
    turns = Turns()
    torch.set_num_threads(2)
    made = network(sys.argv[1])
    for question in turns:
        pixels = torch.from_numpy(np.load(question["images"]).transpose(0, 3, 1, 2).copy())
        began = time.perf_counter()
        with torch.no_grad():
            parts = [made(batch)[0] for batch in pixels.split(question["batch_size"])]
        features = torch.cat(parts).numpy()
        seconds = time.perf_counter() - began
        turns.answer(seconds=seconds, features=features[:2, ::64].tolist())


if __name__ == "__main__":
    main()
