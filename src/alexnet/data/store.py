"""The store: images in Arrow IPC stream shards, memory-mapped. Nothing else knows its format.

A store is a folder::

    train-00000.arrow ...    columns image (bytes), label (int32), name (string); record batches of 256 rows
    val-00000.arrow ...
    dataset.json             version, classes, how images were made, rows and SHA-256 of every shard
    statistics.safetensors   exact sums over the training images
    skipped.csv              images left out, with the reason

Rows have ids: 0, 1, ... through train, then val, then test.
"""

import csv
import dataclasses
import io
import os
import threading
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import pyarrow as pa

from alexnet import files
from alexnet.data import images
from alexnet.data.statistics import Statistics, Sums
from alexnet.errors import Failure, WrongUse

FORMAT_VERSION = 1
SHARD_ROWS = 8192
BATCH_ROWS = 256
SCHEMA = pa.schema([("image", pa.binary()), ("label", pa.int32()), ("name", pa.string())])


class ShardWriter:
    """Writes one shard, row after row, in flat memory; it appears whole at ``close``."""

    def __init__(self, path: str | os.PathLike):
        self.path = path
        self.rows = 0
        self._pending: list[tuple[bytes, int, str]] = []
        self._atomic = files.atomic(path)
        with files.explained(path):
            self._file = self._atomic.__enter__()
            self._writer = pa.ipc.new_stream(self._file, SCHEMA)

    def add(self, image: bytes, label: int, name: str) -> None:
        """Adds a row."""
        self._pending.append((image, label, name))
        self.rows += 1
        if len(self._pending) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            image, label, name = zip(*self._pending)
            with files.explained(self.path):
                self._writer.write_batch(
                    pa.record_batch(
                        [pa.array(image, pa.binary()), pa.array(label, pa.int32()), pa.array(name, pa.string())],
                        schema=SCHEMA,
                    )
                )
            self._pending = []

    def close(self) -> None:
        """Finishes the shard and moves it to its place."""
        self._flush()
        with files.explained(self.path):
            self._writer.close()
        self._atomic.__exit__(None, None, None)

    def abandon(self) -> None:
        """Removes what was written."""
        error = Failure("abandoned")
        try:
            self._atomic.__exit__(Failure, error, None)
        except Failure as raised:
            if raised is not error:
                raise


@dataclasses.dataclass(frozen=True)
class Shard:
    """One shard's entry in ``dataset.json``."""

    file: str
    split: str
    rows: int
    sha256: str


