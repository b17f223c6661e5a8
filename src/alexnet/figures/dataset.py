"""Which dataset's images are drawn: the one asked for, or the one that a run was trained on."""

import os
from collections.abc import Callable

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import Classifier


def dataset_of(
    run: Classifier, path: Dataset | str | os.PathLike | None, note: Callable[[str], None]
) -> Dataset | None:
    """The dataset asked for, or the one that the run was trained on if it is still there; else None.

    Args:
        run: opened.
        path: of the dataset asked for, or opened, or None.
        note: called with a line that says why there is none.
    """
    if path is not None:
        return path if isinstance(path, Dataset) else Dataset(path)
    recorded = run.data.get("path")
    if not recorded:
        note(f"{run.path} was trained on no dataset; give --dataset")
        return None
    for candidate in dict.fromkeys((recorded, files.real(recorded))):  # a path's bytes may be no UTF-8
        if files.exists(files.join(candidate, "dataset.json")):
            dataset = Dataset(candidate)
            if dataset.fingerprint == run.data.get("store"):
                return dataset
            note(f"{recorded} is not the dataset that {run.path} was trained on; give --dataset")
            return None
    note(f"{recorded}, which {run.path} was trained on, is not there any more; give --dataset")
    return None
