"""The networks as tables of their weights, from which the PyTorch peer is made. Standard library only.

A table says of each weight its shape and how many multiplications with it an image costs, so that parameters and
arithmetic can be compared with this project's networks where PyTorch is not installed.
"""

import math
from dataclasses import dataclass

from peers.cases import Case


@dataclass(frozen=True)
class Weight:
    """A tensor of a network.

    Attributes:
        name: unique in its network.
        shape: in PyTorch's order: ``[out, in]``, convolutions ``[out, in, k, k]``, transposed ``[in, out, k, k]``.
        macs: multiplications with it (each with an addition) in a forward pass of one image.
        trained: False for fixed factors, which are no parameters.
        stddev: of the initial values; None: ones where `name` ends in ``scale``, else zeros.
    """

    name: str
    shape: tuple[int, ...]
    macs: float = 0.0
    trained: bool = True
    stddev: float | None = None


def num_parameters(table: list[Weight]) -> int:
    """Trained numbers of a network."""
    return sum(math.prod(weight.shape) for weight in table if weight.trained)


def mflop(table: list[Weight]) -> float:
    """10^6 floating-point operations of a forward pass of one image, in matrix products and convolutions."""
    return 2e-6 * sum(weight.macs for weight in table)


def generator(case: Case) -> list[Weight]:
    """The table of a case's generator."""
    return {"dcgan": _dcgan_generator, "stylegan": _stylegan_generator}[case.network](case)


def discriminator(case: Case) -> list[Weight]:
    """The table of a case's discriminator."""
    return {"dcgan": _dcgan_discriminator, "stylegan": _stylegan_discriminator}[case.network](case)


def dcgan_pyramid(side: int) -> tuple[int, int]:
    """Side of the smallest feature map and number of halvings that lead to it: 28 -> 7, 2; 64 -> 4, 4."""
    levels = 2
    side //= 4
    while side > 4 and side % 2 == 0:
        side, levels = side // 2, levels + 1
    return side, levels


def stylegan_channels(case: Case) -> list[int]:
    """Channels of the feature maps at 4, 8, 16, ... pixels."""
    num_levels = case.side.bit_length() - 2
    return [min(case.base_channels * 2 ** (num_levels - 1 - i), case.max_channels) for i in range(num_levels)]


def _dense(name: str, inputs: int, outputs: int, *, stddev: float | None = None) -> Weight:
    stddev = math.sqrt(2 / (inputs + outputs)) if stddev is None else stddev
    return Weight(name, (outputs, inputs), inputs * outputs, stddev=stddev)


def _dcgan_generator(case: Case) -> list[Weight]:
    side, levels = dcgan_pyramid(case.side)
    channels = case.base_channels * 2 ** (levels - 1)
    table = [_dense("dense", case.latent_dim, side * side * channels)]
    for level in range(1, levels + 1):
        table += [Weight(f"norm{level - 1}/scale", (channels,)), Weight(f"norm{level - 1}/shift", (channels,))]
        outputs = case.channels if level == levels else channels // 2
        table.append(
            Weight(
                f"conv{level}",
                (channels, outputs, 4, 4),
                16 * channels * outputs * side * side,
                stddev=math.sqrt(2 / (16 * (channels + outputs))),
            )
        )
        side, channels = 2 * side, outputs
    return [*table, Weight("image/bias", (case.channels,))]


def _dcgan_discriminator(case: Case) -> list[Weight]:
    smallest, levels = dcgan_pyramid(case.side)
    table, side, inputs = [], case.side, case.channels
    for level in range(levels):
        side, channels = side // 2, case.base_channels * 2**level
        stddev = math.sqrt(2 / (16 * (inputs + channels)))
        macs = 16 * inputs * channels * side * side
        table += [
            Weight(f"conv{level}", (channels, inputs, 4, 4), macs, stddev=stddev),
            Weight(f"conv{level}/bias", (channels,)),
        ]
        inputs = channels
    return [*table, _dense("logit", smallest**2 * inputs, 1), Weight("logit/bias", (1,))]


