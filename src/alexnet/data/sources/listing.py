"""What a source says of its images before one of them is read."""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from alexnet.data import SPLITS as SPLITS
from alexnet.data.sources.text import named
from alexnet.data.sources.tree import Content, Tree
from alexnet.errors import UsageError
from alexnet.files import plain, sha256_text

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
FEW, LOPSIDED = 1000, 10  # training images in all; the largest class against the smallest


@dataclasses.dataclass
class Listing:
    """All images of a source in the order in which they are stored, and the names of their classes.

    Attributes:
        layout: its name.
        classes: what the source calls each class, in the order of the labels.
        members: (n,) int64, the place of each image in the tree.
        labels: (n,) int32, the index of its class.
        splits: (n,) uint8, index into ``SPLITS``.
        words: what people call each class (``tench, Tinca tinca``); the classes themselves if not given.
        ignored: other files.
        notes: what else to say.
        size: side of the stored square unless the user says otherwise.
    """

    layout: str
    classes: list[str]
    members: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    words: list[str] | None = None
    ignored: int = 0
    notes: list[str] = dataclasses.field(default_factory=list)
    size: int = 256

    def __post_init__(self) -> None:
        self.members = np.asarray(self.members, np.int64)
        self.labels = np.asarray(self.labels, np.int32)
        self.splits = np.asarray(self.splits, np.uint8)
        self.classes = [plain(name) for name in self.classes]  # a folder's bytes may be no UTF-8
        twice = [name for name, count in collections.Counter(self.classes).items() if count > 1]
        if twice:
            raise UsageError(f"two classes are called {twice[0]!r}, once by bytes that are no UTF-8; rename one")
        self.words = distinct([plain(word) for word in self.words], self.classes) if self.words else None

    def __len__(self) -> int:
        return len(self.members)

    def counts(self) -> dict[str, list[int]]:
        """Images of each class in each split that has any: ``{"train": [500, 500, ...], ...}``."""
        found = {}
        for index, split in enumerate(SPLITS):
            labels = self.labels[self.splits == index]
            if len(labels):
                found[split] = np.bincount(labels, minlength=len(self.classes)).tolist()
        return found

    def describe(self, path: str, advise: bool = True) -> str:
        """What was found, in a line or two: images, classes, splits, the balance of the classes; and advice."""
        counts = self.counts()
        parts = ", ".join(f"{sum(each):,} {split}" for split, each in counts.items())
        text = f"{path}: layout {self.layout}, {len(self.classes):,} classes, {parts} images; "
        text += balance(self.words or self.classes, counts["train"])
        if self.ignored:
            text += f"; {self.ignored:,} other {'file' if self.ignored == 1 else 'files'} ignored"
        return "\n".join([text, *self.notes, *(advice(self.words or self.classes, counts["train"]) if advise else ())])

    def in_order(self) -> "Listing":
        """Sorted by split and class, each class as the tree has it."""
        order = np.lexsort((self.members, self.labels, self.splits))
        return dataclasses.replace(
            self, members=self.members[order], labels=self.labels[order], splits=self.splits[order]
        )


def by_class(
    tree: Tree,
    layout: str,
    rows: Sequence[tuple[str, str, int]],
    *,
    classes: list[str] | None = None,
    words: Callable[[list[str]], list[str] | None] | None = None,
    **more: Any,
) -> "Source":
    """A source of images whose classes are named.

    Args:
        tree: what holds them.
        layout: its name.
        rows: split, class and place in the tree of each image.
        classes: in the order of the labels; the sorted classes of the training images if not given.
        words: what gives the classes' words.
        more: further fields of the listing.

    Raises:
        UsageError: no training images, one class only, or a class without training images.
    """
    used = {name for _, name, _ in rows}
    trained = {name for split, name, _ in rows if split == "train"}
    if not trained:
        raise UsageError(f"{tree.path}: layout {layout}: no training images")
    unknown = sorted(used - set(classes)) if classes else []
    if unknown:
        raise UsageError(f"{tree.path}: class {unknown[0]!r} is not among the classes that it lists; fix the list")
    classes = classes or sorted(trained)
    index = {name: place for place, name in enumerate(classes)}
    missing = sorted(used - trained) or [name for name in classes if name not in trained]
    if missing:
        raise UsageError(
            f"{tree.path}: class {missing[0]!r} has no training images, though it has others or is listed; "
            "add some or remove it"
        )
    if len(classes) < 2:
        raise UsageError(f"{tree.path}: one class only ({classes[0]!r}); a classifier needs two or more")
    listing = Listing(
        layout,
        classes,
        np.array([member for _, _, member in rows], np.int64),
        np.array([index[name] for _, name, _ in rows], np.int32),
        np.array([SPLITS.index(split) for split, _, _ in rows], np.uint8),
        words=words(classes) if words else None,
        **more,
    )
    return Source(tree, listing if tree.sequential else listing.in_order())


