"""A convolution of few maps at a stride, such as conv1, in a shape that cuDNN is fast at; the sums are the same ones.

cuDNN's kernels for three maps run at a thirtieth of a GPU's rate.
"""

import torch.nn.functional as F
from torch import Tensor

from alexnet.native import Window

FEW_MAPS = 4


def runs(x: Tensor, window: Window, groups: int) -> bool:
    """Whether this is the faster way for a tensor."""
    return x.is_cuda and window.stride > 1 and groups == 1 and x.shape[1] <= FEW_MAPS


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
    """(N, C, H, W) to (N, filters, H', W'), as ``F.conv2d``, but at a stride of 1.

    Each square of ``stride`` pixels becomes one pixel of ``stride**2`` times the maps, and windows grow to whole
    squares by weights of 0.
    """
    size, stride, padding = window.size, window.stride, window.padding
    squares = -(-size // stride)
    more = squares * stride - size
    lengths = [window.outputs(length) - 1 + squares for length in x.shape[2:]]  # in squares
    bottom, right = (n * stride - length - padding for n, length in zip(lengths, x.shape[2:]))
    x = F.pad(x, (padding, right, padding, bottom)).permute(0, 2, 3, 1)
    x = x.unflatten(2, (lengths[1], stride)).unflatten(1, (lengths[0], stride)).permute(0, 1, 3, 2, 4, 5)
    weight = F.pad(weight, (0, more, 0, more)).permute(0, 2, 3, 1)
    weight = weight.unflatten(2, (squares, stride)).unflatten(1, (squares, stride)).permute(0, 1, 3, 2, 4, 5)
    x, weight = (tensor.flatten(3).permute(0, 3, 1, 2) for tensor in (x, weight))
    return F.conv2d(x, weight, bias)
