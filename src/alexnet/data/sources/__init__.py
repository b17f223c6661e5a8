"""Where images come from: one file a layout. A source lists its images, then hands out their bytes.

A layout is a class with ``matches(tree) -> bool`` and ``listing(tree) -> Listing``; the bytes come from the
``Tree`` (folder or archive) underneath. A new layout is one file and one line in ``LAYOUTS``.
"""

import os

from alexnet.data.sources import folder
from alexnet.data.sources.listing import Item, Listing, Source, split_off_validation
from alexnet.data.sources.tree import Tree, open_tree
from alexnet.errors import WrongUse

LAYOUTS = {"folder": folder}

__all__ = ["LAYOUTS", "Item", "Listing", "Source", "Tree", "open_source", "split_off_validation"]


def open_source(path: str | os.PathLike, layout: str | None = None) -> Source:
    """The source at ``path``, its layout recognised by itself unless named.

    Raises:
        WrongUse: nothing there, not a folder or an archive, or no layout fits.
    """
    if layout is not None and layout not in LAYOUTS:
        raise WrongUse(f"--layout {layout}: unknown; give one of {', '.join(LAYOUTS)}")
    tree = open_tree(path)
    for name, module in LAYOUTS.items():
        if name == layout or (layout is None and module.matches(tree)):
            return Source(tree, module.listing(tree))
    raise WrongUse(f"{path}: no known layout of images; expected train/CLASS/*, val/CLASS/* or CLASS/*")
