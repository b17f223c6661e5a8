"""The machine a command runs on: which device, how many threads, which precision."""

import contextlib
import ctypes
import os
import platform
import sys
from collections.abc import Iterator

import torch

from alexnet.errors import WrongUse


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        WrongUse: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise WrongUse(f"--device {name}: no such device; give auto, cpu, cuda, cuda:N or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise WrongUse(f"--device {name}: this machine has none that torch {torch.__version__} can use; try cpu")
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 where the device multiplies it natively, fp16 on older CUDA, else float32."""
    if name == "float64" and device.type == "mps":
        raise WrongUse("--precision float64: Apple's GPU has none; give --device cpu with it")
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and cpu_has_bf16():
        return "bf16"
    return "float32"


def cpu_has_bf16() -> bool:
    """Whether the CPU has bf16 products (AVX512-BF16, AMX)."""
    flags = capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16") or flags.get("amx"))


def capabilities() -> dict[str, bool]:
    """The CPU's instruction sets by name, as far as torch tells; 2.9 is asked for those that matter."""
    if hasattr(torch.cpu, "get_capabilities"):
        return {name: value for name, value in torch.cpu.get_capabilities().items() if isinstance(value, bool)}
    asked = {"avx2": "avx2", "avx512_f": "avx512", "avx512_vnni": "vnni"}
    asked |= {name: name for name in ("avx512_bf16", "amx_tile")}
    tests = {name: getattr(torch.cpu, f"_is_{kind}_supported", bool) for name, kind in asked.items()}
    found = {name: bool(test()) for name, test in tests.items()}
    return {**found, "amx_bf16": found["amx_tile"]}  # no processor has tiles without bf16 products


def cpu_name() -> str:
    """The processor's name as its maker writes it, or what Python knows of it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines() if ":" in line)
        fields = {key.strip(): value.strip() for key, value in lines.items()}
        return f"{fields['model name']} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"
    except (OSError, KeyError, ValueError):
        return platform.processor() or platform.machine()


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def as_imported(gradients: bool = True) -> Iterator[None]:
    """Torch's modes as they are when it is imported, whatever the caller has set; they are put back afterwards.

    The default type is float32, tensors are made on the CPU, nothing is cast by itself. Also a decorator.

    Args:
        gradients: are recorded; else inference mode is left as it is.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    with contextlib.ExitStack() as stack:
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        if device.type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if gradients:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def set_up(threads: int | None = None) -> None:
    """Makes torch ready for large tensors on this machine.

    glibc hands each large tensor back to the kernel when it is freed and gets it back page by page, zeroed:
    a third of a training step on a CPU. Told to keep them, it does. Other systems' allocators are left alone.
    """
    torch.set_num_threads(threads or cores())
    if sys.platform.startswith("linux"):
        try:
            mallopt = ctypes.CDLL(None).mallopt
        except (OSError, AttributeError):
            return
        m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8
        mallopt(m_arena_max, 1)  # arenas of other threads are given back whatever is said here
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)


def synchronise(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
