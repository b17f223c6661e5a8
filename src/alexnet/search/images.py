"""The images of an index: a name, a label and a row of the vectors each; and by what a change of a file is seen."""

import dataclasses
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from alexnet import files
from alexnet.errors import AlexNetError
from alexnet.search.manifest import AGAIN, Content, Part, read_part, write_part

HASH = 32  # bytes of a SHA-256


@dataclasses.dataclass(frozen=True)
class Images:
    """Images by ascending row.

    Attributes:
        rows: (n,) int64, of the vectors.
        sources: (n,) int32, which of the manifest's sources each is from.
        names: within the source; a file that is a source itself has none.
        labels: the folder that the image lies in, or its class; empty where there is none.
        stamps: (n, 2) int64, the file's size in bytes and its time in nanoseconds.
        hashes: (n, 32) uint8, SHA-256 of the file.
    """

    rows: np.ndarray
    sources: np.ndarray
    names: list[str]
    labels: list[str]
    stamps: np.ndarray
    hashes: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def of(
        cls, rows: Sequence[int] | np.ndarray, source: int, names: list[str], labels: list[str], stamps: np.ndarray,
        hashes: np.ndarray,
    ) -> "Images":  # fmt: skip
        """Images of one source."""
        sources = np.full(len(names), source, np.int32)
        stamps, hashes = np.asarray(stamps, np.int64), np.asarray(hashes, np.uint8)
        return cls(
            np.asarray(rows, np.int64), sources, names, labels, stamps.reshape(-1, 2), hashes.reshape(-1, HASH)
        )  # fmt: skip

    def some(self, places: np.ndarray) -> "Images":
        """Those at some places."""
        names, labels = ([texts[i] for i in places.tolist()] for texts in (self.names, self.labels))
        return Images(
            self.rows[places], self.sources[places], names, labels, self.stamps[places], self.hashes[places]
        )  # fmt: skip

    def of_sources(self, numbers: Sequence[int]) -> "Images":
        """The same, whose sources have other numbers."""
        return dataclasses.replace(self, sources=np.asarray(numbers, np.int32).reshape(-1))

    def and_those(self, others: "Images") -> "Images":
        """These and others, in the order of their rows."""
        both = Images(
            np.concatenate([self.rows, others.rows]),
            np.concatenate([self.sources, others.sources]),
            self.names + others.names,
            self.labels + others.labels,
            np.concatenate([self.stamps, others.stamps]),
            np.concatenate([self.hashes, others.hashes]),
        )
        return both.some(np.argsort(both.rows, kind="stable"))


NONE = Images.of([], 0, [], [], np.zeros((0, 2)), np.zeros((0, HASH)))


def write_images(folder: Path, change: int, images: Images) -> dict[str, Part]:
    """The two tables as files of an index."""
    names = pa.table(
        {
            "row": images.rows,
            "source": images.sources,
            "name": pa.array([files.kept(name) for name in images.names], pa.string()),
            "label": pa.array([files.kept(label) for label in images.labels], pa.string()).dictionary_encode(),
        }
    )
    hashes = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(HASH), len(images), [None, pa.py_buffer(np.ascontiguousarray(images.hashes))]
    )
    stamps = pa.table({"size": images.stamps[:, 0], "time": images.stamps[:, 1], "sha256": hashes})
    return {
        "names": write_part(folder, f"names-{change}.arrow", _packed(names)),
        "stamps": write_part(folder, f"stamps-{change}.arrow", _packed(stamps)),
    }


def read_images(folder: Path, content: Content) -> Images:
    """All that is known of the images."""
    names, stamps = read_names(folder, content), _read(folder, content, "stamps", ("size", "time", "sha256"))
    digests = stamps["sha256"].combine_chunks()
    hashes = np.frombuffer(digests.buffers()[1] or b"", np.uint8, HASH * len(digests)) if len(digests) else b""
    return Images(
        names.rows,
        names.sources,
        [files.real(name) for name in names.names.to_pylist()],
        [files.real(label) for label in names.labels.to_pylist()],
        np.stack([_numbers(stamps[name], np.int64) for name in ("size", "time")], axis=1),
        np.frombuffer(hashes, np.uint8).reshape(-1, HASH),
    )


class Names:
    """The names and labels of images, as they lie in the file.

    Attributes:
        rows: (n,) int64, ascending.
        sources: (n,) int32.
        names, labels: of Arrow.
    """

    def __init__(self, table: pa.Table, sources: Sequence[str]):
        self.rows, self.sources = _numbers(table["row"], np.int64), _numbers(table["source"], np.int32)
        self.names, self.labels = table["name"].combine_chunks(), table["label"].combine_chunks()
        self._paths = [files.real(source) for source in sources]
        self._are_folders = [os.path.isdir(path) for path in self._paths]

    def __len__(self) -> int:
        return len(self.rows)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Where images are in the table, by their rows."""
        return np.searchsorted(self.rows, rows)

    def source(self, place: int) -> str:
        """The path of the folder, archive or file that an image is from."""
        return self._paths[int(self.sources[place])]

    def inner(self, place: int) -> str:
        """An image's name within its source; empty where it is the source."""
        return files.real(self.names[place].as_py())

    def label(self, place: int) -> str:
        """The folder that an image lies in, or its class."""
        return files.real(self.labels[place].as_py())

    def path(self, place: int) -> str:
        """Where an image is; within an archive the archive's path with the name behind it."""
        source, name = self.source(place), self.inner(place)
        if not name:
            return source
        if not self._are_folders[self.sources[place]]:
            return f"{source.rstrip('/')}/{name}"
        return os.path.join(source, *name.split("/"))


def read_names(folder: Path, content: Content) -> Names:
    """The names and labels alone."""
    names = Names(_read(folder, content, "names", ("row", "source", "name", "label")), content["sources"])
    wrong = len(names) != content["images"] or (names.sources >= len(content["sources"])).any()
    if wrong or (len(names) and not 0 <= names.rows[0] <= names.rows[-1] < content["rows"]):
        path = folder / content["parts"]["names"]["file"]
        raise AlexNetError(f"{path}: does not go with the manifest beside it; {AGAIN}")
    return names


def _numbers(column: pa.ChunkedArray, kind: type) -> np.ndarray:
    """A column of numbers; Arrow's own way to NumPy would import pandas."""
    array = column.combine_chunks()
    if array.type != pa.from_numpy_dtype(kind) or array.null_count:
        raise KeyError(f"{array.type}, {array.null_count} missing")
    return np.frombuffer(array.buffers()[1] or b"", kind, len(array), array.offset * np.dtype(kind).itemsize)


def _packed(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table)
    return buffer.getvalue()


def _read(folder: Path, content: Content, name: str, columns: Sequence[str]) -> pa.Table:
    """A table whose checksum was right."""
    path = folder / content["parts"][name]["file"]
    data = read_part(folder, content, name)
    try:
        return pa.ipc.open_stream(pa.py_buffer(data)).read_all().select(list(columns))
    except (pa.ArrowException, OSError, KeyError) as error:
        raise AlexNetError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]}); {AGAIN}") from error
