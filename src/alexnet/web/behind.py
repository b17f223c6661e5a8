"""A pass over the run's images while nobody else asks the net: whoever comes meanwhile goes first."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError
from typing import Any

import numpy as np

from alexnet.data.dataset import Dataset
from alexnet.web.batcher import Batcher, Question

AT_ONCE = 8  # images, so that whoever asks meanwhile waits for so many at most


class Behind:
    """Asks once, in a thread of its own, when it is started; closes with its block. What comes of it is a subclass's.

    The thread decodes images and keeps answers; the net is its owner's, the batcher's.

    Args:
        batcher: what answers.
        dataset: of the run.
        split: its images.
        question: asked for each of them.
    """

    def __init__(self, batcher: Batcher, dataset: Dataset, split: str, question: Question):
        self.dataset, self.split = dataset, split
        self.finished = False
        self._batcher, self._question, self._done, self._problem = batcher, question, 0, ""
        self._rows = dataset.rows(split)
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Behind":
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        if self._thread:
            self._thread.join()

    def start(self) -> None:
        """Begins, unless it has."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="behind", daemon=True)
            self._thread.start()

    def state(self) -> dict[str, Any]:
        """How far it is."""
        state = "done" if self.finished else "measuring" if self._thread else "not measured"
        return {"state": self._problem or state, "split": self.split, "images": len(self._rows), "done": self._done}

    def take(self, answers: Sequence[Any], rows: np.ndarray) -> None:
        """Keeps the answers for images of (n,) row ids."""
        raise NotImplementedError

    def finish(self) -> None:
        """Makes the result of what was kept."""
        raise NotImplementedError

    def known(self) -> bool:
        """Whether the result is there without a pass."""
        return False

    def _run(self) -> None:
        try:
            if not self.known():
                for start in range(0, len(self._rows), AT_ONCE):
                    if self._closed.is_set():
                        return
                    rows = self._rows[start : start + AT_ONCE]
                    squares = (self.dataset.image(int(row)) for row in rows)
                    asked = [self._batcher.ask(self._question, square, behind=True) for square in squares]
                    self.take([future.result() for future in asked], rows)
                    self._done = start + len(rows)
                self.finish()
            self._done, self.finished = len(self._rows), True
        except CancelledError:  # the server ends
            return
        except Exception as error:
            self._problem = f"failed: {error}"
