"""Computes metrics.json with torch-fidelity: ``python tests/golden/make_metrics.py``, see metrics.md."""

import importlib.util
import json
import sys
import types
from pathlib import Path
from unittest import mock

import torch

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import random_features  # noqa: E402

# The package itself wants torchvision, the functions below do not.
package = types.ModuleType("torch_fidelity")
package.__path__ = list(importlib.util.find_spec("torch_fidelity").submodule_search_locations)
sys.modules["torch_fidelity"] = package
for name in ("utils", "datasets", "registry"):
    sys.modules[f"torch_fidelity.{name}"] = mock.MagicMock()
SETTINGS = random_features.KID | {
    "kid_kernel": "poly",
    "kid_kernel_poly_degree": 3,
    "kid_kernel_poly_gamma": None,
    "kid_kernel_poly_coef0": 1,
    "prc_neighborhood": 3,
    "prc_batch_size": 1000,
    "save_cpu_ram": False,
    "verbose": False,
}
helpers = mock.MagicMock()
helpers.get_kwarg = lambda name, given: (SETTINGS | given)[name]
sys.modules["torch_fidelity.helpers"] = helpers
sys.modules["tqdm"] = types.SimpleNamespace(tqdm=lambda rows, **_: rows)

from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc  # noqa: E402


def main() -> None:
    generated, real = (torch.from_numpy(random_features.features(side)) for side in ("generated", "real"))
    logits = torch.from_numpy(random_features.logits())
    statistics = [metric_fid.fid_features_to_statistics(side) for side in (generated, real)]
    results = {
        "fid": metric_fid.fid_statistics_to_metric(*statistics, False),
        "kid": metric_kid.kid_features_to_metric(generated, real),
        "isc": metric_isc.isc_features_to_metric(logits, shuffle=False),
        "prc": metric_prc.prc_features_to_metric(generated, real),
    }
    flat = {f"{metric} {i}": value for metric, of in results.items() for i, value in enumerate(of.values())}
    (HERE / "metrics.json").write_text(json.dumps(flat, indent=1) + "\n")
    print(flat, [list(of) for of in results.values()])


if __name__ == "__main__":
    main()
