"""What was measured, as tables or pictures: the ending of a file's name says which."""

import os
from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from alexnet.data.dataset import Dataset
from alexnet.evaluation.compare import Comparison
from alexnet.evaluation.learning_curve import Point
from alexnet.evaluation.result import Evaluation
from alexnet.figures.class_errors import class_errors
from alexnet.figures.confusion import confusion
from alexnet.figures.curve import curves, learning_curve
from alexnet.figures.reliability import reliability
from alexnet.figures.style import save
from alexnet.runs.journal import read_metrics

PICTURE = ".png"


def write_class_errors(path: str | os.PathLike, measured: Evaluation, dataset: Dataset) -> None:
    """The error of each class: a picture where the file's name ends in .png, else CSV."""
    _write(
        path,
        lambda: class_errors(measured.class_errors, measured.class_images, dataset.words),
        lambda: measured.write_class_errors(path, dataset.classes),
    )


def write_confusion(path: str | os.PathLike, measured: Evaluation, dataset: Dataset) -> None:
    """The confusion matrix: a picture where the file's name ends in .png, else CSV."""
    _write(
        path,
        lambda: confusion(measured.confusion, dataset.words),
        lambda: measured.write_confusion(path, dataset.classes),
    )


def write_calibration(path: str | os.PathLike, measured: Evaluation) -> None:
    """The calibration: a reliability diagram where the file's name ends in .png, else its bins as CSV."""
    bins = measured.calibration
    _write(
        path,
        lambda: reliability(bins.confidence, bins.accuracy, bins.counts, bins.ece),
        lambda: measured.write_calibration(path),
    )


def write_learning_curve(path: str | os.PathLike, points: Sequence[Point], title: str, classes: int) -> None:
    """The errors of a run's checkpoints as a picture, against epochs (steps, where no journal says the epochs)."""
    known = all(point.epoch is not None for point in points)
    x = [point.epoch if known and point.epoch is not None else float(point.step) for point in points]
    errors = [point.errors.top1_error for point in points]
    intervals = [point.errors.top1_interval for point in points]
    save(learning_curve(x, errors, intervals, title, 1 - 1 / classes, "epoch" if known else "step"), path)


def write_curves(path: str | os.PathLike, comparison: Comparison) -> None:
    """The error curves of all compared runs in one picture."""
    save(curves({run.name: read_metrics(run.run) for run in comparison.runs}), path)


def _write(path: str | os.PathLike, draw: Callable[[], Figure], write: Callable[[], None]) -> None:
    if os.fspath(path).lower().endswith(PICTURE):
        save(draw(), path)
    else:
        write()
