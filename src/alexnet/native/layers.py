"""One Python function for each C function of layers; as ``functions``, which has those of images and the update."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from alexnet.native.checks import TYPES, maps, plain, tensor, within
from alexnet.native.library import call, fields
from alexnet.native.window import Window

BETA = 0.75  # the exponent of the norms, the only one that there is code for
MOST_WINDOW = 15  # of pooling: a place in the window is a byte
MOST_SIDE = 1 << 16  # of windows of a locally connected layer


@dataclasses.dataclass(frozen=True)
class Stage:
    """What lies between two convolutions: ReLU, norm across maps, pooling, ReLU, each or not.

    Attributes:
        relu_before, relu_after: of the norm, of the pooling.
        norm: (size, towers, k, alpha); beta is 0.75.
        pool: (window, stride), rounded up; window at most ``MOST_WINDOW``, stride at most the window.
        average: whether it takes the mean of what a window has inside, in place of the largest.

    Raises:
        ValueError: a size, towers, window or stride out of these ranges; k or alpha that are no numbers.
    """

    relu_before: bool = False
    norm: tuple[int, int, float, float] | None = None
    pool: tuple[int, int] | None = None
    relu_after: bool = False
    average: bool = False

    def __post_init__(self):
        if self.norm:
            size, towers, k, alpha = self.norm
            within("norm's size", size, 1)
            within("norm's towers", towers, 1)
            if not (math.isfinite(k) and math.isfinite(alpha)):
                raise ValueError(f"norm: k {k}, alpha {alpha}; must be finite")
        if self.pool:
            window, stride = self.pool
            within("pool's window", window, 1, MOST_WINDOW)
            within("pool's stride", stride, 1, window)

    @property
    def chooses(self) -> bool:
        """Whether a place of each window is the one that counts."""
        return self.pool is not None and not self.average

    def out_shape(self, shape: Sequence[int]) -> tuple[int, int, int, int]:
        """(N, C, H', W') for (N, C, H, W). Raises ``ValueError`` where nothing would be left."""
        images, maps, rows, columns = shape
        if not self.pool:
            return images, maps, rows, columns
        window, stride = self.pool
        out_rows, out_columns = map(Window(window, stride, round_up=True).outputs, (rows, columns))
        if out_rows < 1 or out_columns < 1:
            raise ValueError(f"pool: a window of {window} at stride {stride} leaves nothing of {rows}x{columns}")
        return images, maps, out_rows, out_columns

    def _fields(self, x: Tensor) -> Any:
        images, maps, rows, columns = x.shape
        window, stride = self.pool or (1, 1)
        size, towers, k, alpha = self.norm or (1, 1, 1.0, 0.0)
        if maps % towers:
            raise ValueError(f"norm: {maps} maps do not divide into {towers} towers")
        reach = max(1, 2 * maps // towers)  # a window of so many maps has all of a tower in it
        return fields(
            images, rows, columns, maps, *self.out_shape(x.shape)[2:], window, stride, min(size, reach), towers,
            self.relu_before, self.norm is not None, self.pool is not None, self.average, self.relu_after,
            x.dtype == torch.bfloat16, torch.get_num_threads(), k, alpha,
        )  # fmt: skip


def stage_forward(x: Tensor, stage: Stage, places: bool) -> tuple[Tensor, Tensor | None]:
    """A stage of maps.

    Args:
        x: (N, C, H, W) bfloat16 or float32, channels-last in memory.
        stage: what is done.
        places: whether ``stage_backward`` will want to know which places of the windows were the largest, where the
            pooling takes these.

    Returns:
        (N, C, H', W') of the same type, channels-last in memory; (N H' W' C,) uint8 places or None.
    """
    start = maps("x", x)
    fields = stage._fields(x)
    y = torch.empty(stage.out_shape(x.shape), dtype=x.dtype, memory_format=torch.channels_last)
    kept = torch.empty(y.numel(), dtype=torch.uint8) if places and stage.chooses else None
    if y.numel():
        call("stage_forward", fields, start, y.data_ptr(), None if kept is None else kept.data_ptr())
    return y, kept


def stage_backward(x: Tensor, stage: Stage, y: Tensor | None, places: Tensor | None, gradient: Tensor) -> Tensor:
    """The gradient of a stage's input.

    Args:
        x: as ``stage_forward`` had it.
        stage: what was done.
        y: what came of it, where the stage has a ReLU at its end.
        places: what came with it, where the stage takes the largest.
        gradient: of the outputs, (N, C, H', W') of x's type, channels-last in memory.

    Returns:
        (N, C, H, W) of the same type, channels-last in memory.
    """
    start = maps("x", x)
    fields, shape = stage._fields(x), stage.out_shape(x.shape)
    above = maps("gradient", gradient, x.dtype, shape)
    outputs = maps("y", y, x.dtype, shape) if stage.relu_after else None
    chosen = tensor("places", places, torch.uint8, (math.prod(shape),)) if stage.chooses else None
    out = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
    if out.numel():
        call("stage_backward", fields, start, outputs, chosen, above, out.data_ptr())
    return out


def within_map_norm_forward(x: Tensor, size: int, k: float, alpha: float) -> Tensor:
    """``x (k + alpha S) ** -0.75``, where S sums the squares of a map's values in a window, clipped at the borders.

    Args:
        x: (N, C, H, W) bfloat16 or float32, channels-last in memory.
        size: side of the square window, odd.
        k, alpha: see above.

    Returns:
        (N, C, H, W) of the same type, channels-last in memory.
    """
    start, sizes = maps("x", x), _within_map(x, size, k, alpha)
    y = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
    if y.numel():
        call("within_map_norm_forward", start, y.data_ptr(), *sizes)
    return y


def within_map_norm_backward(x: Tensor, gradient: Tensor, size: int, k: float, alpha: float) -> Tensor:
    """The gradient of the input of ``within_map_norm_forward``.

    Args:
        x, size, k, alpha: as it had them.
        gradient: of its output, (N, C, H, W) of x's type, channels-last in memory.

    Returns:
        (N, C, H, W) of the same type, channels-last in memory.
    """
    start, sizes = maps("x", x), _within_map(x, size, k, alpha)
    above = maps("gradient", gradient, x.dtype, x.shape)
    out = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
    if out.numel():
        call("within_map_norm_backward", start, above, out.data_ptr(), *sizes)
    return out


def _within_map(x: Tensor, size: int, k: float, alpha: float) -> tuple[int | float, ...]:
    """What C takes of maps and the norm within them."""
    within("size", size, 1)
    if size % 2 == 0:
        raise ValueError(f"size: {size}, must be odd")
    for name, value in (("k", k), ("alpha", alpha)):
        if not math.isfinite(value):
            raise ValueError(f"{name}: {value}, must be finite")
    images, count, rows, columns = x.shape
    reach = min(size // 2, max(rows, columns))  # a window of so many pixels has all of a map in it
    return images, rows, columns, count, reach, k, alpha, x.dtype == torch.bfloat16, torch.get_num_threads()


def windows_gather(x: Tensor, window: Window) -> Tensor:
    """What each place of a locally connected layer sees of each image.

    Args:
        x: (N, C, H, W) bfloat16 or float32, channels-last in memory.
        window: its geometry, not rounded up.

    Returns:
        (H', W', N, size, size, C) of the same type; zero where a window lies in the padding.
    """
    start, sizes = maps("x", x), _windows(x.shape, window, x.dtype)
    size, (*_, rows, columns, _, _) = window.size, sizes
    out = torch.empty((rows, columns, len(x), size, size, x.shape[1]), dtype=x.dtype)
    if out.numel():
        call("windows_gather", start, out.data_ptr(), *sizes)
    return out


def windows_scatter(parts: Tensor, shape: Sequence[int], window: Window) -> Tensor:
    """The sum of what all windows have of each place: the way back of ``windows_gather``.

    Args:
        parts: (H', W', N, size, size, C) bfloat16 or float32.
        shape: of the maps, (N, C, H, W).
        window: as ``windows_gather`` had it.

    Returns:
        (N, C, H, W) of the same type, channels-last in memory.
    """
    plain("parts", parts, TYPES, (None,) * 6)
    sizes = _windows(shape, window, parts.dtype)
    *_, rows, columns, _, _ = sizes
    start = tensor("parts", parts, parts.dtype, (rows, columns, shape[0], window.size, window.size, shape[1]))
    out = torch.empty(tuple(shape), dtype=parts.dtype, memory_format=torch.channels_last)
    if out.numel():
        call("windows_scatter", start, out.data_ptr(), *sizes)
    return out


def _windows(shape: Sequence[int], window: Window, dtype: torch.dtype) -> tuple[int, ...]:
    """What C takes of maps and the windows over them."""
    if dtype not in TYPES:
        raise ValueError(f"dtype: {dtype}, not one of {TYPES}")
    within("window's size", window.size, 1, MOST_SIDE)
    within("window's stride", window.stride, 1, MOST_SIDE)
    within("window's padding", window.padding, 0, MOST_SIDE)
    if window.round_up:
        raise ValueError("window: rounded up, must not be")
    images, count, rows, columns = shape
    out = [window.outputs(length) for length in (rows, columns)]
    if min(out) < 1:
        raise ValueError(f"window: {window.size} pixels at stride {window.stride} leave nothing of {rows}x{columns}")
    return (
        images, rows, columns, count, window.size, window.stride, window.padding, *out,
        int(dtype == torch.bfloat16), torch.get_num_threads(),
    )  # fmt: skip


def few_rows(x: Tensor, weight: Tensor, bias: Tensor, scale: Tensor | None = None) -> Tensor:
    """``x @ weight.T * scale + bias``, summed in float32.

    Args:
        x: (N, inputs) bfloat16.
        weight: (units, inputs) bfloat16, or int8 with a scale.
        bias: (units,) float32.
        scale: (units,) float32, of int8 weights.

    Returns:
        (N, units) float32.
    """
    start = tensor("x", x, torch.bfloat16, (None, None))
    rows, inputs = x.shape
    factors = tensor("weight", weight, torch.bfloat16 if scale is None else torch.int8, (None, inputs))
    units = len(weight)
    scales = None if scale is None else tensor("scale", scale, torch.float32, (units,))
    added = tensor("bias", bias, torch.float32, (units,))
    y = torch.empty((rows, units), dtype=torch.float32)
    if y.numel():
        call("few_rows", start, factors, scales, added, y.data_ptr(), rows, inputs, units, torch.get_num_threads())
    return y
