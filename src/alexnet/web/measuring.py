"""Errors of the run on its dataset's validation images, measured while nobody else asks the net."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Dataset
from alexnet.evaluation.errors import Judged, described
from alexnet.web.batcher import Batcher, Probabilities
from alexnet.web.behind import Behind
from alexnet.web.pictures import row_of

MOST_CLASSES = 40  # of a confusion matrix that is sent
LISTED = 12  # mistakes, and confusions


class Measuring(Behind):
    """Measures errors once, when it is started.

    Args:
        batcher: what answers.
        dataset: of the run.
        split: its images.

    Attributes:
        result: what was measured, as JSON; empty before that.
        mistakes: row ids of the worst mistakes.
    """

    def __init__(self, batcher: Batcher, dataset: Dataset, split: str):
        super().__init__(batcher, dataset, split, Probabilities())
        self.result: dict[str, Any] = {}
        self.mistakes: list[int] = []
        self._parts: list[Judged] = []

    def state(self) -> dict[str, Any]:
        """How far it is, and what was measured."""
        return {**super().state(), **(self.result if self.finished else {})}

    def picture(self) -> bytes:
        """A JPEG of the worst mistakes side by side."""
        return row_of(self.dataset, self.mistakes)

    def take(self, answers: Sequence[Any], rows: np.ndarray) -> None:
        """Judges (classes,) probabilities of images."""
        labels = torch.from_numpy(self.dataset.labels[rows].astype(np.int64))
        self._parts.append(Judged.of(torch.stack(list(answers)), labels))

    def finish(self) -> None:
        """Makes the result."""
        self.result = self._described(Judged.joined(self._parts))

    def _described(self, judged: Judged) -> dict[str, Any]:
        """Errors, those of each class, what is taken for what, and the images of which the net is most mistaken."""
        labels, predicted, own = judged.labels.numpy(), judged.predicted.numpy(), judged.own.numpy()
        count = len(self.dataset.classes)
        matrix = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
        wrong = matrix * (1 - np.eye(count, dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
        pairs = [divmod(int(cell), count) for cell in order]
        worst = np.flatnonzero(predicted != labels)
        worst = worst[np.argsort(own[worst], kind="stable")][:LISTED]
        self.mistakes = [int(row) for row in self._rows[worst]]
        return {
            "errors": described(judged.errors(1), count),
            "classes": [
                {"images": int(matrix[label].sum()), "wrong": int(wrong[label].sum())} for label in range(count)
            ],
            "confusion": matrix.tolist() if count <= MOST_CLASSES else None,
            "confusions": [[true, other, int(wrong[true, other])] for true, other in pairs if wrong[true, other]],
            "mistakes": [
                {
                    "row": int(self._rows[number]),
                    "name": self.dataset.name(int(self._rows[number])),
                    "true": int(labels[number]),
                    "predicted": int(predicted[number]),
                    "probability": float(judged.confidence[number]),
                    "true_probability": float(own[number]),
                }
                for number in worst
            ],
        }
