"""The layers torch lacks or is slow at, as modules with the paper's words for their parameters."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from alexnet import native, randomness
from alexnet.native import Window
from alexnet.nets.kernels import convolution_cuda, stage_native, within_map_norm_native
from alexnet.nets.kernels.few_rows_native import few_rows, runs
from alexnet.nets.kernels.response_norm_torch import response_norm
from alexnet.nets.kernels.within_map_norm_torch import within_map_norm
from alexnet.nets.precision import Products, autocast_dtype


@dataclasses.dataclass(frozen=True)
class Draw:
    """What random masks are a function of: the run's seed, the step, and the images' row ids (n,) int64."""

    seed: int
    step: int
    rows: Tensor


class Convolution(Products, nn.Conv2d):
    """A convolution whose output size may be rounded up: what hangs over the far edges counts as zero.

    ``towers`` groups of filters each see their own tower's maps alone (torch's ``groups``).
    """

    def __init__(self, inputs: int, filters: int, window: Window, towers: int = 1):
        super().__init__(inputs, filters, window.size, window.stride, window.padding, groups=towers)
        self.window = window

    def reset_parameters(self) -> None:
        """Leaves the parameters as they are: ``Network.initialize`` draws them."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) float to (N, filters, H', W')."""
        if self.window.round_up:
            bottom, right = (self.window.overhang(n) for n in input.shape[2:])
            if bottom or right:
                input = F.pad(input, (0, right, 0, bottom))
        if convolution_cuda.runs(input, self.window, self.groups):
            return convolution_cuda.convolution(input, self.operand(), self.bias, self.window)
        return self._conv_forward(input, self.operand(), self.bias)


class FullyConnected(Products, nn.Linear):
    """A fully connected layer; maps are flattened in the order map, row, column."""

    def reset_parameters(self) -> None:
        """Leaves the parameters as they are: ``Network.initialize`` draws them."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) float to (N, units)."""
        x, weight = input.flatten(1), self.operand()
        return few_rows(x, weight, self.bias) if runs(x, weight) else F.linear(x, weight, self.bias)


class Int8FullyConnected(nn.Module):
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
        sums = F.linear(x, self.weight.to(x.dtype))  # exact: int8 fits into bf16
        return (sums * self.scale + self.bias).to(x.dtype)


def cuda_norm(x: Tensor, size: int) -> Callable[..., Tensor]:
    """The response norm for a tensor on a CUDA device; imported there alone: Triton takes long."""
    from alexnet.nets.kernels import response_norm_cuda

    return response_norm_cuda.response_norm if response_norm_cuda.runs(x, size) else response_norm


class MaxPool(nn.MaxPool2d):
    """Max pooling whose last window may hang over the far edge (paper 3.4; 2012 source)."""

    def __init__(self, window: Window):
        super().__init__(window.size, window.stride, ceil_mode=True)
        self.window = window

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) float to (N, C, H', W')."""
        if input.is_cuda:
            from alexnet.nets.kernels import max_pool_cuda

            if max_pool_cuda.runs(input, self.window):
                return max_pool_cuda.max_pool(input, self.window)
        return F.max_pool2d(input, self.window.size, self.window.stride, ceil_mode=True)


class ResponseNorm(nn.Module):
    """Local response normalization across maps, within each tower (paper 3.3)."""

    def __init__(self, size: int, towers: int, k: float, alpha: float, beta: float):
        super().__init__()
        self.size, self.towers, self.k, self.alpha, self.beta = size, towers, k, alpha, beta

    def extra_repr(self) -> str:
        return f"size={self.size}, towers={self.towers}, k={self.k}, alpha={self.alpha}, beta={self.beta}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float to the same."""
        norm = cuda_norm(x, self.size) if x.is_cuda else response_norm
        return norm(x, size=self.size, towers=self.towers, k=self.k, alpha=self.alpha, beta=self.beta)


class WithinMapNorm(nn.Module):
    """Local response normalization within each map (2012 source, ``cnorm2``)."""

    def __init__(self, size: int, k: float, alpha: float, beta: float):
        super().__init__()
        self.size, self.k, self.alpha, self.beta = size, k, alpha, beta

    def extra_repr(self) -> str:
        return f"size={self.size}, k={self.k}, alpha={self.alpha}, beta={self.beta}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float to the same."""
        if within_map_norm_native.runs(x, self.beta):
            return within_map_norm_native.within_map_norm(x, size=self.size, k=self.k, alpha=self.alpha)
        return within_map_norm(x, size=self.size, k=self.k, alpha=self.alpha, beta=self.beta)


