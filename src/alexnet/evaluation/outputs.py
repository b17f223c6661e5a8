"""What nets give of a data set's images: soft-max outputs, batch by batch, among the data set's own classes."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.data.batches import whole_images
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError, check_threads
from alexnet.evaluation.classifier import AnyRun, Classifier, check_views, images_at_once, opened

Progress = Callable[[int, int], None]


def offset(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress of one of several passes over images.

    Args:
        progress: of all passes; called with images done and images in all.
        before: images of the passes before this one.
        total: images of all passes.
    """
    return None if progress is None else lambda done, _: progress(before + done, total)


def class_places(run: Classifier, dataset: Dataset) -> list[int] | None:
    """Where a dataset's classes are among those of a run that knows more or in another order; None where both agree.

    Raises:
        UsageError: the run does not know all of them, neither by their names nor by their words.
    """
    if run.classes == dataset.classes or run.words == dataset.words:
        return None
    for own, other in ((run.classes, dataset.classes), (run.words, dataset.words)):
        places = {name: place for place, name in enumerate(own)}
        if len(places) == len(own) and set(other) <= set(places):
            return [places[name] for name in other]
    missing = next((name for name in dataset.classes if name not in run.classes), dataset.classes[0])
    raise UsageError(
        f"{run.path}: trained on {len(run.classes)} classes, {dataset.path} has {len(dataset.classes)} ({missing!r} is "
        "not among the run's); evaluate it on a dataset of its own classes"
    )


def check_size(run: Classifier, dataset: Dataset) -> None:
    """Raises ``UsageError`` where a dataset's images are smaller than what a run's net sees of one."""
    if dataset.size < run.preprocessing.crop:
        raise UsageError(
            f"{dataset.path}: its images are {dataset.size} pixels wide, {run.path} sees {run.preprocessing.crop}; "
            f"prepare another dataset with --size {run.preprocessing.size}"
        )


def opened_runs(runs: AnyRun | Sequence[AnyRun], precision: str | None) -> list[Classifier]:
    """One run or several, made ready. Raises ``UsageError`` where there is none."""
    several = list(runs) if not isinstance(runs, AnyRun) and isinstance(runs, Iterable) else [runs]
    if not several:
        raise UsageError("runs: give one or more")
    return [opened(run, precision) for run in several]


def outputs(
    classifiers: Sequence[Classifier],
    dataset: Dataset,
    rows: np.ndarray,
    views: int,
    workers: int,
    progress: Progress | None = None,
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """For each batch of rows its (N,) labels, and each run's (N, classes) float32 soft-max outputs, on the CPU."""
    check_threads("--workers", workers)
    check_views(views)
    places = [class_places(classifier, dataset) for classifier in classifiers]
    for classifier in classifiers:
        check_size(classifier, dataset)
    device, done = classifiers[0].device, 0
    for batch in whole_images(dataset, "", images_at_once(views), workers, pin=device.type == "cuda", rows=rows):
        labels, batch = batch.labels, batch.to(device)
        several = []
        for classifier, columns in zip(classifiers, places):
            output = classifier.probabilities(batch.images, views).cpu()
            several.append(output if columns is None else F.normalize(output[:, columns], p=1, dim=1))
        yield labels, several
        done += len(batch.rows)
        if progress:
            progress(done, len(rows))


def row_probabilities(run: AnyRun, dataset: Dataset, rows: np.ndarray, *, workers: int = 1) -> np.ndarray:
    """(n, classes) float32, the soft-max outputs for some of a dataset's images, by their row ids."""
    parts = [several[0] for _, several in outputs([opened(run)], dataset, rows, 1, workers)]
    return torch.cat(parts).numpy()
