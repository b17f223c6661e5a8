"""``.npy``: an array a layer, opened by ``numpy.load(mmap_mode="r")``; names, labels and what was done lie beside it.

Rows are appended to the file. A file that is mapped into memory while it grows would end the process where the disk
is full (SIGBUS), and count as the process's memory.
"""

import contextlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from alexnet import files
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.content import Content
from alexnet.science.leftovers import write_note


def paths(path: Path, layers: list[str]) -> dict[str, Path]:
    """The file of each layer: the path itself, or with the layer's name in it where there are several."""
    if len(layers) == 1:
        return {layers[0]: path}
    return {layer: path.with_suffix(f".{layer.replace(':', '-')}{path.suffix}") for layer in layers}


class Npy:
    """``x.npy`` or ``x.LAYER.npy`` of several layers, ``x.csv`` (a line an image, in order) and ``x.json``."""

    def __init__(self, path: Path, content: Content, stack: contextlib.ExitStack):
        self._content, self._count = content, 0
        self._paths = paths(path, list(content.layers))
        self._path, self._stack = path, contextlib.ExitStack()
        stack.enter_context(self._stack)
        # what is opened last appears first: whoever sees x.json has all
        self._json, self._csv = (stack.enter_context(files.atomic(path.with_suffix(end))) for end in (".json", ".csv"))
        self._arrays = {layer: stack.enter_context(files.atomic(own)) for layer, own in self._paths.items()}
        self._csv.write(content.csv_head())
        for layer, file in self._arrays.items():
            self._header(layer, file, content.count)

    def _header(self, layer: str, file: BinaryIO, count: int) -> None:
        """NumPy leaves room for any count of rows: headers are of one length."""
        shape = (count, *self._content.layers[layer])
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

    def add(self, batch: Activations) -> None:
        for layer, file in self._arrays.items():
            file.write(batch.layers[layer].astype("<f4", copy=False).data)
        self._csv.write(self._content.csv_lines(batch, self._count))
        self._count += len(batch.names)

    def finish(self) -> None:
        for layer, file in self._arrays.items():
            file.seek(0)
            self._header(layer, file, self._count)
        others = [(own, self._arrays[layer]) for layer, own in self._paths.items()]
        others.append((self._path.with_suffix(".csv"), self._csv))
        note = write_note(self._path.with_suffix(".json"), self._json, others)
        self._stack.callback(note.unlink, missing_ok=True)
        names = {layer: own.name for layer, own in self._paths.items()}
        description = {"files": names, **self._content.description, "left_out": self._content.left_out_rows()}
        self._json.write((files.to_json({"images": self._count, **description}) + "\n").encode())
