"""PyTorch trains a case as this project does, whenever it is its turn: one child process, several variants.

The algorithm of :class:`gan_components.training.gan.GAN`: one batch of fakes serves both gradients, both are taken
before either player moves; where logits depend on their own image alone, the generator's gradient at an image is
the discriminator's times ``-exp(-D(G(z)))``, so that one backward pass through the discriminator serves both; R1
every n-th step, Adam (fused), an averaged generator. Logged are the losses alone.

``torch.compile`` sees losses and both gradients as one graph. It has no second derivatives: the penalty of every
n-th step is eager, and added to the compiled gradients.

    python -m peers.torch_training CASE_AS_JSON
"""

import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from peers import tables, torch_networks
from peers.cases import Case
from peers.turns import Turns

_POOL = 32


def variants() -> list[str]:
    """``float32 contiguous eager`` and so on: precision, memory layout, execution."""
    choices = ("float32", "bfloat16"), ("contiguous", "channels_last"), ("eager", "compile")
    return [" ".join(choice) for choice in itertools.product(*choices)]


class Training:
    """The players of a case in one variant."""

    def __init__(self, case: Case, variant: str) -> None:
        import torch

        self.case = case
        precision, layout, execution = variant.split()
        self.bfloat16, self.channels_last = precision == "bfloat16", layout == "channels_last"
        torch.manual_seed(0)
        make = torch_networks.weights
        self.g = make(tables.generator(case), channels_last=self.channels_last)
        self.d = make(tables.discriminator(case), channels_last=self.channels_last)
        self.kept = torch_networks.state(case)
        self.average = {name: weight.detach().clone() for name, weight in self.g.items() if weight.requires_grad}
        self.kept_average = {name: value.clone() for name, value in self.kept.items()}
        self.g_weights = [weight for weight in self.g.values() if weight.requires_grad]
        self.d_weights = [weight for weight in self.d.values() if weight.requires_grad]
        betas = {"betas": (case.beta1, case.beta2), "eps": 1e-7, "fused": True}
        self.g_optimizer = torch.optim.Adam(self.g_weights, case.g_learning_rate, **betas)
        self.d_optimizer = torch.optim.Adam(self.d_weights, case.d_learning_rate, **betas)
        shape = (_POOL, case.batch_size, case.channels, case.side, case.side)
        self.pool = [torch_networks._laid_out(images, self.channels_last) for images in _random_images(shape)]
        self.losses = torch.zeros(2)
        self.step = 0
        self.gradients: Callable[..., tuple] = self._gradients
        if execution == "compile":
            torch._dynamo.config.trace_autograd_ops = True
            self.gradients = torch.compile(self._gradients, fullgraph=True, dynamic=False)

    def train_step(self) -> None:
        import torch

        case = self.case
        real = self.pool[self.step % _POOL]
        g_gradients, d_gradients, losses = self.gradients(real, torch_networks.draws(case))
        if self.step % case.r1_interval_steps == 0:
            penalty = case.r1_interval_steps * case.r1_gamma / 2 * self._r1(real)
            slopes = torch.autograd.grad(penalty, self.d_weights, allow_unused=True)
            d_gradients = [
                gradient if slope is None else slope if gradient is None else gradient + slope
                for gradient, slope in zip(d_gradients, slopes, strict=True)
            ]
        for optimizer, weights, gradients in (
            (self.g_optimizer, self.g_weights, g_gradients),
            (self.d_optimizer, self.d_weights, d_gradients),
        ):
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.grad = gradient
            optimizer.step()
        decay = min(case.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), self.g_weights, 1 - decay)
            for name, value in self.kept.items():
                self.kept_average[name].copy_(value)
            self.losses += losses
        self.step += 1

    def _gradients(self, real: Any, inputs: dict[str, Any]) -> tuple:
        """Both players' gradients, and both losses."""
        import torch
        import torch.nn.functional as F

        case, independent_rows = self.case, self.case.network == "dcgan"
        with self._precision():
            fake = torch_networks.generator(case, self.g, self.kept, inputs, channels_last=self.channels_last)
            # The seam between the players: what is above it is the generator's.
            seen = fake.detach().requires_grad_()
            real_logits = torch_networks.discriminator(case, self.d, _to_float(real))
            fake_logits = torch_networks.discriminator(case, self.d, seen)
            d_loss = F.softplus(-real_logits).mean() + F.softplus(fake_logits).mean()
            g_loss = F.softplus(-fake_logits).mean()
        *d_gradients, slope = torch.autograd.grad(
            d_loss, [*self.d_weights, seen], retain_graph=not independent_rows, allow_unused=True
        )
        if independent_rows:
            slope = slope * -torch.exp(-fake_logits.detach())[:, None, None, None]
        else:
            (slope,) = torch.autograd.grad(g_loss, [seen])
        g_gradients = torch.autograd.grad(fake, self.g_weights, slope, allow_unused=True)
        return list(g_gradients), d_gradients, torch.stack([d_loss.detach(), g_loss.detach()])

    def _r1(self, real: Any) -> Any:
        import torch

        images = _to_float(real).requires_grad_()
        with self._precision():
            logits = torch_networks.discriminator(self.case, self.d, images, twice_differentiated=True)
        (gradients,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return gradients.square().sum((1, 2, 3)).mean()

    def _precision(self) -> Any:
        import torch

        return torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16)


