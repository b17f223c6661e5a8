"""Larger releases: a folder or a tar of one tar a class, ``nXXXXXXXX.tar`` (Fall 2009's 10,184, 2011's 22k).

Nothing is unpacked: where every image lies within the tars is listed once, then read there. The training archive
of a challenge, ``ILSVRC2012_img_train.tar``, is such a tar, too.
"""

import re

import numpy as np

from alexnet.data.sources.listing import Listing, Source
from alexnet.data.sources.tree import TarTree, Tree
from alexnet.data.sources.words import find_words
from alexnet.errors import UsageError

EXPECTED = "nXXXXXXXX.tar, one a class"
CLASS_TAR = re.compile(r"(?:.*/)?(n\d{8})\.tar")


def matches(tree: Tree) -> bool:
    """Whether it holds two class archives or more."""
    found = 0
    for name in tree.names:
        found += bool(CLASS_TAR.fullmatch(name))
        if found == 2:
            return True
    return False


def class_tars(tree: Tree) -> dict[str, int]:
    """The place of each class's archive, in the order of the WNIDs."""
    found: dict[str, int] = {}
    for place, name in enumerate(tree.names):
        match = CLASS_TAR.fullmatch(name)
        if match and match[1] in found:
            raise UsageError(
                f"{tree.path}: {match[1]} is there twice ({tree.names[found[match[1]]]}, {name}); remove one"
            )
        if match:
            found[match[1]] = place
    return dict(sorted(found.items()))


def check_full(tree: Tree, classes: list[str], counts: np.ndarray) -> None:
    """Raises ``UsageError`` where a class's archive is empty."""
    if counts.min(initial=1) == 0:
        raise UsageError(f"{tree.path}: {classes[int(counts.argmin())]}.tar holds no images; add some or remove it")


def source(tree: Tree) -> Source:
    """The images of all class archives, for training; words where a list or devkit lies beside them."""
    tars = class_tars(tree)
    classes = list(tars)
    images = TarTree(tree.path, [tree.span(place) for place in tars.values()], [f"{name}/" for name in classes])
    check_full(tree, classes, np.bincount(images.spans_of, minlength=len(classes)))
    members = np.arange(len(images.names))
    splits = np.zeros(len(members), np.uint8)
    words = find_words(tree, classes)
    return Source(images, Listing("wnid-tars", classes, members, images.spans_of, splits, words=words).in_order())
