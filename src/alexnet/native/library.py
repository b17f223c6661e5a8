"""One Python function for each C function: it checks types, shapes, layout, lengths, ranges; no one else calls C.

What does not fit is a ``ValueError`` that names the argument, before an address is taken: the C itself checks nothing.
Where ``available`` is false these functions must not be called.
"""

import contextlib
import ctypes
import dataclasses
import itertools
import math
import os
import platform
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.native import build
from alexnet.native.window import Window

TYPES = (torch.bfloat16, torch.float32)  # that it computes with
MOST_WINDOW = 15  # of pooling: a place in the window is a byte
Shape = Sequence[int | None]  # None: any length
UINT8, INT32, UINT32, INT64 = map(np.dtype, (np.uint8, np.int32, np.uint32, np.int64))
RGB = (None, None, 3)


class Fields(ctypes.Structure):
    """``Stage`` in ``stage.c``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "rows", "columns", "maps", "out_rows", "out_columns")),
        *((name, ctypes.c_int64) for name in ("window", "stride", "size", "towers")),
        *((name, ctypes.c_int64) for name in ("relu_before", "norm", "pool", "relu_after", "bf16", "threads")),
        *((name, ctypes.c_float) for name in ("k", "alpha")),
    ]


POINTER, WHOLE, FLOAT, FAILED = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {  # what a function returns, what it takes
    "stage_size": (WHOLE, []),
    "stage_forward": (FAILED, [ctypes.POINTER(Fields), *[POINTER] * 3]),
    "stage_backward": (FAILED, [ctypes.POINTER(Fields), *[POINTER] * 5]),
    "few_rows": (FAILED, [*[POINTER] * 5, *[WHOLE] * 4]),
    "crop_image": (None, [POINTER, *[WHOLE] * 5, POINTER]),
    "area_average": (FAILED, [POINTER, WHOLE, POINTER, POINTER, WHOLE, POINTER, POINTER, WHOLE, WHOLE, POINTER]),
    "image_products": (None, [POINTER, WHOLE, POINTER]),
    "add_image": (None, [POINTER, POINTER, WHOLE]),
    "prepare_images": (FAILED, [*[POINTER] * 5, *[WHOLE] * 5]),
    "momentum_step": (None, [*[POINTER] * 4, *[FLOAT] * 3, *[WHOLE] * 3]),
}


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether the library is there, and in words why, or why not.

    Attributes:
        path: of the library; None where the portable path runs.
        words: its compiler; or what stands in the way.
    """

    path: Path | None
    words: str


_lock = threading.Lock()
_loaded: tuple[ctypes.CDLL | None, Status] | None = None
_switched_off = 0


def _library() -> tuple[ctypes.CDLL | None, Status]:
    """What one thread of this process has once loaded, or why it could not."""
    global _loaded
    if _loaded is None:
        with _lock:
            if _loaded is None:
                _loaded = _load()
    return _loaded


def _load() -> tuple[ctypes.CDLL | None, Status]:
    if os.environ.get("ALEXNET_KERNELS") == "portable":
        return None, Status(None, "ALEXNET_KERNELS=portable")
    if not sys.platform.startswith("linux"):
        return None, Status(None, f"compiled kernels are built on Linux alone, this is {platform.system()}")
    refused: list[str] = []
    try:
        recipe = build.Recipe(build.find_compiler(), build.find_openmp())
        for folder in build.folders():
            try:
                path = build.library_in(folder, recipe)
                library = open_library(path)
            except build.Refused as error:
                refused.append(str(error))
            except OSError as error:  # a file system from which nothing runs
                refused.append(f"{folder}: {error}")
            else:
                return library, Status(path, "; not kept in ".join([recipe.compiler, *refused]))
    except build.CannotBuild as error:
        return None, Status(None, str(error))
    return None, Status(None, "no folder for the library: " + "; ".join(refused))


def open_library(path: Path) -> ctypes.CDLL:
    """The library in this process.

    Raises:
        OSError: the system cannot load it.
        build.CannotBuild: its ``Stage`` is not ``Fields``.
    """
    library = ctypes.CDLL(str(path))
    for name, (returned, taken) in SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = returned, taken
    if library.stage_size() != ctypes.sizeof(Fields):
        raise build.CannotBuild(
            f"{path}: a Stage of {library.stage_size()} bytes where Python's has {ctypes.sizeof(Fields)}; "
            "the installation is of two versions, install it again"
        )
    return library


