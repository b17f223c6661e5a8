"""Any folder of images: ``train/CLASS/*`` with ``val/...`` and ``test/...``, or ``CLASS/*`` alone.

Folders that wrap all of it are passed through; images may lie at any depth below their class's folder.
"""

from collections.abc import Sequence

from alexnet.data.sources import splits as folders_of_splits
from alexnet.data.sources.listing import SPLIT_NAMES, Source, by_class
from alexnet.data.sources.tree import IMAGE_ENDINGS, Tree, is_image
from alexnet.data.sources.words import find_words
from alexnet.errors import UsageError
from alexnet.files import mistakes

LISTS = (".csv", ".tsv", ".parquet", ".arrow", ".json", ".txt", ".xml")  # of a folder that is no class
EXPECTED = "train/CLASS/*, val/CLASS/* or CLASS/*"


def matches(tree: Tree) -> bool:
    """Any tree may be a folder of images: this layout is asked last."""
    return True


def classes_at_hand(tree: Tree, most: int = 3) -> list[str]:
    """The first few folders that hold images directly."""
    folders: list[str] = []
    for name in tree.names:
        folder = name.rpartition("/")[0]
        if folder and is_image(name) and folder not in folders:
            folders.append(folder)
            if len(folders) == most:
                break
    return folders


def source(tree: Tree, splits: str = "auto") -> Source:
    """Lists the tree.

    Args:
        tree: any.
        splits: ``auto``, or ``none``: every folder is a class, whatever it is called.

    Raises:
        UsageError: no images, no class folders, one class only, a class without images, a class in validation or test
            that training lacks, or folders that may be splits or classes.
    """
    images = [(i, name) for i, name in enumerate(tree.names) if is_image(name)]
    if not images:
        left_out = f"; {tree.left_out}" if tree.left_out else ""
        mistakes.refuse_other(tree.path, "source")
        if not tree.names and not tree.left_out:
            raise UsageError(
                f"{tree.path}: is empty (holds no images); give a folder or an archive of them, one folder per class"
            )
        raise UsageError(f"{tree.path}: holds no images ({', '.join(IMAGE_ENDINGS)}){left_out}")
    names = [name for _, name in images]
    root = _unwrap(names, () if splits == "none" else SPLIT_NAMES)
    reading = folders_of_splits.read(folders_of_splits.Shape(tree.path, root, names), splits)
    rows = [row for i, name in images if (row := _row(i, name, reading))]
    if not rows:
        raise UsageError(
            f"{tree.path}: holds images but no folders of classes; put each class's images in a folder of its name"
        )
    _check_full(tree, reading, {name for _, name, _ in rows})
    outside = len(images) - len(rows)
    notes = [*reading.notes, *([f"{outside:,} images outside the class folders left out"] if outside else [])]
    return by_class(
        tree,
        "folder",
        rows,
        words=lambda classes: find_words(tree, classes),
        ignored=len(tree.names) - len(images),
        notes=notes,
    )


def _row(member: int, name: str, reading: folders_of_splits.Reading) -> tuple[str, str, int] | None:
    """Split, class and place of an image; None where it lies in no class's folder."""
    for prefix, split in reading.roots.items():
        if name.startswith(prefix):
            label, _, rest = name[len(prefix) :].partition("/")
            if not rest:
                return None
            return reading.within.get(rest.partition("/")[0], split) if reading.within else split, label, member
    return None


def _check_full(tree: Tree, reading: folders_of_splits.Reading, classes: set[str]) -> None:
    """Raises ``UsageError`` where a class's folder has no image."""
    for folder in tree.folders:
        for prefix in reading.roots:
            name = folder[len(prefix) :]
            if folder.startswith(prefix) and "/" not in name and name not in classes and not _holds_lists(tree, folder):
                raise UsageError(f"{tree.path}: class folder {name!r} has no images; add some or remove the folder")


def _holds_lists(tree: Tree, folder: str) -> bool:
    """Whether a folder has files, and nothing but lists and tables."""
    below = [name for name in tree.names if name.startswith(folder + "/")]
    return bool(below) and all(name.lower().endswith(LISTS) for name in below)


def _unwrap(images: Sequence[str], stops: Sequence[str] | dict[str, str]) -> str:
    """The prefix of the folder that holds the splits or classes: goes down while there is but one way."""
    root = ""
    while True:
        below = {name[len(root) :].split("/", 1)[0] for name in images}
        only = next(iter(below))
        inner = root + only + "/"
        if len(below) > 1 or only.lower() in stops or not any(name.startswith(inner) for name in images):
            return root
        if any("/" not in name[len(inner) :] for name in images):
            return root
        root = inner
