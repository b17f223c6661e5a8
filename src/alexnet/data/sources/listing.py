"""What a source says of its images before one of them is read."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from alexnet.data.sources.tree import Tree
from alexnet.errors import WrongUse
from alexnet.files import sha256_text

SPLITS = ("train", "val", "test")


class Item(NamedTuple):
    """One image: its split, the index of its class, and its name in the tree."""

    split: str
    label: int
    name: str


@dataclasses.dataclass
class Listing:
    """All images of a source, in the order in which its tree gives them, and the names of their classes."""

    layout: str
    classes: list[str]
    items: list[Item]
    ignored: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)

    def counts(self) -> dict[str, list[int]]:
        """Images of each class in each split that has any: ``{"train": [500, 500, ...], ...}``."""
        counts: dict[str, list[int]] = {}
        for split in SPLITS:
            for item in self.items:
                if item.split == split:
                    counts.setdefault(split, [0] * len(self.classes))[item.label] += 1
        return counts

    def describe(self, path: str) -> str:
        """What was found, in a line or two: images, classes, splits, the smallest class."""
        counts = self.counts()
        parts = ", ".join(f"{sum(each):,} {split}" for split, each in counts.items())
        sizes = counts["train"]
        fewest = min(range(len(sizes)), key=sizes.__getitem__)
        text = f"{path}: layout {self.layout}, {len(self.classes):,} classes, {parts} images; "
        text += f"from {min(sizes):,} ({self.classes[fewest]}) to {max(sizes):,} training images a class"
        if self.ignored:
            text += f"; {self.ignored:,} other files ignored"
        return "\n".join([text, *self.notes])


@dataclasses.dataclass
class Source:
    """A listing and the tree that holds its bytes."""

    tree: Tree
    listing: Listing

    @property
    def sequential(self) -> bool:
        """Whether the bytes can only be had in order (a compressed archive)."""
        return self.tree.sequential

    def read(self, item: Item) -> bytes:
        """An image's bytes; called from many threads where the source is not sequential."""
        return self.tree.read(item.name)

    def stream(self, items: Iterable[Item]) -> Iterator[tuple[Item, bytes]]:
        """The bytes of ``items``, which are in the listing's order, one after the other."""
        wanted = {item.name: item for item in items}
        for name, data in self.tree.stream(set(wanted)):
            yield wanted[name], data


def split_off_validation(listing: Listing, fraction: float, seed: int) -> Listing:
    """Moves ``fraction`` of every class's training images to validation, where a source has none of its own.

    Which ones depends on the seed and each image's name alone, so a copy of the source is split alike.
    At least one image of a class goes to validation and at least one stays, if it has two.
    """
    if not 0 <= fraction < 1:
        raise WrongUse(f"--val-fraction {fraction}: must be at least 0 and below 1")
    if fraction == 0 or any(item.split == "val" for item in listing.items):
        return listing
    moved: set[str] = set()
    by_class: dict[int, list[str]] = {}
    for item in listing.items:
        if item.split == "train":
            by_class.setdefault(item.label, []).append(item.name)
    for names in by_class.values():
        count = min(max(1, round(len(names) * fraction)), len(names) - 1)
        moved.update(sorted(names, key=lambda name: sha256_text(str(seed), name))[:count])
    items = [item._replace(split="val") if item.name in moved else item for item in listing.items]
    note = f"no validation images: {fraction:.0%} of each class's training images set apart (seed {seed})"
    return dataclasses.replace(listing, items=items, notes=[*listing.notes, note])
