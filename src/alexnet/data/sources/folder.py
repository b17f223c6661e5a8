"""Any folder of images: ``train/CLASS/*`` with ``val/...`` and ``test/...``, or ``CLASS/*`` alone.

Folders that wrap all of it are passed through; images may lie at any depth below their class's folder.
"""

from collections.abc import Sequence

from alexnet.data.sources.listing import Source, by_class
from alexnet.data.sources.tree import IMAGE_ENDINGS, Tree
from alexnet.data.sources.words import find_words
from alexnet.errors import WrongUse

EXPECTED = "train/CLASS/*, val/CLASS/* or CLASS/*"
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def matches(tree: Tree) -> bool:
    """Any tree may be a folder of images: this layout is asked last."""
    return True


def source(tree: Tree) -> Source:
    """Lists the tree.

    Raises:
        WrongUse: no images, no class folders, one class only, a class without images, or a class in
            validation or test that training lacks.
    """
    images = [
        each for each in enumerate(tree.names) if each[1].lower().endswith(IMAGE_ENDINGS) and not _hidden(each[1])
    ]
    if not images:
        raise WrongUse(f"{tree.path}: holds no images ({', '.join(IMAGE_ENDINGS)})")
    root = _unwrap([name for _, name in images])
    names = [(i, name[len(root) :].split("/")) for i, name in images if name.startswith(root)]
    folders = [name[len(root) :].split("/") for name in tree.folders if name.startswith(root)]
    top = {parts[0] for _, parts in names if len(parts) > 1}
    splits = {name: SPLIT_NAMES[name.lower()] for name in sorted(top) if name.lower() in SPLIT_NAMES}
    if splits and "train" not in splits.values():
        raise WrongUse(f"{tree.path}: has {', '.join(splits)} but no train folder")
    if splits:
        found = [(splits[parts[0]], parts[1], i) for i, parts in names if len(parts) > 2 and parts[0] in splits]
        held = {parts[1] for parts in folders if len(parts) == 2 and parts[0] in splits}
    else:
        found = [("train", parts[0], i) for i, parts in names if len(parts) > 1]
        held = {parts[0] for parts in folders if len(parts) == 1}
    if not found:
        raise WrongUse(
            f"{tree.path}: holds images but no folders of classes; put each class's images in a folder of its name"
        )
    empty = sorted(name for name in held - {name for _, name, _ in found} if not _hidden(name))
    if empty:
        raise WrongUse(f"{tree.path}: class folder {empty[0]!r} has no images; add some or remove the folder")
    outside = len(images) - len(found)
    notes = [f"{outside:,} images outside the class folders left out"] if outside else []
    return by_class(
        tree,
        "folder",
        found,
        words=lambda classes: find_words(tree, classes),
        ignored=len(tree.names) - len(images),
        notes=notes,
    )


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _unwrap(images: Sequence[str]) -> str:
    """The prefix of the folder that holds the splits or classes: goes down while there is but one way."""
    root = ""
    while True:
        below = {name[len(root) :].split("/", 1)[0] for name in images}
        only = next(iter(below))
        inner = root + only + "/"
        if len(below) > 1 or only.lower() in SPLIT_NAMES or not any(name.startswith(inner) for name in images):
            return root
        if any("/" not in name[len(inner) :] for name in images):
            return root
        root = inner
