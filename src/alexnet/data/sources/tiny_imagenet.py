"""Tiny ImageNet: ``train/WNID/images/*``, ``val/images/*`` with ``val_annotations.txt``, and an unlabeled test."""

import re

from alexnet.data.sources.listing import Source, by_class
from alexnet.data.sources.text import label_of, lines_of
from alexnet.data.sources.tree import Tree
from alexnet.data.sources.words import find_words
from alexnet.errors import AlexNetError

EXPECTED = "train/WNID/images/* and val/val_annotations.txt"
ANNOTATIONS = "val/val_annotations.txt"


def matches(tree: Tree) -> bool:
    """Whether its annotations are there, and training images as it has them, in a folder ``images`` a class."""
    root = _root(tree)
    if root is None:
        return False
    image = re.compile(re.escape(root) + r"train/[^/]+/images/[^/]+\.jpe?g", re.IGNORECASE)
    return any(image.fullmatch(name) for name in tree.names)


def _root(tree: Tree) -> str | None:
    """What goes before ``val/val_annotations.txt``; None where there is none."""
    names = (name for name in tree.names if name == ANNOTATIONS or name.endswith("/" + ANNOTATIONS))
    name = min(names, key=lambda name: name.count("/"), default=None)
    return None if name is None else name.removesuffix(ANNOTATIONS)


def source(tree: Tree) -> Source:
    """Training and validation images. Raises ``AlexNetError`` where the annotations do not name an image."""
    root = _root(tree)
    assert root is not None
    text = tree.text("val_annotations.txt") or ""
    annotated = {
        cells[0]: label_of(cells[1], f"{tree.path}: {root}{ANNOTATIONS}: line {number:,}") or ""
        for number, line in enumerate(lines_of(text), 1)
        if len(cells := line.split("\t")) > 1
    }
    rows: list[tuple[str, str, int]] = []
    unlabeled = 0
    for member, name in enumerate(tree.names):
        parts = name.removeprefix(root).split("/")
        if not name.startswith(root) or not name.lower().endswith((".jpeg", ".jpg")):
            continue
        if parts[0] == "train" and len(parts) == 4:
            rows.append(("train", parts[1], member))
        elif parts[0] == "val":
            if parts[-1] not in annotated:
                raise AlexNetError(f"{tree.path}: {name} is not named in {ANNOTATIONS}; fetch the archive again")
            rows.append(("val", annotated[parts[-1]], member))
        else:
            unlabeled += parts[0] == "test"
    notes = [f"{unlabeled:,} test images have no published labels: left out"] if unlabeled else []
    return by_class(tree, "tiny-imagenet", rows, words=lambda classes: find_words(tree, classes), notes=notes)
