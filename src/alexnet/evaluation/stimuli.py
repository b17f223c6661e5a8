"""Images on their way to a net, in order: of files, folders and archives, of a list, or of a dataset's split."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from alexnet import files
from alexnet.data import codec
from alexnet.data.batches import Share, whole_images
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Preprocessing
from alexnet.data.sources import SPLITS, csv_list, open_source
from alexnet.data.sources.pictures import Paths, Pictures, find_pictures, some_of
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import stacked
from alexnet.evaluation.pictures import made_ahead, several
from alexnet.files import kinds


class Fitted(NamedTuple):
    """An image as a net takes it.

    Attributes:
        pixels: (side, side, 3) uint8; the side is what ``Preprocessing`` stores or what the net sees.
        done: what was done to get there, for people.
    """

    pixels: np.ndarray
    done: str


Fit = Callable[[bytes | np.ndarray], Fitted]  # of an image file's bytes or pixels; raises BadImage


class Batch(NamedTuple):
    """Images that follow each other.

    Attributes:
        names: of the images.
        labels: (n,) int64, indices of the stimuli's classes, -1: none; None where no image has one.
        images: (n, 3, side, side) uint8, channels-last in memory.
        done: what was done to each, for people.
        bad: names of images before the last of these that cannot be read, and why.
        rows: (n,) int64, how many images of the source come before each, those that cannot be read included.
        bad_rows: the same of those that cannot be read.
    """

    names: list[str]
    labels: np.ndarray | None
    images: Tensor
    done: list[str]
    bad: list[tuple[str, str]]
    rows: np.ndarray
    bad_rows: list[int]


class Stimuli(Protocol):
    """Images in order.

    Attributes:
        count: images, those that cannot be read included.
        classes: names of the classes; None where images have no labels.
        words: where they are from, for people.
        side: of the images, pixels; None where ``Fit`` says it.
        columns: what else a list says of each image: the name of a column and ``count`` texts.
        used: the list's names of the columns of paths and labels.
    """

    count: int
    classes: list[str] | None
    words: str
    side: int | None
    columns: list[tuple[str, list[str]]]
    used: dict[str, str]

    def batches(self, size: int, workers: int) -> Iterator[Batch]:
        """The images, ``size`` readable ones at a time; ``workers`` threads decode."""
        ...

    def shared(self, share: Share) -> "Stimuli":
        """A rank's part of the images."""
        ...


class FileStimuli:
    """Image files, and images of folders and archives.

    Args:
        pictures: where they are.
        fit: what makes of each what the net takes.
        labels: (count,) int64, as ``Batch`` has them.
        classes: their names.
        words, columns, used: as ``Stimuli`` has them.
        first: images of the source before these.
    """

    def __init__(
        self,
        pictures: Sequence[Pictures],
        fit: Fit,
        labels: np.ndarray | None = None,
        classes: list[str] | None = None,
        words: str = "",
        columns: Sequence[tuple[str, list[str]]] = (),
        used: dict[str, str] | None = None,
        first: int = 0,
    ):
        self.pictures, self.fit, self.labels, self.classes, self.words = pictures, fit, labels, classes, words
        self.columns, self.used, self.first = list(columns), used or {}, first
        self.side: int | None = None
        self.count = sum(len(source.members) for source in pictures)

    def shared(self, share: Share) -> "FileStimuli":
        part = share.of(range(self.count))
        labels = None if self.labels is None else self.labels[part.start : part.stop]
        columns = [(name, texts[part.start : part.stop]) for name, texts in self.columns]
        return FileStimuli(
            some_of(self.pictures, part), self.fit, labels, self.classes, self.words, columns, self.used,
            self.first + part.start,
        )  # fmt: skip

    def batches(self, size: int, workers: int) -> Iterator[Batch]:
        names: list[str] = []
        images: list[Fitted] = []
        indices: list[int] = []
        bad: list[tuple[str, str]] = []
        bad_indices: list[int] = []
        index = 0
        for some, made in made_ahead(self.pictures, self.fit, workers):
            for name, image in zip(some, made):
                if isinstance(image, str):
                    bad.append((name, image))
                    bad_indices.append(index)
                else:
                    names.append(name)
                    images.append(image)
                    indices.append(index)
                index += 1
                if len(names) == size:
                    yield self._batch(names, images, indices, bad, bad_indices)
                    names, images, indices, bad, bad_indices = [], [], [], [], []
        if names or bad:
            yield self._batch(names, images, indices, bad, bad_indices)

    def _batch(
        self, names: list[str], images: list[Fitted], indices: list[int], bad: list[tuple[str, str]],
        bad_indices: list[int],
    ) -> Batch:  # fmt: skip
        labels = None if self.labels is None else self.labels[indices]
        pixels = stacked([image.pixels for image in images]) if images else torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        rows, bad_rows = np.array(indices, np.int64) + self.first, [index + self.first for index in bad_indices]
        return Batch(names, labels, pixels, [image.done for image in images], bad, rows, bad_rows)


