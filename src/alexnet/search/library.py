"""faiss, imported where it is first needed; what it is given is checked before, since it may end the process."""

from typing import Any

import numpy as np

from alexnet.errors import UsageError


def faiss() -> Any:
    """The library. Raises ``UsageError`` where it is not installed."""
    try:
        import faiss
    except ImportError as error:
        raise UsageError("index and search need faiss: pip install 'alexnet[search]'") from error
    return faiss


def ready(rows: np.ndarray, width: int) -> np.ndarray:
    """(n, width) float32, contiguous, as faiss takes them. Raises ``ValueError`` for any other shape."""
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"rows {rows.shape}: must be (n, {width})")
    return np.ascontiguousarray(rows, np.float32)
