"""Muon: an update rule by which a layer's filters move equally far in all directions.

Beyond the paper: Keller Jordan and others, "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from alexnet import machine
from alexnet.errors import UsageError
from alexnet.training.optimizer import Momentum

ITERATIONS = 5
SMALL = 1 << 23  # multiply-adds of ``X X'``, up to which one of a CPU's threads is done before the others are awake
QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's
CONVOLUTION, LOCAL = 4, 6  # dimensions of such a layer's weights: filters, maps, window; and places
LOCAL_RATE = 0.2  # of a convolution's: the best of three that were tried (docs/recipes.md)


class Muon(Momentum):
    """Of convolutions: ``v <- momentum v + g``, ``w <- (1 - lr weight_decay) w - lr s O(g + momentum v)``, where ``O``
    makes a matrix nearly orthogonal and ``s`` is ``sqrt(max(1, filters / weights of a filter))``.

    A convolution is a matrix with a row for each filter; one with groups is a matrix for each group. A locally
    connected layer is a matrix at each place, and its rate is ``LOCAL_RATE`` times the others'. All else is updated as
    ``Momentum`` does: biases, and fully connected layers, of which the paper's would take longer to orthogonalize than
    to train. Some of a layer's filters are another matrix: each process needs all of them.

    A step's length does not depend on the gradient's: only the rate's fall lets weights come to rest.

    Args:
        named_parameters, lr, momentum, weight_decay, weight_decays: as for ``Momentum``.
        groups: of convolutions' weights, by name, how many groups of filters see different maps (``net.filters()``);
            else 1, and so of those that ``add_param_group`` adds.

    Raises:
        UsageError: parameters without names, a number that cannot be meant, a decay that takes all of the weights in
            a step at ``lr``, or groups of what has none.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Tensor]] | Mapping[str, Tensor],
        lr: float = 0.02,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        weight_decays: Mapping[str, float] | None = None,
        groups: Mapping[str, int] | None = None,
    ):
        super().__init__(named_parameters, lr, momentum, weight_decay, weight_decays)
        for group in self.param_groups:
            own = _lr(group)
            if group["params"][0].dim() in (CONVOLUTION, LOCAL) and own * group["weight_decay"] >= 1:
                part = "" if own == lr else f", {LOCAL_RATE:g} of it where filters are not shared,"
                raise UsageError(
                    f"Muon: weight_decay {group['weight_decay']:g} of {group['name']}: a step of lr {lr:g}{part} would "
                    f"take all of its weights; give less than {1 / own:g}"
                )
        self.groups = {name: 1 for name, tensor in self.tensors.items() if tensor.dim() == CONVOLUTION}
        for name, count in (groups or {}).items():
            filters = len(self.tensors[name]) if name in self.groups else 0
            if not filters or count < 1 or filters % count:
                raise UsageError(
                    f"Muon: groups: {name}: {count}: a convolution of {filters} filters has no such groups"
                )
            self.groups[name] = count

    def _update(self, group: dict[str, Any], gradient: Tensor, copy: Tensor | None) -> None:
        (tensor,) = group["params"]
        if tensor.dim() not in (CONVOLUTION, LOCAL):
            super()._update(group, gradient, copy)
            return
        velocity, gradient = self._velocity(tensor), gradient.to(tensor.dtype)
        velocity.mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(velocity, alpha=group["momentum"])
        parts = self.groups.get(group["name"], 1)  # one that was added later is one matrix
        matrices = _matrices(ahead, parts).to(torch.promote_types(tensor.dtype, torch.float32))
        rows, columns = matrices.shape[1:]
        small = tensor.numel() * min(rows, columns) <= SMALL and tensor.device.type == "cpu"
        with machine.torch_threads(1 if small else None):
            step = _weights(orthogonal(matrices), tensor.shape)
        lr = _lr(group)
        tensor.mul_(1 - lr * group["weight_decay"]).add_(step, alpha=-lr * math.sqrt(max(1.0, rows / columns)))
        if copy is not None:
            copy.detach().copy_(tensor)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "groups": self.groups}


def _lr(group: dict[str, Any]) -> float:
    """The rate that a group's tensor moves by."""
    return float(group["lr"]) * (LOCAL_RATE if group["params"][0].dim() == LOCAL else 1.0)


def _matrices(weight: Tensor, parts: int) -> Tensor:
    """(number, filters, weights of a filter): a convolution's as so many parts, a locally connected layer's by place.

    Maps come last in a filter and places first, as a net keeps them in memory.
    """
    if weight.dim() == LOCAL:
        return weight.permute(4, 5, 2, 3, 1, 0).flatten(0, 1).flatten(1, 3).transpose(1, 2)
    return weight.permute(0, 2, 3, 1).reshape(parts, len(weight) // parts, -1)


def _weights(matrices: Tensor, shape: Sequence[int]) -> Tensor:
    """The way back of ``_matrices``."""
    filters, maps, *window = shape
    if len(shape) == LOCAL:
        height, width, *places = window
        return matrices.transpose(1, 2).reshape(*places, height, width, maps, filters).permute(5, 4, 2, 3, 0, 1)
    return matrices.reshape(filters, *window, maps).permute(0, 3, 1, 2)


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices with the same singular vectors, whose singular values are nearly 1, of whatever size they were.

    Newton-Schulz iterations of Jordan's quintic ``a X + b (X X') X + c (X X')^2 X``, from ``X`` of Frobenius norm 1.
    Singular values above 0.002 there become 0.68 to 1.21; smaller ones up to 485 times what they were, and 0 stays 0.
    All iterations are a polynomial of ``X X'`` times ``X``, and are computed there, in the smaller dimension.

    Args:
        matrices: (number, rows, columns), finite; others give no finite ones.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.transpose(1, 2)).transpose(1, 2)
    tiny = torch.finfo(matrices.dtype).tiny
    matrices = matrices / matrices.abs().amax((1, 2), keepdim=True).clamp(min=tiny)  # or their squares may be 0 or inf
    gram = matrices @ matrices.transpose(1, 2)
    squares = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp(min=1.0)  # below 1 where all are 0
    gram, (a, b, c) = gram / squares, QUINTIC
    whole = _factor(gram, a, b, c)
    factor = whole
    for _ in range(ITERATIONS - 1):
        gram = factor @ gram @ factor
        factor = _factor(gram, a, b, c)
        whole = factor @ whole
    return (whole * squares.rsqrt()) @ matrices


def _factor(gram: Tensor, a: float, b: float, c: float) -> Tensor:
    """``a + b G + c G^2``."""
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=1, dim2=2).add_(a)
    return factor
