"""Errors of one net or of several whose outputs are averaged, on a data set's split."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet import files
from alexnet.data.batches import whole_images
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError, check_threads
from alexnet.evaluation.classifier import AnyRun, Classifier, check_views, images_at_once, opened
from alexnet.evaluation.errors import Errors, Judged, top_k_errors

KEPT_BYTES = 1 << 28  # of probabilities, up to which they are kept unless the caller says otherwise
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """What ``evaluate`` found: a few numbers an image. What grows with images or classes times classes is asked for.

    Attributes:
        errors: of the whole split.
        shares: weight of each run's soft-max outputs.
        class_errors: (classes,) top-1 error of each class; NaN of one without images.
        rows: (n,) row ids in the order of what follows.
        labels: (n,) right classes.
        predicted: (n,) most probable classes.
        own: (n,) float32, probability of the right class.
        kept: (n, classes) float32 probabilities, or None; see ``probabilities``.
    """

    errors: Errors
    shares: list[float]
    class_errors: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    own: np.ndarray
    kept: np.ndarray | None = None

    def __repr__(self) -> str:
        errors = self.errors
        return (
            f"Evaluation({errors.images:,} images, views: {errors.views}; "
            f"top-1 error {errors.top1_error:.2%}, top-5 error {errors.top5_error:.2%}, loss {errors.loss:.4f})"
        )

    @property
    def probabilities(self) -> np.ndarray:
        """(n, classes) float32. Raises ``UsageError`` where ``evaluate`` was not asked to keep them."""
        if self.kept is None:
            raise UsageError(
                f"probabilities: those of {len(self.rows):,} images for {len(self.class_errors):,} classes were not "
                "kept; call evaluate with keep_probabilities=True"
            )
        return self.kept

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) int64, images of the row's class taken for the column's; made when asked for."""
        classes = len(self.class_errors)
        counts = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        return counts.reshape(classes, classes)

    def write_class_errors(self, path: str | os.PathLike, classes: Sequence[str]) -> None:
        """Writes a CSV: class, images, top-1 error; the last is empty where a class has no images."""
        counts = np.bincount(self.labels, minlength=len(classes)).tolist()
        shares = ["" if math.isnan(error) else f"{error:.6f}" for error in self.class_errors.tolist()]
        files.write_csv(path, [["class", "images", "top1_error"], *zip(classes, counts, shares)])

    def write_confusion(self, path: str | os.PathLike, classes: Sequence[str]) -> None:
        """Writes a CSV: a row for each right class, a column for each predicted one; a row at a time."""
        order = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[order], np.arange(len(classes) + 1))
        with files.atomic(path) as file, files.explained(path):
            file.write(files.to_csv([["right class", *classes]]))
            for index, name in enumerate(classes):
                predicted = self.predicted[order[starts[index] : starts[index + 1]]]
                file.write(files.to_csv([[name, *np.bincount(predicted, minlength=len(classes)).tolist()]]))


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
            f"prepare the dataset again with --size {run.preprocessing.size}"
        )


def prepared_otherwise(run: Classifier, dataset: Dataset) -> str | None:
    """How a dataset's images differ from those that a run was trained on, in a line; None if they don't."""
    if dataset.size < run.preprocessing.crop:
        return None  # refused: see ``check_size``
    told = run.preprocessing
    differ = [
        f"{what}: {own} in training, {other} in {dataset.path}"
        for what, own, other in (("size", told.size, dataset.size), ("resize", told.resize, dataset.resize))
        if own != other
    ]
    if not differ:
        return None
    return (
        f"{run.path}: was trained on images prepared otherwise ({'; '.join(differ)}), so its error here is not its "
        f"own; prepare the dataset again with --size {told.size} --resize {told.resize}"
    )


