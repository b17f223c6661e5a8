"""The machine a command runs on: which device, how many threads, which precision, how much memory."""

import contextlib
import math
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from alexnet import native
from alexnet.errors import UsageError
from alexnet.files import nearest

PRECISIONS = ("auto", "float32", "float64", "bf16", "fp16")


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA, then MPS, then CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"--device {name}: no such device; give auto, cpu, cuda, cuda:N or mps") from error
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(device.type, False):
        raise UsageError(f"--device {name}: this machine has none that torch {torch.__version__} can use; try cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise UsageError(
            f"--device {name}: this machine has no such GPU; give cuda:0{f' to cuda:{last}' if last else ''}"
        )
    return device


def choose_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 where the device multiplies it natively, fp16 on older CUDA, else float32.

    Raises:
        UsageError: no such precision, or the device has none.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name}: unknown; {nearest(name, PRECISIONS)}give one of {', '.join(PRECISIONS)}")
    if name == "float64" and device.type == "mps":
        raise UsageError("--precision float64: Apple's GPU has none; give --device cpu with it")
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


def device_name(device: torch.device) -> str:
    """A GPU's name as its maker writes it, or else the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def cores() -> int:
    """How many cores this process may use: those it may run on, and no more than its control group's share of time."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(own, cpu_quota())))


def cpu_quota(root: Path = Path("/")) -> float:
    """How many cores' time Linux gives this process's control group, or infinity: containers are limited so.

    Args:
        root: of the file system.
    """
    limits = _group_limits(root, "cpu", ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return min((most / period for most, period in limits if most > 0), default=math.inf)


def memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, or what its control group has; 0: nobody says.

    Args:
        root: of the file system.
    """
    if not hasattr(os, "sysconf"):  # Windows
        return 0
    try:
        own = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
    limits = _group_limits(root, "memory", ("memory.max",), ("memory.limit_in_bytes",))
    return min([own, *(most for (most,) in limits)])


def _group_limits(
    root: Path, controller: str, second: tuple[str, ...], first: tuple[str, ...]
) -> Iterator[tuple[int, ...]]:
    """What limits this process's control group and its parents have, where they have one.

    Args:
        root: of the file system.
        controller: of version 1.
        second, first: files of versions 2 and 1 that say a limit.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:  # version 2
            top, names = mount, second
        elif controller in controllers.split(","):
            top, names = mount / controllers, first
        else:
            continue
        for folder in (top / path.strip("/"), *(top / parent for parent in Path(path.strip("/")).parents)):
            with contextlib.suppress(OSError, ValueError):  # no such file, or no limit
                yield tuple(int(n) for name in names for n in (folder / name).read_text(encoding="utf-8").split())


def usual_threads() -> int:
    """What ``OMP_NUM_THREADS`` says, else every core that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(asked) if asked.isdecimal() and int(asked) > 0 else cores()


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


@contextlib.contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """On a CUDA device cuDNN takes kernels alone that give the same bits each time: for these nets, the faster ones."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


def set_up(threads: int | None = None) -> None:
    """Makes this process ready for large tensors on this machine. The command does so; nothing that it calls does.

    glibc hands each large tensor back to the kernel when it is freed and gets it back page by page, zeroed:
    a third of a training step on a CPU. Told to keep them, it does. Other systems' allocators are left alone.

    Args:
        threads: of torch; ``usual_threads()`` if not given.

    Raises:
        UsageError: fewer threads than one.
    """
    torch.set_num_threads(usual_threads() if threads is None else _checked(threads))
    native.keep_freed_memory()


@contextlib.contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Torch has so many threads while the block runs, or those that it has where None is given."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(_checked(count))
    try:
        yield
    finally:
        if count is not None:
            torch.set_num_threads(before)


def _checked(threads: int) -> int:
    if threads < 1:
        raise UsageError(f"--threads {threads}: must be at least 1")
    return threads


def peak_memory() -> int | None:
    """Bytes of memory that this process had at most; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def synchronize(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
