"""A CSV (or TSV) of ``path,label`` and, if wanted, ``split``; paths are relative to its folder."""

import os
from collections.abc import Iterator
from typing import NamedTuple

from alexnet import files
from alexnet.data.sources.listing import SPLIT_NAMES, Source, labeled
from alexnet.data.sources.text import csv_rows, label_of, lines_of, named
from alexnet.data.sources.tree import LIST, FileTree, Tree, read_image_file
from alexnet.errors import AlexNetError, UsageError
from alexnet.progress import plural

EXPECTED = "a .csv or .tsv file whose first line names the columns path, label and, if wanted, split"
ENDINGS = (".csv", ".tsv")
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image", "stimulus_path"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "set", "subset"),
}


class ListedTree(Tree):
    """The files that a list names, each in a line of it; their paths are relative to its folder."""

    kind = LIST

    def __init__(self, path: str, names: list[str], lines: list[int]):
        super().__init__(path, names)
        self._lines = lines

    def read(self, member: int) -> bytes:
        try:
            return read_image_file(_beside(self.path, self.names[member]))
        except AlexNetError as error:
            kind = UsageError if isinstance(error, UsageError) else AlexNetError
            raise kind(f"{self.path}: line {self._lines[member]:,}: {error}") from error


def _beside(path: str, name: str) -> str:
    if files.is_remote(name) or os.path.isabs(name):
        return name
    if files.is_remote(path):
        return f"{path.rpartition('/')[0]}/{name}"
    return os.path.join(os.path.dirname(path), name)


def is_list(path: str) -> bool:
    """Whether a path is called as a list is."""
    return path.lower().endswith(ENDINGS)


def matches(tree: Tree) -> bool:
    """Whether the source is a CSV or TSV file."""
    return tree.kind == "file" and is_list(tree.path)


def _table(tree: Tree) -> tuple[str, list[str], Iterator[tuple[int, list[str]]], list[int | None]]:
    """The first line, the header, numbered rows, and the places of the columns path, label and split."""
    text = tree.text(tree.names[0]) or ""
    first = next(iter(lines_of(text)), "")
    delimiter = "\t" if tree.path.lower().endswith(".tsv") else max(",;\t", key=first.count)
    rows = csv_rows(text, delimiter, tree.path)
    header = [name.strip() for name in next(iter(rows), (1, [""]))[1]]
    return first, header, rows, [_column(tree.path, header, names) for names in COLUMNS.values()]


class Listed(NamedTuple):
    """A list of images in its order.

    Attributes:
        tree: the files.
        labels: the index of each one's class, -1: it has none; None where the list has no column of labels.
        classes: their names; None where the list has no column of labels.
        columns: what else the list says of each image: the name in its first line, and the texts.
        used: the names of the columns of paths (``path``) and of labels (``label``, where there is one).
    """

    tree: Tree
    labels: list[int] | None
    classes: list[str] | None
    columns: list[tuple[str, list[str]]]
    used: dict[str, str]


def listed(path: str) -> Listed:
    """A list of images in its order, for which no label is needed.

    Raises:
        UsageError: naming the line that cannot be meant.
    """
    tree = FileTree(path)
    first, header, rows, (path_column, label, _) = _table(tree)
    if path_column is None:
        others = ", ".join(COLUMNS["path"][1:])
        raise UsageError(f"{path}: the first line is {first[:80]!r}; it must name a column path (or {others})")
    names: list[str] = []
    labels: list[str | None] = []
    lines: list[int] = []
    cells: list[list[str]] = []
    for number, row in rows:
        where = f"{path}: line {number:,}"
        if len(row) != len(header):
            raise _misfit(where, row, header)
        if not row[path_column].strip():
            raise UsageError(f"{where}: no path; write it there, or remove the line")
        names.append(row[path_column].strip())
        labels.append(None if label is None else label_of(row[label], where))
        lines.append(number)
        cells.append(row)
    if not names:
        raise UsageError(f"{path}: lists no images; write one path per line below the first line")
    tree, used = ListedTree(path, names, lines), {"path": header[path_column]}
    others = [number for number in range(len(header)) if number not in (path_column, label)]
    columns = [(header[number], [row[number].strip() for row in cells]) for number in others]
    if label is None:
        return Listed(tree, None, None, columns, used)
    renamed, classes = named(name for name in labels if name is not None)
    index = {name: number for number, name in enumerate(classes)}
    indices = [-1 if name is None else index.get(renamed[name] or "", -1) for name in labels]
    return Listed(tree, indices, classes, columns, {**used, "label": header[label]})


def source(tree: Tree) -> Source:
    """The listed images. Raises ``UsageError`` naming the line that cannot be meant."""
    first, header, rows, (path, label, split) = _table(tree)
    if path is None or label is None:
        raise UsageError(f"{tree.path}: the first line is {first[:80]!r}; it must name the columns path and label")
    names: list[str] = []
    lines: list[int] = []
    labels: list[tuple[str, str]] = []
    unlabeled = 0
    for number, row in rows:
        where = f"{tree.path}: line {number:,}"
        if len(row) != len(header):
            raise _misfit(where, row, header)
        said = row[split].strip().lower() if split is not None else "train"
        if not row[path].strip():
            raise UsageError(f"{where}: no path; write it there, or remove the line")
        if said not in SPLIT_NAMES:
            raise UsageError(f"{where}: split {said!r}: give train, val or test")
        name = label_of(row[label], where)
        if name is None:
            unlabeled += 1
            continue
        labels.append((SPLIT_NAMES[said], name))
        names.append(row[path].strip())
        lines.append(number)
    return labeled(ListedTree(tree.path, names, lines), "csv", [(*pair, i) for i, pair in enumerate(labels)], unlabeled)


def _misfit(where: str, row: list[str], header: list[str]) -> UsageError:
    counts = f"{plural(len(row), 'value')} where the first line names {plural(len(header), 'column')}"
    return UsageError(f"{where}: {counts}; fix one of these lines")


def _column(path: str, header: list[str], names: tuple[str, ...]) -> int | None:
    """The place of the column that has one of the names, the first of them that is there."""
    header = [name.lower() for name in header]
    name = next((name for name in names if name in header), None)
    if name is not None and header.count(name) > 1:
        raise UsageError(f"{path}: the first line names the column {name} twice; remove one")
    return None if name is None else header.index(name)
