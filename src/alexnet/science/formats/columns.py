"""What a file says of each image beside its activations: the columns that all have, and those of a list of stimuli."""

import dataclasses
import math
import re
from collections.abc import Iterable

import numpy as np

OWN = {"name": "text", "label": "text", "done": "text", "source_row": "int64"}  # and their kinds
STIMULUS_ID = "stimulus_id"
RESERVED = (  # by one kind of file or another; a list's column of such a name is called csv_NAME
    *(*OWN, "row", "activations", "presentation", "neuroid", "stimulus_path", "model", "layer", "neuroid_num"),
    *("neuroid_id", "channel", "channel_x", "channel_y", "names", "labels", "source_rows", "description"),
)
INT = re.compile(r"-?(0|[1-9]\d{0,18})", re.ASCII)  # that comes back as it was: 007 is a name
FLOAT = re.compile(r"-?(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
WHOLE = re.compile(r"-?(\d+)(\.0*)?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)
LARGEST_WHOLE = 2**53  # up to which float64 has every integer
MOST_COLUMNS = 1000  # of a list, beside paths and labels
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
    names = Names(reserved)
    for header, texts in listed:
        name = UNFIT.sub("_", header) or "unnamed"
        name = STIMULUS_ID if name.lower() == STIMULUS_ID else name
        if name.lower() in reserved or name in (".", ".."):
            name = f"csv_{name}"
        name = names.distinct(name)
        columns[name] = Column(header, "text" if name == STIMULUS_ID else _kind(texts), texts)
    return columns


class Names:
    """Names of which no two are the same, in letters of either case."""

    def __init__(self, taken: Iterable[str] = ()):
        self._taken = {name.lower() for name in taken}
        self._last: dict[str, int] = {}  # number behind each name that was wanted

    def distinct(self, name: str) -> str:
        """A name, with a number behind it where others have it already; taken from now on."""
        number, distinct = self._last.get(name.lower(), 1), name
        while distinct.lower() in self._taken:
            number += 1
            distinct = f"{name}_{number}"
        self._last[name.lower()] = number
        self._taken.add(distinct.lower())
        return distinct


def _kind(texts: list[str]) -> str:
    """Numbers where they say all that the texts say: no two integers become the same."""
    if texts and all(INT.fullmatch(text) and -(2**63) <= int(text) < 2**63 for text in texts):
        return "int64"
    numbers = [text for text in texts if text and not NOT_FINITE.fullmatch(text)]
    return "float64" if numbers and all(map(_is_float, numbers)) else "text"


def _is_float(text: str) -> bool:
    """Whether float64 has a number: not as infinity, nor as zero where it is none, and an integer as it is."""
    if not FLOAT.fullmatch(text) or not any(map(str.isdigit, text)):
        return False
    whole, value = WHOLE.fullmatch(text), float(text)
    if not math.isfinite(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", text)[0])):
        return False
    return not whole or (len(whole[1]) <= len(str(LARGEST_WHOLE)) and int(whole[1]) <= LARGEST_WHOLE)