def distinct(words: Sequence[str], classes: Sequence[str]) -> list[str]:
    """The words, with the class's own name behind those that several classes share (ImageNet has two cranes)."""
    count = collections.Counter(words)
    return [word if count[word] == 1 else f"{word} ({name})" for word, name in zip(words, classes)]


def balance(classes: Sequence[str], sizes: Sequence[int]) -> str:
    """The smallest and the largest class, in words."""
    fewest, most = (int(np.argmin(sizes)), int(np.argmax(sizes)))
    if sizes[fewest] == sizes[most]:
        return f"{sizes[most]:,} training images per class"
    return f"from {sizes[fewest]:,} ({classes[fewest]}) to {sizes[most]:,} ({classes[most]}) training images per class"


def advice(classes: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """What to know of a small or lopsided set before a training."""
    found = []
    if sum(sizes) < FEW:
        found.append(
            f"advice: {sum(sizes):,} training images are few; fine-tuning learns more from them (alexnet train --from)"
        )
    fewest, most = int(np.argmin(sizes)), int(np.argmax(sizes))
    if sizes[most] > LOPSIDED * sizes[fewest]:
        found.append(
            f"advice: {classes[most]} has {sizes[most] / max(1, sizes[fewest]):.0f} times the images of "
            f"{classes[fewest]}: the error over all images will hide the small classes'; look at "
            "`alexnet evaluate --per-class`, and add photos to the small ones"
        )
    return found


def labeled(tree: Tree, layout: str, rows: Sequence[tuple[str, str, int]], unlabeled: int = 0, **more: Any) -> "Source":
    """A source of images whose labels come from a list or a table; numbers are sorted as such.

    Args:
        tree: what holds them.
        layout: its name.
        rows: split, label (a text of ``label_of``) and place in the tree of each image.
        unlabeled: images without a label.
        more: further arguments of ``by_class``.

    Raises:
        UsageError: as ``by_class``.
    """
    names, classes = named(label for _, label, _ in rows)
    kept = [(split, name, member) for split, label, member in rows if (name := names[label]) is not None]
    unlabeled += len(rows) - len(kept)
    notes = [f"{unlabeled:,} images without a label left out"] if unlabeled else []
    return by_class(tree, layout, kept, classes=classes or None, notes=[*more.pop("notes", []), *notes], **more)


@dataclasses.dataclass
class Source:
    """A listing and the tree that holds its bytes. Images go by their row in the listing."""

    tree: Tree
    listing: Listing

    @property
    def sequential(self) -> bool:
        """Whether the bytes can only be had in order (a compressed archive)."""
        return self.tree.sequential

    def name(self, row: int) -> str:
        """An image's name."""
        return self.tree.names[int(self.listing.members[row])]

    def read(self, row: int) -> bytes | np.ndarray:
        """An image's bytes or pixels; called from many threads where the source is not sequential."""
        return self.tree.read(int(self.listing.members[row]))

    def stream(self, rows: np.ndarray) -> Iterator[tuple[int, Content]]:
        """What is in ``rows``, which are in the tree's order, one after the other."""
        members = self.listing.members[rows]
        row_of = dict(zip(members.tolist(), rows.tolist()))
        for member, content in self.tree.stream(members.tolist()):
            yield row_of[member], content

    def fingerprint(self) -> str:
        """SHA-256 over split, label and name of every image."""
        digest = hashlib.sha256()
        listing = self.listing
        rows = zip(listing.splits.tolist(), listing.labels.tolist(), listing.members.tolist())
        for split, label, member in rows:
            line = f"{SPLITS[split]}\t{label}\t{self.tree.names[member]}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def split_off_validation(source: Source, fraction: float, seed: int) -> Source:
    """Moves ``fraction`` of every class's training images to validation, where a source has none of its own.

    Which ones depends on the seed and each image's name alone, so a copy of the source is split alike.
    At least one image of a class goes to validation and at least one stays, if it has two.
    """
    if not 0 <= fraction < 1:
        raise UsageError(f"--val-fraction {fraction}: must be at least 0 and below 1")
    listing = source.listing
    train, val = SPLITS.index("train"), SPLITS.index("val")
    if fraction == 0 or (listing.splits == val).any():
        return source
    splits = listing.splits.copy()
    training = np.flatnonzero(splits == train)
    training = training[np.argsort(listing.labels[training], kind="stable")]
    moved = 0
    for rows in np.split(training, np.flatnonzero(np.diff(listing.labels[training])) + 1):
        count = min(max(1, round(len(rows) * fraction)), len(rows) - 1)
        keys = [(sha256_text(str(seed), source.name(row)), row) for row in rows.tolist()]
        splits[[row for _, row in sorted(keys)[:count]]] = val
        moved += count
    if moved:
        note = f"no validation images: {fraction:.0%} of each class's training images held out (seed {seed})"
    else:
        note = "no validation images, and none held out: no class has two training images"
    return Source(source.tree, dataclasses.replace(listing, splits=splits, notes=[*listing.notes, note]))
