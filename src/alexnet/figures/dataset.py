"""Which dataset's images are drawn: the one asked for, or the one that a run was trained on."""

import os

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier


class NoImages(UsageError):
    """There are none to draw unless the user says which; a picture of other things can do without."""


def dataset_of(run: Classifier, path: Dataset | str | os.PathLike | None) -> Dataset:
    """The dataset asked for, or the one that the run was trained on.

    Args:
        run: opened.
        path: of the dataset asked for, or opened, or None.

    Raises:
        NoImages: none is asked for, and the run's own is not there any more, or there was none.
    """
    if path is not None:
        return path if isinstance(path, Dataset) else Dataset(path)
    recorded = run.data.get("path")
    if not recorded:
        raise NoImages(f"{run.path} was trained on no dataset; give --dataset")
    for candidate in dict.fromkeys((recorded, files.real(recorded))):  # a path's bytes may be no UTF-8
        if files.exists(files.join(candidate, "dataset.json")):
            dataset = Dataset(candidate)
            if dataset.fingerprint == run.data.get("store"):
                return dataset
            raise NoImages(f"{recorded} is not the dataset that {run.path} was trained on; give --dataset")
    raise NoImages(f"{recorded}, which {run.path} was trained on, is not there any more; give --dataset")


def split_of(dataset: Dataset, split: str | None) -> str:
    """The split asked for, or ``val``.

    Raises:
        NoImages: none is asked for, and the dataset has no ``val``.
        UsageError: it has no such split.
    """
    if split is None and "val" not in dataset.splits:
        raise NoImages(f"{dataset.path} has no split 'val'; give --split, one of {', '.join(dataset.splits)}")
    dataset.rows(split or "val")
    return split or "val"
