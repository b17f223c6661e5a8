"""A complete dataset for torch: for our own batches and for anybody's DataLoader."""

import operator
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils import data as torch_data

from alexnet.data.stored import StoredDataset


class Dataset(StoredDataset, torch_data.Dataset[tuple[Any, int]]):
    """A complete dataset, opened for reading from any number of threads: a map-style torch data set.

    ``dataset[i]`` is an image of the split and its class index; ``len(dataset)`` says how many there are. Row ids, as
    ``rows`` gives them and ``image`` takes them, are of all splits.

    Args:
        path: its folder, local or a URL for fsspec.
        split: which images ``dataset[i]`` and ``len(dataset)`` are of: ``train``, ``val``, ``test``; all, if not given.
        transform: makes of a PIL image of (size, size) pixels what ``dataset[i]`` has, as torchvision's data sets do: a
            run's ``preprocessing``, say. Not given, an image is a (3, size, size) uint8 tensor.

    Raises:
        UsageError: no dataset there, one of a newer format, or no such split.
        AlexNetError: an unfinished or damaged dataset.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        split: str | None = None,
        transform: Callable[[Image.Image], Any] | None = None,
    ):
        super().__init__(path)
        self.split, self.transform = split, transform
        self._chosen: Sequence[int] | np.ndarray = range(int(self._starts[-1])) if split is None else self.rows(split)

    def __repr__(self) -> str:
        split = f"; split {self.split}" if self.split else ""
        return f"Dataset({self.path!r}: {len(self.classes)} classes, {self.splits}{split})"

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """An image of the split, transformed, or as (3, size, size) uint8; and its class index."""
        row = int(self._chosen[operator.index(index)])
        pixels = self.image(row)
        if self.transform is None:
            image = torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy()).permute(2, 0, 1)
        else:
            image = self.transform(Image.fromarray(pixels))
        return image, int(self.labels[row])

    @cached_property
    def targets(self) -> list[int]:
        """The class index of each image of the split, as torchvision's data sets have it."""
        return self.labels[np.asarray(self._chosen, np.int64)].tolist()
