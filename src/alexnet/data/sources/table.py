"""Tables of images: the Hugging Face hub's Parquet shards, and any Parquet or Arrow data set like them.

A column holds the images, a struct of ``bytes`` and ``path`` or the bytes alone; another the labels, numbers or
names. The hub keeps which is which, and the names of the classes, in the schema's metadata; without it the column
types say it. Shards are read in order, piece by piece, so memory stays flat.
"""

import errno
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alexnet import files
from alexnet.data.sources.folder import SPLIT_NAMES
from alexnet.data.sources.listing import Source, by_class, distinct
from alexnet.data.sources.tree import Content, FileTree, FolderTree, Tree, within
from alexnet.errors import Failure, WrongUse

EXPECTED = "*.parquet or *.arrow shards with a column of images and one of labels"
ENDINGS = (".parquet", ".arrow")
READ_ROWS = 32  # that many images of a piece are in memory at once
LABELS = ("label", "labels", "fine_label", "class", "target", "cls")


def matches(tree: Tree) -> bool:
    """Whether there are Parquet or Arrow files."""
    return isinstance(tree, FolderTree | FileTree) and any(name.lower().endswith(ENDINGS) for name in tree.names)


def split_of(name: str) -> str:
    """The split that a shard's name speaks of (``validation-00000-of-00014.parquet``); train if of none."""
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in SPLIT_NAMES or word == "dev":
            return SPLIT_NAMES.get(word, "val")
    return "train"


class _Shard:
    """One file: its pieces (row groups, or record batches) and how many rows each has."""

    def __init__(self, place: str):
        self.place = place
        try:
            if place.lower().endswith(".parquet"):
                self._parquet = pq.ParquetFile(files.map_file(place))
                self.schema = self._parquet.schema_arrow
                meta = self._parquet.metadata
                self.rows = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
            else:
                self._parquet = None
                self._batches = _batches(place)
                self.schema = self._batches[0].schema
                self.rows = [batch.num_rows for batch in self._batches]
        except (pa.ArrowException, OSError, IndexError, ValueError) as error:
            raise Failure(f"{place}: damaged or no such table ({_first(error)}); fetch it again") from error

    def read(self, piece: int, column: str) -> Iterator[pa.Array]:
        """A column of a piece, some rows at a time."""
        try:
            if self._parquet:
                for batch in self._parquet.iter_batches(READ_ROWS, row_groups=[piece], columns=[column]):
                    yield batch.column(0)
            else:
                whole = self._batches[piece].column(self.schema.get_field_index(column))
                for start in range(0, len(whole), READ_ROWS):
                    yield whole[start : start + READ_ROWS]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise Failure(f"{self.place}: damaged ({_first(error)}); fetch it again") from error


