"""The challenges' archives as distributed, 2010 and 2012: a folder of them, read without unpacking.

::

    ILSVRC2012_img_train.tar       a tar of one tar a class           ILSVRC2010_images_train.tar
    ILSVRC2012_img_val.tar         flat                               ILSVRC2010_images_val.tar
    ILSVRC2012_devkit_t12.tar.gz   meta.mat, ground truth             ILSVRC2010_devkit-1.0.tar.gz
    (test: labels were never published)                               ILSVRC2010_images_test.tar,
                                                                      ILSVRC2010_test_ground_truth.txt,
                                                                      patch_images.tar (replaces damaged ones)

Labels are places among the sorted WNIDs, as with every other way to get ImageNet. The ground truths speak of
synset ids, which are *not* in that order: ``meta.mat`` says which WNID each id is.
"""

import dataclasses
import re

import numpy as np

from alexnet.data.sources.listing import SPLITS, Listing, Source
from alexnet.data.sources.tree import Span, TarTree, Tree
from alexnet.data.sources.wnid_tars import check_full, class_tars
from alexnet.data.sources.words import Devkit, find_devkit
from alexnet.errors import AlexNetError, UsageError

EXPECTED = "ILSVRC2012_img_train.tar with ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz (or 2010's)"
ARCHIVE = re.compile(r"(?:.*/)?ILSVRC(\d{4})_(?:img|images)_(train|val|test)(?:_v\d+)?\.tar")
PATCH = "patch_images.tar"
TRUTH = {"val": "validation_ground_truth.txt", "test": "test_ground_truth.txt"}


def matches(tree: Tree) -> bool:
    """Whether the training archive of a challenge is there."""
    return any((found := ARCHIVE.fullmatch(name)) and found[2] == "train" for name in tree.names)


def source(tree: Tree) -> Source:
    """Training, validation and, where labels are published, test images.

    Raises:
        UsageError: an archive or the devkit is missing.
        AlexNetError: one is damaged, or ground truth and images differ in number.
    """
    archives = _archives(tree)
    devkit = find_devkit(tree)
    if devkit is None:
        raise UsageError(
            f"{tree.path}: no devkit, which says what the labels are; put ILSVRC2012_devkit_t12.tar.gz "
            "(2010: ILSVRC2010_devkit-1.0.tar.gz) beside the archives"
        )
    outer = TarTree(tree.path, [archives["train"]])
    tars = class_tars(outer)
    classes = list(tars)
    if not classes:
        raise UsageError(f"{archives['train'].path}: holds no class archives (n01440764.tar, ...)")
    held = [split for split in ("val", "test") if split in archives]
    spans = [outer.span(place) for place in tars.values()] + [archives[split] for split in held]
    prefixes = [f"train/{name}/" for name in classes] + [f"{split}/" for split in held]
    patch = tree.find(PATCH)
    if patch is not None:
        spans.append(tree.span(patch))
        prefixes.append("patch/")
    images = TarTree(tree.path, spans, prefixes)
    return Source(images, _listing(tree, images, classes, held, devkit, patch is not None))


def _archives(tree: Tree) -> dict[str, Span]:
    found: dict[str, Span] = {}
    years = set()
    for place, name in enumerate(tree.names):
        match = ARCHIVE.fullmatch(name)
        if match:
            years.add(match[1])
            found[match[2]] = tree.span(place)
    if len(years) > 1:
        raise UsageError(f"{tree.path}: holds archives of {' and '.join(sorted(years))}; give a folder of one year")
    return found


def _listing(
    tree: Tree, images: TarTree, classes: list[str], held: list[str], devkit: Devkit, patched: bool
) -> Listing:
    train = np.flatnonzero(images.spans_of < len(classes))
    check_full(tree, classes, np.bincount(images.spans_of[train], minlength=len(classes)))
    members, labels, splits = [train], [images.spans_of[train].astype(np.int64)], [np.zeros(len(train), np.uint8)]
    notes = []
    for number, split in enumerate(held):
        inside = np.flatnonzero(images.spans_of == len(classes) + number)
        truth = devkit.text(TRUTH[split]) or (tree.text(_beside(tree, TRUTH[split])))
        if truth is None:
            notes.append(f"{len(inside):,} {split} images have no published labels: left out")
            continue
        members.append(inside)  # in the order of their names, as the ground truth is
        labels.append(_labels(truth, len(inside), classes, devkit, split))
        splits.append(np.full(len(inside), SPLITS.index(split), np.uint8))
    words = {synset.wnid: synset.words for synset in devkit.synsets}
    listing = Listing(
        "ilsvrc",
        classes,
        np.concatenate(members),
        np.concatenate(labels),
        np.concatenate(splits),
        words=[words.get(name, name) for name in classes],
        notes=notes,
    ).in_order()
    return _patch(listing, images, len(classes) + len(held)) if patched else listing


def _beside(tree: Tree, ending: str) -> str:
    """The name of the file in a tree that ends so; the ending itself if there is none."""
    return next((name.split("/")[-1] for name in tree.names if name.endswith(ending)), ending)


def _labels(truth: str, images: int, classes: list[str], devkit: Devkit, split: str) -> np.ndarray:
    """(images,) labels from a ground truth, which has one synset id a line in the order of the images' names."""
    try:
        numbers = [int(word) for word in truth.split()]
    except ValueError as error:
        raise AlexNetError(
            f"{devkit.place}: {TRUTH[split]}: not one number per line; fetch the devkit again"
        ) from error
    if len(numbers) != images:
        raise AlexNetError(
            f"{devkit.place}: {TRUTH[split]} has {len(numbers):,} lines for {images:,} {split} images; "
            "one of the two is not complete"
        )
    index = {name: place for place, name in enumerate(classes)}
    wnid = {synset.number: synset.wnid for synset in devkit.synsets}
    for number in sorted(set(numbers)):
        if wnid.get(number) not in index:
            raise AlexNetError(
                f"{devkit.place}: synset {number} ({wnid.get(number, 'not in meta.mat')}) has {split} images but no "
                "archive among the training images; the training archive is not complete"
            )
    return np.array([index[wnid[number]] for number in numbers], np.int64)


def _patch(listing: Listing, images: TarTree, span: int) -> Listing:
    """Takes an image from 2010's ``patch_images.tar`` where that has one of the same name."""
    mended = {images.names[int(i)].split("/")[-1]: int(i) for i in np.flatnonzero(images.spans_of == span)}
    members = listing.members.copy()
    found = 0
    for row, member in enumerate(listing.members):
        better = mended.get(images.names[int(member)].split("/")[-1])
        if better is not None:
            members[row] = better
            found += 1
    note = f"{found:,} images replaced by those of {PATCH}"
    return dataclasses.replace(listing, members=members, notes=[*listing.notes, note])
