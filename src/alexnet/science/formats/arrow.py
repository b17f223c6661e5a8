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

ROOM_BYTES = 1 << 23  # of rows that are written together


def _schema(content: Content) -> pa.Schema:
    """Maps are flattened (map, row, column), the last fastest; the field's metadata say so and the shape, as JSON."""
    kinds: dict[str, pa.DataType] = {"text": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    fields = [pa.field(name, kinds[kind]) for name, kind in content.kinds.items()]
    for layer, shape in content.layers.items():
        kind = pa.list_(pa.field("item", pa.float32(), nullable=False), math.prod(shape))
        metadata = {key: files.to_json(content.description["layers"][layer][key]) for key in ("shape", "axes")}
        fields.append(pa.field(layer, kind, metadata={**metadata, "order": "C"}))
    return pa.schema(fields, {"description": files.to_json(content.description)})


class Arrow:
    """An Arrow IPC file, as ``polars.read_ipc`` maps it into memory."""

    def __init__(self, path: Path, content: Content, stack: contextlib.ExitStack):
        self._content, self._schema = content, _schema(content)
        self._waiting: list[pa.RecordBatch] = []
        self._file = stack.enter_context(files.atomic(path))
        self._writer: Any = self._opened()
        stack.callback(self._close)

    def _opened(self) -> pa.ipc.RecordBatchFileWriter | pyarrow.parquet.ParquetWriter:
        return pa.ipc.new_file(self._file, self._schema)

    def _close(self) -> None:
        with contextlib.suppress(Exception):  # of a full disk, which was said
            self._writer.close()

    def add(self, batch: Activations) -> None:
        table = self._content.table(batch)
        columns: list[pa.Array] = [pa.array(values, self._schema.field(name).type) for name, values in table.items()]
        for field, values in zip(list(self._schema)[len(table) :], flat(batch, self._content.layers)):
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
        if self._content.left_out:
            self._say_left_out(files.to_json(self._content.left_out_rows()))
        self._writer.close()

    def _say_left_out(self, text: str) -> None:
        """In the metadata of a last batch without rows: the file's own are written before its first row."""
        empty = pa.RecordBatch.from_arrays([pa.array([], field.type) for field in self._schema], schema=self._schema)
        self._writer.write_batch(empty, custom_metadata={"left_out": text})


class Parquet(Arrow):
    """A Parquet file; activations are stored as they are: they hardly compress."""

    def _opened(self) -> pa.ipc.RecordBatchFileWriter | pyarrow.parquet.ParquetWriter:
        compression: Any = dict.fromkeys(self._content.kinds, "zstd")
        compression |= {f"{layer}.list.element": "none" for layer in self._content.layers}
        texts = [name for name, kind in self._content.kinds.items() if kind == "text" and name != "name"]
        dictionary: Any = texts  # where texts repeat they are stored once; where none does, plainly
        return pyarrow.parquet.ParquetWriter(
            self._file, self._schema, compression=compression, use_dictionary=dictionary, write_statistics=False
        )

    def _say_left_out(self, text: str) -> None:
        self._writer.add_key_value_metadata({"left_out": text})
