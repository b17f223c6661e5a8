"""Where images come from: one file a layout. A source lists its images, then hands out their bytes.

A layout is a module with ``matches(tree) -> bool``, ``source(tree) -> Source`` and ``EXPECTED``, what it looks like
in words; the bytes come from a ``Tree`` (folder, archive, table) underneath. A new layout is one file and one line
in ``LAYOUTS``, which are asked in this order.
"""

import dataclasses
import os

from alexnet.data.sources import (
    cifar10,
    csv_list,
    folder,
    ilsvrc,
    kaggle,
    table,
    tiny_imagenet,
    webdataset,
    wnid_tars,
)
from alexnet.data.sources.listing import SPLITS, Listing, Source, split_off_validation
from alexnet.data.sources.tree import LeftOut, Tree, open_tree, printable
from alexnet.errors import UsageError
from alexnet.files import mistakes

LAYOUTS = {
    "csv": csv_list,
    "table": table,
    "cifar10": cifar10,
    "ilsvrc": ilsvrc,
    "kaggle": kaggle,
    "tiny-imagenet": tiny_imagenet,
    "wnid-tars": wnid_tars,
    "webdataset": webdataset,
    "folder": folder,
}
# Layouts whose images are in files that may lie beside anything else, folders of photos among it.
IN_FILES = ("table", "cifar10", "ilsvrc", "wnid-tars", "webdataset")

__all__ = ["LAYOUTS", "SPLITS", "Listing", "Source", "Tree", "open_source", "split_off_validation"]


def open_source(
    path: str | os.PathLike,
    layout: str | None = None,
    *,
    splits: str = "auto",
    without: str | os.PathLike | None = None,
) -> Source:
    """The source at ``path``, its layout recognized by itself unless named.

    Args:
        path: folder, archive or list.
        layout: its name.
        splits: of the layout ``folder``: ``auto``, or ``none``, every folder is a class.
        without: a folder that is left out where it lies in the source: the dataset that is being made.

    Raises:
        UsageError: nothing there, not a folder or an archive, not of the layout that was named, or of two layouts.
        AlexNetError: a damaged archive, list or table.
    """
    if layout is not None and layout not in LAYOUTS:
        raise UsageError(f"--layout {layout}: unknown; give one of {', '.join(LAYOUTS)}")
    if splits not in ("auto", "none"):
        raise UsageError(f"--splits {splits}: unknown; give auto or none")
    tree = open_tree(path, without)
    if tree.own and layout != "table":
        mistakes.refuse(tree.path, "source", own=tree.own)
    notes: list[str] = []
    name = layout or _recognized(tree, notes)
    if not LAYOUTS[name].matches(tree):
        raise UsageError(f"--layout {name}: {path} does not look so; expected {LAYOUTS[name].EXPECTED}")
    if splits != "auto" and name != "folder":
        raise UsageError(f"--splits {splits}: {path} is of layout {name}, which says itself what its splits are")
    source = folder.source(tree, splits) if name == "folder" else LAYOUTS[name].source(tree)
    return _with_notes(source, tree, notes)


def _recognized(tree: Tree, notes: list[str]) -> str:
    """The layout that a tree has, with notes where it could be taken for another."""
    name = next(name for name, module in LAYOUTS.items() if module.matches(tree))
    photos = folder.classes_at_hand(tree) if name in (*IN_FILES, "folder") and tree.kind != "file" else []
    if name in IN_FILES and len(photos) > 1:
        if name != "table" or table.holds_images(tree):
            raise UsageError(
                f"{tree.path}: is of layout {name} and holds folders of images, too "
                f"({', '.join(map(printable, photos))}); say which is meant: --layout {name} or --layout folder"
            )
        stray = next(other for other in tree.names if other.lower().endswith(table.ENDINGS))
        notes.append(f"{printable(stray)}: a table without images, not read; --layout table takes tables alone")
        return next(name for name, module in LAYOUTS.items() if name != "table" and module.matches(tree))
    if name == "folder" and len(photos) < 2:
        lacking = webdataset.missing(tree)
        if lacking:
            raise UsageError(f"{tree.path}: {lacking}")
    return name


def _with_notes(source: Source, tree: Tree, notes: list[str]) -> Source:
    """The source, whose listing says what was left out of the tree and of those within it."""
    left_out = LeftOut()
    left_out.update(tree.left_out)
    if source.tree is not tree:
        left_out.update(source.tree.left_out)
    more = [*notes, str(left_out)] if left_out else notes
    return Source(source.tree, dataclasses.replace(source.listing, notes=[*source.listing.notes, *more]))
