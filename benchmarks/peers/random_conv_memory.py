"""Peak memory of N images' moments in random_conv: ``python -m peers.random_conv_memory N``."""

import resource
import sys

import numpy as np

from gan_components.metrics import features, frechet

_BATCH_SIZE = 500


def main() -> None:
    count = int(sys.argv[1])
    extractor = features.random_conv_extractor((28, 28, 1))
    random = np.random.default_rng(0)
    batches = (random.integers(0, 256, (_BATCH_SIZE, 28, 28, 1), np.uint8) for _ in range(count // _BATCH_SIZE))
    moments = frechet.moments(map(extractor.features, batches), extractor.identity)
    if moments.count != count:
        raise SystemExit(f"{moments.count} images of {count}")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