class LocallyConnected(Products):
    """A convolution whose filters are not shared: each place has its own, and its own bias (the CIFAR-10 nets).

    Args:
        inputs: (maps, height, width) that it sees.
        filters: at each place.
        window: its geometry, not rounded up.
    """

    def __init__(self, inputs: tuple[int, int, int], filters: int, window: Window):
        super().__init__()
        maps, height, width = inputs
        size = window.size
        self.window = window
        self.places = [window.outputs(n) for n in (height, width)]
        # in memory places come first and filters last: each place's is a matrix for the product, as it lies
        weight = torch.empty(*self.places, size, size, maps, filters)
        self.weight = nn.Parameter(weight.permute(5, 4, 2, 3, 0, 1))
        self.bias = nn.Parameter(torch.empty(filters, *self.places))

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {self.window}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) float to (N, filters, H', W'): at each place one matrix product."""
        dtype = autocast_dtype(x.device) or x.dtype
        bias = self.bias.to(dtype).permute(1, 2, 0).flatten(0, 1)  # (places, filters)
        products: Tensor = LocalProducts.apply(x.to(dtype), self.operand().to(dtype), bias, self.window)  # pyright: ignore[reportAssignmentType]
        return products.unflatten(0, self.places).permute(2, 3, 0, 1)


class LocalProducts(torch.autograd.Function):
    """Batched products over places, ``(places, N, window) @ (places, window, filters)``, plus biases, both ways.

    Its output is (places, N, filters): the caller's permuted view of it may be written in place.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, window: Window) -> Tensor:
        filters, maps, size, _, rows, columns = weight.shape
        compiled = stage_native.runs(x)
        if compiled:
            seen = native.windows_gather(x.contiguous(memory_format=torch.channels_last), window)
            seen = seen.view(rows * columns, len(x), size * size * maps)
        else:
            seen = _windows(x, window, rows, columns)
        matrices = weight.permute(4, 5, 2, 3, 1, 0).reshape(rows * columns, size * size * maps, filters)
        ctx.save_for_backward(seen, matrices)
        ctx.parameters = (x.shape, tuple(weight.shape), window, compiled)
        return torch.baddbmm(bias.unsqueeze(1), seen, matrices)

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        seen, matrices = ctx.saved_tensors
        shape, (filters, maps, size, _, rows, columns), window, compiled = ctx.parameters
        gradient, x, weight = gradients[0].contiguous(), None, None
        if ctx.needs_input_grad[0]:
            parts = torch.bmm(gradient, matrices.transpose(1, 2)).view(rows, columns, shape[0], size, size, maps)
            x = native.windows_scatter(parts, shape, window) if compiled else _of_windows(parts, shape, window)
        if ctx.needs_input_grad[1]:
            weight = torch.bmm(seen.transpose(1, 2), gradient).view(rows, columns, size, size, maps, filters)
            weight = weight.permute(5, 4, 2, 3, 0, 1)
        return x, weight, gradient.sum(1) if ctx.needs_input_grad[2] else None, None


def _windows(x: Tensor, window: Window, rows: int, columns: int) -> Tensor:
    """(places, N, size size C) what each place sees, in plain torch: any device, any float type."""
    padding = window.padding
    places = x.permute(2, 3, 0, 1)  # (H, W, N, C)
    padded = F.pad(places, (0, 0, 0, 0, padding, padding, padding, padding)) if padding else places
    return torch.cat([padded[area] for area in _areas(window, rows, columns)], 3).flatten(0, 1)


def _of_windows(parts: Tensor, shape: Sequence[int], window: Window) -> Tensor:
    """The way back of ``_windows``, from (H', W', N, size, size, C) to (N, C, H, W)."""
    (rows, columns), (count, maps, height, width), padding = parts.shape[:2], shape, window.padding
    out = parts.new_zeros((height + 2 * padding, width + 2 * padding, count, maps))
    for area, part in zip(_areas(window, rows, columns), parts.flatten(3, 4).unbind(3)):
        out[area] += part
    return out[padding : padding + height, padding : padding + width].permute(2, 3, 0, 1)


def _areas(window: Window, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """For each pixel of a window, row by row: where it lies in all windows."""
    for row in window.spans(rows):
        for column in window.spans(columns):
            yield row, column


class Dropout(nn.Module):
    """Dropout as the paper has it (4.2): units zeroed in training and not rescaled, outputs scaled at test.

    With a ``Draw`` the mask is a function of seed, step, row id, layer and unit. Without one (somebody's own
    training loop) it comes from torch's global generator.

    Args:
        rate: the probability that a unit is dropped.
        layer: its name, of which masks are a function.
        inverted: the other way in use since Caffe, equal in expectation: what stays is divided by ``1 - rate`` in
            training, and nothing is scaled at test.
        part: the first of its units and how many the whole layer has, where it sees a part of them; None: it sees all.
    """

    def __init__(self, rate: float, layer: str, inverted: bool = False, part: tuple[int, int] | None = None):
        super().__init__()
        self.rate, self.layer, self.inverted, self.part = rate, layer, inverted, part

    def extra_repr(self) -> str:
        return f"rate={self.rate}, inverted={self.inverted}"

    def forward(self, x: Tensor, draw: Draw | None = None) -> Tensor:
        """(N, ...) float to the same."""
        if not self.training:
            return x if self.inverted else x * (1 - self.rate)
        if draw is None:
            keep = torch.rand(x.shape, device=x.device) >= self.rate
        else:
            own = math.prod(x.shape[1:])
            first, units = self.part or (0, own)
            keep = randomness.keep_mask(draw.seed, self.layer, draw.step, draw.rows, units, self.rate)
            keep = keep[:, first : first + own].view(x.shape)
        return x * keep / (1 - self.rate) if self.inverted else x * keep
