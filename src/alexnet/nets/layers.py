"""The layers torch lacks or is slow at, as modules with the paper's words for their parameters."""

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import randomness
from alexnet.nets.kernels import response_norm_triton
from alexnet.nets.kernels.few_rows_native import few_rows, runs
from alexnet.nets.kernels.response_norm_torch import response_norm
from alexnet.nets.kernels.within_map_norm_torch import within_map_norm


@dataclasses.dataclass(frozen=True)
class Draw:
    """What random masks are a function of: the run's seed, the step, and the images' row ids (n,) int64."""

    seed: int
    step: int
    rows: Tensor


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The type that products are cast to, or None."""
    kind = device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return None


def operand(weight: Tensor, low: Tensor | None) -> Tensor:
    """What a product takes: the copy of the weights in the products' type, where one is kept and asked for."""
    return weight if low is None or low.dtype != autocast_dtype(low.device) else low


def rounded_up_excess(length: int, size: int, stride: int, padding: int) -> int:
    """By how many pixels the last window hangs over the far edge when the output's size is rounded up.

    224 with 11x11 windows at stride 4 makes 55, and the last hangs over by 3; 227 fits exactly.
    """
    outputs = 1 + math.ceil((length + 2 * padding - size) / stride)
    return max(0, (outputs - 1) * stride + size - length - 2 * padding)


class Convolution(nn.Conv2d):
    """A convolution whose output size may be rounded up: what hangs over the far edges counts as zero.

    ``towers`` groups of filters each see their own tower's maps alone (torch's ``groups``).
    """

    low_weight: Tensor | None = None

    def __init__(self, inputs: int, filters: int, size: int, stride: int, padding: int, towers: int, round_up: bool):
        super().__init__(inputs, filters, size, stride, padding, groups=towers)
        self.round_up = round_up

    def reset_parameters(self) -> None:
        """Leaves the parameters as they are: ``Network.initialise`` draws them."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) float to (N, filters, H', W')."""
        if self.round_up:
            size, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
            bottom, right = (rounded_up_excess(n, size, stride, padding) for n in input.shape[2:])
            if bottom or right:
                input = F.pad(input, (0, right, 0, bottom))
        return self._conv_forward(input, operand(self.weight, self.low_weight), self.bias)


class FullyConnected(nn.Linear):
    """A fully connected layer; maps are flattened in the order map, row, column."""

    low_weight: Tensor | None = None

    def reset_parameters(self) -> None:
        """Leaves the parameters as they are: ``Network.initialise`` draws them."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) float to (N, units)."""
        x, weight = input.flatten(1), operand(self.weight, self.low_weight)
        return few_rows(x, weight, self.bias) if runs(x, weight) else F.linear(x, weight, self.bias)


class NarrowFullyConnected(nn.Module):
    """A fully connected layer for inference whose weights are int8, each unit's with a scale: half of bf16's memory.

    Sums and what goes in are as in other precisions; only the weights are rounded, to 1/127 of the unit's largest.

    Args:
        layer: whose weights.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, layer: FullyConnected):
        super().__init__()
        self.in_features = layer.in_features
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        self.register_buffer("weight", (weight / scale[:, None]).round().clamp(-127, 127).to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", layer.bias.detach().clone())

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) float to (N, units)."""
        x = input.flatten(1)
        if runs(x, self.weight):
            return few_rows(x, self.weight, self.bias, self.scale)
        found = F.linear(x, self.weight.to(x.dtype))  # exact: int8 fits into bf16
        return (found * self.scale + self.bias).to(x.dtype)


class ResponseNorm(nn.Module):
    """Local response normalisation across maps, within each tower (paper 3.3)."""

    def __init__(self, size: int, towers: int, k: float, alpha: float, beta: float):
        super().__init__()
        self.size, self.towers, self.k, self.alpha, self.beta = size, towers, k, alpha, beta

    def extra_repr(self) -> str:
        return f"size={self.size}, towers={self.towers}, k={self.k}, alpha={self.alpha}, beta={self.beta}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float to the same."""
        norm = response_norm_triton.response_norm if response_norm_triton.runs(x) else response_norm
        return norm(x, size=self.size, towers=self.towers, k=self.k, alpha=self.alpha, beta=self.beta)


class WithinMapNorm(nn.Module):
    """Local response normalisation within each map (2012 source, ``cnorm2``)."""

    def __init__(self, size: int, k: float, alpha: float, beta: float):
        super().__init__()
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def extra_repr(self) -> str:
        return f"size={self.size}, k={self.k}, alpha={self.alpha}, beta={self.beta}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float to the same."""
        return within_map_norm(x, size=self.size, k=self.k, alpha=self.alpha, beta=self.beta)