def _first(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _batches(place: str) -> list[pa.RecordBatch]:
    """The record batches of an Arrow file, of the stream or the file format."""
    file = files.map_file(place)
    try:
        found = list(pa.ipc.open_stream(file))
    except pa.ArrowInvalid:
        reader = pa.ipc.open_file(file)
        found = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    for batch in found:
        batch.validate(full=True)
    return found


class TableTree(Tree):
    """The images of tables, in order."""

    kind = "tables"
    sequential = True

    def __init__(self, path: str, shards: Sequence[_Shard], column: str):
        names: list[str] = []
        self._pieces: list[tuple[_Shard, int]] = []
        self._starts: list[int] = []
        for shard in shards:
            stem = shard.place.replace("\\", "/").split("/")[-1]
            for piece, rows in enumerate(shard.rows):
                self._pieces.append((shard, piece))
                self._starts.append(len(names))
                names += [f"{stem}/{piece}/{row}" for row in range(rows)]
        self._column = column
        super().__init__(path, names)

    def stream(self, members: Sequence[int]) -> Iterator[tuple[int, Content]]:
        by_piece: dict[int, list[int]] = {}
        for member in members:
            by_piece.setdefault(within(self._starts, member)[0], []).append(member)
        for piece, wanted in by_piece.items():
            shard, number = self._pieces[piece]
            start, todo = self._starts[piece], iter(wanted)
            member = next(todo)
            for array in shard.read(number, self._column):
                while member is not None and member < start + len(array):
                    yield member, _content(array[member - start])
                    member = next(todo, None)
                start += len(array)
                if member is None:
                    break


def _content(scalar: pa.Scalar) -> Content:
    try:
        cell = scalar.as_py()
    except UnicodeError as error:
        return OSError(errno.EIO, f"damaged ({error})")
    data = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(data, bytes):
        return data
    path = cell.get("path") if isinstance(cell, dict) else None
    return OSError(errno.EIO, f"the row holds a path and no bytes ({path})" if path else "the row is empty")


def source(tree: Tree) -> Source:
    """The images of all tables; a shard's name says its split.

    Raises:
        WrongUse: no column of images or of labels.
        Failure: a damaged shard, or labels that have no name.
    """
    try:
        return _listed(tree)
    except (pa.ArrowException, UnicodeError) as error:  # names or labels that are no text
        raise Failure(f"{tree.path}: damaged ({_first(error)}); fetch it again") from error


def _listed(tree: Tree) -> Source:
    assert isinstance(tree, FolderTree | FileTree)
    places = [(name, tree.place(i)) for i, name in enumerate(tree.names) if name.lower().endswith(ENDINGS)]
    shards = [_Shard(place) for _, place in places]
    schema = shards[0].schema
    features = _features(schema)
    image, label = _image_column(schema, features), _label_column(schema, features)
    if image is None or label is None:
        raise WrongUse(
            f"{places[0][1]}: no column of {'labels' if image else 'images'} among {', '.join(schema.names)}; "
            "images are a struct of bytes and path or binary, labels are called 'label'"
        )
    wrong = next((shard for shard in shards if not {image, label} <= set(shard.schema.names)), None)
    if wrong:
        raise Failure(f"{wrong.place}: lacks the columns {image} and {label} of the other shards; fetch it again")
    names = features.get(label, {}).get("names")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise Failure(f"{places[0][1]}: its metadata names no classes for {label}; fetch it again")
    if names is not None:
        names = distinct(names, [str(number) for number in range(len(names))])
    found: list[Any] = []
    splits: list[str] = []
    for (name, _), shard in zip(places, shards):
        for piece in range(len(shard.rows)):
            for array in shard.read(piece, label):
                found += array.to_pylist()
        splits += [split_of(name)] * sum(shard.rows)
    return _source(TableTree(tree.path, shards, image), found, splits, names)


def _source(images: TableTree, labels: list[Any], splits: list[str], names: list[str] | None) -> Source:
    rows, unlabelled = [], 0
    for member, (label, split) in enumerate(zip(labels, splits)):
        if label is None or label == -1:  # so the hub marks test images without a label
            unlabelled += 1
            continue
        if names is not None and _is_number(label):
            if not 0 <= label < len(names):
                raise Failure(
                    f"{images.path}: {images.names[member]}: label {label} where there are {len(names)} names"
                )
            label = names[label]
        text = label.decode("utf-8", "replace") if isinstance(label, bytes) else str(label)
        rows.append((split, text, member))
    classes = names
    used = {name for _, name, _ in rows}
    if names is None and all(_is_number(label) for label in labels if label is not None):
        classes = sorted(used, key=int)
    notes = [f"{unlabelled:,} images without a label left out"] if unlabelled else []
    return by_class(images, "table", rows, classes=classes, notes=notes)


def _is_number(label: Any) -> bool:
    return isinstance(label, int) and not isinstance(label, bool)


def _features(schema: pa.Schema) -> dict[str, dict]:
    """What the hub says of the columns, or nothing."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return {name: kind for name, kind in told["info"]["features"].items() if isinstance(kind, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _image_column(schema: pa.Schema, features: dict[str, dict]) -> str | None:
    told = [name for name, kind in features.items() if kind.get("_type") == "Image" and name in schema.names]
    structs = [field.name for field in schema if pa.types.is_struct(field.type) and "bytes" in _children(field.type)]
    plain = [field.name for field in schema if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)]
    return next(iter([*told, *structs, *plain]), None)


def _children(kind: pa.DataType) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)]


def _label_column(schema: pa.Schema, features: dict[str, dict]) -> str | None:
    told = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel" and name in schema.names]
    known = [name for name in LABELS if name in schema.names]
    return next(iter([*told, *known]), None)
