"""What is installed here, which paths run, and what would make them faster; to paste into a bug report."""

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
from collections.abc import Iterable

import torch

from alexnet import machine, native
from alexnet.runs.code import code

LIBRARIES = ("torch", "numpy", "pillow", "simplejpeg", "pyarrow", "safetensors", "tyro", "rich", "matplotlib", "fsspec")
EXTRAS = {  # an extra's name and the modules it brings
    "tensorboard": ("tensorboard",),
    "heic": ("pillow_heif",),
    "caffe": ("google.protobuf",),
    "onnx": ("onnx", "onnxruntime"),
    "s3": ("s3fs",),
    "probe": ("sklearn",),
    "hdf5": ("h5py",),
    "netcdf": ("h5netcdf", "h5py"),
}
DISTRIBUTIONS = {
    "pillow_heif": "pillow-heif",
    "google.protobuf": "protobuf",
    "sklearn": "scikit-learn",
}  # others: as the module
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "sve", "bf16")


@dataclasses.dataclass(frozen=True)
class Report:
    """What ``doctor`` found.

    Attributes:
        facts: by name, in the order in which they are said.
        advice: what would make it faster, a line each; empty where nothing would.
    """

    facts: dict[str, str]
    advice: list[str]


def _version(name: str) -> str:
    """Of a library; torch's own says which build it is, too."""
    return str(torch.__version__) if name == "torch" else importlib.metadata.version(name)


def _installed(modules: Iterable[str]) -> str:
    """``installed`` or ``missing``; the versions of what an extra brings."""
    versions = []
    for module in modules:
        try:
            if importlib.util.find_spec(module) is None:
                return "missing"
        except ModuleNotFoundError:  # of the package that it is in
            return "missing"
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # from a build of another name
            versions.append(importlib.metadata.version(DISTRIBUTIONS.get(module, module)))
    return " and ".join(versions) or "installed"


def doctor() -> Report:
    """Looks at the machine; runs nothing longer than building the compiled kernels, once."""
    device = machine.choose_device("auto")
    precision = machine.choose_precision("auto", device)
    kernels = native.status()
    capable = machine.capabilities()
    facts = {
        "alexnet": code(),
        "python": f"{platform.python_version()} on {platform.platform()}",
        "libraries": ", ".join(f"{name} {_version(name)}" for name in LIBRARIES),
        "extras": ", ".join(f"{name} {_installed(modules)}" for name, modules in EXTRAS.items()),
        "processor": machine.cpu_name(),
        "cores": f"{machine.cores()} for this process, {os.cpu_count()} in the machine",
        "instructions": ", ".join(name for name in INSTRUCTIONS if capable.get(name)) or "none of those that matter",
        "device": machine.device_name(device),
        "precision": f"{precision} products, float32 weights",
        "kernels": f"{native.kernels(device)} ({kernels.words})",
        "library": str(kernels.path or "none"),
    }
    advice = []
    if device.type == "cpu" and kernels.path is None:
        advice.append(f"the portable kernels run: {kernels.words}")
    if device.type == "cuda" and native.kernels(device) == "torch's":
        advice.append("Triton cannot compile here, and torch's own kernels run, slower ones: install gcc or clang")
    if device.type == "cpu" and precision == "float32":
        advice.append("this processor has no bf16 products: training takes about four times as long as on one that has")
    if torch.version.cuda is None and os.path.exists("/proc/driver/nvidia/version"):
        advice.append("there is an NVIDIA GPU, and this torch is built for CPUs: install torch for CUDA")
    return Report(facts, advice)
