"""Decoded images that stay in memory: a data set that fits is decoded once, not every epoch."""

import threading

import numpy as np

from alexnet import native
from alexnet.data import codec
from alexnet.data.dataset import Dataset


class Kept:
    """Images of a data set, each decoded when it is first wanted. Memory is taken as they come.

    Args:
        dataset: where they are.
    """

    def __init__(self, dataset: Dataset):
        size = dataset.size
        self._dataset = dataset
        self._pixels = np.empty((len(dataset), size, size, 3), np.uint8)
        self._there = np.zeros(len(dataset), bool)
        self._lock = threading.Lock()

    def has(self, row: int) -> bool:
        """Whether an image was decoded already."""
        return bool(self._there[row])

    def image(self, row: int) -> np.ndarray:
        """(size, size, 3) uint8, not to be written. Raises ``AlexNetError`` where it is damaged."""
        if not self._there[row]:
            decoded = self._dataset.image(row, codec.room_for(self._dataset.size))
            with self._lock:  # whoever reads it sees all of it
                self._pixels[row] = decoded
                self._there[row] = True
        return self._pixels[row]

    def crops(self, rows: np.ndarray, corners: np.ndarray, flips: np.ndarray, out: np.ndarray, margin: int) -> None:
        """Copies a square out of each of some images, by the compiled path.

        Args:
            rows: (n,) int64, the images' row ids.
            corners: (n, 2) int64, where each square begins: top, left.
            flips: (n,) bool, whether left and right change places.
            out: (n, side, side, 3) uint8.
            margin: pixels around the images in which they are mirrored.
        """
        for row in rows[~self._there[rows]].tolist():
            self.image(row)
        native.crop_images(self._pixels, rows, corners, flips, out, margin)


def keeping(dataset: Dataset, split: str, most: int) -> Kept | None:
    """What keeps a split's images where they take at most ``most`` bytes; else None."""
    return Kept(dataset) if dataset.splits.get(split, 0) * 3 * dataset.size**2 <= most else None
