"""``.mat``: MATLAB's level 5, as ``load`` and ``scipy.io.loadmat`` open it.

MATLAB's arrays lie column by column, and the images are the rows: activations wait in a nameless file until all are
there. A level 5 file holds arrays below 2 GiB; for more MATLAB reads ``.h5`` (``h5read``).
"""

import contextlib
import math
import struct
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from alexnet import files
from alexnet.errors import UsageError
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.columns import LARGEST_WHOLE, Names
from alexnet.science.formats.content import Content

MOST_BYTES = (1 << 31) - 4096  # of an array with its tags
BLOCK_BYTES = 1 << 26  # that are turned at once
INT8, INT32, UINT32, SINGLE, DOUBLE, INT64 = 1, 5, 6, 7, 9, 12  # data types (MAT-File Format, table 1-1)
MATRIX, UTF8 = 14, 16  # likewise
CELL, STRUCT, CHAR, DOUBLE_ARRAY, SINGLE_ARRAY, INT64_ARRAY = 1, 2, 4, 6, 7, 14  # classes of arrays (table 1-3)
FIELD_LENGTH = 64  # of the name of a struct's field, with the zero behind it
OWN_NAMES = {"name": "names", "label": "labels", "done": "done", "source_row": "source_rows"}


def variable(layer: str) -> str:
    """A layer's name as MATLAB allows it: ``conv5_before``."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in layer)[:63]


class Mat:
    """``LAYER`` (images, maps, height, width) single; ``names``, ``labels``, ``done`` (images, 1) cells of text;
    ``source_rows`` (images, 1) double; ``columns``, a struct of the list's others; ``description`` JSON."""

    def __init__(self, path: Path, content: Content, stack: contextlib.ExitStack):
        for layer, shape in content.layers.items():
            if 4 * content.count * math.prod(shape) > MOST_BYTES:
                raise UsageError(
                    f"{path}: {layer} of {content.count:,} images is larger than the 2 GiB that an array in a .mat "
                    "file can hold; write .h5 instead (MATLAB reads it by h5read), or give fewer images, or pool maps "
                    "(--pool)"
                )
        self._content, self._count = content, 0
        self._file = stack.enter_context(files.atomic(path))
        self._rows = {layer: stack.enter_context(tempfile.TemporaryFile(dir=path.parent)) for layer in content.layers}
        self._columns: dict[str, list[Any]] = {name: [] for name in content.kinds}

    def add(self, batch: Activations) -> None:
        for layer, file in self._rows.items():
            values = batch.layers[layer]
            turned = values.transpose(0, *range(values.ndim - 1, 0, -1))  # in memory as MATLAB's columns follow
            file.write(np.ascontiguousarray(turned, "<f4").data)
        for name, values in self._content.table(batch).items():
            self._columns[name].extend(values)
        self._count += len(batch.names)

    def finish(self) -> None:
        self._file.write(b"MATLAB 5.0 MAT-file, activations by alexnet".ljust(116) + bytes(8) + b"\x00\x01IM")
        self._file.write(_array("description", CHAR, *_text(self._content.text(self._count))))
        for name, own in OWN_NAMES.items():
            self._file.write(self._column(own, name))
        self._file.write(_struct("columns", self._fields()))
        for layer, rows in self._rows.items():
            self._write_layer(layer, rows)

    def _column(self, name: str, column: str) -> bytes:
        """A column of the table as an array of that name: cells of text, double, or int64 of what no double has."""
        values = self._columns[column]
        kind = self._content.kinds[column]
        if kind == "int64" and max(map(abs, map(int, values)), default=0) > LARGEST_WHOLE:
            return _array(name, INT64_ARRAY, (len(values), 1), _element(INT64, np.array(values, "<i8").tobytes()))
        if kind != "text":
            return _array(name, DOUBLE_ARRAY, (len(values), 1), _element(DOUBLE, np.array(values, "<f8").tobytes()))
        return _array(name, CELL, (len(values), 1), b"".join(_array("", CHAR, *_text(text)) for text in values))

    def _fields(self) -> dict[str, bytes]:
        """The list's columns by names that MATLAB allows."""
        fields: dict[str, bytes] = {}
        names = Names()
        for name in self._content.columns:
            field = variable(name)[: FIELD_LENGTH - 4]
            field = field if field[:1].isalpha() else f"x{field}"
            fields[names.distinct(field)] = self._column("", name)
        return fields

    def _write_layer(self, layer: str, rows: BinaryIO) -> None:
        """The array of a layer, some columns at a time."""
        shape, count = self._content.layers[layer], self._count
        numbers = math.prod(shape)
        size = 4 * count * numbers
        head = _head(variable(layer), SINGLE_ARRAY, (count, *(shape if len(shape) > 1 else (numbers,))))
        padding = bytes(-size % 8)
        self._file.write(struct.pack("<II", MATRIX, len(head) + 8 + size + len(padding)) + head)
        self._file.write(struct.pack("<II", SINGLE, size))
        step = max(1, BLOCK_BYTES // max(4, 4 * count))
        for first in range(0, numbers, step):
            block = np.empty((count, min(step, numbers - first)), "<f4")
            for row in range(count):
                rows.seek(4 * (row * numbers + first))
                rows.readinto(block[row].data)  # pyright: ignore[reportAttributeAccessIssue]
            self._file.write(np.ascontiguousarray(block.T).data)
        self._file.write(padding)


def _element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def _head(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    """What comes before an array's data: its class, its shape and its name."""
    flags = _element(UINT32, struct.pack("<II", kind, 0))
    return flags + _element(INT32, struct.pack(f"<{len(shape)}i", *shape)) + _element(INT8, name.encode())


def _array(name: str, kind: int, shape: tuple[int, ...], data: bytes) -> bytes:
    return _element(MATRIX, _head(name, kind, shape) + data)


def _struct(name: str, fields: dict[str, bytes]) -> bytes:
    """A struct of one element."""
    names = b"".join(field.encode().ljust(FIELD_LENGTH, b"\0") for field in fields)
    length = struct.pack("<HHI", INT32, 4, FIELD_LENGTH)  # of a field's name, in the short form
    return _array(name, STRUCT, (1, 1), length + _element(INT8, names) + b"".join(fields.values()))


def _text(text: str) -> tuple[tuple[int, int], bytes]:
    """A text's shape and data."""
    return (1, len(text)) if text else (0, 0), _element(UTF8, text.encode())
