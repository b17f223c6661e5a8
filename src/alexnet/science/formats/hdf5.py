"""``.h5``: HDF5, as h5py, MATLAB's ``h5read`` and R's rhdf5 open it."""

import contextlib
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from alexnet import files
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.content import Content, balanced
from alexnet.science.formats.guarded import Guarded, checked

CHUNK_BYTES, TEXT_ROWS = 1 << 20, 4096  # that are stored together


def chunk(count: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Images and numbers that are stored together: about ``CHUNK_BYTES``."""
    row = 4 * math.prod(shape)
    first = balanced(shape[0], CHUNK_BYTES * shape[0] // row)
    return (balanced(count, CHUNK_BYTES // row), first, *shape[1:])


class Hdf5:
    """Datasets ``layers/NAME`` (images, ...) float32; ``images/COLUMN`` of the table; ``description`` is JSON."""

    def __init__(self, path: Path, content: Content, stack: contextlib.ExitStack):
        self._content, self._count = content, 0
        self._guarded = stack.enter_context(Guarded(stack.enter_context(files.atomic(path))))
        self._file = h5py.File(self._guarded, "w", libver=("earliest", "v110"))
        stack.callback(self._close)
        count, text = content.count, h5py.string_dtype("utf-8")
        self._layers = {
            layer: self._dataset(f"layers/{layer}", "<f4", (count, *shape), chunk(count, shape))
            for layer, shape in content.layers.items()
        }
        self._columns = {
            name: self._dataset(
                f"images/{name}", text if kind == "text" else f"<{np.dtype(kind).str[1:]}", (count,),
                (balanced(count, TEXT_ROWS),),
            )
            for name, kind in content.kinds.items()
        }  # fmt: skip

    def _dataset(self, name: str, kind: Any, shape: tuple[int, ...], chunks: tuple[int, ...]) -> h5py.Dataset:
        """A dataset that loses its last rows where images could not be read."""
        return self._file.create_dataset(name, shape, kind, chunks=chunks, maxshape=(None, *shape[1:]))

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # of a full disk, which was said
            self._file.close()

    def add(self, batch: Activations) -> None:
        rows = slice(self._count, self._count + len(batch.names))
        with checked(self._guarded):
            for layer, dataset in self._layers.items():
                dataset[rows] = batch.layers[layer]
            for name, values in self._content.table(batch).items():
                self._columns[name][rows] = np.array(values, object) if isinstance(values, list) else values
        self._count = rows.stop

    def finish(self) -> None:
        with checked(self._guarded):
            for dataset in (*self._layers.values(), *self._columns.values()):
                dataset.resize(self._count, 0)
            self._file.attrs["description"] = self._content.text(self._count)
            self._file.close()
