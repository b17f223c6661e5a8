"""Which folders of a tree are splits and which are classes: by the shape of the tree first, then by words.

``train`` beside ``bus`` and ``car`` that hold images is a class; ``seg_train`` and ``seg_test`` with the same folders
in them are splits; ``color`` and ``grayscale`` with the same folders are versions of one set, no classes.
"""

import dataclasses
import re
from collections.abc import Iterable, Sequence

from alexnet.data.sources.listing import SPLIT_NAMES
from alexnet.data.sources.tree import printable
from alexnet.errors import UsageError

WORDS = {**SPLIT_NAMES, "dev": "val", "trainset": "train", "valset": "val", "testset": "test"}
SHARED = 0.5  # of the folders' names that two folders have together: then they are splits or versions of one set


@dataclasses.dataclass
class Reading:
    """How a tree is read.

    Attributes:
        roots: what goes before the names of classes, with the split that lies there.
        within: for each folder of that name in a class, its split; empty where classes have none of their own.
        notes: what was taken for what, where it could be taken otherwise.
    """

    roots: dict[str, str]
    within: dict[str, str] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)


class Shape:
    """The first two levels of folders above images.

    Args:
        path: of the source, for messages.
        root: what goes before all names.
        names: of the images.

    Attributes:
        flat: the folders that hold images directly.
        inner: the names of the folders with images in each folder, those wrapped in one of its own name unwrapped.
        prefixes: what goes before these names.
    """

    def __init__(self, path: str, root: str, names: Sequence[str]):
        self.path, self.root, self._names = path, root, names
        self.flat: set[str] = set()
        self.inner: dict[str, set[str]] = {}
        self.deep: set[str] = set()  # folders with folders of folders
        self.prefixes: dict[str, str] = {}
        for name in names:
            top, _, rest = name[len(root) :].partition("/")
            if not rest:
                continue
            child, slash, below = rest.partition("/")
            if slash:
                self.inner.setdefault(top, set()).add(child)
                if "/" in below:
                    self.deep.add(top)
            else:
                self.flat.add(top)
        for top in self.inner:
            self.prefixes[top] = f"{root}{top}/"
            if top not in self.flat and top in self.deep:
                self._unwrap(top)

    def _unwrap(self, top: str) -> None:
        """Passes through folders that hold nothing but one of the same name or split: ``seg_train/seg_train/CLASS``."""
        while len(self.inner[top]) == 1:
            child = next(iter(self.inner[top]))
            if child != top and (split_of(child) is None or split_of(child) != split_of(top)):
                return
            prefix = f"{self.prefixes[top]}{child}/"
            below = self._below(prefix)
            if below is None:
                return
            self.prefixes[top], self.inner[top] = prefix, below

    def _below(self, prefix: str) -> set[str] | None:
        """The folders with images in one; None where it holds images directly."""
        below = [name[len(prefix) :].partition("/") for name in self._names if name.startswith(prefix)]
        return {parts[0] for parts in below} if all(parts[1] for parts in below) else None

    def core(self, top: str) -> set[str]:
        """The names of the folders in one, those that wrap all of them passed through, whatever they are called."""
        prefix, names = self.prefixes[top], self.inner[top]
        while len(names) == 1:
            prefix += f"{next(iter(names))}/"
            below = self._below(prefix)
            if below is None:
                break
            names = below
        return names

    @property
    def tops(self) -> list[str]:
        """All folders of the first level, sorted."""
        return sorted(self.flat | set(self.inner))

    @property
    def nested(self) -> list[str]:
        """Those that hold folders of images and no images directly, sorted."""
        return sorted(set(self.inner) - self.flat)

    def alike(self, a: str, b: str) -> bool:
        """Whether two folders hold folders of the same names, half of the names at least."""
        one, other = self.inner.get(a, set()), self.inner.get(b, set())
        return bool(one & other) and len(one & other) >= SHARED * min(len(one), len(other))


def split_of(name: str) -> str | None:
    """The split that a word within a name speaks of; None if none does, or several."""
    words = (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))
    splits = {WORDS[word] for word in words if word in WORDS}
    return splits.pop() if len(splits) == 1 else None


def read(shape: Shape, mode: str) -> Reading:
    """Which folders are splits.

    Args:
        shape: of the tree.
        mode: ``auto``, or ``none``: every folder is a class.

    Raises:
        UsageError: nobody can say, or splits without a training split.
    """
    classes = Reading({shape.root: "train"})
    if mode == "none":
        return classes
    exact = {top: SPLIT_NAMES[top.lower()] for top in shape.tops if top.lower() in SPLIT_NAMES}
    splits = {top: split for top, split in exact.items() if top in shape.nested}
    splits = _with_words(shape, splits)
    if "train" in splits.values():
        return _splits(shape, splits, exact, classes)
    if exact:
        return _words_without_training(shape, exact, classes)
    _refuse_mismatch(shape, classes)
    within = _within_classes(shape)
    if within:
        return within
    _refuse_versions(shape, classes)
    return classes


