"""``.safetensors``: an array a layer; names, labels and what was done as the text of a CSV, and what was left out."""

import contextlib
import json
import math
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

from alexnet import files
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.content import LEFT_OUT, Content

IMAGES, MISSING = "images.csv", "left_out.csv"  # uint8, UTF-8
BLOCK_BYTES = 1 << 24  # that are moved at once
MOST_DIGITS = 20  # of an offset, for which the header has room


class Tensors:
    """Layers by their names, ``images.csv`` and ``left_out.csv`` as bytes; ``description`` (JSON) among the metadata.

    The header comes first and says where all lies. Room is left for it, and each layer has room for every image: where
    some could not be read, the layers behind are moved.
    """

    def __init__(self, path: Path, content: Content, stack: contextlib.ExitStack):
        self._content, self._count = content, 0
        self._file = stack.enter_context(files.atomic(path))
        self._csv = stack.enter_context(tempfile.TemporaryFile(dir=path.parent))
        self._csv.write(content.csv_head())
        self._rows = {layer: 4 * math.prod(shape) for layer, shape in content.layers.items()}
        longest = self._header(content.count, {IMAGES: 10**MOST_DIGITS, MISSING: 10**MOST_DIGITS})
        self._start = 8 + 8 * math.ceil((len(longest) + 2 * MOST_DIGITS * (len(self._rows) + 2)) / 8)

    def _header(self, count: int, texts: dict[str, int]) -> bytes:
        description = files.to_json({"images": count, **self._content.description})
        entries: dict[str, Any] = {"__metadata__": {"description": description}}
        offset = 0
        for layer, shape in self._content.layers.items():
            end = offset + count * self._rows[layer]
            entries[layer] = {"dtype": "F32", "shape": [count, *shape], "data_offsets": [offset, end]}
            offset = end
        for name, size in texts.items():
            entries[name] = {"dtype": "U8", "shape": [size], "data_offsets": [offset, offset + size]}
            offset += size
        return json.dumps(entries, separators=(",", ":")).encode()

    def add(self, batch: Activations) -> None:
        offset = self._start
        for layer, row in self._rows.items():
            self._file.seek(offset + self._count * row)
            self._file.write(batch.layers[layer].astype("<f4", copy=False).data)
            offset += self._content.count * row
        self._csv.write(self._content.csv_lines(batch, self._count))
        self._count += len(batch.names)

    def finish(self) -> None:
        source = target = self._start
        with open(self._file.name, "rb") as reader:
            for row in self._rows.values():
                self._file.flush()
                _move(reader, self._file, source, target, self._count * row)
                source += self._content.count * row
                target += self._count * row
        self._file.seek(target)
        self._csv.seek(0)
        shutil.copyfileobj(self._csv, self._file)
        images = self._file.tell() - target
        missing = self._file.write(files.to_csv([LEFT_OUT, *self._content.left_out]))
        header = self._header(self._count, {IMAGES: images, MISSING: missing})
        self._file.truncate()
        self._file.seek(0)
        self._file.write(struct.pack("<Q", self._start - 8) + header.ljust(self._start - 8))


def _move(reader: BinaryIO, writer: BinaryIO, source: int, target: int, count: int) -> None:
    """Moves bytes of a file towards its beginning, from the first to the last."""
    for done in range(0, count if source > target else 0, BLOCK_BYTES):
        reader.seek(source + done)
        block = reader.read(min(BLOCK_BYTES, count - done))
        writer.seek(target + done)
        writer.write(block)
        writer.flush()
