"""``.parquet`` and ``.arrow``: a row an image, a column a layer, as polars, pandas, DuckDB and pyarrow open them."""

import contextlib
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from alexnet import files
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.content import Content, flat

TEXTS = ("name", "label", "done")
ROOM_BYTES = 1 << 23  # of rows that are written together


def _schema(content: Content) -> pa.Schema:
    """Maps are flattened (map, row, column); the shape is in the field's metadata, as JSON."""
    fields = [pa.field(name, pa.string()) for name in TEXTS]
    for layer, shape in content.layers.items():
        kind = pa.list_(pa.field("item", pa.float32(), nullable=False), math.prod(shape))
        fields.append(pa.field(layer, kind, metadata={"shape": files.to_json(list(shape))}))
    return pa.schema(fields, {"description": files.to_json(content.description)})


class Arrow:
    """An Arrow IPC file, as ``polars.read_ipc`` maps it into memory."""

    def __init__(self, path: Path, content: Content, stack: contextlib.ExitStack):
        self._content, self._schema = content, _schema(content)
        self._waiting: list[pa.RecordBatch] = []
        self._file = stack.enter_context(files.atomic(path))
        self._writer = self._opened()
        stack.callback(self._close)

    def _opened(self) -> pa.ipc.RecordBatchFileWriter | pyarrow.parquet.ParquetWriter:
        return pa.ipc.new_file(self._file, self._schema)

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # of a full disk, which was said
            self._writer.close()

    def add(self, batch: Activations) -> None:
        texts = (self._content.names(batch), self._content.labels(batch), batch.done)
        columns: list[pa.Array] = [pa.array(text, pa.string()) for text in texts]
        for field, values in zip(list(self._schema)[len(TEXTS) :], flat(batch, self._content.layers)):
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=field.type))
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        if sum(batch.nbytes for batch in self._waiting) >= ROOM_BYTES:
            self._write()

    def _write(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._schema).combine_chunks()
        self._waiting = []
        if len(table):
            self._writer.write_table(table)

    def finish(self) -> None:
        self._write()
        self._writer.close()


class Parquet(Arrow):
    """A Parquet file; activations are stored as they are: they hardly compress."""

    def _opened(self) -> pa.ipc.RecordBatchFileWriter | pyarrow.parquet.ParquetWriter:
        compression: Any = dict.fromkeys(TEXTS, "zstd")
        compression |= {f"{layer}.list.element": "none" for layer in self._content.layers}
        dictionary: Any = ["label", "done"]
        return pyarrow.parquet.ParquetWriter(
            self._file, self._schema, compression=compression, use_dictionary=dictionary, write_statistics=False
        )
