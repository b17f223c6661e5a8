"""Files of activations, one module a kind; a file's suffix says which. All are written batch by batch.

A kind is a class made of a path and a ``Content``, whose ``add`` takes batches in order and whose ``finish`` writes
what comes last. What it writes to is whole or not there (``opened``).
"""

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from alexnet import files
from alexnet.errors import UsageError
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.content import Content

KINDS = {  # a suffix's module and class, and the extra that it needs
    ".npy": ("npy.Npy", ""),
    ".h5": ("hdf5.Hdf5", "hdf5"),
    ".hdf5": ("hdf5.Hdf5", "hdf5"),
    ".nc": ("netcdf.NetCdf", "netcdf"),
    ".mat": ("mat.Mat", ""),
    ".parquet": ("arrow.Parquet", ""),
    ".arrow": ("arrow.Arrow", ""),
    ".safetensors": ("tensors.Tensors", ""),
}


class Writer(Protocol):
    """Takes batches in order."""

    def add(self, batch: Activations) -> None:
        """Appends images."""
        ...

    def finish(self) -> None:
        """Writes what comes last; nothing is added any more."""
        ...


def suffix_of(path: str | os.PathLike) -> str:
    """Raises ``UsageError`` where a file's suffix says no kind."""
    suffix = Path(path).suffix.lower()
    if suffix not in KINDS:
        known = ", ".join(KINDS)
        what = f"{suffix} is no format for activations; {files.nearest(suffix, KINDS)}" if suffix else ""
        raise UsageError(f"{path}: {what}give a name that ends in one of {known}")
    return suffix


def kind_of(path: str | os.PathLike) -> Callable[[Path, Content, contextlib.ExitStack], Writer]:
    """The class that writes a file, by its suffix. Raises ``UsageError`` where what it needs is not installed."""
    suffix = suffix_of(path)
    class_path, extra = KINDS[suffix]
    module, name = class_path.split(".")
    try:
        return getattr(importlib.import_module(f"alexnet.science.formats.{module}"), name)
    except ImportError as error:
        if not extra:
            raise
        name = error.name or extra
        raise UsageError(f"{path}: writing {suffix} needs {name}: pip install 'alexnet[{extra}]'") from error


def outputs(path: str | os.PathLike, layers: list[str]) -> list[Path]:
    """All files that are written for a path, in the order in which they appear: several of ``.npy``, else the path."""
    if suffix_of(path) == ".npy":
        from alexnet.science.formats.npy import paths

        return [*paths(Path(path), layers).values(), Path(path).with_suffix(".csv"), Path(path).with_suffix(".json")]
    return [Path(path)]


@contextlib.contextmanager
def opened(path: str | os.PathLike, content: Content) -> Iterator[Writer]:
    """What writes a file of activations, which appears whole when the block ends without an error, else not at all.

    Raises:
        AlexNetError: the disk is full, or the kind cannot hold so much.
    """
    kind = kind_of(path)
    with contextlib.ExitStack() as stack:
        writer = kind(Path(path), content, stack)
        yield writer
        writer.finish()
