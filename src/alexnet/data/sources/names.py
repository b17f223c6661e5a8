"""Names of very many files in little memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa

CHUNK = 1 << 16


def _compute() -> Any:
    """Arrow's functions, imported where used; they are made at run time, unseen by type checkers."""
    import pyarrow.compute

    return pyarrow.compute


class Names(Sequence[str]):
    """A sequence of names in an Arrow array: 8 bytes and the name's own for each, whatever bytes it has.

    Args:
        names: in order; names that are no UTF-8 as Python gives them (``surrogateescape``).
    """

    def __init__(self, names: Iterable[str] | pa.LargeBinaryArray):
        self._array: Any
        if isinstance(names, pa.LargeBinaryArray):
            self._array = names
            return
        chunks, pending = [], []
        for name in names:
            pending.append(name.encode("utf-8", "surrogateescape"))
            if len(pending) == CHUNK:
                chunks.append(pa.array(pending, pa.large_binary()))
                pending = []
        chunks.append(pa.array(pending, pa.large_binary()))
        self._array = pa.concat_arrays(chunks)

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> "Names": ...
    def __getitem__(self, index: int | slice) -> "str | Names":
        if isinstance(index, slice):
            return Names(self._array[index])
        return self._array[int(index)].as_py().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._array), CHUNK):
            for name in self._array[start : start + CHUNK].to_pylist():
                yield name.decode("utf-8", "surrogateescape")

    def take(self, indices: np.ndarray) -> "Names":
        """Those at some places, in that order."""
        return Names(self._array.take(pa.array(indices)))

    def filter(self, keep: np.ndarray) -> "Names":
        """Those where ``keep`` is true."""
        return Names(self._array.filter(pa.array(keep)))

    def matching(self, pattern: str) -> np.ndarray:
        """Where among them the names are in which a regular expression (RE2's) is found."""
        return np.flatnonzero(_compute().match_substring_regex(self._array, pattern).to_numpy(zero_copy_only=False))

    def sorted_last(self) -> "tuple[Names, np.ndarray]":
        """The names in order, each once, and where each was: its last place where it came more than once."""
        order = _compute().sort_indices(self._array).to_numpy().astype(np.int64)  # stable: equal names keep their order
        ordered = self._array.take(pa.array(order))
        if len(ordered) > 1:
            last = np.append(~_compute().equal(ordered[:-1], ordered[1:]).to_numpy(zero_copy_only=False), True)
            if not last.all():
                ordered, order = ordered.filter(pa.array(last)), order[last]
        return Names(ordered), order
