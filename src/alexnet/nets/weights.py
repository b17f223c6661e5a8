"""Tensors in and out of files: safetensors, never pickle."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save, save_file
from torch import Tensor

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import signatures
from alexnet.nets.network import Network
from alexnet.nets.table import Table


def save_tensors(path: str | os.PathLike, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors to a safetensors file, not atomically: the caller renames what holds it.

    Raises:
        OSError: the disk is full or cannot be written to.
    """
    try:
        content = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
        if signatures.is_utf8(path):
            Path(path).touch()
            mode = Path(path).stat().st_mode  # as the umask has it; the library writes files that are the owner's alone
            save_file(content, str(path))
            os.chmod(path, stat.S_IMODE(mode))
        else:
            Path(path).write_bytes(save(content))
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), os.fspath(path)) from error
    files.flush(path)


def load_tensors(path: str | os.PathLike) -> dict[str, Tensor]:
    """Reads a safetensors file to the CPU. Raises ``AlexNetError`` where it is missing, damaged or none."""
    if not Path(path).exists():
        raise AlexNetError(f"{path}: missing; the run was damaged after it was written")
    try:
        return signatures.read_tensors(path)
    except (SafetensorError, OSError, ValueError, LookupError, AttributeError) as error:
        signature = signatures.recognize(path) if Path(path).is_file() else None
        if signature:
            raise AlexNetError(f"{path}: is {signature.words}, not a file of weights; {signature.remedy}") from error
        raise AlexNetError(f"{path}: damaged ({error})") from error


def outline(table: Table, classes: int) -> Network:
    """A net's names and shapes, on ``meta``. Raises ``UsageError`` where no memory holds such a net."""
    try:
        with torch.device("meta"):
            return Network(table, classes)
    except (RuntimeError, OverflowError) as error:  # more numbers than can be counted
        raise UsageError(f"net {table.name}: its layers are larger than any memory") from error


def filled(table: Table, classes: int, tensors: Mapping[str, Tensor], where: str) -> Network:
    """A net of these weights; nothing is allocated before they fit. Raises ``UsageError`` as ``put``."""
    check(outline(table, classes), tensors, where)
    net = Network.empty(table, classes)
    put(net, tensors, where)
    return net


def check(net: Network, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raises ``UsageError`` unless tensors have a net's names and shapes, and hold floating-point numbers."""
    own = net.state()
    wrong = sorted(set(own) ^ set(tensors))
    if wrong:
        side = "lacks" if wrong[0] in own else "has, and the net lacks,"
        raise UsageError(f"{where}: {side} {wrong[0]}; these are the weights of another net than {net.table.name}")
    for name, parameter in own.items():
        if parameter.shape != tensors[name].shape:
            raise UsageError(f"{where}: {name} is {tuple(tensors[name].shape)}, the net's is {tuple(parameter.shape)}")
        if not tensors[name].is_floating_point():
            raise UsageError(f"{where}: {name} is of type {tensors[name].dtype}; weights are floating-point numbers")


def put(net: Network, tensors: Mapping[str, Tensor], where: str) -> None:
    """Copies tensors into a net's state by name. Raises ``UsageError`` unless names and shapes agree."""
    check(net, tensors, where)
    with torch.no_grad():
        for name, parameter in net.state().items():
            parameter.copy_(tensors[name])
