"""What was measured: errors, scores, and a few numbers of each image, with the tables that are written of them."""

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence

import numpy as np

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.evaluation.errors import Errors, described
from alexnet.evaluation.scores import Calibration, ClassScores

PREDICTIONS = ("name", "true_class", "predicted_class", "probability", "true_class_probability", "correct")
ROWS_AT_ONCE = 4096  # of a table that is written


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Evaluation:
    """What ``evaluate`` measured: a few numbers per image. What grows with images or classes squared is asked for.

    Attributes:
        errors: of the whole split.
        ensemble_weights: weight of each run's soft-max outputs.
        class_errors: (classes,) top-1 error of each class; NaN of one without images.
        rows: (n,) row ids in the order of what follows.
        labels: (n,) true classes.
        predicted: (n,) most probable classes.
        own: (n,) float32, probability of the true class.
        confidence: (n,) float32, probability of the most probable class.
        kept: (n, classes) float32 probabilities, or None; see ``probabilities``.
    """

    errors: Errors
    ensemble_weights: list[float]
    class_errors: np.ndarray
    rows: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    own: np.ndarray
    confidence: np.ndarray
    kept: np.ndarray | None = None

    def __repr__(self) -> str:
        errors = self.errors
        top5 = f"top-5 error {errors.top5_error:.2%}, " if len(self.class_errors) > 5 else ""
        return (
            f"Evaluation({errors.images:,} images, views: {errors.views}; "
            f"top-1 error {errors.top1_error:.2%}, {top5}loss {errors.loss:.4f})"
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
    def correct(self) -> np.ndarray:
        """(n,) bool, whether the most probable class is the true one."""
        return self.predicted == self.labels

    @property
    def confusion(self) -> np.ndarray:
        """(classes, classes) int64, images of the row's class taken for the column's; made when asked for."""
        classes = len(self.class_errors)
        counts = np.bincount(self.labels * classes + self.predicted, minlength=classes * classes)
        return counts.reshape(classes, classes)

    @property
    def class_images(self) -> np.ndarray:
        """(classes,) int64, images of each class."""
        return np.bincount(self.labels, minlength=len(self.class_errors))

    @property
    def class_scores(self) -> ClassScores:
        """Precision, recall and F1 of each class."""
        return ClassScores.of(self.labels, self.predicted, len(self.class_errors))

    @property
    def calibration(self) -> Calibration:
        """How often the net is right where it is so sure."""
        return Calibration.of(self.confidence, self.correct)

    def describe(self) -> dict[str, object]:
        """Errors, means of the classes' scores and calibration, as JSON; of few classes the top-5 error is None."""
        scores = {f"macro_{name}": value for name, value in self.class_scores.macro().items()}
        return {**described(self.errors, len(self.class_errors)), **scores, "ece": self.calibration.ece}

    def write_class_errors(self, path: str | os.PathLike, classes: Sequence[str]) -> None:
        """Writes a CSV: class, images, top-1 error, precision, recall, F1.

        The error of a class without images is empty, and all of a class that is not predicted, either.
        """
        scores = self.class_scores
        columns = (self.class_errors, scores.precision, scores.recall, scores.f1)
        shares = [["" if math.isnan(share) else f"{share:.6f}" for share in column.tolist()] for column in columns]
        head = ["class", "images", "top1_error", "precision", "recall", "f1"]
        files.write_csv(path, [head, *zip(classes, self.class_images.tolist(), *shares)])

    def write_confusion(self, path: str | os.PathLike, classes: Sequence[str]) -> None:
        """Writes a CSV: a row for each true class, a column for each predicted one; a row at a time."""
        order = np.argsort(self.labels, kind="stable")
        starts = np.searchsorted(self.labels[order], np.arange(len(classes) + 1))
        with files.atomic(path) as file, files.explained(path):
            file.write(files.to_csv([["true class", *classes]]))
            for index, name in enumerate(classes):
                predicted = self.predicted[order[starts[index] : starts[index + 1]]]
                file.write(files.to_csv([[name, *np.bincount(predicted, minlength=len(classes)).tolist()]]))

    def write_calibration(self, path: str | os.PathLike) -> None:
        """Writes a CSV of the calibration's bins: lower and upper end, images, mean confidence, accuracy."""
        bins = self.calibration
        ends = np.linspace(0, 1, len(bins.counts) + 1)
        shares = [["" if math.isnan(x) else f"{x:.6f}" for x in of.tolist()] for of in (bins.confidence, bins.accuracy)]
        rows = zip((f"{low:.6f}" for low in ends), (f"{high:.6f}" for high in ends[1:]), bins.counts.tolist(), *shares)
        files.write_csv(path, [["from", "to", "images", "confidence", "accuracy"], *rows])

    def write_predictions(self, path: str | os.PathLike, dataset: Dataset) -> None:
        """Writes a CSV with a row an image, some thousands at a time.

        Its columns: ``name`` as the source had it, ``true_class``, ``predicted_class``, ``probability`` of the
        predicted class, ``true_class_probability``, ``correct`` (1 or 0).

        Args:
            path: the file.
            dataset: the one that was measured on.
        """
        with files.atomic(path) as file, files.explained(path):
            file.write(files.to_csv([PREDICTIONS]))
            for start in range(0, len(self.rows), ROWS_AT_ONCE):
                file.write(files.to_csv(self._lines(dataset, slice(start, start + ROWS_AT_ONCE))))

    def _lines(self, dataset: Dataset, part: slice) -> Iterator[list[object]]:
        columns = (self.rows, self.labels, self.predicted, self.confidence, self.own)
        for row, label, predicted, confidence, own in zip(*(column[part].tolist() for column in columns)):
            names = [dataset.name(row), dataset.classes[label], dataset.classes[predicted]]
            yield [*names, f"{confidence:.6f}", f"{own:.6f}", int(label == predicted)]
