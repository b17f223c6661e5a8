"""One Python function for each C function: it checks types, shapes, layout, lengths, ranges; no one else calls C.

What does not fit is a ``ValueError`` that names the argument, before an address is taken: the C itself checks nothing.
Where ``available`` is false these functions must not be called.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.native.checks import TYPES, apart, array, is_dense, lies_as, maps, plain, tensor, within
from alexnet.native.library import call, fields
from alexnet.native.window import Window

UINT8, INT32, UINT32, INT64, BOOL = map(np.dtype, (np.uint8, np.int32, np.uint32, np.int64, np.bool_))
RGB = (None, None, 3)


MOST_WINDOW = 15  # of pooling: a place in the window is a byte


def crop_image(image: np.ndarray, top: int, left: int, mirrored: bool, out: np.ndarray, margin: int = 0) -> None:
    """Copies a square out of an image, mirrored or not.

    Args:
        image: (H, W, 3) uint8.
        top, left: where the square begins; it lies within the image and its margin.
        mirrored: left and right change places.
        out: (side, side, 3) uint8, no part of the image.
        margin: pixels around the image in which it is mirrored at its borders; less than it is wide and high.
    """
    start, to = array("image", image, UINT8, RGB), array("out", out, UINT8, RGB, True)
    rows, columns, _ = image.shape
    side, width, _ = out.shape
    if side != width:
        raise ValueError(f"out: {side}x{width} pixels, no square")
    within("margin", margin, 0, max(0, min(rows, columns) - 1))
    within("top", top, -margin, rows - side + margin)
    within("left", left, -margin, columns - side + margin)
    apart("out", to, 3 * side * side, "image", start, 3 * rows * columns)
    call("crop_image", start, rows, columns, top, left, side, mirrored, to)


def crop_images(
    images: np.ndarray, rows: np.ndarray, corners: np.ndarray, mirrored: np.ndarray, out: np.ndarray, margin: int = 0
) -> None:
    """Copies a square out of each of some images, mirrored or not.

    Args:
        images: (N, size, size, 3) uint8.
        rows: (n,) int64, which of them.
        corners: (n, 2) int64, where each square begins: top, left; it lies within the image and its margin.
        mirrored: (n,) bool, whether left and right change places.
        out: (n, side, side, 3) uint8, no part of the images.
        margin: as for ``crop_image``.
    """
    many = (None, None, None, 3)
    start, to = array("images", images, UINT8, many), array("out", out, UINT8, many, True)
    (total, size, width, _), (count, side, across, _) = images.shape, out.shape
    if size != width or side != across:
        raise ValueError(f"images: {size}x{width} pixels, out: {side}x{across}, must be squares")
    which = array("rows", rows, INT64, (count,))
    where, turned = array("corners", corners, INT64, (count, 2)), array("mirrored", mirrored, BOOL, (count,))
    if not count:
        return
    within("margin", margin, 0, max(0, size - 1))
    for name, values, least, most in (
        ("rows", rows, 0, total - 1),
        ("corners", corners, -margin, size - side + margin),
    ):
        within(name, int(values.min()), least, most)
        within(name, int(values.max()), least, most)
    apart("out", to, out.nbytes, "images", start, images.nbytes)
    call("crop_images", start, size, which, where, turned, count, side, to)


def area_average(
    image: np.ndarray,
    first_row: np.ndarray,
    row_weights: np.ndarray,
    first_column: np.ndarray,
    column_weights: np.ndarray,
) -> np.ndarray:
    """An image shrunk: each pixel is a weighted sum of those that it covers.

    Args:
        image: (H, W, 3) uint8.
        first_row, first_column: (size,) int32, where each pixel's rows and columns begin; they never fall.
        row_weights, column_weights: (size, taps) uint32, multiples of 1/2048; all taps lie within the image.

    Returns:
        (size, size, 3) uint8.
    """
    start = array("image", image, UINT8, RGB)
    rows, columns, _ = image.shape
    down = _axis("row", first_row, row_weights, None, rows)
    size = len(first_row)
    across = _axis("column", first_column, column_weights, size, columns)
    out = np.empty((size, size, 3), np.uint8)
    if size:
        call("area_average", start, 3 * columns, *down, *across, size, out.ctypes.data)
    return out


def _axis(name: str, first: np.ndarray, weights: np.ndarray, size: int | None, length: int) -> tuple[int, int, int]:
    """Addresses of an axis's first pixels and weights, and how many of these there are."""
    at = array(f"first_{name}", first, INT32, (size,))
    of = array(f"{name}_weights", weights, UINT32, (len(first), None))
    taps = weights.shape[1]
    if len(first) and (first[0] < 0 or first[-1] + taps > length or (first[1:] < first[:-1]).any()):
        raise ValueError(f"first_{name}: must rise from 0 or more, and {taps} taps end within {length} {name}s")
    if not taps:
        raise ValueError(f"{name}_weights: no taps")
    return at, of, taps


