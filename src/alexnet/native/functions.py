"""One Python function for each C function: it checks types, shapes, layout, lengths, ranges; no one else calls C.

Here are those of images and of the update; ``layers`` has those of layers.

What does not fit is a ``ValueError`` that names the argument, before an address is taken: the C itself checks nothing.
Where ``available`` is false these functions must not be called.
"""

import itertools

import numpy as np
import torch
from torch import Tensor

from alexnet.native.checks import TYPES, apart, array, is_dense, lies_as, plain, tensor, within
from alexnet.native.library import call

UINT8, INT32, UINT32, INT64, BOOL = map(np.dtype, (np.uint8, np.int32, np.uint32, np.int64, np.bool_))
RGB = (None, None, 3)


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
