"""Tables of images: the Hugging Face hub's Parquet shards, and any Parquet or Arrow data set like them.

A column holds the images, a struct of ``bytes`` and ``path`` or the bytes alone; another the labels, numbers or
names. The hub keeps which is which, and the names of the classes, in the schema's metadata; without it the column
types say it. Shards are read in order, piece by piece, so memory stays flat.
"""

import contextlib
import errno
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from alexnet import files
from alexnet.data.sources.listing import SPLIT_NAMES, Source, by_class, distinct, labeled
from alexnet.data.sources.text import label_of
from alexnet.data.sources.tree import Content, FileTree, FolderTree, Tree, within
from alexnet.errors import AlexNetError, UsageError

EXPECTED = "*.parquet or *.arrow shards with a column of images and one of labels"
ENDINGS = (".parquet", ".arrow")
READ_ROWS = 32  # that many images of a piece are in memory at once
IMAGES = ("image", "img", "jpg", "jpeg", "png", "picture", "photo")
LABELS = ("label", "labels", "fine_label", "class", "target", "cls")


def matches(tree: Tree) -> bool:
    """Whether there are Parquet or Arrow files."""
    return isinstance(tree, FolderTree | FileTree) and any(name.lower().endswith(ENDINGS) for name in tree.names)


def holds_images(tree: Tree) -> bool:
    """Whether one of the tables has a column of images and one of labels, so that it could be meant."""
    assert isinstance(tree, FolderTree | FileTree)
    for member, name in enumerate(tree.names):
        if name.lower().endswith(ENDINGS):
            with contextlib.suppress(AlexNetError, UsageError):
                schema = _Shard(tree.place(member), name).schema
                features = _features(schema)
                if _image_column(schema, features) and _label_column(schema, features):
                    return True
    return False


def split_of(name: str) -> str:
    """The split that a shard's name speaks of (``validation-00000-of-00014.parquet``); train if of none."""
    for word in re.split(r"[^a-z]+", name.lower()):
        if word in SPLIT_NAMES or word == "dev":
            return SPLIT_NAMES.get(word, "val")
    return "train"


