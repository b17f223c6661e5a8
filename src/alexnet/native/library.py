"""The library in this process: opened once, or why it cannot be. No other module of the project knows ctypes."""

import contextlib
import ctypes
import dataclasses
import os
import platform
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet.native import build

TYPES = (torch.bfloat16, torch.float32)  # that it computes with


class Fields(ctypes.Structure):
    """``Stage`` in ``stage.c``."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("images", "rows", "columns", "maps", "out_rows", "out_columns")),
        *((name, ctypes.c_int64) for name in ("window", "stride", "size", "towers")),
        *(
            (name, ctypes.c_int64)
            for name in ("relu_before", "norm", "pool", "average", "relu_after", "bf16", "threads")
        ),
        *((name, ctypes.c_float) for name in ("k", "alpha")),
    ]


POINTER, WHOLE, FLOAT, FAILED = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {  # what a function returns, what it takes
    "stage_size": (WHOLE, []),
    "stage_forward": (FAILED, [ctypes.POINTER(Fields), *[POINTER] * 3]),
    "stage_backward": (FAILED, [ctypes.POINTER(Fields), *[POINTER] * 5]),
    "within_map_norm_forward": (FAILED, [*[POINTER] * 2, *[WHOLE] * 5, *[FLOAT] * 2, *[WHOLE] * 2]),
    "within_map_norm_backward": (FAILED, [*[POINTER] * 3, *[WHOLE] * 5, *[FLOAT] * 2, *[WHOLE] * 2]),
    "windows_gather": (None, [*[POINTER] * 2, *[WHOLE] * 11]),
    "windows_scatter": (FAILED, [*[POINTER] * 2, *[WHOLE] * 11]),
    "few_rows": (FAILED, [*[POINTER] * 5, *[WHOLE] * 4]),
    "crop_image": (None, [POINTER, *[WHOLE] * 6, POINTER]),
    "crop_images": (None, [POINTER, WHOLE, *[POINTER] * 3, WHOLE, WHOLE, POINTER]),
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
    if device.type == "cuda":
        from alexnet.native import cuda  # Triton takes long

        return "Triton's" if cuda.usable() else "torch's"
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


def call(name: str, *arguments: Any) -> None:
    library = _library()[0]
    if library is None:
        raise RuntimeError(f"{name}: there is no compiled path here ({_library()[1].words})")
    if getattr(library, name)(*arguments):
        raise MemoryError(f"{name}: no memory for what its threads work in")


def fields(*values: int | float) -> Fields:
    """``Stage`` of ``stage.c``, by its fields in order."""
    return Fields(*values)


def written_address(array: np.ndarray) -> int:
    """Where a writable array's data begin: a third of the time of NumPy's own interface, and each image asks."""
    buffer = ctypes.c_char.from_buffer(array)  # pyright: ignore[reportArgumentType]
    return ctypes.addressof(buffer)