class DatasetStimuli:
    """A dataset's images as they are stored.

    Args:
        dataset: opened.
        split: of it.
        rows: row ids, where not all of the split are meant.
        first: images of the split before these.
    """

    def __init__(self, dataset: Dataset, split: str, rows: np.ndarray | None = None, first: int = 0):
        self.dataset, self.split, self.first = dataset, split, first
        self.side: int | None = dataset.size
        self.columns: list[tuple[str, list[str]]] = []
        self.used: dict[str, str] = {}
        self.rows = dataset.rows(split) if rows is None else rows
        self.count = len(self.rows)
        self.classes: list[str] | None = dataset.classes
        self.words = f"{dataset.path}, split {split}"

    def shared(self, share: Share) -> "DatasetStimuli":
        part = share.of(range(self.count))
        return DatasetStimuli(self.dataset, self.split, self.rows[part.start : part.stop], self.first + part.start)

    def batches(self, size: int, workers: int) -> Iterator[Batch]:
        done, first = f"stored as {self.dataset.size}x{self.dataset.size}", self.first
        for batch in whole_images(self.dataset, self.split, size, workers, rows=self.rows):
            names = [self.dataset.name(row) for row in batch.rows.tolist()]
            rows = np.arange(first, first + len(names))
            yield Batch(names, batch.labels.numpy(), batch.images, [done] * len(names), [], rows, [])
            first += len(names)


def as_in_training(preprocessing: Preprocessing) -> Fit:
    """What makes an image the square that a run's dataset would have stored."""

    size = preprocessing.size
    how = f"shorter side to {size}, its central {size}x{size}"
    if preprocessing.resize == codec.WARP:
        how = f"both sides to {size}x{size}"

    def fit(content: bytes | np.ndarray) -> Fitted:
        pixels = np.asarray(codec.decode_square(content, size, preprocessing.resize))
        width, height = codec.dimensions(content) or pixels.shape[1::-1]
        return Fitted(pixels, f"{width}x{height}, {'unchanged' if width == height == size else how}")

    return fit


def stimuli_of(
    source: "Stimuli | Dataset | Paths",
    fit: Fit,
    split: str | None = None,
    note: Callable[[str], None] | None = None,
) -> Stimuli:
    """The images of a source, in its order.

    Args:
        source: a dataset, opened or its folder; image files, folders or archives, one or several; a CSV or TSV whose
            column ``path`` names image files, in that order; any other layout that ``prepare`` reads.
        fit: what makes of a file what the net takes.
        split: of a dataset (not given, the one that it was opened for, or ``val``), or of a layout that has splits
            (not given, all).
        note: called with a line on what was left out of a folder or archive.

    Raises:
        UsageError: nothing there, or nothing of these.
    """
    if isinstance(source, FileStimuli | DatasetStimuli):
        return source
    if isinstance(source, Dataset):
        return DatasetStimuli(source, split or source.split or "val")
    paths = several(source)  # pyright: ignore[reportArgumentType]
    if len(paths) == 1:
        if files.exists(files.join(paths[0], "dataset.json")):
            return stimuli_of(Dataset(paths[0]), fit, split)
        labeled = _listed(paths[0], fit, split) or _labeled(paths[0], fit, split, note)
        if labeled:
            return labeled
    if split is not None:
        raise UsageError(f"--split {split}: {paths[0]} has no splits; leave --split out")
    return FileStimuli(find_pictures(paths, note), fit, words=", ".join(paths))


def _listed(path: str, fit: Fit, split: str | None) -> FileStimuli | None:
    """The images that a CSV or TSV names, all of them; None where the path is none."""
    if not csv_list.is_list(path) or not files.exists(path):
        return None
    if split is not None:
        raise UsageError(f"--split {split}: all images that {path} lists are taken; leave --split out")
    tree, labels, classes, columns, used = csv_list.listed(path)
    pictures = [Pictures(tree, list(range(len(tree.names))))]
    return FileStimuli(pictures, fit, None if labels is None else np.array(labels), classes, path, columns, used)


def _labeled(path: str, fit: Fit, split: str | None, note: Callable[[str], None] | None) -> FileStimuli | None:
    """Images with labels, of any layout that ``prepare`` reads; None where a path has none of them.

    Of a folder or archive of images all are taken, also those outside the folders of classes.
    """
    if kinds.kind_of(path).name in (kinds.IMAGE, kinds.NOTHING, kinds.BLANK):
        return None
    try:
        source = open_source(path)
    except UsageError:
        if path.lower().endswith((".parquet", ".arrow")):
            raise
        return None
    listing, tree = source.listing, source.tree
    if split is not None and split not in listing.counts():
        raise UsageError(f"{path}: has no split {split!r}; it has {', '.join(listing.counts())}")
    chosen = np.ones(len(listing), bool) if split is None else listing.splits == SPLITS.index(split)
    label_of = dict(zip(listing.members[chosen].tolist(), listing.labels[chosen].tolist()))
    members = sorted(label_of)
    if listing.layout == "folder" and split is None:
        members = Pictures(tree).members
    if note and tree.left_out:
        note(f"{path}: {tree.left_out}")
    labels = np.array([label_of.get(member, -1) for member in members], np.int64)
    return FileStimuli([Pictures(tree, members)], fit, labels, listing.classes, path)
