"""Errors of one net or of several whose outputs are averaged, on a data set's split."""

import os
from collections.abc import Sequence

import torch

from alexnet.data.batches import Share
from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import AnyRun, Classifier
from alexnet.evaluation.ensemble import normalized_weights
from alexnet.evaluation.errors import Errors, Judged, described
from alexnet.evaluation.outputs import Progress, opened_runs, outputs
from alexnet.evaluation.result import Evaluation
from alexnet.files import mistakes
from alexnet.ranks import current
from alexnet.runs.history import add_measurement

KEPT_BYTES = 1 << 28  # of probabilities, up to which they are kept unless the caller says otherwise


def evaluate(
    runs: AnyRun | Sequence[AnyRun],
    dataset: Dataset | str | os.PathLike,
    *,
    split: str | None = None,
    views: int = 1,
    ensemble_weights: Sequence[float] | None = None,
    precision: str | None = None,
    workers: int = 2,
    keep_probabilities: bool | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Errors of one run, or of several whose soft-max outputs are averaged, on a split.

    Under torchrun each process scores a part of the images, and all have the errors of all; the probabilities are kept
    at the first one.

    Args:
        runs: one or several, opened on one device, or their folders. One that knows more classes than the dataset has
            (ImageNet's thousand, say) is measured among the dataset's: by its probabilities of these, divided by their
            sum.
        dataset: whose images; opened, or its path.
        split: ``train``, ``val`` or ``test``; not given, the one that the dataset was opened for, or ``val``.
        views: 1 (center), 10 (paper 4.1) or 9 (2012 source on CIFAR-10).
        ensemble_weights: of each run; equal if not given. They are divided by their sum.
        precision: of products, as for ``load``; an opened run's own if not given.
        workers: threads that decode.
        keep_probabilities: of all images and classes; not given, where they take up to 256 MiB (50,000 images of
            1,000 classes do). All else takes a few numbers per image.
        progress: called with images done and images in all.

    Raises:
        UsageError: classes differ, no such split or precision, or not one weight per run.
    """
    several = list(runs) if isinstance(runs, list | tuple) else [runs]
    mistakes.check_order("evaluate", *(("run", run) for run in several), ("dataset", dataset))
    classifiers, dataset = opened_runs(runs, precision), dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    weights = normalized_weights(ensemble_weights, len(classifiers))
    rows, classes, ranks = dataset.rows(split or dataset.split or "val"), len(dataset.classes), current()
    own = Share(ranks.rank, ranks.size).of(range(len(rows)))
    if keep_probabilities is None:
        keep_probabilities = 4 * len(rows) * classes <= KEPT_BYTES
    parts, kept = [], []
    for labels, several in outputs(classifiers, dataset, rows[own.start : own.stop], views, workers, progress):
        mixed = sum((weight * output for weight, output in zip(weights, several)), torch.zeros_like(several[0]))
        parts.append(Judged.of(mixed, labels))
        if keep_probabilities:
            kept.append(mixed)
    judged = Judged.joined([part for several in ranks.gather(parts) for part in several])
    kept = [part for several in ranks.to_first(kept) for part in several]
    counts = torch.bincount(judged.labels, minlength=classes).double()
    return Evaluation(
        errors=judged.errors(views),
        ensemble_weights=weights,
        class_errors=(torch.bincount(judged.labels, judged.wrong1.double(), minlength=classes) / counts).numpy(),
        rows=rows,
        labels=judged.labels.numpy(),
        predicted=judged.predicted.numpy(),
        own=judged.own.numpy(),
        confidence=judged.confidence.numpy(),
        kept=torch.cat(kept).numpy() if kept else None,
    )


def note_measurement(run: Classifier, dataset: Dataset, split: str, errors: Errors) -> None:
    """Adds what was measured of one run to its history, where its folder can be written.

    Args:
        run: with the precision that it was measured with.
        dataset, split: on what.
        errors: of it.
    """
    where = {"dataset": dataset.path, "store": dataset.fingerprint, "split": split}
    how = {"step": run.step, "precision": run.precision}
    add_measurement(run.path, {**where, **how, **described(errors, len(dataset.classes))})
