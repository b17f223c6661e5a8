"""Any folder of images: ``train/CLASS/*`` with ``val/...`` and ``test/...``, or ``CLASS/*`` alone.

Folders that wrap all of it are passed through; images may lie at any depth below their class's folder.
"""

from alexnet.data.sources.listing import Item, Listing
from alexnet.data.sources.tree import Tree
from alexnet.errors import WrongUse

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
IMAGE_ENDINGS = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jfif")


def matches(tree: Tree) -> bool:
    """Any tree may be a folder of images: this layout is asked last."""
    return True


def listing(tree: Tree) -> Listing:
    """Lists the tree.

    Raises:
        WrongUse: no images, no class folders, one class only, a class without images, or a class in
            validation or test that training lacks.
    """
    names = [name for name in tree.names() if not _hidden(name)]
    images = [name for name in names if name.lower().endswith(IMAGE_ENDINGS)]
    if not images:
        raise WrongUse(f"{tree.path}: holds no images ({', '.join(IMAGE_ENDINGS)})")
    root = _unwrap(images, tree.folders())
    images = [name for name in images if name.startswith(root)]
    top = {name[len(root) :].split("/")[0] for name in images if "/" in name[len(root) :]}
    folders = [name[len(root) :] for name in tree.folders() if name.startswith(root) and not _hidden(name[len(root) :])]
    splits = {name: SPLIT_NAMES[name.lower()] for name in top if name.lower() in SPLIT_NAMES}
    if splits and "train" not in splits.values():
        raise WrongUse(f"{tree.path}: has {', '.join(sorted(splits))} but no train folder")
    if splits:
        found = [
            (splits[parts[0]], parts[1], name)
            for name in images
            if len(parts := name[len(root) :].split("/")) > 2 and parts[0] in splits
        ]
        folders = [name.split("/", 1)[1] for name in folders if name.split("/")[0] in splits and "/" in name]
    else:
        found = [("train", parts[0], name) for name in images if len(parts := name[len(root) :].split("/")) > 1]
    classes = sorted({class_name for split, class_name, _ in found if split == "train"})
    _check(tree.path, found, classes, {name for name in folders if "/" not in name})
    index = {name: position for position, name in enumerate(classes)}
    items = [Item(split, index[class_name], name) for split, class_name, name in found]
    if not tree.sequential:
        order = {"train": 0, "val": 1, "test": 2}
        items.sort(key=lambda item: (order[item.split], item.name))
    notes = (
        [f"{len(images) - len(items):,} images outside the class folders left out"] if len(images) > len(items) else []
    )
    return Listing("folder", classes, items, ignored=len(names) - len(images), notes=notes)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _unwrap(images: list[str], folders: list[str]) -> str:
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


def _check(path: str, found: list[tuple[str, str, str]], classes: list[str], folders: set[str]) -> None:
    if not found:
        raise WrongUse(
            f"{path}: holds images but no folders of classes; put each class's images in a folder of its name"
        )
    unknown = sorted({class_name for _, class_name, _ in found} - set(classes))
    if unknown:
        raise WrongUse(
            f"{path}: class {unknown[0]!r} has no training images, though it has others; add some or remove it"
        )
    empty = sorted(folders - set(classes))
    if empty:
        raise WrongUse(f"{path}: class folder {empty[0]!r} has no images; add some or remove the folder")
    if len(classes) < 2:
        raise WrongUse(f"{path}: one class only ({classes[0]!r}); a classifier needs two or more class folders")