def status() -> Status:
    """Whether the compiled path runs on a CPU; builds the library where that has not been done."""
    return Status(None, "switched off by native.portable()") if _switched_off else _library()[1]


def available(device: torch.device | None = None, dtype: torch.dtype | None = None) -> bool:
    """Whether the compiled path runs on this device with this type; with neither, whether it runs on bytes."""
    return (
        (device is None or device.type == "cpu")
        and (dtype is None or dtype in TYPES)
        and not _switched_off
        and _library()[0] is not None
    )


def kernels(device: torch.device) -> str:
    """Which path runs on a device, in a word."""
    if device.type != "cpu":
        return "torch's"
    return "compiled" if available() else "portable"


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """The portable path runs while the block does, in every thread of the process: loaders ask, too."""
    global _switched_off
    with _lock:
        _switched_off += 1
    try:
        yield
    finally:
        with _lock:
            _switched_off -= 1


def keep_freed_memory() -> None:
    """glibc's ``mallopt``: memory that is freed stays with the process. Nothing where there is no glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
    mallopt(m_arena_max, 1)  # arenas of other threads are given back whatever is said here
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, -1)


def crop_image(image: np.ndarray, top: int, left: int, mirrored: bool, out: np.ndarray) -> None:
    """Copies a square out of an image, mirrored or not.

    Args:
        image: (H, W, 3) uint8.
        top, left: where the square begins; it lies within the image.
        mirrored: left and right change places.
        out: (side, side, 3) uint8, no part of the image.
    """
    start, to = _array("image", image, UINT8, RGB), _array("out", out, UINT8, RGB, True)
    rows, columns, _ = image.shape
    side, width, _ = out.shape
    if side != width:
        raise ValueError(f"out: {side}x{width} pixels, no square")
    _within("top", top, 0, rows - side)
    _within("left", left, 0, columns - side)
    _apart("out", to, 3 * side * side, "image", start, 3 * rows * columns)
    _call("crop_image", start, 3 * columns, top, left, side, mirrored, to)


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
    start = _array("image", image, UINT8, RGB)
    rows, columns, _ = image.shape
    down = _axis("row", first_row, row_weights, None, rows)
    size = len(first_row)
    across = _axis("column", first_column, column_weights, size, columns)
    out = np.empty((size, size, 3), np.uint8)
    if size:
        _call("area_average", start, 3 * columns, *down, *across, size, out.ctypes.data)
    return out


def _axis(name: str, first: np.ndarray, weights: np.ndarray, size: int | None, length: int) -> tuple[int, int, int]:
    """Addresses of an axis's first pixels and weights, and how many of these there are."""
    at = _array(f"first_{name}", first, INT32, (size,))
    of = _array(f"{name}_weights", weights, UINT32, (len(first), None))
    taps = weights.shape[1]
    if len(first) and (first[0] < 0 or first[-1] + taps > length or (first[1:] < first[:-1]).any()):
        raise ValueError(f"first_{name}: must rise from 0 or more, and {taps} taps end within {length} {name}s")
    if not taps:
        raise ValueError(f"{name}_weights: no taps")
    return at, of, taps