def mflop_per_image(training: Training) -> float:
    """10^6 floating-point operations of a step, a lazy penalty counted by its share, over the batch."""
    from torch.utils.flop_counter import FlopCounterMode

    interval = training.case.r1_interval_steps
    with FlopCounterMode(display=False) as counter:
        for _ in range(interval):
            training.train_step()
    return 1e-6 * counter.get_total_flops() / (interval * training.case.batch_size)


def matmul_gflops(precision: str, repetitions: int) -> float:
    """10^9 floating-point operations a second in products of square matrices of 2,048 rows."""
    import torch

    size = 2048
    matrix = torch.randn(size, size, dtype=getattr(torch, precision))
    started = time.perf_counter()
    for _ in range(repetitions):
        matrix @ matrix
    return 2e-9 * size**3 * repetitions / (time.perf_counter() - started)


def _random_images(shape: tuple[int, ...]) -> Iterator[Any]:
    import torch

    return iter(torch.randint(0, 256, shape, dtype=torch.uint8))


def _to_float(images: Any) -> Any:
    return images.float() / 127.5 - 1.0


def main() -> None:
    import torch

    turns, case = Turns(), Case.loads(sys.argv[1])
    # As TensorFlow does: subnormal numbers cost a hundred times as much.
    torch.set_flush_denormal(True)
    trainings: dict[str, Training] = {}
    for question in turns:
        match question["do"]:
            case "describe":
                eager = Training(case, "float32 contiguous eager")
                turns.answer(
                    version=torch.__version__,
                    threads=torch.get_num_threads(),
                    parameters=sum(math.prod(w.shape) for w in [*eager.g_weights, *eager.d_weights]),
                    mflop_per_image=mflop_per_image(eager),
                )
            case "variants":
                turns.answer(variants=variants())
            case "prepare":
                started, variant = time.perf_counter(), question["variant"]
                try:
                    trainings[variant] = Training(case, variant)
                    for _ in range(2 * case.r1_interval_steps):
                        trainings[variant].train_step()
                # Whatever a compiler can raise: a variant that cannot run is reported, not the end.
                except Exception as error:  # noqa: BLE001
                    turns.answer(error=f"{type(error).__name__}: {str(error)[:500]}")
                else:
                    turns.answer(seconds=time.perf_counter() - started)
            case "train":
                training = trainings[question["variant"]]
                started, cpu = time.perf_counter(), time.process_time()
                for _ in range(question["steps"]):
                    training.train_step()
                losses = (training.losses / training.step).tolist()
                turns.answer(
                    seconds=time.perf_counter() - started, cpu_seconds=time.process_time() - cpu, losses=losses
                )
            case "matmul":
                turns.answer(gflops=matmul_gflops(question["precision"], question["repetitions"]))


if __name__ == "__main__":
    main()
