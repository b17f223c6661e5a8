"""Images in, store out: parallel, in flat memory, and it goes on where it was stopped.

Which source image belongs to which shard is settled before the first is read, so the number of workers,
processes or machines, or how often it was interrupted, changes no byte. A shard that is finished has a note of its
sums beside it in ``STORE/unfinished``; that folder goes when ``dataset.json`` has been written.
"""

import collections
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import numpy as np

from alexnet import files, machine
from alexnet.data import images
from alexnet.data.duplicates import find_duplicates
from alexnet.data.sizes import with_own_size
from alexnet.data.sources import SPLITS, Listing, Source, open_source, split_off_validation
from alexnet.data.sources.tree import Content
from alexnet.data.statistics import Statistics, Sums, products
from alexnet.data.store import (
    DESCRIPTION,
    FORMAT_VERSION,
    SHARD_ROWS,
    ShardWriter,
    Store,
    write_description,
    write_labels,
)
from alexnet.errors import MOST_THREADS, Failure, Unfinished, WrongUse
from alexnet.files import Form, Misfit, Within, checked

Progress = Callable[[int, int], None]
UNFINISHED = "unfinished"  # folder of the notes of finished shards
MOST_BAD = 0.2  # share of bad images beyond which something else must be wrong


@dataclasses.dataclass(frozen=True)
class _Form:
    """How images are stored."""

    format: str
    size: int
    resize: str


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A shard to be: rows of the listing, in order."""

    split: str
    index: int
    rows: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.split}-{self.index:05d}"


def prepare(
    source: str | os.PathLike | Source,
    store: str | os.PathLike,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    size: int | None = None,
    resize: str = images.SHORTER_SIDE,
    format: str | None = None,
    layout: str | None = None,
    splits: str = "auto",
    max_bad: float = MOST_BAD,
    duplicates: bool = False,
    part: tuple[int, int] = (1, 1),
    workers: int | None = None,
    shard_rows: int = SHARD_ROWS,
    found: Callable[[Listing], None] | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Store:
    """Makes a store of a folder, archive or table of images; goes on with one that was not finished.

    Args:
        source: folder, archive, CSV, Parquet or Arrow file, or an opened source.
        store: folder to make.
        val_fraction: share of each class's training images set apart where there are no validation images.
        seed: which ones.
        size: side of the stored square in pixels; 256, or the shorter side of the source's images where they all have
            one size and it is at most 128.
        resize: ``shorter-side`` (paper 2) or ``warp`` (as Caffe's figures were measured).
        format: ``jpeg`` (quality 95, 4:2:0) or ``raw`` (lossless); jpeg, or raw where the source is pixels.
        layout: name of the source's layout; recognised by itself if not given.
        splits: ``auto``, or ``none``: every folder of the source is a class, whatever it is called.
        max_bad: share of bad images beyond which it stops.
        duplicates: looks for near-duplicates between training and validation.
        part: (3, 16), the third of sixteen parts, where processes or machines share the work in one folder.
            Whichever ends last finishes the store, whose bytes are those that one process would write.
        workers: threads; every core if not given.
        shard_rows: source images a shard.
        found: called with the listing before the first image is read.
        progress: called with images done and images in all.
        say: is told where the place of a process that died is taken.

    Raises:
        WrongUse: the source cannot be meant, or the folder holds something else.
        Failure: a class without one usable image, too many bad ones, a full or read-only disk; or another process is
            at the same part.
        Unfinished: this part is done, others are not.
    """
    _check_options(
        val_fraction=val_fraction, seed=seed, size=size, resize=resize, format=format, max_bad=max_bad, part=part,
        workers=workers, shard_rows=shard_rows,
    )  # fmt: skip
    if not isinstance(source, Source):
        source = open_source(source, layout, splits=splits, without=store)
    source = split_off_validation(source, val_fraction, seed)
    if size is None:
        size = _begun_with(store)
    if size is None:
        source = with_own_size(source)
    listing = source.listing
    if found:
        found(listing)
    form = _Form(format or listing.format, size or listing.size, resize)
    plan = {
        "format_version": FORMAT_VERSION,
        **dataclasses.asdict(form),
        "shard_rows": shard_rows,
        "classes": listing.classes,
        "words": listing.words,
        "images": len(listing),
        "source": source.fingerprint(),
    }
    folder = _claim(store, plan)
    allowed = max_bad * len(listing)
    with files.owned(folder, f"{files.LOCK}-{part[0]}-of-{part[1]}", say or (lambda line: None)):
        shards = _plan(listing, shard_rows)
        if not (folder / DESCRIPTION).exists():
            first, last = (len(shards) * k // part[1] for k in (part[0] - 1, part[0]))
            try:
                _make_shards(source, folder, shards[first:last], form, workers or machine.cores(), allowed, progress)
                if not _missing(folder, shards):
                    _write_description(folder, source, shards, plan, allowed)
            except (FileNotFoundError, Failure):
                if not (folder / DESCRIPTION).exists():  # else another part has finished the store, and tidied it
                    raise
            if not (folder / DESCRIPTION).exists():
                raise Unfinished(
                    f"{store}: part {part[0]} of {part[1]} is done; {_missing(folder, shards):,} of {len(shards):,} "
                    "shards are other parts', and whichever ends last finishes the store"
                )
        made = Store(folder)
        files.remove_leftovers(folder)
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        if duplicates and made.description.get("duplicates") is None:
            made.note_duplicates(find_duplicates(made, progress))
    return made


Whole = Annotated[int, Within(1, 2**31)]
OPTIONS: dict[str, Any] = {  # what each may be, from Python as from the command line
    "val_fraction": float,
    "seed": int,
    "size": Annotated[int, Within(images.SMALLEST, 4096)] | None,  # pyright: ignore[reportOperatorIssue]
    "resize": Literal["shorter-side", "warp"],
    "format": Literal["jpeg", "raw"] | None,
    "max_bad": Annotated[float, Within(0, 1)],
    "part": tuple[int, int],
    "workers": Annotated[int, Within(1, MOST_THREADS)] | None,  # pyright: ignore[reportOperatorIssue]
    "shard_rows": Whole,
}


def _check_options(**options: Any) -> None:
    """Raises ``WrongUse`` naming the option that cannot be meant."""
    for name, value in options.items():
        try:
            checked(value, OPTIONS[name])
        except Misfit as misfit:
            raise WrongUse(f"--{name.replace('_', '-')} {misfit}") from misfit
    part = options["part"]
    if not 1 <= part[0] <= part[1]:
        raise WrongUse(f"--part {part[0]}/{part[1]}: give 1/16 to 16/16, say")


def _claim(store: str | os.PathLike, plan: dict) -> Path:
    """The store's folder with this plan noted in it, or an error if it holds something else."""
    folder = files.make_folder(store)
    note = folder / "prepare.json"
    if not note.exists():
        others = [entry for entry in folder.iterdir() if entry != note and not _own(entry.name)]
        if (folder / DESCRIPTION).exists() and not note.exists():
            raise WrongUse(
                f"{store}: is a store whose prepare.json is missing, so what it was made of is not known; give another "
                "folder, or remove it and prepare again"
            )
        if others and not note.exists():  # another part may have come first
            raise WrongUse(f"{store}: is not empty and no store; give another folder")
        files.write_json(note, plan)
    old = files.read_json(note, dict, "remove the folder and prepare again")
    plan = json.loads(files.to_json(plan))
    differ = [key for key in plan if old.get(key) != plan[key]]
    if differ:
        raise WrongUse(
            f"{store}: was begun with other images or options ({', '.join(differ)} differ); "
            "give the command it was begun with, another folder, or remove it"
        )
    return folder


def _begun_with(store: str | os.PathLike) -> int | None:
    """The size of a store that was begun, for whoever gives none again; None where none was begun."""
    note = files.join(store, "prepare.json")
    if files.is_remote(store) or not files.exists(note):
        return None
    size = files.read_json(note, dict, "remove the folder and prepare again").get("size")
    return size if isinstance(size, int) and images.SMALLEST <= size <= 4096 else None


def _own(name: str) -> bool:
    """Whether a file's name is one that preparing itself leaves before it has begun."""
    return name.endswith(files.PARTIAL) or name.startswith(files.LOCK)


def _missing(folder: Path, shards: list[_Shard]) -> int:
    """How many shards are not finished."""
    return sum(not (folder / UNFINISHED / f"{shard.name}.json").exists() for shard in shards)


def _plan(listing: Listing, shard_rows: int) -> list[_Shard]:
    """The shards of each split, with the same number of source images but for the last."""
    found = []
    for index, split in enumerate(SPLITS):
        rows = np.flatnonzero(listing.splits == index)
        found += [_Shard(split, i // shard_rows, rows[i : i + shard_rows]) for i in range(0, len(rows), shard_rows)]
    return found


@dataclasses.dataclass(frozen=True)
class _Converted:
    """An image as it is stored, and what statistics need of it: its pixels, and the sum of their products."""

    stored: bytes
    pixels: np.ndarray | None
    products: np.ndarray | None


def _convert(content: Content, form: _Form, measure: bool) -> _Converted | str:
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


def _converted(source: Source, rows: np.ndarray, form: _Form, workers: int) -> Iterator[tuple[int, _Converted | str]]:
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


class _OpenShard:
    """A shard while it is being written: its file, its sums, what was left out."""

    def __init__(self, folder: Path, shard: _Shard, source: Source, size: int):
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

    def finish(self) -> None:
        self.writer.close()
        notes = self.folder / UNFINISHED
        self.sums.save(notes / f"{self.shard.name}.safetensors")
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


def _make_shards(
    source: Source,
    folder: Path,
    shards: list[_Shard],
    form: _Form,
    workers: int,
    allowed: float,
    progress: Progress | None,
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
                current.finish()
                del opened[index]
            done += 1
            if progress:
                progress(done, total)
        if opened:
            raise Failure(f"{source.tree.path}: changed while it was read; give the same command again")
    finally:
        for unfinished in opened.values():
            unfinished.writer.abandon()


def _check_bad(bad: int, allowed: float, name: str, reason: str) -> None:
    if bad > allowed:
        raise Failure(
            f"{bad:,} images are bad, more than --max-bad allows (the last: {name}: {reason}); "
            "see whether the source is whole, or allow a larger share"
        )


class ShardNote(TypedDict):
    """What is noted of a finished shard."""

    rows: Annotated[int, Within(0, 2**40)]
    bytes: NotRequired[Annotated[int, Within(0, 2**53)]]
    sha256: str
    skipped: list[tuple[str, Annotated[int, Within(0, 2**31)], str]]
    usable: dict[Annotated[str, Form("[0-9]+", "must be a class's number")], Annotated[int, Within(0, 2**40)]]


def _sums_of(folder: Path, shard: _Shard, size: int, rows: int) -> Sums:
    """A finished training shard's sums; none where all its images were bad."""
    return Sums.load(folder / UNFINISHED / f"{shard.name}.safetensors", size) if rows else Sums.zero(size)


def _note_of(folder: Path, shard: _Shard) -> dict[str, Any]:
    """A finished shard's note. Raises ``Failure`` where it, or the shard, is not as it was written."""
    path = folder / UNFINISHED / f"{shard.name}.json"
    remedy = f"remove {folder} and prepare again"
    note = files.read_json(path, ShardNote, remedy)
    file = folder / f"{shard.name}.arrow"
    if not file.exists() or files.size(file) != note.get("bytes", files.size(file)):
        raise Failure(f"{file}: missing or damaged since it was written; {remedy}")
    return note


def _write_description(folder: Path, source: Source, shards: list[_Shard], plan: dict, allowed: float) -> None:
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
        raise Failure(
            f"class {name!r} has no usable training image{why}; mend or remove the class, "
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
            "labels_sha256": write_labels(folder, [entry["file"] for entry in entries]),
        },
    )
