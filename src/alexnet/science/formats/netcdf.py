"""``.nc``: netCDF-4 in the shape of Brain-Score's assemblies, as xarray opens it: presentation x neuroid."""

import contextlib
import math
from pathlib import Path, PurePath

import h5netcdf.core
import h5py
import numpy as np

from alexnet import files
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.columns import STIMULUS_ID
from alexnet.science.formats.content import Content, balanced, flat
from alexnet.science.formats.guarded import Guarded, checked

CHUNK_BYTES, MOST_ROWS = 1 << 20, 64
PATH = {"name": "stimulus_path"}
TEXTS = ("model", "layer", "neuroid_id")
NUMBERS = ("neuroid_num", "channel", "channel_x", "channel_y")


class _Presentation(h5netcdf.core.Dimension):
    """A dimension without limit that all its variables have the length of.

    h5netcdf asks every variable each time, which takes an hour with some thousands of them.
    """

    @property
    def size(self) -> int:
        return len(self)


class NetCdf:
    """The variable ``activations``; the coordinates are Brain-Score's, with the table's columns by presentation.

    ``stimulus_id`` is the list's column of that name, else the file's name without folder and ending, or the whole name
    where two images would have the same.

    Text by neuroid is stored as characters, compressed: as strings it could outweigh the activations.
    """

    def __init__(self, path: Path, content: Content, stack: contextlib.ExitStack):
        self._content, self._count = content, 0
        self._guarded = stack.enter_context(Guarded(stack.enter_context(files.atomic(path))))
        self._file = h5netcdf.File(self._guarded, "w")
        stack.callback(self._close)
        with checked(self._guarded):
            self._file.dimensions = {"presentation": None, "neuroid": content.numbers}
            self._file.resize_dimension("presentation", content.count)
            self._file.dimensions["presentation"].__class__ = _Presentation
            chunk = balanced(content.count, MOST_ROWS), balanced(content.numbers, CHUNK_BYTES // (4 * MOST_ROWS))
            self._activations = self._file.create_variable(
                "activations", ("presentation", "neuroid"), np.float32, chunks=chunk
            )
            text = h5py.string_dtype("utf-8")
            rows = (balanced(content.count, 4096),)
            self._table = {
                PATH.get(name, name): self._file.create_variable(
                    PATH.get(name, name), ("presentation",), text if kind == "text" else np.dtype(kind), chunks=rows
                )
                for name, kind in {STIMULUS_ID: "text", **content.kinds}.items()
            }
            self._names: list[str] = []
            self._write_neuroids()

    def _write_neuroids(self) -> None:
        """Coordinates of each number of an image, layer by layer."""
        first, layers = 0, self._content.layers
        names: dict[str, list[np.ndarray]] = {name: [] for name in TEXTS}
        kinds = {"neuroid_num": np.int64, "channel": np.int64, "channel_x": np.float64, "channel_y": np.float64}
        numbers = {
            name: self._file.create_variable(name, ("neuroid",), kind, compression="gzip")
            for name, kind in kinds.items()
        }
        for layer, shape in layers.items():
            count = math.prod(shape)
            part = slice(first, first + count)
            places = np.unravel_index(np.arange(count), shape)
            nowhere = np.full(count, np.nan)
            numbers["neuroid_num"][part] = np.arange(count)
            for name, values in zip(("channel", "channel_x", "channel_y"), (*places, nowhere, nowhere)):
                numbers[name][part] = values
            model, layer = self._content.model.encode(), layer.encode()
            prefix = np.full(count, model + b"." + layer + b".")
            names["model"].append(np.full(count, model))
            names["layer"].append(np.full(count, layer))
            names["neuroid_id"].append(np.strings.add(prefix, np.arange(count).astype("S7")))
            first += count
        for name in TEXTS:
            values = np.concatenate(names.pop(name))
            width = values.dtype.itemsize
            self._file.dimensions[f"{name}_characters"] = width
            chunk = balanced(len(values), 1 << 16), width
            variable = self._file.create_variable(
                name, ("neuroid", f"{name}_characters"), "S1", compression="gzip", chunks=chunk
            )
            variable.attrs["_Encoding"] = "utf-8"
            variable[:] = values.view("S1").reshape(len(values), width)

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # of a full disk, which was said
            self._file.close()

    def add(self, batch: Activations) -> None:
        first, columns = self._count, 0
        rows = slice(first, first + len(batch.names))
        with checked(self._guarded):
            for values in flat(batch, self._content.layers):
                self._activations[rows, columns : columns + values.shape[1]] = values
                columns += values.shape[1]
            for name, values in self._content.table(batch).items():
                variable = self._table[PATH.get(name, name)]
                variable[rows] = np.array(values, object) if isinstance(values, list) else values
        if STIMULUS_ID not in self._content.columns:
            self._names += [files.plain(name) for name in batch.names]
        self._count = rows.stop

    def finish(self) -> None:
        with checked(self._guarded):
            self._file.resize_dimension("presentation", self._count)
            if STIMULUS_ID not in self._content.columns:
                self._table[STIMULUS_ID][:] = np.array(_ids(self._names), object)
            coordinates = (*self._table, *NUMBERS, *TEXTS)
            self._activations.attrs["coordinates"] = " ".join(coordinates)
            self._file.attrs["description"] = self._content.text(self._count)
            self._file.close()


def _ids(names: list[str]) -> list[str]:
    """The stems of names, or the names themselves where two would have the same stem."""
    stems = [PurePath(name).stem for name in names]
    return stems if len(set(stems)) == len(stems) else names
