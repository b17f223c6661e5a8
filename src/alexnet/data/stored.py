"""A complete dataset, opened: its images, labels and statistics. Without torch: ``info`` and ``verify`` need none."""

import collections
import csv
import dataclasses
import io
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import safetensors.numpy

from alexnet import files
from alexnet.data import codec as images
from alexnet.data.format import (
    BATCH_ROWS,
    DESCRIPTION,
    LABELS,
    REMEDY,
    Rows,
    Shard,
    read_description,
    write_description,
)
from alexnet.data.pieces import Pieces
from alexnet.data.statistics import Statistics, Sums
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import mistakes
from alexnet.files.cache import CacheFull


class StoredDataset:
    """A complete dataset, opened for reading from any number of threads.

    Row ids, as ``rows`` gives them and ``image`` takes them, are of all splits.

    Args:
        path: its folder, local or a URL for fsspec.

    Raises:
        UsageError: no dataset there, or one of a newer format.
        AlexNetError: an unfinished or damaged dataset.
    """

    def __init__(self, path: str | os.PathLike):
        mistakes.check_path(path, "dataset")
        self.path = os.fspath(path)
        self.description = read_description(self.path)
        self.classes: list[str] = self.description["classes"]
        self.words: list[str] = self.description.get("words") or self.classes
        self.resize: Literal["shorter-side", "warp"] = self.description.get("resize", images.SHORTER_SIDE)
        self.size: int = self.description["size"]
        self.format: str = self.description["format"]
        fields = [field.name for field in dataclasses.fields(Shard)]
        self.shards = [Shard(*(entry[name] for name in fields)) for entry in self.description["shards"]]
        self._starts = np.cumsum([0] + [shard.rows for shard in self.shards])
        self._pieces = self._closed()

    def _closed(self) -> Pieces:
        return Pieces(self.path, self.shards, self.description["format_version"])

    def __getstate__(self) -> dict[str, Any]:
        """For another process: what is open here is opened anew there."""
        return {**vars(self), "_pieces": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._pieces = self._closed()

    @cached_property
    def splits(self) -> dict[str, int]:
        """Images in each split that has any."""
        counts: dict[str, int] = {}
        for shard in self.shards:
            counts[shard.split] = counts.get(shard.split, 0) + shard.rows
        return {split: count for split, count in counts.items() if count}

    def rows(self, split: str) -> np.ndarray:
        """(n,) int64, the row ids of a split. Raises ``UsageError`` where the dataset has no such split."""
        if split not in self.splits:
            raise UsageError(
                f"{self.path}: has no split {split!r}; it has {', '.join(self.splits)}; give one of these (--split)"
            )
        ranges = [
            np.arange(start, start + shard.rows)
            for start, shard in zip(self._starts, self.shards)
            if shard.split == split
        ]
        return np.concatenate(ranges)

    @cached_property
    def labels(self) -> np.ndarray:
        """(rows,) int64, the class index of every row id."""
        labels = self._labels_file()
        if labels is None:  # a dataset of an earlier version
            parts = [rows.labels.to_numpy() for shard in range(len(self.shards)) for rows in self._shard(shard)]
            labels = np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise AlexNetError(
                f"{self.path}: labels beyond its {len(self.classes)} classes; see `alexnet verify {self.path}`"
            )
        return labels

    def _labels_file(self) -> np.ndarray | None:
        """All labels from the file of their own: of a dataset far away no shard is fetched for them."""
        digest = self.description.get("labels_sha256")
        if digest is None:
            return None
        path = files.join(self.path, LABELS)
        if not files.exists(path):
            raise AlexNetError(f"{path}: missing; prepare the dataset again or fetch that file")
        content = files.read_bytes(path)
        try:
            if files.sha256_bytes(content) != digest:
                raise ValueError(f"its SHA-256 differs from the one in {DESCRIPTION}")
            labels = safetensors.numpy.load(content)["labels"].astype(np.int64)
            if labels.shape != (int(self._starts[-1]),):
                raise ValueError(f"{labels.shape} labels for {int(self._starts[-1]):,} rows")
        except (ValueError, KeyError, safetensors.SafetensorError) as error:
            raise AlexNetError(f"{path}: damaged ({error}); prepare the dataset again") from error
        return labels

    def _shard(self, index: int) -> list[Rows]:
        return self._pieces.rows(index)

    def _place(self, row: int) -> tuple[int, Rows, int]:
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        inside = int(row - self._starts[shard])
        return shard, self._shard(shard)[inside // BATCH_ROWS], inside % BATCH_ROWS

    def name(self, row: int) -> str:
        """The name that a row's image had in its source."""
        _, rows, index = self._place(row)
        return rows.names[index].as_py()

    def encoded(self, row: int) -> memoryview:
        """A row's image as stored, without a copy."""
        _, rows, index = self._place(row)
        return memoryview(rows.images[index].as_buffer())

    def image(self, row: int, room: np.ndarray | None = None) -> np.ndarray:
        """A row's image: (size, size, 3) uint8, in ``room`` where one is given and the image is compressed.

        Raises:
            AlexNetError: it is damaged; names the shard.
        """
        shard, rows, index = self._place(row)
        try:
            stored = rows.images[index].as_buffer()
            if self.format == "jpeg":  # a copy: a file that is cut while it is decoded would end the process
                stored = stored.to_pybytes()
            return images.decode_stored(stored, self.format, self.size, room)
        except (images.BadImage, pa.ArrowException, IndexError, ValueError, AttributeError) as error:
            raise AlexNetError(
                f"{files.join(self.path, self.shards[shard].file)}: row {row - int(self._starts[shard])} is damaged "
                f"({error}); see `alexnet verify {self.path}`"
            ) from error

    @cached_property
    def statistics(self) -> Statistics:
        """Statistics of the training images. Raises ``AlexNetError`` where their file is damaged."""
        path = files.join(self.path, "statistics.safetensors")
        if not files.exists(path) or files.sha256(path) != self.description["statistics_sha256"]:
            raise AlexNetError(f"{path}: missing or damaged (its SHA-256 differs); prepare the dataset again")
        return Statistics.of(Sums.load(path, self.size))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the shards' hashes and the classes: equal for equal datasets."""
        return files.sha256_text(*self.classes, *(shard.file + shard.sha256 for shard in self.shards))

    def skipped(self) -> list[dict[str, str]]:
        """The images that were left out: ``name`` and ``reason`` of each. Raises ``AlexNetError`` if damaged."""
        path = files.join(self.path, "skipped.csv")
        try:
            text = files.read_bytes(path).decode("utf-8", "surrogateescape")  # as an earlier version wrote names
            rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        except (FileNotFoundError, csv.Error) as error:
            raise AlexNetError(f"{path}: missing or damaged ({error}); {REMEDY}") from error
        if len(rows) != self.description["skipped"] or any(row.get("reason") is None for row in rows):
            raise AlexNetError(
                f"{path}: damaged (not the {self.description['skipped']:,} rows that were written); {REMEDY}"
            )
        return rows

    def counts(self) -> dict[str, list[int]]:
        """Images of each class in each split."""
        return {
            split: np.bincount(self.labels[self.rows(split)], minlength=len(self.classes)).tolist()
            for split in self.splits
        }

    def describe(self) -> dict[str, Any]:
        """What the dataset is, for people and JSON."""
        told = self.description
        reasons = collections.Counter(row["reason"].split(":")[0] for row in self.skipped())
        sizes = files.sizes(self.path, [shard.file for shard in self.shards])
        return {
            "dataset": self.path,
            "images": self.splits,
            "classes": self.classes,
            "words": self.words,
            "counts": self.counts(),
            "size": self.size,
            "format": self.format,
            "resize": self.resize,
            "resized": told["resized"],
            "decoder": told["decoder"],
            "layout": told["layout"],
            "shards": len(self.shards),
            "bytes": sum(sizes.values()),
            "skipped": told["skipped"],
            "skipped_because": dict(reasons.most_common()),
            "duplicates": told.get("duplicates"),
            "mean": told["statistics"]["mean"],
            "deviation": told["statistics"]["deviation"],
            "fingerprint": self.fingerprint,
        }

    def verify(self, progress: Callable[[int, int], None] | None = None) -> Iterator[tuple[str, str | None]]:
        """Checks every file's hash and decodes every image, on all cores.

        Args:
            progress: called with images done and images in all.

        Yields:
            Each file's name, and None or what is wrong with it.
        """
        from alexnet import machine

        done, total = 0, sum(shard.rows for shard in self.shards)
        with ThreadPoolExecutor(machine.cores(), thread_name_prefix="verify") as pool:
            for index, shard in enumerate(self.shards):
                problem = self._hash_problem(shard.file, shard.sha256)
                start = int(self._starts[index])
                rows = range(start, start + shard.rows) if problem is None else ()
                blocks = [rows[i : i + BATCH_ROWS] for i in range(0, len(rows), BATCH_ROWS)]
                for block, bad in zip(blocks, pool.map(self._first_bad, blocks)):
                    problem = problem or bad
                    done += len(block)
                    if progress:
                        progress(done, total)
                yield shard.file, problem
        yield "statistics.safetensors", self._problem(lambda: self.statistics)
        if "labels_sha256" in self.description:
            yield LABELS, self._problem(lambda: self.labels)
        yield "skipped.csv", self._problem(self.skipped)
        whole = files.seal_holds(files.read_json(files.join(self.path, DESCRIPTION), dict, REMEDY))
        yield DESCRIPTION, None if whole else "its content is not what was written (SHA-256 differs)"

    def _problem(self, read: Callable[[], object]) -> str | None:
        """What reading a file says of it, without its name and what to do."""
        try:
            read()
        except AlexNetError as error:
            return str(error).partition(": ")[2].partition("; ")[0]
        return None

    def _hash_problem(self, name: str, digest: str) -> str | None:
        path = files.join(self.path, name)
        if not files.exists(path):
            return "missing"
        return None if files.sha256(path) == digest else "its bytes are not those that were written (SHA-256 differs)"

    def _first_bad(self, rows: Sequence[int]) -> str | None:
        """Why the first image that cannot be decoded can't."""
        for row in rows:
            try:
                self.image(row)
            except CacheFull:
                raise
            except AlexNetError as error:
                return str(error).partition(": ")[2].partition("; see")[0]
        return None

    def note_duplicates(self, pairs: Sequence[tuple[int, int, int]]) -> None:
        """Writes pairs of a training and a validation row that look alike, with the bits by which they differ."""
        shown = [[self.name(a), self.name(b), bits, self.classes[self.labels[a]], self.classes[self.labels[b]]]
                 for a, b, bits in pairs]  # fmt: skip
        head = ["training image", "validation image", "bits", "training class", "validation class"]
        files.write_csv(files.join(self.path, "duplicates.csv"), [head, *shown])
        self.description["duplicates"] = len(pairs)
        write_description(self.path, self.description)
