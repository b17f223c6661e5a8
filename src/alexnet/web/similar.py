"""Similar images from an index, for the page and programs."""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.search.answers import nearer, pictures_of
from alexnet.search.coded import Coded, CodeNeighbor, overlap
from alexnet.search.codes import BITS, KINDS, possible
from alexnet.search.index import Index, Neighbor
from alexnet.search.pieces import half
from alexnet.web.pictures import joined, png, url_of
from alexnet.web.refusals import Refused

COMPARED = 10  # nearest images, of which those count that codes find, too
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
        self._folder, self._index = folder, Index(folder)
        if self._index.classifier(classifier) is not classifier:
            precision = self._index.bound["precision"]
            raise UsageError(f"--index {folder}: was made with precision {precision}; give --precision {precision}")
        self.layer, self.words = self._index.bound["layer"], self._index.words
        self._coded, self._lock = Coded(self._index), threading.Lock()

    def __len__(self) -> int:
        return len(self._index)

    def facts(self) -> dict[str, Any]:
        """What there is to be searched, as JSON; of each kind of code the lengths."""
        most = self._coded.most_bits
        codes = {kind: [bits for bits in BITS if possible(kind, bits, most)] for kind in KINDS}
        return {"path": self._folder, "layer": self.layer, "words": self.words, "images": len(self), "codes": codes}

    def search(self, activations: np.ndarray, count: int, exhaustive: bool) -> dict[str, Any]:
        """The nearest images, as JSON; their pictures side by side.

        Args:
            activations: (n, numbers) float32 of an image and perhaps its flip, of the index's layer; the nearer counts.
            count: of images, at most as many as there are.
            exhaustive: look at every image, where the index is approximate.
        """
        count = min(count, len(self))
        with self._lock:
            several = [self._index.search(row, count, exhaustive) for row in half(activations, self.layer)]
        neighbors = nearer(several, count)
        return {"layer": self.layer, "words": self.words, **self._shown(neighbors), "coded": None}

    def search_by_code(self, activations: np.ndarray, count: int, kind: str, bits: int) -> dict[str, Any]:
        """As ``search`` at every image, and beside it the images whose binary codes are nearest.

        Args:
            activations, count: as for ``search``.
            kind: of ``codes.KINDS``.
            bits: of a code; the first question of a kind and length fits it, which takes a while.

        Raises:
            Refused: more bits than the index has principal components.
        """
        queries = half(activations, self.layer)
        count, compared = min(count, len(self)), min(COMPARED, len(self))
        wanted = max(count, compared)
        try:
            by_code, apart = self._by_code(queries, kind, bits, wanted)
        except UsageError as error:
            raise Refused(422, str(error)) from error
        with self._lock:
            exact = nearer([self._index.search(query, wanted, exhaustive=True) for query in queries], wanted)
        coded = {
            "kind": kind,
            "bits": bits,
            "compared": compared,
            "overlap": overlap(exact[:compared], by_code[:compared]),
            "within": int((apart <= by_code[compared - 1].differing).sum()),
            **self._shown(by_code[:count]),
        }
        return {"layer": self.layer, "words": self.words, **self._shown(exact[:count]), "coded": coded}

    def _by_code(self, queries: np.ndarray, kind: str, bits: int, count: int) -> tuple[list[CodeNeighbor], np.ndarray]:
        """As ``Coded.search``, of (n, numbers) float16 of an image and perhaps its flip; the fewer bits count."""
        several, aparts = zip(*(self._coded.search(query, kind, bits, count) for query in queries))
        nearest = nearer(several, count, lambda neighbor: (neighbor.differing, neighbor.place))
        return nearest, np.minimum.reduce(aparts)

    def square(self, place: int, preprocessing: Preprocessing) -> bytes:
        """An image of the index as a PNG of the (size, size) square that a net's crops are cut from.

        Args:
            place: of the index, below ``len``.
            preprocessing: of the run.

        Raises:
            Refused: it is not where it was, or damaged.
        """
        names = self._index.names
        with self._lock:
            path = names.path(place)
            try:
                (square,) = pictures_of(names, [place], preprocessing.size, preprocessing.resize)
            except (AlexNetError, ValueError):
                square = None
        if square is None:
            raise Refused(404, f"{path}: is not there any more, or cannot be read")
        return png(square)

    def _shown(self, neighbors: Sequence[Neighbor | CodeNeighbor]) -> dict[str, Any]:
        """Images as JSON, and their pictures."""
        with self._lock:
            pictures = pictures_of(self._index.names, [neighbor.place for neighbor in neighbors])
        return {
            "neighbors": [
                {**dataclasses.asdict(neighbor), "there": picture is not None}
                for neighbor, picture in zip(neighbors, pictures)
            ],
            "picture": _url(pictures),
        }


def _url(pictures: Sequence[np.ndarray | None]) -> str:
    return url_of(joined([GONE if picture is None else picture for picture in pictures]))