def image_products(image: np.ndarray) -> np.ndarray:
    """(6,) int64: the upper half of the sum over pixels of the outer product of RGB; image (H, W, 3) uint8."""
    start = array("image", image, UINT8, RGB)
    out = np.empty(6, np.int64)
    call("image_products", start, image.size // 3, out.ctypes.data)
    return out


def add_image(sums: np.ndarray, image: np.ndarray) -> None:
    """Adds an image, uint8, to sums, int64 of the same shape."""
    to = array("sums", sums, INT64, None, True)
    start = array("image", image, UINT8, sums.shape)
    call("add_image", to, start, image.size)


def prepare_images(crops: Tensor, mean: Tensor, noise: Tensor | None, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Images as the net sees them: minus the mean, plus an image's noise, times a scale, in one pass (paper 2, 4.1).

    Args:
        crops: (N, rows, columns, 3) uint8.
        mean: (rows, columns, 3) float32.
        noise: (N, 3) float32, or None.
        scale: (3,) float32.
        dtype: of the result, bfloat16 or float32.

    Returns:
        (N, rows, columns, 3).
    """
    if dtype not in TYPES:
        raise ValueError(f"dtype: {dtype}, not one of {TYPES}")
    start = tensor("crops", crops, torch.uint8, (None, None, None, 3))
    images, rows, columns, _ = crops.shape
    subtracted = tensor("mean", mean, torch.float32, (rows, columns, 3))
    added = None if noise is None else tensor("noise", noise, torch.float32, (images, 3))
    factors = tensor("scale", scale, torch.float32, (3,))
    out = torch.empty(crops.shape, dtype=dtype)
    if out.numel():
        call(
            "prepare_images", start, subtracted, added, factors, out.data_ptr(),
            images, rows, 3 * columns, dtype == torch.bfloat16, torch.get_num_threads(),
        )  # fmt: skip
    return out


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


def momentum_step(
    weight: Tensor,
    velocity: Tensor,
    gradient: Tensor,
    copy: Tensor | None,
    momentum: float,
    rate: float,
    decay: float,
) -> None:
    """``v <- momentum v - rate (gradient + decay w)``, ``w <- w + v``, in one pass (paper 5).

    Args:
        weight: float32, whatever the order of its dimensions in memory, without gaps.
        velocity: float32 that lies in memory as the weight does.
        gradient: bfloat16 or float32 that does so.
        copy: bfloat16 that does so: the weight's rounding, kept equal; or None.
        momentum, rate, decay: see above.
    """
    shape = weight.shape if isinstance(weight, Tensor) else ()
    types = {"weight": (torch.float32,), "velocity": (torch.float32,), "gradient": TYPES, "copy": (torch.bfloat16,)}
    tensors = {"weight": weight, "velocity": velocity, "gradient": gradient} | ({} if copy is None else {"copy": copy})
    runs = []
    for name, value in tensors.items():
        start = plain(name, value, types[name], shape)
        if value is weight and not is_dense(weight):
            raise ValueError(f"weight: shape {tuple(shape)} lies in memory as {weight.stride()}, with gaps")
        if not lies_as(value, weight):
            raise ValueError(f"{name}: lies in memory as {value.stride()}, the weight as {weight.stride()}")
        runs.append((name, start, value.nbytes))
    for one, other in itertools.combinations(runs, 2):
        apart(*other, *one)
    call(
        "momentum_step", *(start for _, start, _ in runs), *[None] * (4 - len(runs)), momentum, rate, rate * decay,
        weight.numel(), gradient.dtype == torch.bfloat16, torch.get_num_threads(),
    )  # fmt: skip
