"""Search by binary codes: the images of an index whose codes differ in the fewest bits, codes fitted in memory."""

import dataclasses
import threading
from collections import OrderedDict

import numpy as np

from alexnet.errors import UsageError
from alexnet.search.codes import FITTED, MOST_BITS, Coder, Encode, packed, possible
from alexnet.search.index import Index, Neighbor
from alexnet.search.projection import spread_sample

KEPT = 4  # codes of all images that stay in memory, those that were used last


@dataclasses.dataclass(frozen=True)
class CodeNeighbor:
    """An image of an index whose code is near to a picture's.

    Attributes:
        image, label, place: as ``Neighbor`` has them.
        differing: bits in which the two codes differ.
    """

    image: str
    label: str
    place: int
    differing: int


class Coded:
    """Codes of an index's images, made when a kind and length is first asked for. Several threads may ask.

    Args:
        index: opened; what it stores of each image is encoded.
    """

    def __init__(self, index: Index):
        self._index, self._lock = index, threading.Lock()
        self._coder: Coder | None = None
        self._codes: OrderedDict[tuple[str, int], tuple[Encode, np.ndarray]] = OrderedDict()

    @property
    def most_bits(self) -> int:
        """Of the kinds that give each principal component a bit."""
        return min(MOST_BITS, min(len(self._index), FITTED), self._index.stored_numbers)

    def search(
        self, activations: np.ndarray, kind: str, bits: int, count: int
    ) -> tuple[list[CodeNeighbor], np.ndarray]:
        """The images whose codes differ in the fewest bits; of equal ones the first in the index's table.

        Args:
            activations: (d,) float16, as for ``Index.search``.
            kind: of ``codes.KINDS``.
            bits: a multiple of 8.
            count: of images, at most as many as there are.

        Returns:
            The images, and (n,) int32 in how many bits the code of each image of the index differs.

        Raises:
            UsageError: more bits than there are principal components.
            AlexNetError: a vector is damaged.
        """
        most = self.most_bits
        if not possible(kind, bits, most):
            raise UsageError(f"bits: {kind} gives each principal component a bit; this index has {most}, not {bits}")
        with self._lock:
            encode, codes = self._fitted(kind, bits)
        own = packed(encode(self._index.as_stored(activations)[None]))
        apart = np.bitwise_count(codes ^ own).sum(1, dtype=np.int32)
        order = np.argsort(apart, kind="stable")[:count]
        names = self._index.names
        nearest = [CodeNeighbor(names.path(i), names.label(i), i, int(apart[i])) for i in order.tolist()]
        return nearest, apart

    def _fitted(self, kind: str, bits: int) -> tuple[Encode, np.ndarray]:
        """What encodes, and (n, bits / 8) uint8 codes of all images."""
        if (kind, bits) not in self._codes:
            coder = self._coder or Coder(self._index.stored(spread_sample(len(self._index), FITTED)))
            self._coder, encode = coder, coder.encoder(kind, bits)
            parts = [packed(encode(part)) for part in self._index.all_stored()]
            self._codes[kind, bits] = encode, np.concatenate(parts)
            while len(self._codes) > KEPT:
                self._codes.popitem(last=False)
        self._codes.move_to_end((kind, bits))
        return self._codes[kind, bits]


def overlap(exact: list[Neighbor], coded: list[CodeNeighbor]) -> int:
    """How many images are in both."""
    return len({neighbor.place for neighbor in exact} & {neighbor.place for neighbor in coded})