class Store:
    """A complete store, opened for reading from any number of threads.

    Args:
        path: its folder, local or a URL for fsspec.

    Raises:
        WrongUse: no store there, or one of a newer format.
        Failure: an unfinished or damaged store.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = os.fspath(path)
        description = files.join(self.path, "dataset.json")
        if not files.exists(description):
            if files.exists(files.join(self.path, "prepare.json")):
                raise Failure(f"{path}: preparing it was not finished; give the same `alexnet prepare` command again")
            raise WrongUse(
                f"{path}: no store there (it has no dataset.json); make one with `alexnet prepare SOURCE {path}`"
            )
        self.description = files.read_json(description)
        version = self.description.get("format_version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise WrongUse(
                f"{path}: a store of format {version}, newer than this alexnet reads ({FORMAT_VERSION}); upgrade it"
            )
        try:
            self.classes: list[str] = self.description["classes"]
            self.size: int = self.description["size"]
            self.format: str = self.description["format"]
            self.shards = [Shard(**entry) for entry in self.description["shards"]]
        except (KeyError, TypeError) as error:
            raise Failure(f"{description}: damaged ({error}); prepare the store again") from error
        self._starts = np.cumsum([0] + [shard.rows for shard in self.shards])
        self._batches: dict[int, list[pa.RecordBatch]] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Store({self.path!r}: {len(self.classes)} classes, {self.splits})"

    @cached_property
    def splits(self) -> dict[str, int]:
        """Images in each split that has any."""
        counts: dict[str, int] = {}
        for shard in self.shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.rows
        return {split: count for split, count in counts.items() if count}

    def rows(self, split: str) -> np.ndarray:
        """(n,) int64, the row ids of a split. Raises ``WrongUse`` where the store has no such split."""
        if split not in self.splits:
            raise WrongUse(f"{self.path}: has no split {split!r}; it has {', '.join(self.splits)}")
        ranges = [
            np.arange(start, start + shard.rows)
            for start, shard in zip(self._starts, self.shards)
            if shard.split == split
        ]
        return np.concatenate(ranges)

    @cached_property
    def labels(self) -> np.ndarray:
        """(rows,) int64, the class index of every row id."""
        parts = [batch.column(1).to_numpy() for shard in range(len(self.shards)) for batch in self._shard(shard)]
        return np.concatenate(parts).astype(np.int64)

    def _shard(self, index: int) -> list[pa.RecordBatch]:
        with self._lock:
            if index not in self._batches:
                shard = self.shards[index]
                path = files.join(self.path, shard.file)
                try:
                    batches = list(pa.ipc.open_stream(files.map_file(path)))
                    for batch in batches:
                        batch.validate()
                except FileNotFoundError as error:
                    raise Failure(f"{path}: missing; prepare the store again or fetch that shard") from error
                except (pa.ArrowInvalid, OSError) as error:
                    raise Failure(f"{path}: damaged ({error}); see `alexnet verify {self.path}`") from error
                if sum(batch.num_rows for batch in batches) != shard.rows or (batches and batches[0].schema != SCHEMA):
                    raise Failure(f"{path}: damaged (not {shard.rows} rows); see `alexnet verify {self.path}`")
                self._batches[index] = batches
        return self._batches[index]

    def _place(self, row: int) -> tuple[int, pa.RecordBatch, int]:
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        inside = int(row - self._starts[shard])
        return shard, self._shard(shard)[inside // BATCH_ROWS], inside % BATCH_ROWS

    def name(self, row: int) -> str:
        """The name that a row's image had in its source."""
        _, batch, index = self._place(row)
        return batch.column(2)[index].as_py()

    def encoded(self, row: int) -> memoryview:
        """A row's image as stored, without a copy."""
        _, batch, index = self._place(row)
        return memoryview(batch.column(0)[index].as_buffer())

    def image(self, row: int) -> np.ndarray:
        """A row's image: (size, size, 3) uint8. Raises ``Failure`` naming the shard where it is damaged."""
        shard, batch, index = self._place(row)
        try:
            return images.decode_stored(batch.column(0)[index].as_buffer(), self.format, self.size)
        except (images.BadImage, pa.ArrowException, IndexError, ValueError) as error:
            raise Failure(
                f"{files.join(self.path, self.shards[shard].file)}: row {row - int(self._starts[shard])} is damaged "
                f"({error}); see `alexnet verify {self.path}`"
            ) from error

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the training images. Raises ``Failure`` where their file is damaged."""
        path = files.join(self.path, "statistics.safetensors")
        if not files.exists(path) or files.sha256(path) != self.description["statistics_sha256"]:
            raise Failure(f"{path}: missing or damaged (its SHA-256 differs); prepare the store again")
        return Statistics.of(Sums.load(path))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shards' hashes and the classes: equal for equal stores."""
        return files.sha256_text(*self.classes, *(shard.file + shard.sha256 for shard in self.shards))

    def skipped(self) -> list[dict[str, str]]:
        """The images that were left out: ``name`` and ``reason`` of each."""
        text = files.read_bytes(files.join(self.path, "skipped.csv")).decode("utf-8", "surrogateescape")
        return list(csv.DictReader(io.StringIO(text)))

    def describe(self) -> dict[str, object]:
        """What the store is, for people and JSON."""
        return {
            "store": self.path,
            "images": self.splits,
            "classes": self.classes,
            "size": self.size,
            "format": self.format,
            "resized": self.description["resized"],
            "decoder": self.description["decoder"],
            "layout": self.description["layout"],
            "shards": len(self.shards),
            "skipped": self.description["skipped"],
            "mean": self.description["statistics"]["mean"],
            "deviation": self.description["statistics"]["deviation"],
            "fingerprint": self.fingerprint,
        }

    def verify(self) -> Iterator[tuple[str, str | None]]:
        """Checks every file's hash: yields its name and None, or what is wrong with it."""
        expected = {shard.file: shard.sha256 for shard in self.shards}
        expected["statistics.safetensors"] = self.description["statistics_sha256"]
        for name, digest in expected.items():
            path = files.join(self.path, name)
            if not files.exists(path):
                yield name, "missing"
            elif files.sha256(path) != digest:
                yield name, "its bytes are not those that were written (SHA-256 differs)"
            else:
                yield name, None
