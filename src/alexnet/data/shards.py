"""The shards of a dataset to be: planned, made in parallel, noted when finished, and put together.

Which source image belongs to which shard is settled before the first is read, so the number of workers,
processes or machines, or how often it was interrupted, changes no byte. A shard that is finished has a note of its
sums beside it in ``DATASET/unfinished``.
"""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np

from alexnet import files
from alexnet.data import codec as images
from alexnet.data.format import FORMAT_VERSION, ShardWriter, labels_of, write_description, write_labels
from alexnet.data.sources import SPLITS, Listing, Source
from alexnet.data.sources.tree import Content
from alexnet.data.statistics import Statistics, Sums, products
from alexnet.errors import AlexNetError
from alexnet.files import Form, Within

Progress = Callable[[int, int], None]


UNFINISHED = "unfinished"  # folder of the notes of finished shards


@dataclasses.dataclass(frozen=True)
class Storage:
    """How images are stored."""

    format: str
    size: int
    resize: str


@dataclasses.dataclass(frozen=True)
class Shard:
    """A shard to be: rows of the listing, in order."""

    split: str
    index: int
    rows: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.split}-{self.index:05d}"


def missing(folder: Path, shards: list[Shard]) -> int:
    """How many shards are not finished."""
    return sum(not (folder / UNFINISHED / f"{shard.name}.json").exists() for shard in shards)