def _with_words(shape: Shape, splits: dict[str, str]) -> dict[str, str]:
    """The splits, and those folders whose names speak of another split and that hold the same folders."""
    words = {
        top: split
        for top in shape.nested
        if top not in splits and (split := split_of(top)) not in (None, *splits.values())
    }
    both = {**splits, **words}
    training = [top for top, split in both.items() if split == "train"]
    accepted = {
        top: split
        for top, split in words.items()
        if any(shape.alike(top, other) for other, kind in both.items() if kind != split and "train" in (kind, split))
    }
    for split in sorted(set(accepted.values())):
        same = sorted(top for top, kind in accepted.items() if kind == split)
        if len(same) > 1 and training:
            raise UsageError(
                f"{shape.path}: {_and(same)} both read as the split {split}; give them one name ({split}), or say by a "
                "CSV of path,label,split what is what"
            )
    return {**splits, **accepted}


def _splits(shape: Shape, splits: dict[str, str], exact: dict[str, str], classes: Reading) -> Reading:
    """The folders as splits, unless ``train`` alone stands beside folders that hold images."""
    others = [top for top in shape.tops if top not in splits]
    flat = [top for top in others if top in shape.flat and top not in exact and split_of(top) is None]
    if flat and len(splits) == 1:
        top = next(iter(splits))
        classes.notes.append(
            f"{printable(top)} is taken for a class, since {_and(flat)} beside it hold images; if it is the training "
            f"split, give {shape.path}/{printable(top)} as the source"
        )
        return classes
    reading = Reading({shape.prefixes[top]: split for top, split in splits.items()})
    renamed = [f"{printable(top)} as {split}" for top, split in sorted(splits.items()) if top not in exact]
    if renamed:
        reading.notes.append(
            f"splits: {', '.join(renamed)} (the same folders are in them); --splits none takes them for classes"
        )
    if others:
        reading.notes.append(f"beside the splits, left out: {_and(others)}; --splits none takes all for classes")
    return reading


def _words_without_training(shape: Shape, exact: dict[str, str], classes: Reading) -> Reading:
    """Folders called like splits, none of which is a training split with folders: classes, if others are classes."""
    others = [top for top in shape.tops if top not in exact]
    nested = [top for top in exact if top in shape.nested]
    if nested and not any(top in shape.flat for top in others):
        raise UsageError(
            f"{shape.path}: has {_and(nested)} but no train folder with folders of classes; add it, or say "
            "--splits none if these are classes"
        )
    if not any(split_of(top) is None for top in others):
        raise UsageError(
            f"{shape.path}: holds images but no folders of classes; put each class's images in a folder of its name "
            f"(within {_and(exact)}, or say --splits none if these are classes)"
        )
    called = _and(exact)
    kind = "classes" if len(exact) > 1 else "a class"
    classes.notes.append(
        f"{called} {'are' if len(exact) > 1 else 'is'} taken for {kind}, since the folders beside hold images, too; if "
        f"not, move {called} out of the source"
    )
    return classes


def _refuse_mismatch(shape: Shape, classes: Reading) -> None:
    """Where folders are called like a training and another split but hold other folders: if all are, an error."""
    words = {top: split for top in shape.nested if (split := split_of(top))}
    if "train" not in words.values() or len(set(words.values())) < 2:
        return
    if set(words) == set(shape.tops):
        raise UsageError(
            f"{shape.path}: {_and(sorted(words))} are called like splits but do not hold folders of the same names; "
            "give a class one name in all, or say --splits none if they are the classes"
        )
    classes.notes.append(
        f"{_and(sorted(words))} are taken for classes, since they do not hold the same folders; if they are splits, "
        "rename them to train, val and test"
    )


def _within_classes(shape: Shape) -> Reading | None:
    """Classes that have splits of their own, ``CLASS/train/*``; None if they have none."""
    names = set().union(*shape.inner.values()) if shape.inner else set()
    splits = {name: SPLIT_NAMES[name.lower()] for name in names if name.lower() in SPLIT_NAMES}
    if shape.flat or "train" not in splits.values() or set(splits) != names:
        return None
    if shape.deep:
        raise UsageError(
            f"{shape.path}: {_and(shape.tops)} hold {_and(sorted(names))} each, and folders in these; give one of them "
            f"as the source ({shape.path}/{printable(shape.tops[0])})"
        )
    note = f"each class has splits of its own: {_and(sorted(names))}; --splits none takes all of a class for training"
    return Reading({shape.root: "train"}, splits, [note])


def _refuse_versions(shape: Shape, classes: Reading) -> None:
    """Raises ``UsageError`` where all folders hold the same folders: versions or splits of one set, and no classes."""
    if len(shape.tops) < 2 or shape.nested != shape.tops:
        return
    sets = [shape.core(top) for top in shape.tops]
    common, union = set.intersection(*sets), set.union(*sets)
    if len(common) < 2 or len(common) < SHARED * len(union):
        return
    if len(shape.tops) > len(common):
        classes.notes.append(
            f"every class has the folders {_and(sorted(common))}, taken together; if these are the classes, give a CSV "
            "of path,label,split"
        )
        return
    raise UsageError(
        f"{shape.path}: {_and(shape.tops)} hold folders of the same names ({_and(sorted(common))}), so they are splits "
        f"or versions of one set; give one as the source ({shape.path}/{printable(shape.tops[0])}), rename them to "
        "train, val and test, or say --splits none if they are the classes"
    )


def _and(names: Iterable[str], most: int = 4) -> str:
    shown = [printable(name) for name in names]
    if len(shown) > most:
        shown = [*shown[: most - 1], f"{len(shown) - most + 1:,} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