def image_products(image: np.ndarray) -> np.ndarray:
    """(6,) int64: the upper half of the sum over pixels of the outer product of RGB; image (H, W, 3) uint8."""
    start = _array("image", image, UINT8, RGB)
    out = np.empty(6, np.int64)
    _call("image_products", start, image.size // 3, out.ctypes.data)
    return out


def add_image(sums: np.ndarray, image: np.ndarray) -> None:
    """Adds an image, uint8, to sums, int64 of the same shape."""
    to = _array("sums", sums, INT64, None, True)
    start = _array("image", image, UINT8, sums.shape)
    _call("add_image", to, start, image.size)


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
    start = _tensor("crops", crops, torch.uint8, (None, None, None, 3))
    images, rows, columns, _ = crops.shape
    subtracted = _tensor("mean", mean, torch.float32, (rows, columns, 3))
    added = None if noise is None else _tensor("noise", noise, torch.float32, (images, 3))
    factors = _tensor("scale", scale, torch.float32, (3,))
    out = torch.empty(crops.shape, dtype=dtype)
    if out.numel():
        _call(
            "prepare_images", start, subtracted, added, factors, out.data_ptr(),
            images, rows, 3 * columns, dtype == torch.bfloat16, torch.get_num_threads(),
        )  # fmt: skip
    return out


@dataclasses.dataclass(frozen=True)
class Stage:
    """What lies between two convolutions: ReLU, norm across maps, max pooling, ReLU, each or not.

    Attributes:
        relu_before, relu_after: of the norm, of the pooling.
        norm: (size, towers, k, alpha); beta is 0.75.
        pool: (window, stride), rounded up; window at most ``MOST_WINDOW``, stride at most the window.

    Raises:
        ValueError: a size, towers, window or stride out of these ranges; k or alpha that are no numbers.
    """

    relu_before: bool = False
    norm: tuple[int, int, float, float] | None = None
    pool: tuple[int, int] | None = None
    relu_after: bool = False

    def __post_init__(self):
        if self.norm:
            size, towers, k, alpha = self.norm
            _within("norm's size", size, 1)
            _within("norm's towers", towers, 1)
            if not (math.isfinite(k) and math.isfinite(alpha)):
                raise ValueError(f"norm: k {k}, alpha {alpha}; must be finite")
        if self.pool:
            window, stride = self.pool
            _within("pool's window", window, 1, MOST_WINDOW)
            _within("pool's stride", stride, 1, window)

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

    def _fields(self, x: Tensor) -> Fields:
        images, maps, rows, columns = x.shape
        window, stride = self.pool or (1, 1)
        size, towers, k, alpha = self.norm or (1, 1, 1.0, 0.0)
        if maps % towers:
            raise ValueError(f"norm: {maps} maps do not divide into {towers} towers")
        reach = max(1, 2 * maps // towers)  # a window of so many maps has all of a tower in it
        return Fields(
            images, rows, columns, maps, *self.out_shape(x.shape)[2:], window, stride, min(size, reach), towers,
            self.relu_before, self.norm is not None, self.pool is not None, self.relu_after,
            x.dtype == torch.bfloat16, torch.get_num_threads(), k, alpha,
        )  # fmt: skip


def stage_forward(x: Tensor, stage: Stage, places: bool) -> tuple[Tensor, Tensor | None]:
    """A stage of maps.

    Args:
        x: (N, C, H, W) bfloat16 or float32, channels-last in memory.
        stage: what is done.
        places: whether ``stage_backward`` will want to know which places of the pooling's windows were the largest.

    Returns:
        (N, C, H', W') of the same type, channels-last in memory; (N H' W' C,) uint8 places or None.
    """
    start = _maps("x", x)
    fields = stage._fields(x)
    y = torch.empty(stage.out_shape(x.shape), dtype=x.dtype, memory_format=torch.channels_last)
    kept = torch.empty(y.numel(), dtype=torch.uint8) if places and stage.pool else None
    if y.numel():
        _call("stage_forward", fields, start, y.data_ptr(), None if kept is None else kept.data_ptr())
    return y, kept


def stage_backward(x: Tensor, stage: Stage, y: Tensor | None, places: Tensor | None, gradient: Tensor) -> Tensor:
    """The gradient of a stage's input.

    Args:
        x: as ``stage_forward`` had it.
        stage: what was done.
        y: what came of it, where the stage has a ReLU at its end.
        places: what came with it, where the stage pools.
        gradient: of the outputs, (N, C, H', W') of x's type, channels-last in memory.

    Returns:
        (N, C, H, W) of the same type, channels-last in memory.
    """
    start = _maps("x", x)
    fields, shape = stage._fields(x), stage.out_shape(x.shape)
    above = _maps("gradient", gradient, x.dtype, shape)
    outputs = _maps("y", y, x.dtype, shape) if stage.relu_after else None
    chosen = _tensor("places", places, torch.uint8, (math.prod(shape),)) if stage.pool else None
    out = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last)
    if out.numel():
        _call("stage_backward", fields, start, outputs, chosen, above, out.data_ptr())
    return out


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
    start = _tensor("x", x, torch.bfloat16, (None, None))
    rows, inputs = x.shape
    factors = _tensor("weight", weight, torch.bfloat16 if scale is None else torch.int8, (None, inputs))
    units = len(weight)
    scales = None if scale is None else _tensor("scale", scale, torch.float32, (units,))
    added = _tensor("bias", bias, torch.float32, (units,))
    y = torch.empty((rows, units), dtype=torch.float32)
    if y.numel():
        _call("few_rows", start, factors, scales, added, y.data_ptr(), rows, inputs, units, torch.get_num_threads())
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
    for name, tensor in tensors.items():
        start = _plain(name, tensor, types[name], shape)
        if tensor is weight and not _is_dense(weight):
            raise ValueError(f"weight: shape {tuple(shape)} lies in memory as {weight.stride()}, with gaps")
        if not _lies_as(tensor, weight):
            raise ValueError(f"{name}: lies in memory as {tensor.stride()}, the weight as {weight.stride()}")
        runs.append((name, start, tensor.nbytes))
    for one, other in itertools.combinations(runs, 2):
        _apart(*other, *one)
    _call(
        "momentum_step", *(start for _, start, _ in runs), *[None] * (4 - len(runs)), momentum, rate, rate * decay,
        weight.numel(), gradient.dtype == torch.bfloat16, torch.get_num_threads(),
    )  # fmt: skip


def _call(name: str, *arguments: Any) -> None:
    library = _library()[0]
    if library is None:
        raise RuntimeError(f"{name}: there is no compiled path here ({_library()[1].words})")
    if getattr(library, name)(*arguments):
        raise MemoryError(f"{name}: no memory for what its threads work in")


def _within(name: str, value: Any, least: int, most: int | None = None) -> None:
    if not isinstance(value, int | np.integer) or value < least or (most is not None and value > most):
        limits = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: {value!r}, must be a whole number, {limits}")


def _apart(one: str, start: int, count: int, other: str, begin: int, length: int) -> None:
    """That two runs of bytes have none in common."""
    if start < begin + length and begin < start + count:
        raise ValueError(f"{one}: shares memory with {other}")


def _fits(shape: Sequence[int], wanted: Shape) -> bool:
    if len(shape) != len(wanted):
        return False
    for length, other in zip(shape, wanted):  # noqa: SIM110 - asked for each image: a generator takes twice as long
        if other is not None and length != other:
            return False
    return True


def _words(shape: Shape) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"


def _array(name: str, value: np.ndarray, dtype: np.dtype, shape: Shape | None, written: bool = False) -> int:
    """Where an array's data begin, once it is seen to have this type and shape and to lie in one piece."""
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name}: {type(value).__name__}, must be a NumPy array")
    if value.dtype != dtype:
        raise ValueError(f"{name}: {value.dtype}, must be {dtype}")
    if shape is not None and not _fits(value.shape, shape):
        raise ValueError(f"{name}: shape {value.shape}, must be {_words(shape)}")
    flags = value.flags
    if not (flags.c_contiguous and flags.aligned):
        raise ValueError(f"{name}: must lie in memory in one piece, row after row")
    if written and not flags.writeable:
        raise ValueError(f"{name}: cannot be written")
    if written and value.nbytes:
        buffer = ctypes.c_char.from_buffer(value)  # pyright: ignore[reportArgumentType]
        return ctypes.addressof(buffer)  # a third of the interface's time, and each image asks
    return value.__array_interface__["data"][0]


