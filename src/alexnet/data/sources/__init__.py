"""Where images come from: one file a layout. A source lists its images, then hands out their bytes.

A layout is a module with ``matches(tree) -> bool``, ``source(tree) -> Source`` and ``EXPECTED``, what it looks like
in words; the bytes come from a ``Tree`` (folder, archive, table) underneath. A new layout is one file and one line
in ``LAYOUTS``, which are asked in this order.
"""

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
from alexnet.data.sources.tree import Tree, open_tree
from alexnet.errors import WrongUse

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

__all__ = ["LAYOUTS", "SPLITS", "Listing", "Source", "Tree", "open_source", "split_off_validation"]


def open_source(path: str | os.PathLike, layout: str | None = None) -> Source:
    """The source at ``path``, its layout recognised by itself unless named.

    Raises:
        WrongUse: nothing there, not a folder or an archive, or not of the layout that was named.
        Failure: a damaged archive, list or table.
    """
    if layout is not None and layout not in LAYOUTS:
        raise WrongUse(f"--layout {layout}: unknown; give one of {', '.join(LAYOUTS)}")
    tree = open_tree(path)
    for name, module in LAYOUTS.items():
        if layout in (None, name) and module.matches(tree):
            return module.source(tree)
    raise WrongUse(f"--layout {layout}: {path} does not look so; expected {LAYOUTS[layout or 'folder'].EXPECTED}")