def plan_shards(listing: Listing, shard_rows: int) -> list[Shard]:
    """The shards of each split, with the same number of source images but for the last."""
    found = []
    for index, split in enumerate(SPLITS):
        rows = np.flatnonzero(listing.splits == index)
        found += [Shard(split, i // shard_rows, rows[i : i + shard_rows]) for i in range(0, len(rows), shard_rows)]
    return found


@dataclasses.dataclass(frozen=True)
class _Converted:
    """An image as it is stored, and what statistics need of it: its pixels, and the sum of their products."""

    stored: bytes
    pixels: np.ndarray | None
    products: np.ndarray | None


def _convert(content: Content, form: Storage, measure: bool) -> _Converted | str:
    """An image converted, its stored pixels measured for a training image; or why it is left out."""
    if isinstance(content, OSError):
        return f"cannot be read: {content.strerror or content}"
    try:
        stored = images.encode(images.decode_square(content, form.size, form.resize), form.format)
        if not measure:
            return _Converted(stored, None, None)
        pixels = images.decode_stored(stored, form.format, form.size)
        return _Converted(stored, pixels, products(pixels))
    except images.BadImage as error:
        return str(error)


def _converted(source: Source, rows: np.ndarray, form: Storage, workers: int) -> Iterator[tuple[int, _Converted | str]]:
    """Every row's image converted, in order, with a bounded number under way."""
    splits = source.listing.splits
    train = SPLITS.index("train")

    def work(row: int, content: Content | None) -> _Converted | str:
        if content is None:
            try:
                content = source.read(row)
            except OSError as error:
                content = error
        return _convert(content, form, bool(splits[row] == train))

    stream: Iterable[tuple[int, Content | None]]
    stream = source.stream(rows) if source.sequential else ((row, None) for row in rows.tolist())
    pending: collections.deque[tuple[int, Future]] = collections.deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    try:
        for row, content in stream:
            pending.append((row, pool.submit(work, row, content)))
            if len(pending) > 8 * workers:
                done, future = pending.popleft()
                yield done, future.result()
        while pending:
            done, future = pending.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclasses.dataclass(frozen=True)
class Sample:
    """Some of a source's images converted, and thrown away.

    Attributes:
        images: how many were tried.
        bad: name and reason of those that would be left out.
        bytes: of the others, as they would be stored.
        seconds: it took.
    """

    images: int
    bad: list[tuple[str, str]]
    bytes: int
    seconds: float


def sample(source: Source, form: Storage, workers: int, count: int) -> Sample:
    """Converts some images: of a source that is read in order the first, else evenly spread."""
    started, every = time.monotonic(), len(source.listing)
    if source.sequential:
        rows = np.argsort(source.listing.members, kind="stable")[:count]
    else:
        rows = np.unique(np.linspace(0, every - 1, min(count, every)).round().astype(np.int64))
    stored, bad = 0, []
    for row, result in _converted(source, rows, form, workers):
        if isinstance(result, str):
            bad.append((files.plain(source.name(row)), files.plain(result)))
        else:
            stored += len(result.stored)
    return Sample(len(rows), bad, stored, time.monotonic() - started)


class _OpenShard:
    """A shard while it is being written: its file, its sums, what was left out."""

    def __init__(self, folder: Path, shard: Shard, source: Source, size: int):
        self.folder, self.shard, self.source = folder, shard, source
        self.left = len(shard.rows)
        self.writer = ShardWriter(folder / f"{shard.name}.arrow", source.listing.words or source.listing.classes)
        self.sums = Sums.zero(size)
        self.skipped: list[tuple[str, int, str]] = []
        self.usable = collections.Counter()

    def add(self, row: int, result: _Converted | str) -> None:
        self.left -= 1
        label, name = int(self.source.listing.labels[row]), self.source.name(row)
        if isinstance(result, str):
            self.skipped.append((files.plain(name), label, files.plain(result)))
            return
        self.writer.add(result.stored, label, name)
        self.usable[label] += 1
        if result.pixels is not None and result.products is not None:
            self.sums.add(result.pixels, result.products)

    def finish(self, delivery: "Delivery | None") -> None:
        self.writer.close()
        notes = self.folder / UNFINISHED
        self.sums.save(notes / f"{self.shard.name}.safetensors")
        if delivery:  # the shard goes, and its labels are wanted once more
            np.save(notes / f"{self.shard.name}.npy", labels_of(self.writer.path))
        # This note comes last: a shard counts as finished when it is there.
        files.write_json(
            notes / f"{self.shard.name}.json",
            {
                "rows": self.writer.rows,
                "bytes": files.size(self.writer.path),
                "sha256": files.sha256(self.writer.path),
                "skipped": self.skipped,
                "usable": dict(sorted(self.usable.items())),
            },
        )
        if delivery:
            delivery(self.shard.name)


Delivery = Callable[[str], object]  # takes a finished shard, by its name, to where the dataset belongs


def make_shards(
    source: Source,
    folder: Path,
    shards: list[Shard],
    form: Storage,
    workers: int,
    allowed: float,
    progress: Progress | None,
    delivery: Delivery | None = None,
) -> None:
    """Makes those of the shards that are not there yet; stops where more than ``allowed`` images are bad."""
    notes = files.make_folder(folder / UNFINISHED)
    todo = [shard for shard in shards if not (notes / f"{shard.name}.json").exists()]
    total = sum(len(shard.rows) for shard in shards)
    done = total - sum(len(shard.rows) for shard in todo)
    shard_of = np.zeros(len(source.listing), np.int32)
    for index, shard in enumerate(todo):
        shard_of[shard.rows] = index
    rows = np.concatenate([np.zeros(0, np.int64), *(shard.rows for shard in todo)])
    if source.sequential:
        rows = rows[np.argsort(source.listing.members[rows])]
    opened: dict[int, _OpenShard] = {}
    bad = 0
    try:
        for row, result in _converted(source, rows, form, workers):
            index = int(shard_of[row])
            if index not in opened:
                opened[index] = _OpenShard(folder, todo[index], source, form.size)
            current = opened[index]
            current.add(row, result)
            if isinstance(result, str):
                bad += 1
                _check_bad(bad, allowed, source.name(row), result)
            if not current.left:
                current.finish(delivery)
                del opened[index]
            done += 1
            if progress:
                progress(done, total)
        if opened:
            raise AlexNetError(f"{source.tree.path}: changed while it was read; give the same command again")
    finally:
        for unfinished in opened.values():
            unfinished.writer.abandon()


def _check_bad(bad: int, allowed: float, name: str, reason: str) -> None:
    if bad > allowed:
        raise AlexNetError(
            f"{bad:,} images are bad, more than --max-bad-fraction allows (the last: {name}: {reason}); "
            "see whether the source is whole, or allow a larger share"
        )


class ShardNote(TypedDict):
    """What is noted of a finished shard."""

    rows: Annotated[int, Within(0, 2**40)]
    bytes: NotRequired[Annotated[int, Within(0, 2**53)]]
    sha256: str
    skipped: list[tuple[str, Annotated[int, Within(0, 2**31)], str]]
    usable: dict[Annotated[str, Form("[0-9]+", "must be a class's number")], Annotated[int, Within(0, 2**40)]]


def _sums_of(folder: Path, shard: Shard, size: int, rows: int) -> Sums:
    """A finished training shard's sums; none where all its images were bad."""
    return Sums.load(folder / UNFINISHED / f"{shard.name}.safetensors", size) if rows else Sums.zero(size)


def _note_of(folder: Path, shard: Shard) -> dict[str, Any]:
    """A finished shard's note. Raises ``AlexNetError`` where it, or the shard, is not as it was written."""
    path = folder / UNFINISHED / f"{shard.name}.json"
    remedy = f"remove {folder} and prepare again"
    note = files.read_json(path, ShardNote, remedy)
    file = folder / f"{shard.name}.arrow"
    if (size := files.real_size(file)) is None or size != note.get("bytes", size):
        raise AlexNetError(f"{file}: missing or damaged since it was written; {remedy}")
    return note


def _labels_of(folder: Path, shard: Shard) -> np.ndarray:
    noted = folder / UNFINISHED / f"{shard.name}.npy"
    return np.load(noted) if noted.exists() else labels_of(folder / f"{shard.name}.arrow")


def describe_dataset(folder: Path, source: Source, shards: list[Shard], plan: dict, allowed: float) -> None:
    listing = source.listing
    sums = Sums.zero(plan["size"])
    entries, skipped = [], []
    usable = np.zeros(len(listing.classes), np.int64)
    for shard in shards:
        note = _note_of(folder, shard)
        skipped += [(name, shard.split, listing.classes[label], reason) for name, label, reason in note["skipped"]]
        if shard.split == "train":
            sums += _sums_of(folder, shard, plan["size"], note["rows"])
            for label, count in note["usable"].items():
                usable[int(label)] += count
        entries.append(
            {"file": f"{shard.name}.arrow", "split": shard.split, "rows": note["rows"], "sha256": note["sha256"]}
        )
    if usable.min() == 0:
        name = listing.classes[int(usable.argmin())]
        why = next((f" ({row[0]}: {row[3]})" for row in skipped if row[1:3] == ("train", name)), "")
        raise AlexNetError(
            f"class {name!r} has no usable training image{why}; fix or remove the class, "
            f"remove {folder} and prepare again"
        )
    if skipped:
        _check_bad(len(skipped), allowed, skipped[-1][0], skipped[-1][3])
    files.write_csv(folder / "skipped.csv", [("name", "split", "class", "reason"), *skipped])
    sums.save(folder / "statistics.safetensors")
    write_description(
        folder,
        {
            "format_version": FORMAT_VERSION,
            "classes": listing.classes,
            "words": listing.words,
            "format": plan["format"],
            "size": plan["size"],
            "resize": plan["resize"],
            "resized": images.RESIZED[plan["resize"]],
            "decoder": images.DECODER,
            "layout": listing.layout,
            "shards": entries,
            "skipped": len(skipped),
            "statistics_sha256": files.sha256(folder / "statistics.safetensors"),
            "statistics": Statistics.of(sums).summary(),
            "labels_sha256": write_labels(folder, [_labels_of(folder, shard) for shard in shards]),
        },
    )