class LocallyConnected(nn.Module):
    """A convolution whose filters are not shared: each place has its own, and its own bias (the CIFAR-10 nets).

    Args:
        inputs: (maps, height, width) that it sees.
        filters: at each place.
        size, stride, padding: of the windows.
    """

    low_weight: Tensor | None = None

    def __init__(self, inputs: tuple[int, int, int], filters: int, size: int, stride: int, padding: int):
        super().__init__()
        maps, height, width = inputs
        self.size, self.stride, self.padding = size, stride, padding
        self.places = [1 + (n + 2 * padding - size) // stride for n in (height, width)]
        # in memory places come first and filters last: each place's is a matrix for the product, as it lies
        weight = torch.empty(*self.places, size, size, maps, filters)
        self.weight = nn.Parameter(weight.permute(5, 4, 2, 3, 0, 1))
        self.bias = nn.Parameter(torch.empty(filters, *self.places))

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, stride={self.stride}, padding={self.padding}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float to (N, filters, H', W'): at each place one matrix product."""
        dtype = autocast_dtype(x.device) or x.dtype
        weight = operand(self.weight, self.low_weight).to(dtype)
        found = LocalProducts.apply(x.to(dtype), weight, self.stride, self.padding)
        return found + self.bias.to(dtype)  # pyright: ignore[reportOperatorIssue]


class LocalProducts(torch.autograd.Function):
    """Batched products over places, ``(places, N, window) @ (places, window, filters)``, both ways."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        filters, maps, size, _, rows, columns = weight.shape
        places = x.permute(2, 3, 0, 1)  # (H, W, N, C)
        padded = F.pad(places, (0, 0, 0, 0, padding, padding, padding, padding)) if padding else places
        seen = torch.cat(
            [padded[area] for area in _windows(size, stride, rows, columns)], 3
        ).flatten(0, 1)  # (places, N, size size C)  # fmt: skip
        matrices = weight.permute(4, 5, 2, 3, 1, 0).reshape(rows * columns, size * size * maps, filters)
        ctx.save_for_backward(seen, matrices)
        ctx.parameters = (x.shape, tuple(weight.shape), stride, padding)
        return torch.bmm(seen, matrices).unflatten(0, (rows, columns)).permute(2, 3, 0, 1)

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        seen, matrices = ctx.saved_tensors
        (count, maps, height, width), (filters, _, size, _, rows, columns), stride, padding = ctx.parameters
        gradient = gradients[0].permute(2, 3, 0, 1).reshape(rows * columns, count, filters)
        weight = torch.bmm(seen.transpose(1, 2), gradient).view(rows, columns, size, size, maps, filters)
        parts = torch.bmm(gradient, matrices.transpose(1, 2)).view(rows, columns, count, size * size, maps)
        out = gradient.new_zeros((height + 2 * padding, width + 2 * padding, count, maps))
        for number, area in enumerate(_windows(size, stride, rows, columns)):
            out[area] += parts[:, :, :, number]
        inner = out[padding : padding + height, padding : padding + width]
        return inner.permute(2, 3, 0, 1), weight.permute(5, 4, 2, 3, 0, 1), None, None


def _windows(size: int, stride: int, rows: int, columns: int) -> list[tuple[slice, slice]]:
    """For each of a window's places, row by row: where the windows' pixels of that place lie."""
    spans = [
        [slice(first, first + stride * (count - 1) + 1, stride) for first in range(size)] for count in (rows, columns)
    ]
    return [(row, column) for row in spans[0] for column in spans[1]]


class Dropout(nn.Module):
    """Dropout as the paper has it (4.2): units zeroed in training and not rescaled, outputs scaled at test.

    With a ``Draw`` the mask is a function of seed, step, row id, layer and unit. Without one (somebody's own
    training loop) it comes from torch's global generator.

    Args:
        rate: the probability that a unit is dropped.
        layer: its name, of which masks are a function.
        inverted: the other way in use since Caffe, equal in expectation: what stays is divided by ``1 - rate`` in
            training, and nothing is scaled at test.
    """

    def __init__(self, rate: float, layer: str, inverted: bool = False):
        super().__init__()
        self.rate, self.layer, self.inverted = rate, layer, inverted

    def extra_repr(self) -> str:
        return f"rate={self.rate}, inverted={self.inverted}"

    def forward(self, x: Tensor, draw: Draw | None = None) -> Tensor:
        """(N, ...) float to the same."""
        if not self.training:
            return x if self.inverted else x * (1 - self.rate)
        if draw is None:
            keep = torch.rand(x.shape, device=x.device) >= self.rate
        else:
            units = math.prod(x.shape[1:])
            keep = randomness.keep_mask(draw.seed, self.layer, draw.step, draw.rows, units, self.rate).view(x.shape)
        return x * keep / (1 - self.rate) if self.inverted else x * keep
