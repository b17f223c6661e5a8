"""The compiled path on a CPU: ``native.c``, built once by the C compiler that is there, kept in the user's cache.

No compiler, no Linux, a compiler that fails: the portable path runs instead, and ``status`` says why. The library
shares torch's own OpenMP threads, so that two pools never compete for the cores.
"""

import ctypes
import dataclasses
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
BUILD_SECONDS = 120
TYPES = (torch.bfloat16, torch.float32)  # that it computes with


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether the library runs, and in words why, or why not."""

    library: ctypes.CDLL | None
    words: str


@functools.lru_cache(maxsize=1)
def status() -> Status:
    """Builds the library where that has not been done."""
    if os.environ.get("ALEXNET_KERNELS") == "portable":
        return Status(None, "ALEXNET_KERNELS=portable")
    if not sys.platform.startswith("linux"):
        return Status(None, f"compiled kernels are built on Linux alone, this is {platform.system()}")
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return Status(None, "no C compiler; install gcc or clang")
    threads = _openmp()
    if threads is None:
        return Status(None, f"torch {torch.__version__} brings no libgomp whose threads could be shared")
    try:
        library = ctypes.CDLL(str(_built(compiler, threads)))
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return Status(
            None, f"{compiler} failed: {said.strip().splitlines()[-1][:200] if said.strip() else 'no output'}"
        )
    return Status(library, compiler)


def library_for(device: torch.device, dtype: torch.dtype) -> ctypes.CDLL | None:
    """The library where it computes on this device with this type; it is built for no other."""
    return status().library if device.type == "cpu" and dtype in TYPES else None


def kernels(device: torch.device) -> str:
    """Which path runs on a device, in a word."""
    if device.type != "cpu":
        return "torch's"
    return "compiled" if status().library else "portable"


def _openmp() -> Path | None:
    """The OpenMP runtime that this torch brings."""
    home = Path(torch.__file__).parent
    found = [*home.glob("lib/libgomp*.so*"), *home.parent.glob("torch.libs/libgomp*.so*")]
    return found[0] if found else None


def _built(compiler: str, threads: Path) -> Path:
    """The library for this source, compiler and processor; compiled elsewhere and moved when it is whole."""
    source = resources.files("alexnet").joinpath("native.c").read_bytes()
    version = subprocess.run([compiler, "--version"], capture_output=True, timeout=BUILD_SECONDS, check=True).stdout
    told = [source, version, str(threads).encode(), " ".join(FLAGS).encode(), _processor()]
    key = hashlib.sha256(b"\0".join(told)).hexdigest()[:20]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "alexnet"
    library = cache / f"native-{key}.so"
    if library.exists():
        return library
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as room:
        code, thing, made = Path(room, "native.c"), Path(room, "native.o"), Path(room, "native.so")
        code.write_bytes(source)
        for command in (
            [compiler, *FLAGS[:-1], "-fopenmp", "-c", str(code), "-o", str(thing)],
            [compiler, FLAGS[-1], str(thing), str(threads), "-lm", "-o", str(made)],  # not the compiler's own libgomp
        ):
            subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=True)
        os.replace(made, library)
    return library


def _processor() -> bytes:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().split(b"\n\n")[0].splitlines()
    except OSError:
        return platform.processor().encode()
    return b"\n".join(line for line in lines if line.startswith((b"model", b"flags", b"Features", b"CPU")))


def address(tensor: Tensor | np.ndarray | None) -> ctypes.c_void_p:
    """Where a tensor's data begin."""
    if isinstance(tensor, np.ndarray):
        return ctypes.c_void_p(tensor.ctypes.data)
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