def evaluate(
    runs: AnyRun | Sequence[AnyRun],
    dataset: Dataset | str | os.PathLike,
    *,
    split: str | None = None,
    views: int = 1,
    shares: Sequence[float] | None = None,
    precision: str | None = None,
    loaders: int = 2,
    keep_probabilities: bool | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Errors of one run, or of several whose soft-max outputs are averaged, on a split.

    Args:
        runs: one or several, opened on one device, or their folders. One that knows more classes than the dataset has
            (ImageNet's thousand, say) is measured among the dataset's: by its probabilities of these, divided by their
            sum.
        dataset: whose images; opened, or its path.
        split: ``train``, ``val`` or ``test``; not given, the one that the dataset was opened for, or ``val``.
        views: 1 (center), 10 (paper 4.1) or 9 (2012 source on CIFAR-10).
        shares: weight of each run; equal if not given. They are divided by their sum.
        precision: of products, as for ``load``; an opened run's own if not given.
        loaders: threads that decode.
        keep_probabilities: of all images and classes; not given, where they take up to 256 MiB (50,000 images of
            1,000 classes do). All else takes a few numbers an image.
        progress: called with images done and images in all.

    Raises:
        UsageError: classes differ, no such split or precision, or not one share a run.
    """
    classifiers, dataset = _opened_runs(runs, precision), dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    weights = _shares(shares, len(classifiers))
    rows, classes = dataset.rows(split or dataset.split or "val"), len(dataset.classes)
    if keep_probabilities is None:
        keep_probabilities = 4 * len(rows) * classes <= KEPT_BYTES
    parts, kept = [], []
    for labels, outputs in _outputs(classifiers, dataset, rows, views, loaders, progress):
        mixed = sum((weight * output for weight, output in zip(weights, outputs)), torch.zeros_like(outputs[0]))
        parts.append(Judged.of(mixed, labels))
        if keep_probabilities:
            kept.append(mixed)
    judged = Judged.joined(parts)
    counts = torch.bincount(judged.labels, minlength=classes).double()
    return Evaluation(
        errors=judged.errors(views),
        shares=weights,
        class_errors=(torch.bincount(judged.labels, judged.wrong1.double(), minlength=classes) / counts).numpy(),
        rows=rows,
        labels=judged.labels.numpy(),
        predicted=judged.predicted.numpy(),
        own=judged.own.numpy(),
        kept=torch.cat(kept).numpy() if kept else None,
    )


def _opened_runs(runs: AnyRun | Sequence[AnyRun], precision: str | None) -> list[Classifier]:
    several = list(runs) if not isinstance(runs, AnyRun) and isinstance(runs, Iterable) else [runs]
    if not several:
        raise UsageError("runs: give one or more")
    return [opened(run, precision) for run in several]


def _outputs(
    classifiers: Sequence[Classifier],
    dataset: Dataset,
    rows: np.ndarray,
    views: int,
    loaders: int,
    progress: Progress | None = None,
) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """For each batch of rows its (N,) labels, and each run's (N, classes) float32 soft-max outputs, on the CPU."""
    check_threads("--workers", loaders)
    check_views(views)
    places = [class_places(classifier, dataset) for classifier in classifiers]
    for classifier in classifiers:
        check_size(classifier, dataset)
    device, done = classifiers[0].device, 0
    for batch in whole_images(dataset, "", images_at_once(views), loaders, pin=device.type == "cuda", rows=rows):
        labels, batch = batch.labels, batch.to(device)
        outputs = []
        for classifier, columns in zip(classifiers, places):
            output = classifier.probabilities(batch.images, views).cpu()
            outputs.append(output if columns is None else F.normalize(output[:, columns], p=1, dim=1))
        yield labels, outputs
        done += len(batch.rows)
        if progress:
            progress(done, len(rows))


def row_probabilities(run: AnyRun, dataset: Dataset, rows: np.ndarray, *, loaders: int = 1) -> np.ndarray:
    """(n, classes) float32, the soft-max outputs for some of a dataset's images, by their row ids."""
    parts = [outputs[0] for _, outputs in _outputs([opened(run)], dataset, rows, 1, loaders)]
    return torch.cat(parts).numpy()


def _shares(shares: Sequence[float] | None, runs: int) -> list[float]:
    if shares is None:
        return [1 / runs] * runs
    if len(shares) != runs:
        raise UsageError(f"--ensemble-weights: {len(shares)} given for {runs} runs; give one a run")
    if not all(0 <= share < math.inf for share in shares) or not 0 < sum(shares) < math.inf:
        raise UsageError("--ensemble-weights: give numbers of at least 0 that are not all 0")
    return [share / sum(shares) for share in shares]


def find_shares(
    runs: Sequence[AnyRun],
    dataset: Dataset,
    split: str,
    *,
    views: int = 1,
    precision: str | None = None,
    loaders: int = 2,
    progress: Progress | None = None,
) -> list[float]:
    """The runs' shares that ``search_shares`` finds on a split; other arguments as for ``evaluate``."""
    classifiers, rows = _opened_runs(runs, precision), dataset.rows(split)
    parts = [outputs for _, outputs in _outputs(classifiers, dataset, rows, views, loaders, progress)]
    return search_shares([torch.cat(outputs) for outputs in zip(*parts)], torch.from_numpy(dataset.labels[rows]))


def search_shares(probabilities: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Shares that lower the top-5 error, as the source's ``avg-valid.py`` searches them.

    Coordinate search over 0 to 1 in steps of 0.05 from 0.5, at most five passes; not normalized.

    Args:
        probabilities: for each run (n, classes) soft-max outputs.
        labels: (n,) right classes.
    """
    shares = [0.5] * len(probabilities)

    def error(candidate: list[float]) -> float:
        mixed = sum((s * p for s, p in zip(candidate, probabilities)), torch.zeros_like(probabilities[0]))
        return float(top_k_errors(mixed, labels, min(5, mixed.shape[1] - 1)).double().mean())

    best = error(shares)
    for _ in range(5):
        before = best
        for i in range(len(shares)):
            for value in (j / 20 for j in range(21)):
                candidate = [*shares[:i], value, *shares[i + 1 :]]
                if sum(candidate) > 0 and (candidate_error := error(candidate)) < best:
                    best, shares = candidate_error, candidate
        if best == before:
            break
    return shares
