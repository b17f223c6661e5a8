"""A CSV (or TSV) of ``path,label`` and, if wanted, ``split``; paths are relative to its folder."""

import csv
import os

from alexnet.data.sources.folder import SPLIT_NAMES
from alexnet.data.sources.listing import Source, by_class
from alexnet.data.sources.tree import Tree
from alexnet.errors import WrongUse

EXPECTED = "a .csv or .tsv file whose first line names the columns path, label and, if wanted, split"
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "filepath", "image"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "set", "subset"),
}


class ListedTree(Tree):
    """The files that a list names."""

    kind = "list of files"

    def __init__(self, path: str, names: list[str]):
        super().__init__(path, names)

    def read(self, member: int) -> bytes:
        with open(os.path.join(os.path.dirname(self.path), self.names[member]), "rb") as file:
            return file.read()


def matches(tree: Tree) -> bool:
    """Whether the source is a CSV or TSV file."""
    return tree.kind == "file" and tree.path.lower().endswith((".csv", ".tsv"))


def source(tree: Tree) -> Source:
    """The listed images. Raises ``WrongUse`` naming the line that cannot be meant."""
    text = tree.text(tree.names[0]) or ""
    first = text.partition("\n")[0]
    delimiter = "\t" if tree.path.lower().endswith(".tsv") else max(",;\t", key=first.count)
    rows = csv.reader(text.splitlines(), delimiter=delimiter)
    header = [name.strip().lower() for name in next(rows, [])]
    place = {
        column: next((header.index(name) for name in names if name in header), None)
        for column, names in COLUMNS.items()
    }
    path, label, split = place["path"], place["label"], place["split"]
    if path is None or label is None:
        raise WrongUse(f"{tree.path}: the first line is {first[:80]!r}; it must name the columns path and label")
    names, found = [], []
    for row in rows:
        if not row:
            continue
        where = f"{tree.path}: line {rows.line_num}"
        if len(row) != len(header):
            raise WrongUse(f"{where}: {len(row)} values where the first line names {len(header)} columns")
        told = row[split].strip().lower() if split is not None else "train"
        if not row[path].strip() or not row[label].strip():
            raise WrongUse(f"{where}: no {'label' if row[path].strip() else 'path'}")
        if told not in SPLIT_NAMES:
            raise WrongUse(f"{where}: split {told!r}: give train, val or test")
        found.append((SPLIT_NAMES[told], row[label].strip(), len(names)))
        names.append(row[path].strip())
    labels = {name for _, name, _ in found}
    numbers = all(name.isdecimal() for name in labels)
    return by_class(ListedTree(tree.path, names), "csv", found, classes=sorted(labels, key=int) if numbers else None)
