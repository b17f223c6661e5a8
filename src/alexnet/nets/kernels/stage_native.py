"""What lies between two convolutions, by the compiled library: ReLU, response norm and pooling in one pass each way."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from alexnet import native
from alexnet.native import Stage
from alexnet.nets.kernels.followed import followed


def runs(x: Tensor) -> bool:
    """Whether the compiled path takes this tensor."""
    return x.dim() == 4 and native.available(x.device, x.dtype) and not followed()


class StageFunction(torch.autograd.Function):
    """A stage both ways."""

    @staticmethod
    def forward(ctx, x: Tensor, stage: Stage) -> Tensor:
        y, places = native.stage_forward(x, stage, True)
        ctx.save_for_backward(x, y if stage.relu_after else None, places)
        ctx.stage = stage
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, *gradients: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        x, y, places = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        return native.stage_backward(x, ctx.stage, y, places, gradient), None


def run_stage(x: Tensor, stage: Stage) -> Tensor:
    """ReLU, response norm (paper 3.3) and pooling in one pass each way.

    Args:
        x: (N, C, H, W) bfloat16 or float32 on the CPU, for which ``runs`` is true; any strides.
        stage: what is done.

    Returns:
        (N, C, H', W') of the same type, channels-last.

    Raises:
        ValueError: maps that do not divide into the norm's towers; a pooling that leaves nothing.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if torch.is_grad_enabled() and x.requires_grad:
        return StageFunction.apply(x, stage)  # pyright: ignore[reportReturnType]
    return native.stage_forward(x, stage, False)[0]