class _Shard:
    """One file, its name in the tree, its pieces (row groups, or record batches) and how many rows each has."""

    def __init__(self, place: str, name: str):
        self.place, self.name = place, name
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
        except UsageError:
            raise
        except (pa.ArrowException, OSError, IndexError, ValueError) as error:
            raise AlexNetError(f"{place}: damaged or no such table ({_first(error)}); fetch it again") from error

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
            raise AlexNetError(f"{self.place}: damaged ({_first(error)}); fetch it again") from error


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
        stems = [shard.name.split("/")[-1] for shard in shards]
        for shard, stem in zip(shards, stems):
            if stems.count(stem) > 1:  # of the same name in two folders
                stem = shard.name
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
        UsageError: no column of images or of labels.
        AlexNetError: a damaged shard, or labels that have no name.
    """
    try:
        return _listed(tree)
    except (pa.ArrowException, UnicodeError) as error:  # names or labels that are no text
        raise AlexNetError(f"{tree.path}: damaged ({_first(error)}); fetch it again") from error


def _listed(tree: Tree) -> Source:
    assert isinstance(tree, FolderTree | FileTree)
    members = [i for i, name in enumerate(tree.names) if name.lower().endswith(ENDINGS)]
    shards = [_Shard(tree.place(i), tree.names[i]) for i in members]
    features, image, label = _columns(shards)
    with_labels = [shard for shard in shards if label in shard.schema.names]
    notes = [f"{shard.name}: has no column {label}: left out" for shard in shards if label not in shard.schema.names]
    wrong = next((shard for shard in with_labels if image not in shard.schema.names), None)
    if wrong:
        raise AlexNetError(f"{wrong.place}: lacks the column {image} of the other shards; fetch it again")
    names = _class_names(features, label, shards[0].place)
    values: list[Any] = []
    splits: list[str] = []
    for shard in with_labels:
        for piece in range(len(shard.rows)):
            for array in shard.read(piece, label):
                values += array.to_pylist()
        splits += [split_of(shard.name)] * sum(shard.rows)
    return _source(TableTree(tree.path, with_labels, image), values, splits, names, notes)


def _class_names(features: dict[str, dict], label: str, place: str) -> list[str] | None:
    """What the metadata calls the numbers in the column of labels, or None."""
    names = features.get(label, {}).get("names")
    if names is None:
        return None
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise AlexNetError(f"{place}: its metadata names no classes for {label}; fetch it again")
    names = [label_of(name, f"{place}: the metadata's names") or "" for name in names]
    return distinct(names, [str(number) for number in range(len(names))])


def _columns(shards: Sequence[_Shard]) -> tuple[dict[str, dict], str, str]:
    """What the metadata says of the columns, and which of them are the images and the labels."""
    lacking = ""
    for shard in shards:
        schema = shard.schema
        features = _features(schema)
        image, label = _image_column(schema, features), _label_column(schema, features)
        twice = next((name for name in (image, label) if name and schema.names.count(name) > 1), None)
        if twice:
            raise UsageError(f"{shard.place}: has two columns called {twice}; rename one")
        if image and label:
            return features, image, label
        lacking = lacking or (
            f"{shard.place}: no column of {'labels' if image else 'images'} among {', '.join(schema.names)}; "
            "images are a struct of bytes and path or binary, labels are called 'label'"
        )
    raise UsageError(lacking)


def _source(
    images: TableTree, values: list[Any], splits: list[str], names: list[str] | None, notes: list[str]
) -> Source:
    """The images that have a label; ``names`` are what a whole number stands for."""
    rows: list[tuple[str, str, int]] = []
    unlabeled = 0
    for member, (value, split) in enumerate(zip(values, splits)):
        where = f"{images.path}: {images.names[member]}"
        text = label_of(value, where)
        if text is None or (text == "-1" and not isinstance(value, str | bytes)):  # so the hub marks test images
            unlabeled += 1
            continue
        if names is not None and not isinstance(value, str | bytes | bool):
            number = int(text)
            if not 0 <= number < len(names):
                raise AlexNetError(f"{where}: label {number} where there are {len(names)} names")
            text = names[number]
        rows.append((split, text, member))
    if names is None:
        return labeled(images, "table", rows, unlabeled, notes=notes)
    notes = [*notes, f"{unlabeled:,} images without a label left out"] if unlabeled else notes
    return by_class(images, "table", rows, classes=names, notes=notes)


def _features(schema: pa.Schema) -> dict[str, dict]:
    """What the hub says of the columns, or nothing."""
    try:
        told = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return {name: kind for name, kind in told["info"]["features"].items() if isinstance(kind, dict)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _image_column(schema: pa.Schema, features: dict[str, dict]) -> str | None:
    """The column of images: what the metadata calls so, else a struct with bytes, else binary; of several by name."""
    declared = [name for name, kind in features.items() if kind.get("_type") == "Image" and name in schema.names]
    structs = [field.name for field in schema if pa.types.is_struct(field.type) and "bytes" in _children(field.type)]
    plain = [field.name for field in schema if _is_binary(field.type) and field.name not in LABELS]
    for columns in (declared, structs, plain):
        if columns:
            return next((name for wanted in IMAGES for name in columns if name.lower() == wanted), columns[0])
    return None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _children(kind: pa.DataType) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)]


def _label_column(schema: pa.Schema, features: dict[str, dict]) -> str | None:
    declared = [name for name, kind in features.items() if kind.get("_type") == "ClassLabel" and name in schema.names]
    known = [name for name in LABELS if name in schema.names]
    return next(iter([*(name for name in LABELS if name in declared), *declared, *known]), None)
