"""The networks of :mod:`peers.tables` in PyTorch: functions of their weights. Imports PyTorch only when called.

Images are ``[N, C, H, W]``. Under ``torch.autocast`` convolutions and matrix products compute in bfloat16; images,
statistics and logits are float32, as in this project.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from peers import tables
from peers.cases import Case

if TYPE_CHECKING:
    import torch

    Weights = dict[str, torch.Tensor]
    Activation = Callable[[torch.Tensor], torch.Tensor]

_RELU_GAIN = math.sqrt(2.0)
_W_AVERAGE_DECAY = 0.995
# Rows: taps of a 4-tap kernel of stride 2; columns: those of the 3-tap kernel that they sum, behind a doubling of
# the pixels or before an average of two.
_TAPS = {
    "up": [[0.0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]],
    "down": [[0.5, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5], [0, 0, 0.5]],
}
_BLUR = [0.25, 0.5, 0.25]


def weights(table: list[tables.Weight], *, channels_last: bool) -> "Weights":
    """New weights with gradients, and the table's fixed factors without."""
    import torch

    result = {}
    for weight in table:
        if weight.trained:
            initial = torch.randn(weight.shape) * weight.stddev if weight.stddev else torch.zeros(weight.shape)
            if weight.name.endswith("scale"):
                initial = torch.ones(weight.shape)
            if channels_last and len(weight.shape) == 4:
                initial = initial.contiguous(memory_format=torch.channels_last)
            result[weight.name] = initial.requires_grad_()
        elif weight.name.endswith("blur"):
            result[weight.name] = torch.outer(torch.tensor(_BLUR), torch.tensor(_BLUR))
        else:
            taps = torch.tensor(_TAPS["up" if weight.name.startswith("conv") else "down"])
            result[weight.name] = torch.kron(taps, taps)
    return result


def state(case: Case) -> "Weights":
    """What the generator keeps that is no parameter: running statistics, or the average of the styles."""
    import torch

    if case.network == "stylegan":
        return {"w_average": torch.zeros(case.max_channels)}
    result = {}
    for weight in tables.generator(case):
        if weight.name.endswith("/scale"):
            norm = weight.name.removesuffix("/scale")
            result |= {f"{norm}/mean": torch.zeros(weight.shape), f"{norm}/variance": torch.ones(weight.shape)}
    return result


