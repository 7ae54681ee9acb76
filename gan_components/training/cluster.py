"""This process's place among the workers of ``TF_CONFIG``. Imports no TensorFlow."""

import json
import os

from gan_components.errors import ConfigError


def is_chief(strategy: str) -> bool:
    """Whether this process writes: every one does, but under ``multi_worker`` only the chief or first worker.

    Args:
        strategy: ``train.strategy``.

    Raises:
        ConfigError: ``multi_worker`` without a ``TF_CONFIG`` that names a cluster and this process's task.
    """
    if strategy != "multi_worker":
        return True
    try:
        config = json.loads(os.environ.get("TF_CONFIG", ""))
        cluster, kind, index = config["cluster"], config["task"]["type"], config["task"]["index"]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise ConfigError(
            "train.strategy multi_worker needs the environment variable TF_CONFIG to be a JSON object with "
            "`cluster` and `task`, see https://www.tensorflow.org/guide/distributed_training#TF_CONFIG; "
            "set it for every worker, or use strategy mirrored"
        ) from None
    return kind == "chief" or ("chief" not in cluster and kind == "worker" and index == 0)
