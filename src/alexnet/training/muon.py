"""Muon: an update rule by which a convolution's filters move equally far in all directions.

Beyond the paper: Keller Jordan and others, "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from alexnet.training.optimizer import Momentum

ITERATIONS = 5
QUINTIC = (3.4445, -4.7750, 2.0315)  # of Jordan's: singular values from 0.003 to 1 become 0.7 to 1.2
LEAST = 1e-14  # of a sum of squares: a gradient of 0 stays 0


class Muon(Momentum):
    """Of convolutions: ``v <- momentum v + g``, ``w <- (1 - lr weight_decay) w - lr s O(g + momentum v)``, where ``O``
    makes a matrix nearly orthogonal and ``s`` is ``sqrt(max(1, filters / weights of a filter))``.

    A convolution is a matrix with a row for each filter; one with groups is a matrix for each group. All else is
    updated as ``Momentum`` does: biases; fully connected layers, of which the paper's would take longer to
    orthogonalize than to train; and locally connected layers, which learned more slowly so, as each place sees few
    examples (docs/recipes.md). Slices of a layer are other matrices: nothing but whole layers will do.

    Args:
        named_parameters, lr, momentum, weight_decay, weight_decays: as for ``Momentum``.
        groups: of convolutions' weights, by name, how many groups of filters see different maps; else 1.
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
        filters = [name for name, tensor in self.tensors.items() if tensor.dim() == 4]
        self.groups = {name: (groups or {}).get(name, 1) for name in filters}

    def _update(self, group: dict[str, Any], gradient: Tensor, copy: Tensor | None) -> None:
        if group["name"] not in self.groups:
            super()._update(group, gradient, copy)
            return
        (tensor,) = group["params"]
        velocity, gradient = self._velocity(tensor), gradient.to(tensor.dtype)
        velocity.mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(velocity, alpha=group["momentum"])
        ahead = ahead.permute(0, 2, 3, 1)  # maps last, as the net keeps filters in memory
        parts = self.groups[group["name"]]
        matrices = ahead.reshape(parts, len(tensor) // parts, -1)
        step = orthogonal(matrices).reshape(ahead.shape).permute(0, 3, 1, 2)
        lr, (rows, columns) = float(group["lr"]), matrices.shape[1:]
        tensor.mul_(1 - lr * group["weight_decay"]).add_(step, alpha=-lr * math.sqrt(max(1.0, rows / columns)))
        if copy is not None:
            copy.detach().copy_(tensor)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "groups": self.groups}


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices with the same singular vectors, whose singular values are nearly 1 (0.7 to 1.2).

    Newton-Schulz iterations of Jordan's quintic ``a X + b (X X') X + c (X X')^2 X``. All of them are a polynomial of
    ``X X'`` times ``X``, and are computed there, in the smaller of the two dimensions.

    Args:
        matrices: (number, rows, columns).
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.transpose(1, 2)).transpose(1, 2)
    a, b, c = QUINTIC
    gram = matrices @ matrices.transpose(1, 2)
    squares = gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + LEAST  # at least that of the largest value
    gram, whole = gram / squares, torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    for number in range(ITERATIONS):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=1, dim2=2).add_(a)
        whole = factor @ whole
        if number < ITERATIONS - 1:
            gram = factor @ gram @ factor
    return (whole * squares.rsqrt()) @ matrices
