"""Approximate search of many images: binary codes in cells of a coarse grid, the best ones ranked again.

faiss's IVF with RaBitQ codes (Gao and Long, *RaBitQ*, SIGMOD 2024), one bit a number. The codes are of vectors turned
by a random rotation: along principal components a few numbers carry nearly everything, and a bit of each says little.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from alexnet.errors import AlexNetError
from alexnet.search.library import faiss, ready
from alexnet.search.projection import Projection, estimated, estimated_of_many, single
from alexnet.search.rows import Rows

NUMBERS = 256  # of an image: coordinates, and the length of what they leave out
RANKED = 150  # images that are ranked again, at least
PROBES = (8, 16, 32, 64, 96, 128, 192, 256)  # cells that are looked into, of which the least that suffice are taken
WANTED = 0.98  # recall@10 that decides
QUERIES = 100  # of the index's own images, by which recall is measured
NEIGHBORS = 10
TRAINED_ON = 64  # images a cell
ROUNDS = 10  # of k-means


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a search of the index's own images gave.

    Attributes:
        probes: cells that are looked into.
        recall: share of the ten nearest that it finds.
        queries: images that were searched for.
        typical: the median distance of two images.
    """

    probes: int
    recall: float
    queries: int
    typical: float


class Approximate:
    """Images that are searched approximately.

    Args:
        rows: (rows, width) float16, what the projection made of each image.
        projection: of ``NUMBERS`` at most.
        cells: faiss's index of them, by their rows.
        probes: cells that are looked into.

    Attributes:
        rows, probes: as given.
    """

    def __init__(self, rows: Rows, projection: Projection, cells: "Cells", probes: int):
        self.rows, self._projection, self._cells, self.probes = rows, projection, cells, probes

    def search(self, activations: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As ``Exact.search``; distances are estimates."""
        return self.nearest(self.projected(activations).astype(np.float32), count, self.probes)

    def projected(self, activations: np.ndarray) -> np.ndarray:
        """(width,) float16, what its rows have of an image with (d,) float16 activations."""
        return self._projection(activations[None])[0].astype(np.float16)

    def nearest(self, query: np.ndarray, count: int, probes: int) -> tuple[np.ndarray, np.ndarray]:
        """The same of the (width,) float32 numbers that an image was made."""
        candidates = self._cells.candidates(query, max(RANKED, 10 * count), probes)
        squared = estimated(query, single(self.rows.take(candidates)))
        best = np.argsort(squared, kind="stable")[:count]
        return candidates[best], np.sqrt(squared[best])

    def exhaustive(self, activations: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        """As ``search``, by a pass over all images."""
        query = self._projection(activations[None]).astype(np.float16).astype(np.float32)
        rows, distances, _ = _exhaustive(self.rows, self._cells.ids(), query, count)
        return rows[0], distances[0]

    def measured(self) -> Measured:
        """Recall on the index's own images by the least number of cells that suffices, or by most."""
        ids = self._cells.ids()
        chosen = ids[np.unique(np.linspace(0, len(ids) - 1, min(QUERIES, len(ids))).astype(np.int64))]
        queries = single(self.rows.take(chosen))
        nearest, _, typical = _exhaustive(self.rows, ids, queries, NEIGHBORS + 1)
        wanted = [set(row[row != own][:NEIGHBORS].tolist()) for row, own in zip(nearest, chosen)]
        recall, probes = 0.0, PROBES[0]
        for probes in PROBES:
            hits = 0
            for query, own, truth in zip(queries, chosen, wanted):
                rows, _ = self.nearest(query, NEIGHBORS + 1, probes)
                hits += len(truth & set(rows[rows != own][:NEIGHBORS].tolist()))
            recall = hits / sum(map(len, wanted))
            if recall >= WANTED or probes >= self._cells.count:
                break
        return Measured(probes, recall, len(chosen), typical)


class Cells:
    """faiss's index with what it takes to use it: a rotation.

    Args:
        index: an ``IndexIVFRaBitQFastScan`` whose ids are rows.
        turn: (width, width) float32, the rotation.
    """

    def __init__(self, index: Any, turn: np.ndarray):
        self._index, self._faiss, self._turn = index, faiss(), turn

    @classmethod
    def trained(cls, sample: np.ndarray, count: int, turn: np.ndarray) -> "Cells":
        """An empty one for about ``count`` images, fitted to (n, width) float32 of them."""
        library, cells = faiss(), cells_of(count)
        index = library.index_factory(len(turn), f"IVF{cells},RaBitQfs", library.METRIC_L2)
        index.cp.niter, index.cp.max_points_per_centroid, index.cp.seed = ROUNDS, TRAINED_ON, 0
        index.train(ready(sample @ turn, len(turn)))
        return cls(index, turn)

    @classmethod
    def read(cls, content: np.ndarray, turn: np.ndarray, path: object) -> "Cells":
        """From (bytes,) uint8 whose checksum was right. Raises ``AlexNetError`` where it is no such index."""
        library = faiss()
        try:
            index = library.deserialize_index(content)
        except RuntimeError as error:
            raise AlexNetError(f"{path}: faiss {library.__version__} cannot read it ({_line(error)})") from error
        if not isinstance(index, library.IndexIVFRaBitQFastScan) or index.d != len(turn):
            raise AlexNetError(f"{path}: holds another kind of index than this alexnet searches; make it again")
        return cls(index, turn)

    @property
    def count(self) -> int:
        """Cells."""
        return self._index.nlist

    def __len__(self) -> int:
        return self._index.ntotal

    def content(self) -> np.ndarray:
        """(bytes,) uint8, all of it."""
        return self._faiss.serialize_index(self._index)

    def add(self, ids: np.ndarray, numbers: np.ndarray) -> None:
        """Adds (n, width) float32 images by their rows."""
        self._index.add_with_ids(ready(numbers @ self._turn, len(self._turn)), np.ascontiguousarray(ids, np.int64))

    def remove(self, ids: np.ndarray) -> None:
        """Removes images by their rows."""
        self._index.remove_ids(np.ascontiguousarray(ids, np.int64))

    def ids(self) -> np.ndarray:
        """(n,) the rows of all images, ascending."""
        lists = self._index.invlists
        parts = [self._faiss.rev_swig_ptr(lists.get_ids(i), lists.list_size(i)) for i in range(self.count)]
        return np.sort(np.concatenate([np.zeros(0, np.int64), *(part for part in parts if len(part))]))

    def candidates(self, query: np.ndarray, count: int, probes: int) -> np.ndarray:
        """The rows of at most ``count`` images whose codes are near (width,) float32.

        With nothing left out of the query, a distance is the estimate of two images whose rests are at right angles.
        """
        parameters = self._faiss.SearchParametersIVF(nprobe=min(probes, self.count))
        turned = ready(np.append(query[:-1], 0)[None] @ self._turn, len(self._turn))
        _, rows = self._index.search(turned, min(count, len(self)), params=parameters)
        return rows[0][rows[0] >= 0]


def cells_of(count: int) -> int:
    """How many for so many images: about the square root, a power of two."""
    return 2 ** max(3, round(math.log2(math.sqrt(max(1, count)))))


def rotation(numbers: int) -> np.ndarray:
    """(numbers, numbers) float32, orthogonal and random (Stewart, 1980)."""
    drawn = np.random.default_rng(0).standard_normal((numbers, numbers))
    turned, upper = np.linalg.qr(drawn)
    return (turned * np.sign(np.diag(upper))).astype(np.float32)


def _exhaustive(rows: Rows, ids: np.ndarray, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(m, count) the rows of the nearest of all images, their distances, and the median distance to any."""
    best_rows = np.zeros((len(queries), 0), np.int64)
    best, seen = np.zeros((len(queries), 0), np.float32), []
    for first, part in rows.all():
        own = ids[np.searchsorted(ids, first) : np.searchsorted(ids, first + len(part))]
        squared = estimated_of_many(queries, single(part[own - first]))
        seen.append(squared[:, :: max(1, len(own) // 64)].ravel())
        best_rows = np.concatenate([best_rows, np.broadcast_to(own, squared.shape)], axis=1)
        best = np.concatenate([best, squared], axis=1)
        if best.shape[1] > count:
            kept = np.argpartition(best, count - 1, axis=1)[:, :count]
            best_rows, best = (np.take_along_axis(array, kept, axis=1) for array in (best_rows, best))
    order = np.argsort(best, axis=1, kind="stable")
    typical = float(np.sqrt(np.median(np.concatenate(seen)))) if seen else 0.0
    return np.take_along_axis(best_rows, order, 1), np.sqrt(np.take_along_axis(best, order, 1)), typical


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
