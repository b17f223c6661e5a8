"""What a file says of each image beside its activations: the columns that all have, and those of a list of stimuli."""

import dataclasses
import re
from collections.abc import Iterable

import numpy as np

OWN = {"name": "text", "label": "text", "done": "text", "source_row": "int64"}  # and their kinds
STIMULUS_ID = "stimulus_id"
RESERVED = (  # by one kind of file or another; a list's column of such a name is called csv_NAME
    *(*OWN, "row", "activations", "presentation", "neuroid", "stimulus_path", "model", "layer", "neuroid_num"),
    *("neuroid_id", "channel", "channel_x", "channel_y", "names", "labels", "source_rows", "description"),
)
INT = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)  # that comes back as it was: 007 is a name
FLOAT = re.compile(r"-?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
UNFIT = re.compile(r"[\s/\\\x00-\x1f]+")  # for a name in HDF5 and netCDF


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a list of stimuli.

    Attributes:
        header: what the list calls it.
        kind: ``text``, ``int64`` or ``float64``, which may be NaN.
        texts: of each image of the source.
    """

    header: str
    kind: str
    texts: list[str]

    def values(self, rows: np.ndarray) -> list[str] | np.ndarray:
        """Of images by their places in the source: (n,) texts or numbers, as ``kind`` says."""
        texts = [self.texts[row] for row in rows.tolist()]
        if self.kind == "text":
            return texts
        return np.array([text or "nan" for text in texts], np.dtype(self.kind))


def columns_of(listed: Iterable[tuple[str, list[str]]], layers: Iterable[str]) -> dict[str, Column]:
    """A list's columns by names that no kind of file has for something else, and as numbers where all are.

    Args:
        listed: the list's own name of each column, and its texts. One without a name is called ``unnamed``.
        layers: whose names are taken.
    """
    columns: dict[str, Column] = {}
    reserved = {name.lower() for name in (*RESERVED, *layers)}
    for header, texts in listed:
        name = UNFIT.sub("_", header) or "unnamed"
        name = STIMULUS_ID if name.lower() == STIMULUS_ID else name
        if name.lower() in reserved or name in (".", ".."):
            name = f"csv_{name}"
        name = distinct_name(name, [*columns, *reserved])
        columns[name] = Column(header, "text" if name == STIMULUS_ID else _kind(texts), texts)
    return columns


def distinct_name(name: str, others: Iterable[str]) -> str:
    """A name, with a number behind it where others have it already, in letters of either case."""
    taken, number, distinct = {other.lower() for other in others}, 1, name
    while distinct.lower() in taken:
        number += 1
        distinct = f"{name}_{number}"
    return distinct


def _kind(texts: list[str]) -> str:
    if texts and all(INT.fullmatch(text) for text in texts):
        return "int64"
    numbers = [text for text in texts if text]
    if numbers and all(FLOAT.fullmatch(text) and any(map(str.isdigit, text)) for text in numbers):
        return "float64"
    return "text"