def draws(case: Case) -> "Weights":
    """A generator's random inputs for one batch."""
    import torch

    n = case.batch_size
    inputs = {"latents": torch.randn(n, case.latent_dim)}
    if case.network == "stylegan":
        for layer in range(2 * len(tables.stylegan_channels(case))):
            side = 4 * 2 ** (layer // 2)
            inputs[f"noise{layer}"] = torch.randn(n, 1, side, side)
        inputs["mixing_latents"], inputs["mixing"] = torch.randn(n, case.latent_dim), torch.rand(n, 2)
    return inputs


def generator(
    case: Case, w: "Weights", kept: "Weights", inputs: "Weights", *, channels_last: bool
) -> "torch.Tensor":
    """Images in training: normalisation statistics and the average style move."""
    call = {"dcgan": _dcgan_generator, "stylegan": _stylegan_generator}[case.network]
    return call(case, w, kept, inputs, channels_last)


def discriminator(
    case: Case, w: "Weights", images: "torch.Tensor", *, twice_differentiated: bool = False
) -> "torch.Tensor":
    """Logits ``[N]``; the same numbers either way.

    PyTorch sends zeros through all convolutions for the second derivative of its own leaky ReLU: 5 % of a step of
    DCGAN. A penalty is spared them by `twice_differentiated`.
    """
    activate = _leaky_with_a_second_derivative if twice_differentiated else _leaky
    call = {"dcgan": _dcgan_discriminator, "stylegan": _stylegan_discriminator}[case.network]
    return call(case, w, images, activate)


def _laid_out(x: "torch.Tensor", channels_last: bool) -> "torch.Tensor":
    import torch

    return x.contiguous(memory_format=torch.channels_last) if channels_last else x


def _dcgan_generator(
    case: Case, w: "Weights", kept: "Weights", inputs: "Weights", channels_last: bool
) -> "torch.Tensor":
    import torch
    import torch.nn.functional as F

    side, levels = tables.dcgan_pyramid(case.side)
    x = F.linear(inputs["latents"], w["dense"]).view(case.batch_size, -1, side, side)
    x = _laid_out(x, channels_last)
    for level in range(1, levels + 1):
        norm = f"norm{level - 1}"
        mean, variance = kept[f"{norm}/mean"], kept[f"{norm}/variance"]
        x = F.batch_norm(x, mean, variance, w[f"{norm}/scale"], w[f"{norm}/shift"], True, 0.1, 1e-3)
        bias = w["image/bias"] if level == levels else None
        x = F.conv_transpose2d(F.relu(x), w[f"conv{level}"], bias, stride=2, padding=1)
    return torch.tanh(x.float())


def _dcgan_discriminator(
    case: Case, w: "Weights", images: "torch.Tensor", activate: "Activation"
) -> "torch.Tensor":
    import torch.nn.functional as F

    _, levels = tables.dcgan_pyramid(case.side)
    x = images
    for level in range(levels):
        x = activate(F.conv2d(x, w[f"conv{level}"], w[f"conv{level}/bias"], stride=2, padding=1))
    return F.linear(x.flatten(1), w["logit"], w["logit/bias"]).float().squeeze(1)


def _equalised(x: "torch.Tensor", w: "Weights", name: str, gain: float = _RELU_GAIN, rate: float = 1.0):
    """A dense layer or a 1x1 convolution, its weights scaled by He's constant."""
    import torch.nn.functional as F

    kernel, bias = w[name], w[f"{name}/bias"] * rate
    kernel = kernel * (rate * gain / math.sqrt(kernel.shape[1]))
    return F.linear(x, kernel, bias) if kernel.ndim == 2 else F.conv2d(x, kernel, bias)


def _conv3(x: "torch.Tensor", w: "Weights", name: str, resample: str | None, bias: bool = True) -> "torch.Tensor":
    import torch.nn.functional as F

    kernel, inputs = w[name], x.shape[1]
    scale, offset = _RELU_GAIN / math.sqrt(9 * inputs), w[f"{name}/bias"] if bias else None
    if resample is None:
        return F.conv2d(x, kernel * scale, offset, padding=1)
    kernel = (kernel.flatten(2) @ (w[f"{name}/taps"] * scale).T).unflatten(2, (4, 4))
    convolve = F.conv_transpose2d if resample == "up" else F.conv2d
    return convolve(x, kernel, offset, stride=2, padding=1)


def _blurred(x: "torch.Tensor", kernel: "torch.Tensor") -> "torch.Tensor":
    import torch.nn.functional as F

    channels = x.shape[1]
    return F.conv2d(x, kernel.to(x.dtype).expand(channels, 1, 3, 3), padding=1, groups=channels)


def _leaky(x: "torch.Tensor") -> "torch.Tensor":
    import torch.nn.functional as F

    return F.leaky_relu(x, 0.2)


def _leaky_with_a_second_derivative(x: "torch.Tensor") -> "torch.Tensor":
    import torch

    return torch.where(x > 0, x, 0.2 * x)


def _mapped(case: Case, w: "Weights", latents: "torch.Tensor") -> "torch.Tensor":
    import torch

    style = latents * torch.rsqrt(latents.square().mean(1, keepdim=True) + 1e-8)
    for layer in range(case.mapping_layers):
        style = _leaky(_equalised(style, w, f"mapping{layer}", rate=0.01))
    return style.float()


def _stylegan_generator(
    case: Case, w: "Weights", kept: "Weights", inputs: "Weights", channels_last: bool
) -> "torch.Tensor":
    import torch
    import torch.nn.functional as F

    num_layers = 2 * len(tables.stylegan_channels(case))
    style, other = (_mapped(case, w, inputs[name]) for name in ("latents", "mixing_latents"))
    kept["w_average"].lerp_(style.detach().mean(0), 1 - _W_AVERAGE_DECAY)
    chosen = 1 + (inputs["mixing"][:, 1] * (num_layers - 1)).long()
    crossover = torch.where(inputs["mixing"][:, 0] < case.style_mixing_probability, chosen, num_layers)[:, None]

    x = _laid_out(w["constant"].expand(case.batch_size, -1, -1, -1), channels_last)
    below = x
    for layer in range(num_layers):
        if layer:
            if layer % 2 == 0:
                below = x
            x = _conv3(x, w, f"conv{layer}", "up" if layer % 2 == 0 else None, bias=False)
            if layer % 2 == 0:
                x = _blurred(x, w[f"conv{layer}/blur"])
        x = _styled(x, w, layer, torch.where(layer < crossover, style, other), inputs[f"noise{layer}"])
    # Painted in float32, and faded in over the level below with a weight that has come to one.
    top = num_layers // 2 - 1
    with torch.autocast("cpu", enabled=False):
        image = _equalised(x.float(), w, f"to_rgb{top}", gain=1.0)
        under = F.interpolate(_equalised(below.float(), w, f"to_rgb{top - 1}", gain=1.0), scale_factor=2.0)
    image = under + 1.0 * (image - under)
    return 0.99 * torch.tanh(image) + 0.01 * image


def _styled(x: "torch.Tensor", w: "Weights", layer: int, style: "torch.Tensor", noise: "torch.Tensor"):
    import torch

    column = (1, -1, 1, 1)
    x = x + noise.to(x.dtype) * w[f"strength{layer}"].view(column).to(x.dtype)
    x = _leaky(x + w[f"bias{layer}"].view(column).to(x.dtype))
    wide = x.float()
    variance, mean = torch.var_mean(wide, (2, 3), correction=0, keepdim=True)
    scale, shift = _equalised(style, w, f"style{layer}", gain=1.0).float()[:, :, None, None].chunk(2, 1)
    scale = (1.0 + scale) * torch.rsqrt(variance + 1e-8)
    return (wide * scale + (shift - mean * scale)).to(x.dtype)


def _stylegan_discriminator(
    case: Case, w: "Weights", images: "torch.Tensor", activate: "Activation"
) -> "torch.Tensor":
    import torch
    import torch.nn.functional as F

    top = len(tables.stylegan_channels(case)) - 1
    x = activate(_equalised(images, w, f"from_rgb{top}"))
    for level in range(top, 0, -1):
        x = activate(_conv3(x, w, f"conv{level}", None))
        x = activate(_conv3(_blurred(x, w[f"down{level}/blur"]), w, f"down{level}", "down"))
        if level == top:
            under = activate(_equalised(F.avg_pool2d(images, 2), w, f"from_rgb{level - 1}"))
            x = under + 1.0 * (x - under)
    groups = x.float().view(-1, 4, *x.shape[1:])
    deviation = torch.sqrt(groups.var(1, correction=0) + 1e-8).mean((1, 2, 3)).repeat_interleave(4)
    x = torch.cat([x, deviation.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).to(x.dtype)], 1)
    x = activate(_equalised(activate(_conv3(x, w, "conv0", None)).flatten(1), w, "dense"))
    with torch.autocast("cpu", enabled=False):
        return _equalised(x.float(), w, "logit", gain=1.0).squeeze(1)
