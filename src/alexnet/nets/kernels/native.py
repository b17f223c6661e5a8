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

import torch
from torch import Tensor

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared")
BUILD_SECONDS = 120


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
        pool: (window, stride), rounded up.
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
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        return Status(
            None, f"{compiler} failed: {said.strip().splitlines()[-1][:200] if said.strip() else 'no output'}"
        )
    return Status(library, compiler)


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
    source = resources.files("alexnet.nets.kernels").joinpath("native.c").read_bytes()
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


def runs(x: Tensor) -> bool:
    """Whether the compiled path takes this tensor."""
    known = x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float32)
    return known and x.dim() == 4 and status().library is not None


def _address(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _forward(x: Tensor, stage: Stage, places: bool) -> tuple[Tensor, Tensor | None]:
    fields = stage.fields(tuple(x.shape), x.dtype)
    shape = (fields.images, fields.maps, fields.out_rows, fields.out_columns)
    y = torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last)
    kept = torch.empty(y.numel(), dtype=torch.uint8) if places and stage.pool else None
    library = status().library
    assert library is not None
    library.stage_forward(ctypes.byref(fields), _address(x), _address(y), _address(kept))
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
        library = status().library
        assert library is not None
        library.stage_backward(
            ctypes.byref(ctx.stage.fields(tuple(x.shape), x.dtype)),
            *map(_address, (x, y, places, gradient, out)),
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
