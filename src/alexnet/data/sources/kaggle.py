"""Kaggle's ImageNet: ``ILSVRC/Data/CLS-LOC/{train,val,test}`` with its lists beside it, unpacked or in its zip."""

import re

from alexnet.data.sources.listing import Source, by_class
from alexnet.data.sources.text import csv_rows
from alexnet.data.sources.tree import Tree
from alexnet.data.sources.words import find_words
from alexnet.errors import AlexNetError, UsageError

EXPECTED = "ILSVRC/Data/CLS-LOC/train/CLASS/*, .../val/* and LOC_val_solution.csv"
PLACE = re.compile(r"(?:.*/)?Data/CLS-LOC/(train|val|test)/(?:(n\d{8})/)?([^/]+)\.JPEG", re.IGNORECASE)
SOLUTION = "LOC_val_solution.csv"


def matches(tree: Tree) -> bool:
    """Whether there are images where Kaggle has them."""
    return any("CLS-LOC/train/" in name and PLACE.fullmatch(name) for name in tree.names)


def source(tree: Tree) -> Source:
    """Training and validation images; the test images have no labels.

    Raises:
        UsageError: ``LOC_val_solution.csv`` is missing.
        AlexNetError: it does not name a validation image.
    """
    found: list[tuple[str, str | None, str, int]] = []
    unlabeled = 0
    for member, name in enumerate(tree.names):
        match = PLACE.fullmatch(name)
        if match and match[1].lower() == "test":
            unlabeled += 1
        elif match:
            found.append((match[1].lower(), match[2], match[3], member))
    solution = _solution(tree) if any(split == "val" and not wnid for split, wnid, _, _ in found) else {}
    rows = []
    for split, wnid, stem, member in found:
        wnid = wnid or solution.get(stem)
        if wnid is None:
            raise AlexNetError(f"{tree.path}: {tree.names[member]} is not named in {SOLUTION}; fetch that list again")
        rows.append((split, wnid, member))
    notes = [f"{unlabeled:,} test images have no published labels: left out"] if unlabeled else []
    return by_class(tree, "kaggle", rows, words=lambda classes: find_words(tree, classes), notes=notes)


def _solution(tree: Tree) -> dict[str, str]:
    """The WNID of each validation image: the first word of what Kaggle calls its PredictionString."""
    text = tree.text(SOLUTION)
    if text is None:
        raise UsageError(
            f"{tree.path}: no {SOLUTION}, which has the validation labels; put it beside the ILSVRC folder"
        )
    rows = (row for number, row in csv_rows(text, ",", f"{tree.path}: {SOLUTION}") if number > 1)
    return {row[0]: row[1].split()[0] for row in rows if len(row) > 1 and row[1].split()}
