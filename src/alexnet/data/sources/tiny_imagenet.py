"""Tiny ImageNet: ``train/WNID/images/*``, ``val/images/*`` with ``val_annotations.txt``, and an unlabelled test."""

from alexnet.data.sources.listing import Source, by_class
from alexnet.data.sources.tree import Tree
from alexnet.data.sources.words import find_words
from alexnet.errors import Failure

EXPECTED = "train/WNID/images/* and val/val_annotations.txt"
ANNOTATIONS = "val/val_annotations.txt"


def matches(tree: Tree) -> bool:
    """Whether its annotations are there."""
    return any(name == ANNOTATIONS or name.endswith("/" + ANNOTATIONS) for name in tree.names)


def source(tree: Tree) -> Source:
    """Training and validation images. Raises ``Failure`` where the annotations do not name an image."""
    root = next(name for name in tree.names if name.endswith(ANNOTATIONS)).removesuffix(ANNOTATIONS)
    text = tree.text("val_annotations.txt") or ""
    annotated = dict(line.split("\t")[:2] for line in text.splitlines() if "\t" in line)
    rows: list[tuple[str, str, int]] = []
    unlabelled = 0
    for member, name in enumerate(tree.names):
        parts = name.removeprefix(root).split("/")
        if not name.startswith(root) or not name.lower().endswith((".jpeg", ".jpg")):
            continue
        if parts[0] == "train" and len(parts) == 4:
            rows.append(("train", parts[1], member))
        elif parts[0] == "val":
            if parts[-1] not in annotated:
                raise Failure(f"{tree.path}: {name} is not named in {ANNOTATIONS}; fetch the archive again")
            rows.append(("val", annotated[parts[-1]], member))
        else:
            unlabelled += parts[0] == "test"
    notes = [f"{unlabelled:,} test images have no published labels: left out"] if unlabelled else []
    return by_class(tree, "tiny-imagenet", rows, words=lambda classes: find_words(tree, classes), notes=notes)