def _conv3(name: str, inputs: int, outputs: int, side: int, resample: str | None, batch_size: int) -> list[Weight]:
    """A 3x3 convolution at `side` pixels; one that resamples is a 4x4 one of stride 2, `side` the smaller side.

    Its 4x4 kernel is summed from the 3x3 one once a batch.
    """
    shape = (inputs, outputs, 3, 3) if resample == "up" else (outputs, inputs, 3, 3)
    taps = 16 if resample else 9
    table = [Weight(name, shape, taps * inputs * outputs * side * side, stddev=1.0)]
    if resample:
        table.append(Weight(f"{name}/taps", (16, 9), 16 * 9 * inputs * outputs / batch_size, trained=False))
    return table


def _stylegan_generator(case: Case) -> list[Weight]:
    widths, style_dim = stylegan_channels(case), case.max_channels
    table = []
    for layer in range(case.mapping_layers):
        inputs = style_dim if layer else case.latent_dim
        # Styles are mapped a second time for mixing. Kernels start 100 times larger and learn 100 times slower.
        passes = 2 if case.style_mixing_probability else 1
        table += [
            Weight(f"mapping{layer}", (style_dim, inputs), passes * inputs * style_dim, stddev=100.0),
            Weight(f"mapping{layer}/bias", (style_dim,)),
        ]
    table.append(Weight("constant", (1, widths[0], 4, 4), stddev=1.0))
    for layer in range(2 * len(widths)):
        level = layer // 2
        width, side = widths[level], 4 * 2**level
        if layer:
            up = layer % 2 == 0
            inputs = widths[(layer - 1) // 2]
            table += _conv3(
                f"conv{layer}", inputs, width, side // 2 if up else side, "up" if up else None, case.batch_size
            )
            if up:
                table.append(Weight(f"conv{layer}/blur", (3, 3), 9 * width * side * side, trained=False))
        table += [
            Weight(f"style{layer}", (2 * width, style_dim), 2 * width * style_dim, stddev=1.0),
            Weight(f"style{layer}/bias", (2 * width,)),
            Weight(f"strength{layer}", (width,)),
            Weight(f"bias{layer}", (width,)),
        ]
    for level, width in enumerate(widths):
        # The image of the level below is painted, too: it is what the last level has faded in over.
        used = level >= len(widths) - 2
        macs = used * width * case.channels * (4 * 2**level) ** 2
        table += [
            Weight(f"to_rgb{level}", (case.channels, width, 1, 1), macs, stddev=1.0),
            Weight(f"to_rgb{level}/bias", (case.channels,)),
        ]
    return table


def _stylegan_discriminator(case: Case) -> list[Weight]:
    widths = stylegan_channels(case)
    table = []
    for level, width in enumerate(widths):
        side = 4 * 2**level
        used = level >= len(widths) - 2
        table += [
            Weight(
                f"from_rgb{level}",
                (width, case.channels, 1, 1),
                used * width * case.channels * side**2,
                stddev=1.0,
            ),
            Weight(f"from_rgb{level}/bias", (width,)),
            # At 4x4 with the channel of the minibatch's standard deviation.
            *_conv3(f"conv{level}", width + (level == 0), width, side, None, case.batch_size),
            Weight(f"conv{level}/bias", (width,)),
        ]
        if level:
            below = widths[level - 1]
            table += [
                Weight(f"down{level}/blur", (3, 3), 9 * width * side * side, trained=False),
                *_conv3(f"down{level}", width, below, side // 2, "down", case.batch_size),
                Weight(f"down{level}/bias", (below,)),
            ]
    first = widths[0]
    return [
        *table,
        Weight("dense", (first, 16 * first), 16 * first * first, stddev=1.0),
        Weight("dense/bias", (first,)),
        Weight("logit", (1, first), first, stddev=1.0),
        Weight("logit/bias", (1,)),
    ]
