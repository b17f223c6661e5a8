"""A larger release of images and the challenge whose classes are among its own (paper 6), and the recipes for both.

The source went on from one net to the next: 145's first layers began a net of 10,184 classes, that began one of some
20,000, and that the challenge's, number 146. Here there is one step, from the release to the challenge.
"""

import dataclasses
import os

import numpy as np

from alexnet import files, randomness
from alexnet.data import SPLITS
from alexnet.data import synthetic as drawn
from alexnet.data.dataset import Dataset
from alexnet.data.prepare import prepare
from alexnet.data.sources import Source, open_source, split_off_validation
from alexnet.errors import UsageError
from alexnet.experiments.experiment import CHALLENGE, DRAWN_IMAGES, HELD_OUT, RELEASE, Case, is_dataset
from alexnet.experiments.nets import scaled
from alexnet.progress import plural
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES

RELEASE_EPOCHS = 15  # the source's 6.65 on 10,184 classes and 8.11 on 20,000, in one
# Number 146's rates on ILSVRC-2012; fc8 began at .01 after some hundred batches. What biases learned at stands nowhere.
FINE_TUNED = dataclasses.replace(
    RECIPES["source"],
    net="conv6",
    epochs=54,
    learning_rate=0.001,
    bias_lr=0.002,
    bias_schedule="same",
    milestones=(22.0, 42.0),
    color_noise_until=38,
    layer_lr=(
        *("conv1@0=1e-4", "conv1@5=1e-5", "conv1@7=0", "conv1.bias@7=0"),
        *("fc8@0=0.01", "fc8@9=0.001", "fc8@22=1e-4", "fc8@42=1e-5"),
    ),
    pretrained_lr_factor=1.0,
)


def recipe_of(case: Case, net: str, seed: int, images: int, stage: str = "scratch") -> Recipe:
    """What a net is trained by on so many images: the source's recipes for the whole experiment, else the default one.

    Args:
        case: its scale is a share of the default recipe's epochs.
        net: its name.
        seed: of the training.
        images: to train on.
        stage: ``scratch``, ``release`` or ``fine-tuned``.
    """
    if case.scale < 1:
        return dataclasses.replace(scaled(Recipe(net=net), case.scale, images), seed=seed)
    own = FINE_TUNED if stage == "fine-tuned" else dataclasses.replace(RECIPES["source"], net=net)
    if stage == "release":
        own = scaled(own, RELEASE_EPOCHS / (own.epochs or 1), images)
    return dataclasses.replace(own, seed=seed)


def prepared_pair(data: str | None) -> tuple[Dataset, Dataset] | None:
    """The release and the challenge where ``data`` is a folder of both, prepared; else None."""
    if data is None or not all(is_dataset(files.join(data, name)) for name in (RELEASE, CHALLENGE)):
        return None
    return Dataset(files.join(data, RELEASE)), Dataset(files.join(data, CHALLENGE))


def whole_source(case: Case) -> Source:
    """All images, as given or drawn, with some of each class held out.

    Raises ``UsageError`` for a prepared data set.
    """
    if case.data is None:
        return drawn.source(case.scaled(DRAWN_IMAGES // 32) * 32)
    if is_dataset(case.data):
        raise UsageError(
            f"--data {case.data}: is prepared, so no part of it can be taken for the challenge; give the images "
            f"themselves, or a folder with two data sets: {RELEASE} and {CHALLENGE}"
        )
    return split_off_validation(open_source(os.fspath(case.data)), HELD_OUT, 0)


def check_more(case: Case, source: Source) -> None:
    """Raises ``UsageError`` where a release would have no more classes than the challenge, which has two at least."""
    count = len(source.listing.classes)
    if count < 3:
        has = plural(count, "class", "classes")
        raise UsageError(f"--data {case.data}: has {has}; a net that is pretrained on more classes needs three or more")


def few_of(source: Source, classes: int, few: int, seed: int) -> np.ndarray:
    """(images,) bool: the training images of the last ``classes`` classes that are not among ``few`` of each."""
    listing = source.listing
    beyond = np.zeros(len(listing), bool)
    for label in range(len(listing.classes) - classes, len(listing.classes)):
        rows = np.flatnonzero((listing.labels == label) & (listing.splits == SPLITS.index("train")))
        order = randomness.permutation(seed, f"few photos of class {label}", 0, len(rows)).numpy()
        beyond[rows[order[few:]]] = True
    return beyond


def part_of(source: Source, first: int, last: int, without: np.ndarray | None = None) -> Source:
    """The images of the classes ``first`` to ``last`` (not included), but for those ``without``."""
    listing = source.listing
    kept = (listing.labels >= first) & (listing.labels < last)
    if without is not None:
        kept &= ~without
    own = dataclasses.replace(
        listing,
        classes=listing.classes[first:last],
        members=listing.members[kept],
        labels=listing.labels[kept] - first,
        splits=listing.splits[kept],
        words=listing.words[first:last] if listing.words else None,
    )
    return Source(source.tree, own)


def prepared(case: Case, source: Source, name: str) -> Dataset:
    """A data set in the experiment's folder, prepared once for all conditions."""
    return prepare(source, case.folder / name, size=case.stored, progress=case.display.counter("preparing"))
