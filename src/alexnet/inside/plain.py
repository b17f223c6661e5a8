"""A plain copy of a net: torch's own modules in a row, for tools that hook modules and for gradients of images."""

import copy
import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from alexnet.nets.network import Network
from alexnet.nets.table import (
    AveragePoolLayer,
    BatchNormLayer,
    ConvolutionLayer,
    FullyConnectedLayer,
    MaxPoolLayer,
    ResponseNormLayer,
    Sized,
)


class TowerNorm(nn.LocalResponseNorm):
    """Torch's response norm within each tower (paper 3.3); alpha is not divided by the size, as torch does."""

    def __init__(self, layer: ResponseNormLayer):
        super().__init__(layer.size, layer.alpha * layer.size, layer.beta, layer.k)
        self.towers = layer.groups

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) float to the same."""
        count, maps, height, width = input.shape
        towers = input.reshape(count * self.towers, maps // self.towers, height, width)
        return super().forward(towers).view(count, maps, height, width)


class Scale(nn.Module):
    """Dropout's factor at test (paper 4.2)."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def extra_repr(self) -> str:
        return f"{self.factor}"

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) float to the same."""
        return input * self.factor


class AbsTanh(nn.Module):
    """``|tanh x|``, as in the 2012 source."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, ...) float to the same."""
        return input.tanh().abs()


ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "sigmoid": nn.Sigmoid, "abs_tanh": AbsTanh}


def plain(net: Network, side: int | None = None) -> nn.Sequential:
    """A net in evaluation mode as a row of torch's own modules, none of them in place, in float32.

    captum and its like hook ``nn.ReLU`` modules. Our net has none: its ReLU is a function, or part of a fused pass, and
    their guided backpropagation silently gives the plain gradient there. On this copy they do what they say.

    A layer's own function has the layer's name, ``conv1``; what belongs to it ``conv1:overhang`` (before it),
    ``conv1:activation``, ``conv1:dropout``; the names of ``nn.Sequential`` may not hold dots. Scores differ from the
    net's by rounding alone.

    Args:
        net: any; its weights are shared, not copied, where they are float32 already, and need no gradient here.
        side: of the images, pixels; as the table says if not given.
    """
    row: dict[str, nn.Module] = {}
    for sized in net.table.sized(net.classes, side):
        layer = sized.layer
        if isinstance(layer, ConvolutionLayer) and layer.window.round_up:
            bottom, right = (layer.window.overhang(length) for length in sized.seen[1:])
            row[f"{layer.name}:overhang"] = nn.ZeroPad2d((0, right, 0, bottom))
        if isinstance(layer, FullyConnectedLayer):
            row[f"{layer.name}:flatten"] = nn.Flatten()
        factor = 1 - layer.dropout.rate if layer.dropout and not layer.dropout.inverted else None
        if factor and layer.dropout and layer.dropout.of_inputs:
            row[f"{layer.name}:dropout"] = Scale(factor)
        row[layer.name] = _module(sized, net)
        if layer.activation:
            row[f"{layer.name}:activation"] = ACTIVATIONS[layer.activation]()
        if factor and layer.dropout and not layer.dropout.of_inputs:
            row[f"{layer.name}:dropout"] = Scale(factor)
    return nn.Sequential(OrderedDict(row)).float().eval().requires_grad_(False)


def up_to(row: nn.Sequential, layer: str, before: bool = False) -> nn.Sequential:
    """The first modules of a plain copy.

    Args:
        row: of ``plain``.
        layer: the last one.
        before: without its activation function and dropout.
    """
    names = [name for name, _ in row.named_children()]
    end = names.index(layer) + 1
    while not before and end < len(names) and names[end] in (f"{layer}:activation", f"{layer}:dropout"):
        end += 1
    return nn.Sequential(OrderedDict(list(row.named_children())[:end]))


def _module(sized: Sized, net: Network) -> nn.Module:
    """A layer's own function, with its weights."""
    layer, own = sized.layer, net.get_submodule(sized.layer.name)
    with torch.device("meta"):
        match layer:
            case ConvolutionLayer(window=window):
                module = nn.Conv2d(
                    sized.seen[0], layer.filters, window.size, window.stride, window.padding, groups=layer.groups
                )
            case FullyConnectedLayer():
                module = nn.Linear(math.prod(sized.seen), sized.made[0])
            case ResponseNormLayer():
                return TowerNorm(layer)
            case MaxPoolLayer(window=window):
                return nn.MaxPool2d(window.size, window.stride, ceil_mode=True)
            case AveragePoolLayer(window=window):
                return nn.AvgPool2d(window.size, window.stride, ceil_mode=True, count_include_pad=False)
            case BatchNormLayer():
                module = nn.BatchNorm2d(sized.seen[0])
            case _:  # locally connected, norm within maps: torch has none, and ours have no activation function
                return copy.deepcopy(own)
    for name, tensor in [*own.named_parameters(), *own.named_buffers()]:
        _put(module, name, tensor)
    return module


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """A weight or buffer of a module: the net's own memory."""
    if isinstance(getattr(module, name), nn.Parameter):
        setattr(module, name, nn.Parameter(tensor.detach(), requires_grad=False))
    else:
        setattr(module, name, tensor.detach())