def _plain(name: str, value: Any, types: Sequence[torch.dtype], shape: Shape) -> int:
    """Where a tensor's data begin, once it is seen to be numbers in this machine's memory, of this type and shape."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: {type(value).__name__}, must be a tensor")
    if value.dtype not in types:
        raise ValueError(f"{name}: {value.dtype}, must be {' or '.join(map(str, types))}")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_neg():
        raise ValueError(f"{name}: {value.layout} on {value.device}, must be plain numbers on the CPU")
    if not _fits(value.shape, shape):
        raise ValueError(f"{name}: shape {tuple(value.shape)}, must be {_words(shape)}")
    return value.data_ptr()


def _tensor(name: str, value: Tensor | None, dtype: torch.dtype, shape: Shape) -> int:
    start = _plain(name, value, (dtype,), shape)
    if value is None or not value.is_contiguous():
        raise ValueError(f"{name}: must lie in memory in one piece, row after row")
    return start


def _maps(name: str, value: Tensor | None, dtype: torch.dtype | None = None, shape: Shape = (None,) * 4) -> int:
    start = _plain(name, value, TYPES if dtype is None else (dtype,), shape)
    if value is None or not value.is_contiguous(memory_format=torch.channels_last):
        raise ValueError(f"{name}: must lie in memory channels-last")
    return start


def _lies_as(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape have their elements in the same order."""
    return tensor.stride() == other.stride() or all(
        a == b or n == 1 for n, a, b in zip(tensor.shape, tensor.stride(), other.stride())
    )


def _is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill a piece of memory, each in a place of its own, in whatever order of the dimensions."""
    expected = 1
    for stride, length in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape) if n != 1):
        if stride != expected:
            return tensor.numel() == 0
        expected *= length
    return True
