"""Which images in what order, decoded in threads, cropped and mirrored, as uint8 batches.

``Batches.load(step)`` is a function of the step alone: threads, restarts and what was loaded before change
nothing. Loading ahead is no more than calling it early.
"""

import collections
import copy
import dataclasses
import functools
import math
import mmap
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import native, randomness
from alexnet.data import codec as images
from alexnet.data.dataset import Dataset
from alexnet.data.kept import keeping

T = TypeVar("T")
K = TypeVar("K")
WIDEST = math.log(4 / 3)  # of a resized crop: the logarithm of its width by its height
DRAWN_STEPS = 64  # whose random numbers are drawn at once
PIECE_ROWS, WINDOW_PIECES = 256, 32  # with --shuffle windows: runs of 6 MB, windows of 210 MB


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images on their way to the device.

    Attributes:
        images: (N, 3, H, W) uint8 RGB, channels-last in memory.
        labels: (N,) int64 class indices.
        rows: (N,) int64 row ids in the dataset.
        total: images of the whole batch, of which these are a rank's; 0: these are all.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor
    total: int = 0

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device, without waiting where its memory is pinned."""
        images, labels, rows = (t.to(device, non_blocking=True) for t in (self.images, self.labels, self.rows))
        return Batch(images, labels, rows, self.total)


@dataclasses.dataclass(frozen=True)
class Share:
    """A rank's part of each batch: ``index`` of ``count`` parts whose sizes differ by one at most."""

    index: int = 0
    count: int = 1

    def of(self, places: range) -> range:
        """Which of a batch's places are this rank's."""
        size = len(places)
        return places[size * self.index // self.count : size * (self.index + 1) // self.count]

    def cut(self, batch: Batch) -> Batch:
        """This rank's part of a batch."""
        if self.count == 1:
            return batch
        own = self.of(range(len(batch.rows)))
        part = slice(own.start, own.stop)
        return Batch(batch.images[part], batch.labels[part], batch.rows[part], len(batch.rows))


class Region(NamedTuple):
    """A part of an image, in pixels; where it reaches beyond, the image is mirrored at its borders."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: np.ndarray) -> np.ndarray:
        """The part, in the image's memory where all of it lies there."""
        bottom, right = self.top + self.height, self.left + self.width
        if min(self.top, self.left) >= 0 and bottom <= image.shape[0] and right <= image.shape[1]:
            return image[self.top : bottom, self.left : right]
        return image[np.ix_(_mirrored(self.top, bottom, image.shape[0]), _mirrored(self.left, right, image.shape[1]))]

    def margin(self, image: np.ndarray) -> int:
        """By how many pixels it reaches beyond an image's borders, at most."""
        rows, columns, _ = image.shape
        return max(0, -self.top, -self.left, self.top + self.height - rows, self.left + self.width - columns)


def _mirrored(first: int, end: int, count: int) -> np.ndarray:
    """Places from ``first`` on, of which those beyond a line of so many are mirrored at its ends, once."""
    places = np.abs(np.arange(first, end))
    return np.where(places < count, places, 2 * (count - 1) - places)


class Batches:
    """Training batches of a split: each epoch in an order of its own, each image cropped and flipped anew.

    An epoch is cut into ``steps`` batches whose sizes differ by one at most, so every image is seen once in
    it and no batch is small.

    Args:
        dataset: where the images are.
        split: which of them.
        size: images a batch, at most.
        seed: the run's seed.
        crop: side of the crops in pixels (paper 4.1: 224).
        flip: flips a crop left to right with probability 1/2 (paper 4.1).
        pin: page-locked memory, for CUDA.
        shuffle: ``epoch``: anew each epoch. ``once``: the order of the first epoch is that of all, so mini-batches keep
            their members (2012 source). ``windows``: pieces of ``PIECE_ROWS`` rows that lie together are shuffled, and
            the images of ``WINDOW_PIECES`` of them at a time: a disk reads long runs, and what is being read fits
            into memory, but an image's neighbors in an epoch come from these pieces alone.
        crop_group: images that come after each other in an epoch's order and share a position and a flip (2012
            source: 32); chosen by epoch and the group's place in that order.
        crop_position: ``random``: uniform over all positions (paper 4.1). ``center``: always the central crop, whose
            flips are those of random ones.
        crop_scale: least share of an image's area that a crop shows (see ``region``); 1: crops are not resized.
        crop_margin: pixels around an image in which it is mirrored at its borders, for random crops that are not
            resized.
        keep: bytes that decoded images may take in memory; a split that needs more is decoded anew each epoch.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        size: int,
        seed: int,
        crop: int = 224,
        flip: bool = True,
        pin: bool = False,
        shuffle: str = "epoch",
        crop_group: int = 1,
        crop_position: str = "random",
        crop_scale: float = 1.0,
        crop_margin: int = 0,
        keep: int = 0,
    ):
        self.shuffle, self.crop_group = shuffle, crop_group
        self.crop_position, self.crop_scale, self.crop_margin = crop_position, crop_scale, crop_margin
        self.dataset, self.crop, self.flip, self.seed, self.pin = dataset, crop, flip, seed, pin
        self.split_rows = torch.from_numpy(dataset.rows(split))
        self.labels = torch.from_numpy(dataset.labels)
        self.steps = math.ceil(len(self.split_rows) / size)
        self.share = Share()
        self._kept = keeping(dataset, split, keep)
        self._lock = threading.Lock()
        self._orders = functools.lru_cache(maxsize=2)(self._shuffled)
        self._blocks = functools.lru_cache(maxsize=4)(self._draw_block)

    def shared(self, share: Share) -> "Batches":
        """The same batches, of each of which a rank has a part; what is drawn for an image stays what it is."""
        other = copy.copy(self)
        other.share = share
        return other

    @property
    def smallest(self) -> int:
        """Images of an epoch's smallest batch, of all ranks."""
        return len(self.split_rows) // self.steps

    def _shuffled(self, epoch: int) -> Tensor:
        epoch, count = 0 if self.shuffle == "once" else epoch, len(self.split_rows)
        places = randomness.permutation(self.seed, "order", epoch, count)
        if self.shuffle == "windows":
            pieces = randomness.permutation(self.seed, "order of pieces", epoch, math.ceil(count / PIECE_ROWS))
            window = pieces[places // PIECE_ROWS] // WINDOW_PIECES
            places = places[torch.argsort(window, stable=True)]
        return self.split_rows[places]

    def rows(self, step: int) -> Tensor:
        """(n,) int64, the row ids of a step's batch, or of this rank's part, counting steps from the start."""
        with self._lock:
            order = self._orders(step // self.steps)
        places = self.share.of(self._places(step))
        return order[places.start : places.stop]

    def _places(self, step: int) -> range:
        """Where a step's batch is in its epoch's order."""
        count, place = len(self.split_rows), step % self.steps
        return range(count * place // self.steps, count * (place + 1) // self.steps)

    def fetch(self, step: int) -> None:
        """Reads a byte of each page of a step's images, so that a slow disk is waited for before they are wanted."""
        for row in self.rows(step).tolist():
            if self._kept and self._kept.has(row):
                continue
            np.frombuffer(self.dataset.encoded(row), np.uint8)[:: mmap.PAGESIZE].max()

    def load(self, step: int) -> Batch:
        """The batch of a step."""
        rows = self.rows(step)
        out = torch.empty((len(rows), self.crop, self.crop, 3), dtype=torch.uint8, pin_memory=self.pin)
        drawn, flips = self._drawn(step)
        if self._kept and self.crop_scale == 1 and native.available():
            self._kept.crops(rows.numpy(), drawn, flips, out.numpy(), self.crop_margin)
        else:
            room, pixels = images.room_for(self.dataset.size), out.numpy()
            copied = crop if self.crop_scale == 1 else resized_crop
            for i, (row, numbers) in enumerate(zip(rows.tolist(), drawn.tolist())):
                image = self._kept.image(row) if self._kept else self.dataset.image(row, room)
                copied(image, self._region(numbers), bool(flips[i]), pixels[i])
        return Batch(out.permute(0, 3, 1, 2), self.labels[rows], rows, self.total(step))

    def _drawn(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """What is random of a step's images, or of this rank's: as ``_draw_block``."""
        epoch, place = divmod(step, self.steps)
        block = place // DRAWN_STEPS
        with self._lock:
            crops, flips = self._blocks(epoch, block)
        first = self._places(block * DRAWN_STEPS).start
        own = self.share.of(self._places(step))
        part = slice(own.start - first, own.stop - first)
        return crops[part], flips[part]

    def _draw_block(self, epoch: int, block: int) -> tuple[np.ndarray, np.ndarray]:
        """What is random of the images of ``DRAWN_STEPS`` steps of an epoch: a call for each batch takes longer.

        Returns:
            (n, 2) int64, where each crop begins: top, left, negative in the margin; or of resized crops (n, 4)
            float64, uniform in [0, 1). And (n,) bool, whether left and right change places.
        """
        last = min((block + 1) * DRAWN_STEPS, self.steps) - 1
        places = range(self._places(block * DRAWN_STEPS).start, self._places(last).stop)
        ids, of = self._orders(epoch)[places.start : places.stop], ""
        if self.crop_group > 1:
            ids, of = torch.tensor(places) // self.crop_group, " of a chunk"
        free, margin = self.dataset.size - self.crop, self.crop_margin
        if self.crop_scale < 1:
            crops = randomness.uniform(self.seed, "resized crop" + of, epoch, ids, 4)
        elif self.crop_position == "center":
            crops = torch.full((len(ids), 2), free // 2)
        else:
            crops = randomness.integers(self.seed, "crop" + of, epoch, ids, [free + 2 * margin + 1] * 2) - margin
        flips = torch.zeros(len(ids), dtype=torch.bool)
        if self.flip:
            flips = randomness.integers(self.seed, "mirror" + of, epoch, ids, [2])[:, 0].bool()
        return crops.numpy(), flips.numpy()

    def _region(self, numbers: list[float]) -> Region:
        """What a crop shows of its image, by what was drawn for it."""
        if self.crop_scale < 1:
            return region(self.dataset.size, self.crop_scale, *numbers)
        return Region(int(numbers[0]), int(numbers[1]), self.crop, self.crop)

    def total(self, step: int) -> int:
        """Images of a step's whole batch, where this rank has a part of it; else 0."""
        return len(self._places(step)) if self.share.count > 1 else 0


def region(size: int, scale: float, area: float, aspect: float, top: float, left: float) -> Region:
    """What a resized crop shows of a square image (Szegedy et al., 2015, arXiv:1409.4842, section 6).

    Its share of the area is uniform from ``scale`` to 1. The logarithm of its width by its height is uniform from 3/4
    to 4/3, or in so much of that as fits into the image: near the whole area that is a square alone. Its place is
    uniform. Plain floats, so that no number depends on how many come with it.

    Args:
        size: side of the image, pixels.
        scale: least share of its area.
        area, aspect, top, left: random, uniform in [0, 1).
    """
    share = scale + (1 - scale) * area
    stretch = math.exp(min(WIDEST, -math.log(share)) * (aspect - 0.5))  # the root of width by height
    height, width = (min(size, max(1, round(size * math.sqrt(share) * factor))) for factor in (1 / stretch, stretch))
    return Region(int(top * (size - height + 1)), int(left * (size - width + 1)), height, width)


def crop(image: np.ndarray, shown: Region, mirrored: bool, out: np.ndarray) -> None:
    """Copies a square out of an image, mirrored or not.

    Args:
        image: (H, W, 3) uint8, contiguous.
        shown: the square.
        mirrored: left and right change places.
        out: (side, side, 3) uint8, contiguous.
    """
    if native.available():
        native.crop_image(image, shown.top, shown.left, mirrored, out, shown.margin(image))
        return
    view = shown.of(image)
    out[...] = view[:, ::-1] if mirrored else view


def resized_crop(image: np.ndarray, shown: Region, mirrored: bool, out: np.ndarray) -> None:
    """Copies a part out of an image, resized to a square, mirrored or not.

    Bilinear, and antialiased where it shrinks: torch's own code for bytes, quick on processors with AVX2. On others it
    may differ by a gray level.

    Args:
        image: (H, W, 3) uint8.
        shown: the part.
        mirrored: left and right change places.
        out: (side, side, 3) uint8, contiguous.
    """
    part = torch.from_numpy(shown.of(image).copy()).unsqueeze(0).permute(0, 3, 1, 2)
    resized = F.interpolate(part, size=out.shape[:2], mode="bilinear", antialias=True)
    whole = Region(0, 0, *out.shape[:2])
    crop(resized[0].permute(1, 2, 0).contiguous().numpy(), whole, mirrored, out)


def whole_images(
    dataset: Dataset, split: str, size: int, threads: int, pin: bool = False, rows: np.ndarray | None = None
) -> Iterator[Batch]:
    """Every image of a split in the dataset's order, uncropped: batches of (N, 3, 256, 256) uint8."""
    chosen = dataset.rows(split) if rows is None else rows
    labels = torch.from_numpy(dataset.labels)

    def load(start: int) -> Batch:
        ids = torch.from_numpy(chosen[start : start + size])
        out = torch.empty((len(ids), dataset.size, dataset.size, 3), dtype=torch.uint8, pin_memory=pin)
        pixels = out.numpy()
        for i, row in enumerate(ids.tolist()):
            image = dataset.image(row, pixels[i])
            if dataset.format == "raw":
                pixels[i] = image
        return Batch(out.permute(0, 3, 1, 2), labels[ids], ids)

    return ahead(load, range(0, len(chosen), size), threads)


def ahead(load: Callable[[K], T], keys: Iterable[K], threads: int) -> Generator[T, None, None]:
    """``load(key)`` for each key in order, ``threads`` at a time and as many again waiting."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="load")
    pending: collections.deque[Future[T]] = collections.deque()
    try:
        for key in keys:
            pending.append(pool.submit(load, key))
            if len(pending) > 2 * threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def between(
    load: Callable[[int], T], keys: range, threads: int, fetch: Callable[[int], object] | None = None
) -> Generator[T, None, None]:
    """``load(key)`` for each key in order, ``threads`` of them at once while the caller waits.

    For a caller that computes on the cores that load: a core that loads makes all others wait for what it does not
    compute meanwhile, so loading beside it costs its time on one core, and between two steps its time on all.

    Args:
        load: of a key.
        keys: which.
        threads: how many at once.
        fetch: called ahead, beside the caller, with the keys that come next: brings their bytes into memory.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="load") as pool:
        for start in range(0, len(keys), threads):
            loaded = list(pool.map(load, keys[start : start + threads]))
            if fetch:
                for key in keys[start + threads : start + 2 * threads]:
                    pool.submit(fetch, key)
            loaded.reverse()
            while loaded:
                yield loaded.pop()
