"""Similar images from an index, for the page and programs."""

import base64
import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.search.answers import pictures_of
from alexnet.search.index import Index
from alexnet.search.pieces import half
from alexnet.web.pictures import joined

GONE = np.full((8, 8, 3), 128, np.uint8)  # instead of an image that is not there any more


class Similar:
    """An index that belongs to the run that is served.

    Args:
        folder: of the index.
        classifier: the run.

    Attributes:
        layer: whose activations are compared.
        words: what its distances mean.

    Raises:
        UsageError: no index there, one of another run or precision, or faiss is missing.
        AlexNetError: it is damaged.
    """

    def __init__(self, folder: str, classifier: Classifier):
        self._index = Index(folder)
        if self._index.classifier(classifier) is not classifier:
            precision = self._index.bound["precision"]
            raise UsageError(f"--index {folder}: was made with precision {precision}; give --precision {precision}")
        self.layer, self.words = self._index.bound["layer"], self._index.words
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._index)

    def search(self, activations: np.ndarray, count: int, exhaustive: bool) -> dict[str, Any]:
        """The nearest images, as JSON; their pictures side by side.

        Args:
            activations: (...) float32 of an image, of the index's layer.
            count: of images, at most as many as there are.
            exhaustive: look at every image, where the index is approximate.
        """
        with self._lock:
            neighbors = self._index.search(half(activations[None], self.layer)[0], min(count, len(self)), exhaustive)
            pictures = pictures_of(self._index.names, [neighbor.place for neighbor in neighbors])
        return {
            "layer": self.layer,
            "words": self.words,
            "neighbors": [
                {**dataclasses.asdict(neighbor), "there": picture is not None}
                for neighbor, picture in zip(neighbors, pictures)
            ],
            "picture": _url(pictures),
        }


def _url(pictures: Sequence[np.ndarray | None]) -> str:
    content = joined([GONE if picture is None else picture for picture in pictures])
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
