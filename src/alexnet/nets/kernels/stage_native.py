"""What lies between two convolutions, by the compiled library: ReLU, response norm and pooling in one pass each way."""

import ctypes
import dataclasses

import torch
from torch import Tensor

from alexnet import native

MOST_WINDOW = 15  # of pooling: a place in the window is a byte


class Fields(ctypes.Structure):
    """``Stage`` in ``native.c``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "rows", "columns", "maps", "out_rows", "out_columns")),
        *((name, ctypes.c_int64) for name in ("window", "stride", "size", "towers")),
        *((name, ctypes.c_int64) for name in ("relu_before", "norm", "pool", "relu_after", "bf16", "threads")),
        *((name, ctypes.c_float) for name in ("k", "alpha")),
    ]


@dataclasses.dataclass(frozen=True)
class Stage:
    """What lies between two convolutions: ReLU, norm across maps, max pooling, ReLU, each or not.

    Attributes:
        relu_before, relu_after: of the norm, of the pooling.
        norm: (size, towers, k, alpha); beta is 0.75.
        pool: (window, stride), rounded up; window at most ``MOST_WINDOW``, stride at most the window.
    """

    relu_before: bool = False
    norm: tuple[int, int, float, float] | None = None
    pool: tuple[int, int] | None = None
    relu_after: bool = False

    def fields(self, shape: tuple[int, ...], dtype: torch.dtype) -> Fields:
        """For (N, C, H, W) maps."""
        images, maps, rows, columns = shape
        window, stride = self.pool or (1, 1)
        size, towers, k, alpha = self.norm or (1, 1, 1.0, 0.0)
        out = [1 + -(-(n - window) // stride) for n in (rows, columns)]
        return Fields(
            images, rows, columns, maps, *out, window, stride, size, towers, self.relu_before, self.norm is not None,
            self.pool is not None, self.relu_after, dtype == torch.bfloat16, torch.get_num_threads(), k, alpha,
        )  # fmt: skip


def runs(x: Tensor) -> bool:
    """Whether the compiled path takes this tensor."""
    return x.dim() == 4 and native.library_for(x.device, x.dtype) is not None


def _forward(x: Tensor, stage: Stage, places: bool) -> tuple[Tensor, Tensor | None]:
    fields = stage.fields(tuple(x.shape), x.dtype)
    shape = (fields.images, fields.maps, fields.out_rows, fields.out_columns)
    y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    kept = torch.empty(y.numel(), dtype=torch.uint8) if places and stage.pool else None
    library = native.status().library
    assert library is not None
    library.stage_forward(ctypes.byref(fields), native.address(x), native.address(y), native.address(kept))
    return y, kept


class StageFunction(torch.autograd.Function):
    """A stage both ways."""

    @staticmethod
    def forward(ctx, x: Tensor, stage: Stage) -> Tensor:
        y, places = _forward(x, stage, True)
        ctx.save_for_backward(x, y if stage.relu_after else None, places)
        ctx.stage = stage
        return y

    @staticmethod
    def backward(ctx, *gradients: Tensor):
        x, y, places = ctx.saved_tensors
        gradient = gradients[0].to(x.dtype).contiguous(memory_format=torch.channels_last)
        out = torch.empty_like(x)
        library = native.status().library
        assert library is not None
        library.stage_backward(
            ctypes.byref(ctx.stage.fields(tuple(x.shape), x.dtype)),
            *map(native.address, (x, y, places, gradient, out)),
        )
        return out, None


def run_stage(x: Tensor, stage: Stage) -> Tensor:
    """ReLU, response norm (paper 3.3) and max pooling in one pass each way.

    Args:
        x: (N, C, H, W) bfloat16 or float32 on the CPU, for which ``runs`` is true; any strides.
        stage: what is done.

    Returns:
        (N, C, H', W') of the same type, channels-last.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    if torch.is_grad_enabled() and x.requires_grad:
        return StageFunction.apply(x, stage)  # pyright: ignore[reportReturnType]
    return _forward(x, stage, False)[0]
