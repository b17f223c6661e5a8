"""Fully connected layers for few images, by the compiled library: the time is that of reading each weight once."""

import torch
from torch import Tensor

from alexnet import native
from alexnet.nets.kernels.followed import followed

MOST_ROWS = 4  # beyond, the matrix unit is faster


def runs(x: Tensor, weight: Tensor) -> bool:
    """Whether the compiled path takes this product."""
    return (
        not torch.is_grad_enabled()
        and x.dtype == torch.bfloat16
        and weight.dtype in (torch.bfloat16, torch.int8)
        and 0 < len(x) <= MOST_ROWS
        and native.available(x.device, x.dtype)
        and not followed()
    )


def few_rows(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None = None) -> Tensor:
    """``x @ weight.T * scale + bias``, summed in float32.

    Args:
        x: (N, inputs) bfloat16 for which ``runs`` is true.
        weight: (units, inputs) bfloat16, or int8 with a scale.
        bias: (units,).
        scale: (units,) float32, of int8 weights.

    Returns:
        (N, units) bfloat16.
    """
    y = native.few_rows(x.contiguous(), weight.contiguous(), bias.float().contiguous(), scale)
    return y.to(x.dtype)
