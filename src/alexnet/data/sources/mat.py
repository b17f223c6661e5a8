"""MATLAB's level 5 files, as far as a devkit's ``meta.mat`` goes: one struct array of numbers and texts.

SciPy's reader, the obvious choice, takes the process down on some damaged files (found by ``tests/fuzz``); this one
raises ``ValueError``. Format: MathWorks, *MAT-File Format*, chapter 1, level 5.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np

HEADER = 128
MOST_BYTES = 1 << 27  # of a variable once it is unpacked
MATRIX, COMPRESSED = 14, 15
CELL_CLASSES = range(6, 16)  # double, single, int8 ... uint64
STRUCT_CLASS, TEXT_CLASS = 2, 4
NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
    16: "u1",
    17: "u2",  # texts of UTF-8 and UTF-16
}


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """The type and the bytes of each data element."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(order + "II", data, place)
        if kind >> 16:  # a small one: four bytes at most, within the tag
            kind, size, start, step = kind & 0xFFFF, kind >> 16, place + 4, 8
            if size > 4:
                raise ValueError("a small element of more than four bytes")
        else:
            start = place + 8
            step = 8 + (size if kind == COMPRESSED else -(-size // 8) * 8)
        if start + size > len(data):
            raise ValueError("cut off")
        yield kind, data[start : start + size]
        place += step


def _numbers(element: tuple[int, memoryview], order: str) -> np.ndarray:
    kind, data = element
    if kind not in NUMBERS:
        raise ValueError(f"element of type {kind} where numbers are expected")
    dtype = np.dtype(order + NUMBERS[kind])
    return np.frombuffer(data[: len(data) // dtype.itemsize * dtype.itemsize], dtype)


class _Matrix:
    """A matrix element: its class, its name, and the elements of its content, not yet read."""

    def __init__(self, data: memoryview, order: str):
        self.order = order
        self.content = _elements(data, order)
        try:
            flags = _numbers(next(self.content), order)
            self.kind = int(flags[0]) & 0xFF
            self.shape = [int(n) for n in _numbers(next(self.content), order)]
            self.name = bytes(next(self.content)[1]).decode("latin-1")
        except (StopIteration, IndexError) as error:
            raise ValueError("a matrix without flags, dimensions or name") from error

    def value(self) -> float | str | None:
        """Its number or text; None where it is empty or neither."""
        if self.kind not in CELL_CLASSES and self.kind != TEXT_CLASS:
            return None
        element = next(self.content, None)
        if element is None:
            return None
        found = _numbers(element, self.order)
        if self.kind == TEXT_CLASS:
            if element[0] == 16:
                return bytes(element[1]).decode("utf-8")
            return "".join(chr(int(n)) for n in found)
        return float(found[0]) if len(found) == 1 else None


def read_struct(data: bytes, name: str) -> list[dict[str, float | str | None]]:
    """The rows of a struct array.

    Args:
        data: a MAT file of level 5.
        name: the variable's.

    Returns:
        For each row its fields: a number or a text, None for whatever is neither.

    Raises:
        ValueError: not such a file, damaged, or without that variable.
    """
    if len(data) < HEADER or data[126:128] not in (b"IM", b"MI"):
        raise ValueError("not a MAT file of level 5")
    order = "<" if data[126:128] == b"IM" else ">"
    for kind, content in _elements(memoryview(data)[HEADER:], order):
        if kind == COMPRESSED:
            kind, content = _unpacked(content, order)
        if kind == MATRIX:
            matrix = _Matrix(content, order)
            if matrix.name == name:
                return _rows(matrix)
    raise ValueError(f"no variable {name}")


def _unpacked(content: memoryview, order: str) -> tuple[int, memoryview]:
    try:
        whole = zlib.decompressobj().decompress(content, MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    found = next(_elements(memoryview(whole), order), None)
    if found is None:
        raise ValueError("an empty compressed element")
    return found


def _rows(matrix: _Matrix) -> list[dict[str, float | str | None]]:
    if matrix.kind != STRUCT_CLASS:
        raise ValueError(f"{matrix.name} is no struct")
    order = matrix.order
    lengths = _numbers(next(matrix.content, (0, memoryview(b""))), order)
    text = bytes(next(matrix.content, (0, memoryview(b"")))[1])
    length = int(lengths[0]) if len(lengths) else 0
    if not 0 < length <= 64 or not text:
        raise ValueError("a struct without fields")
    fields = [text[i : i + length].split(b"\0")[0].decode("latin-1") for i in range(0, len(text), length)]
    values = [_Matrix(data, order).value() if len(data) else None for kind, data in matrix.content if kind == MATRIX]
    rows = int(np.prod(matrix.shape, dtype=object))
    if len(values) != rows * len(fields):
        raise ValueError(f"{len(values)} values for {rows} rows of {len(fields)} fields")
    return [dict(zip(fields, values[i : i + len(fields)])) for i in range(0, len(values), len(fields))]
