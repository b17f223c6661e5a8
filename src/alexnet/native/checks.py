"""What is checked of arrays and tensors before C sees where they lie: type, shape, layout, length, range."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.native import library

TYPES = library.TYPES
Shape = Sequence[int | None]  # None: any length


def within(name: str, value: Any, least: int, most: int | None = None) -> None:
    if not isinstance(value, int | np.integer) or value < least or (most is not None and value > most):
        limits = f"{least} or more" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}: {value!r}, must be a whole number, {limits}")


def apart(one: str, start: int, count: int, other: str, begin: int, length: int) -> None:
    """That two runs of bytes have none in common."""
    if start < begin + length and begin < start + count:
        raise ValueError(f"{one}: shares memory with {other}")


def fits(shape: Sequence[int], wanted: Shape) -> bool:
    if len(shape) != len(wanted):
        return False
    for length, other in zip(shape, wanted):  # noqa: SIM110 - asked for each image: a generator takes twice as long
        if other is not None and length != other:
            return False
    return True


def words(shape: Shape) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"


def array(name: str, value: np.ndarray, dtype: np.dtype, shape: Shape | None, written: bool = False) -> int:
    """Where an array's data begin, once it is seen to have this type and shape and to lie in one piece."""
    if not isinstance(value, np.ndarray):
        raise ValueError(f"{name}: {type(value).__name__}, must be a NumPy array")
    if value.dtype != dtype:
        raise ValueError(f"{name}: {value.dtype}, must be {dtype}")
    if shape is not None and not fits(value.shape, shape):
        raise ValueError(f"{name}: shape {value.shape}, must be {words(shape)}")
    flags = value.flags
    if not (flags.c_contiguous and flags.aligned):
        raise ValueError(f"{name}: must lie in memory in one piece, row after row")
    if written and not flags.writeable:
        raise ValueError(f"{name}: cannot be written")
    if written and value.nbytes:
        return library.written_address(value)
    return value.__array_interface__["data"][0]


def plain(name: str, value: Any, types: Sequence[torch.dtype], shape: Shape) -> int:
    """Where a tensor's data begin, once it is seen to be numbers in this machine's memory, of this type and shape."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: {type(value).__name__}, must be a tensor")
    if value.dtype not in types:
        raise ValueError(f"{name}: {value.dtype}, must be {' or '.join(map(str, types))}")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_neg():
        raise ValueError(f"{name}: {value.layout} on {value.device}, must be plain numbers on the CPU")
    if not fits(value.shape, shape):
        raise ValueError(f"{name}: shape {tuple(value.shape)}, must be {words(shape)}")
    return value.data_ptr()


def tensor(name: str, value: Tensor | None, dtype: torch.dtype, shape: Shape) -> int:
    start = plain(name, value, (dtype,), shape)
    if value is None or not value.is_contiguous():
        raise ValueError(f"{name}: must lie in memory in one piece, row after row")
    return start


def maps(name: str, value: Tensor | None, dtype: torch.dtype | None = None, shape: Shape = (None,) * 4) -> int:
    start = plain(name, value, TYPES if dtype is None else (dtype,), shape)
    if value is None or not value.is_contiguous(memory_format=torch.channels_last):
        raise ValueError(f"{name}: must lie in memory channels-last")
    return start


def lies_as(tensor: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one shape have their elements in the same order."""
    return tensor.stride() == other.stride() or all(
        a == b or n == 1 for n, a, b in zip(tensor.shape, tensor.stride(), other.stride())
    )


def is_dense(tensor: Tensor) -> bool:
    """Whether its elements fill a piece of memory, each in a place of its own, in whatever order of the dimensions."""
    expected = 1
    for stride, length in sorted((s, n) for s, n in zip(tensor.stride(), tensor.shape) if n != 1):
        if stride != expected:
            return tensor.numel() == 0
        expected *= length
    return True
