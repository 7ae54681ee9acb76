"""Computes inception.npz with torch-fidelity: ``python tests/golden/make_inception.py``, see inception.md."""

import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import random_inception  # noqa: E402

# The package itself wants torchvision, its Inception does not.
package = types.ModuleType("torch_fidelity")
package.__path__ = list(importlib.util.find_spec("torch_fidelity").submodule_search_locations)
sys.modules["torch_fidelity"] = package
import torch_fidelity.feature_extractor_inceptionv3 as reference  # noqa: E402

TAPS = ["64", "192", "768", "2048", "logits_unbiased", "logits"]


def main() -> None:
    reference.load_state_dict_from_url = lambda *_, **__: {}
    loaded, reference.FeatureExtractorInceptionV3.load_state_dict = (
        reference.FeatureExtractorInceptionV3.load_state_dict,
        lambda self, *_, **__: None,
    )
    network = reference.FeatureExtractorInceptionV3("inception-v3-compat", TAPS)
    shapes = {
        name: list(value.shape)
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    weights = {name: torch.from_numpy(value) for name, value in random_inception.weights(shapes).items()}
    loaded(network, weights, strict=False)
    network.eval()
    spatial = []
    network.Mixed_6d.register_forward_hook(lambda module, inputs, output: spatial.append(output[:, :7]))
    results = {}
    for name in random_inception.SIZES:
        pixels = torch.from_numpy(random_inception.images(name).transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            taps = dict(zip(TAPS, network(pixels), strict=True))
        taps["sfid"] = spatial.pop().permute(0, 2, 3, 1)
        for tap, values in taps.items():
            # Every 8th: each branch of each block has its share.
            results[f"{name} {tap}"] = values.reshape(2, -1).numpy()[:, ::8]
    np.savez_compressed(HERE / "inception.npz", **results)
    (HERE / "inception_shapes.json").write_text(json.dumps(shapes, indent=0))
    print({name: float(np.abs(values).mean()) for name, values in results.items()})


if __name__ == "__main__":
    main()
