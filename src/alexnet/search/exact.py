"""Exact search by Euclidean distance in half precision, fast by a lower bound.

A scan of short rows (``projection``) gives every image's lower bound. The activations themselves are read of those
images alone whose bound is below the distance of the best ones, so that none nearer can be missed.
"""

from collections.abc import Callable

import numpy as np

from alexnet.search.library import faiss, ready
from alexnet.search.projection import Projection, single
from alexnet.search.rows import Rows

NUMBERS = 128  # of a short row
FIRST = 256  # bounds that are looked at first, then four times as many
SLACK = 2.0**-10  # of a vector's length: what rounding to half precision, twice, may take from a bound


class Exact:
    """Images that are searched exactly.

    Args:
        rows: (rows, at least d) float16 activations.
        ids: (n,) which of these are images of the index.
        projection: made of d activations.
        heads: (n, width) float16, what it makes of them.

    Attributes:
        rows: as given.
    """

    def __init__(self, rows: Rows, ids: np.ndarray, projection: Projection, heads: np.ndarray):
        self.rows, self._ids, self._projection = rows, ids, projection
        library, wide = faiss(), single(heads)
        kind = library.ScalarQuantizer.QT_fp16
        self._scan = library.IndexScalarQuantizer(projection.width, kind, library.METRIC_L2)
        self._scan.add(ready(wide, projection.width))
        self._longest = float(np.sqrt(np.einsum("ij,ij->i", wide, wide).max(initial=0)))

    def search(self, activations: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The nearest images.

        Args:
            activations: (d,) float16.
            count: of them, at most as many as there are.

        Returns:
            (count,) their rows, nearest first, and (count,) float32 distances.
        """
        head = self._projection(activations[None])
        slack = SLACK * (float(np.linalg.norm(head)) + self._longest)
        query, distances_to = ready(head, self._projection.width), self._distances_to(activations)
        places, distances = np.zeros(0, np.int64), np.zeros(0, np.float32)
        looked, count, known = FIRST, min(count, len(self._ids)), np.zeros(len(self._ids), bool)
        while True:
            looked = min(len(self._ids), max(looked, 4 * count))
            squared, order = self._scan.search(query, looked)
            bounds, order = np.sqrt(np.maximum(squared[0], 0)) - slack, order[0]
            if not len(places):
                places = order[: 2 * count]
                distances = distances_to(places)
            limit = np.partition(distances, count - 1)[count - 1]
            known[places] = True
            near = order[(bounds <= limit) & ~known[order]]
            places, distances = np.append(places, near), np.append(distances, distances_to(near))
            if looked == len(self._ids) or bounds[-1] > limit:
                break
            looked *= 4
        best = np.argsort(distances, kind="stable")[:count]
        return self._ids[places[best]], distances[best]

    def _distances_to(self, activations: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        query = single(np.pad(activations, (0, self.rows.width - len(activations))))

        def distances(places: np.ndarray) -> np.ndarray:
            apart = single(self.rows.take(self._ids[places]))
            apart -= query
            return np.sqrt(np.einsum("ij,ij->i", apart, apart))

        return distances
