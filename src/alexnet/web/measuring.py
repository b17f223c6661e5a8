"""Errors of the run on its dataset's validation images, measured while nobody else asks the net."""

import collections
import threading
from concurrent.futures import CancelledError, Future
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Dataset
from alexnet.evaluation.errors import Judged, described
from alexnet.web.batcher import Batcher, Probabilities
from alexnet.web.pictures import row_of

AT_ONCE = 8  # images, so that whoever asks meanwhile waits for so many at most
MOST_CLASSES = 40  # of a confusion matrix that is sent
LISTED = 12  # mistakes, and confusions


class Measuring:
    """Measures once, in a thread of its own, when it is started; closes with its block.

    Args:
        batcher: what answers.
        dataset: of the run.
        split: its images.

    Attributes:
        result: what was measured, as JSON; None before that.
        mistakes: row ids of the worst mistakes.
    """

    def __init__(self, batcher: Batcher, dataset: Dataset, split: str):
        self.dataset, self.split = dataset, split
        self.result: dict[str, Any] | None = None
        self.mistakes: list[int] = []
        self._batcher, self._done, self._problem = batcher, 0, ""
        self._rows = dataset.rows(split)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Measuring":
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        if self._thread:
            self._thread.join()

    def start(self) -> None:
        """Begins, unless it has."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="measuring", daemon=True)
            self._thread.start()

    def state(self) -> dict[str, Any]:
        """How far it is, and what was measured."""
        state = "done" if self.result else "measuring" if self._thread else "not measured"
        counts = {"split": self.split, "images": len(self._rows), "done": self._done}
        return {"state": self._problem or state, **counts, **(self.result or {})}

    def picture(self) -> bytes:
        """A JPEG of the worst mistakes side by side."""
        return row_of(self.dataset, self.mistakes)

    def _run(self) -> None:
        asked: collections.deque[Future[torch.Tensor]] = collections.deque()
        parts: list[Judged] = []
        labels = torch.from_numpy(self.dataset.labels[self._rows].astype(np.int64))
        try:
            for row in self._rows:
                if self._closed.is_set():
                    return
                asked.append(self._batcher.ask(Probabilities(), self.dataset.image(int(row)), behind=True))
                if len(asked) == AT_ONCE:
                    parts.append(self._judged(asked, labels))
            if asked:
                parts.append(self._judged(asked, labels))
            self.result = self._described(Judged.joined(parts))
        except CancelledError:  # the server ends
            return
        except Exception as error:
            self._problem = f"failed: {error}"

    def _judged(self, asked: "collections.deque[Future[torch.Tensor]]", labels: torch.Tensor) -> Judged:
        """The next images, of all whose (n,) labels are given."""
        answers = torch.stack([asked.popleft().result() for _ in range(len(asked))])
        begun, self._done = self._done, self._done + len(answers)
        return Judged.of(answers, labels[begun : self._done])

    def _described(self, judged: Judged) -> dict[str, Any]:
        """Errors, those of each class, what is taken for what, and the images of which the net is most mistaken."""
        labels, predicted, own = judged.labels.numpy(), judged.predicted.numpy(), judged.own.numpy()
        count = len(self.dataset.classes)
        matrix = np.bincount(labels * count + predicted, minlength=count * count).reshape(count, count)
        wrong = matrix * (1 - np.eye(count, dtype=np.int64))
        order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
        pairs = [(int(place) // count, int(place) % count) for place in order]
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
                    "row": int(self._rows[place]),
                    "name": self.dataset.name(int(self._rows[place])),
                    "true": int(labels[place]),
                    "predicted": int(predicted[place]),
                    "probability": float(judged.confidence[place]),
                    "true_probability": float(own[place]),
                }
                for place in worst
            ],
        }
