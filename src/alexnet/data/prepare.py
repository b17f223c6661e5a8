"""Images in, store out: parallel, in flat memory, and it goes on where it was stopped.

Which source image belongs to which shard is settled before the first is read, so the number of workers, or
how often it was interrupted, changes no byte. A shard that is finished has a note of its sums beside it in
``STORE/unfinished``; that folder goes when ``dataset.json`` has been written.
"""

import collections
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from alexnet import files, machine
from alexnet.data import images
from alexnet.data.sources import Item, Listing, Source, open_source, split_off_validation
from alexnet.data.statistics import Statistics, Sums
from alexnet.data.store import FORMAT_VERSION, SHARD_ROWS, ShardWriter, Store
from alexnet.errors import Failure, WrongUse

Progress = Callable[[int, int], None]


@dataclasses.dataclass
class _Shard:
    """A shard to be: its items, in order."""

    split: str
    index: int
    items: list[Item]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.index:05d}"


def prepare(
    source: str | os.PathLike | Source,
    store: str | os.PathLike,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    format: str = "jpeg",
    size: int = 256,
    layout: str | None = None,
    workers: int | None = None,
    shard_rows: int = SHARD_ROWS,
    found: Callable[[Listing], None] | None = None,
    progress: Progress | None = None,
) -> Store:
    """Makes a store of a folder or archive of images; goes on with one that was not finished.

    Args:
        source: folder or archive, or an opened source.
        store: folder to make.
        val_fraction: share of each class's training images set apart where there are no validation images.
        seed: which ones.
        format: ``jpeg`` (quality 95, 4:2:0) or ``raw``.
        size: side of the stored square in pixels.
        layout: name of the source's layout; recognised by itself if not given.
        workers: threads; every core if not given.
        shard_rows: source images a shard.
        found: called with the listing before the first image is read.
        progress: called with images done and images in all.

    Raises:
        WrongUse: the source cannot be meant, or the folder holds something else.
        Failure: a class without one usable image, a full or read-only disk.
    """
    images.check_form(format)
    if not isinstance(source, Source):
        source = open_source(source, layout)
    listing = split_off_validation(source.listing, val_fraction, seed)
    if found:
        found(listing)
    plan = {
        "format_version": FORMAT_VERSION,
        "format": format,
        "size": size,
        "shard_rows": shard_rows,
        "classes": listing.classes,
        "images": len(listing.items),
        "source": files.sha256_text(*(f"{i.split}\t{i.label}\t{i.name}" for i in listing.items)),
    }
    folder = _claim(store, plan)
    if (folder / "dataset.json").exists():
        return Store(folder)
    shards = _plan(listing, shard_rows)
    _make_shards(source, folder, shards, format, size, workers or machine.cores(), progress)
    _finish(folder, listing, shards, plan)
    return Store(folder)


def _claim(store: str | os.PathLike, plan: dict) -> Path:
    """The store's folder with this plan noted in it, or an error if it holds something else."""
    folder = files.make_folder(store)
    note = folder / "prepare.json"
    if note.exists():
        old = files.read_json(note)
        differ = [key for key in plan if old.get(key) != plan[key]]
        if differ:
            raise WrongUse(
                f"{store}: was begun with other images or options ({', '.join(differ)} differ); "
                "give the command it was begun with, another folder, or remove it"
            )
    elif any(folder.iterdir()):
        raise WrongUse(f"{store}: is not empty and no store; give another folder")
    else:
        files.write_json(note, plan)
    return folder


def _plan(listing: Listing, shard_rows: int) -> list[_Shard]:
    """Shards in the order in which the source gives their last image."""
    shards: dict[str, list[_Shard]] = {}
    for item in listing.items:
        of_split = shards.setdefault(item.split, [])
        if not of_split or len(of_split[-1].items) == shard_rows:
            of_split.append(_Shard(item.split, len(of_split), []))
        of_split[-1].items.append(item)
    return [shard for split in ("train", "val", "test") for shard in shards.get(split, [])]


def _convert(data: bytes, form: str, size: int, measure: bool) -> tuple[bytes, np.ndarray | None] | str:
    """An image as it is stored, with its stored pixels if they are to be measured; or why it is left out."""
    try:
        stored = images.encode(images.decode_square(data, size), form)
        return stored, images.decode_stored(stored, form, size) if measure else None
    except images.BadImage as error:
        return str(error)


def _converted(
    source: Source, items: list[Item], form: str, size: int, workers: int
) -> Iterator[tuple[Item, tuple[bytes, np.ndarray | None] | str]]:
    """Every item converted, in order, with a bounded number under way."""

    def work(item: Item, data: bytes | None) -> tuple[bytes, np.ndarray | None] | str:
        if data is None:
            try:
                data = source.read(item)
            except OSError as error:
                return f"cannot be read: {error.strerror}"
        return _convert(data, form, size, item.split == "train")

    stream: Iterable[tuple[Item, bytes | None]]
    stream = source.stream(items) if source.sequential else ((item, None) for item in items)
    pending: collections.deque[tuple[Item, Future]] = collections.deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
    try:
        for item, data in stream:
            pending.append((item, pool.submit(work, item, data)))
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

    def __init__(self, folder: Path, shard: _Shard, size: int):
        self.folder, self.shard = folder, shard
        self.left = len(shard.items)
        self.writer = ShardWriter(folder / f"{shard.name}.arrow")
        self.sums = Sums.zero(size)
        self.skipped: list[list[str]] = []
        self.usable = collections.Counter()

    def add(self, item: Item, result: tuple[bytes, np.ndarray | None] | str) -> None:
        self.left -= 1
        if isinstance(result, str):
            self.skipped.append([item.name, result])
            return
        stored, pixels = result
        self.writer.add(stored, item.label, item.name)
        self.usable[item.label] += 1
        if pixels is not None:
            self.sums.add(pixels)

    def finish(self) -> None:
        self.writer.close()
        notes = self.folder / "unfinished"
        self.sums.save(notes / f"{self.shard.name}.safetensors")
        # This note comes last: a shard counts as finished when it is there.
        files.write_json(
            notes / f"{self.shard.name}.json",
            {
                "rows": self.writer.rows,
                "sha256": files.sha256(self.writer.path),
                "skipped": self.skipped,
                "usable": dict(sorted(self.usable.items())),
            },
        )


def _make_shards(
    source: Source,
    folder: Path,
    shards: list[_Shard],
    form: str,
    size: int,
    workers: int,
    progress: Progress | None,
) -> None:
    files.make_folder(folder / "unfinished")
    todo = [shard for shard in shards if not (folder / "unfinished" / f"{shard.name}.json").exists()]
    total = sum(len(shard.items) for shard in shards)
    done = total - sum(len(shard.items) for shard in todo)
    shard_of = {item.name: shard for shard in todo for item in shard.items}
    items = [item for item in source_order(shards, source) if item.name in shard_of]
    opened: dict[str, _OpenShard] = {}
    try:
        for item, result in _converted(source, items, form, size, workers):
            shard = shard_of[item.name]
            if shard.name not in opened:
                opened[shard.name] = _OpenShard(folder, shard, size)
            current = opened[shard.name]
            current.add(item, result)
            if not current.left:
                current.finish()
                del opened[shard.name]
            done += 1
            if progress:
                progress(done, total)
        if opened:
            raise Failure(f"{source.tree.path}: changed while it was read; give the same command again")
    finally:
        for unfinished in opened.values():
            unfinished.writer.abandon()


def source_order(shards: list[_Shard], source: Source) -> list[Item]:
    """Items in the order in which the source gives them best."""
    items = [item for shard in shards for item in shard.items]
    if source.sequential:
        place = {name: position for position, name in enumerate(source.tree.names())}
        items.sort(key=lambda item: place[item.name])
    return items


def _finish(folder: Path, listing: Listing, shards: list[_Shard], plan: dict) -> None:
    """Writes the statistics, the list of skipped images and, last, ``dataset.json``."""
    notes = folder / "unfinished"
    sums = Sums.zero(plan["size"])
    entries, skipped = [], [["name", "reason"]]
    usable = [0] * len(listing.classes)
    for shard in shards:
        note = files.read_json(notes / f"{shard.name}.json")
        skipped += note["skipped"]
        if shard.split == "train":
            sums += Sums.load(notes / f"{shard.name}.safetensors")
            for label, count in note["usable"].items():
                usable[int(label)] += count
        entries.append(
            {"file": f"{shard.name}.arrow", "split": shard.split, "rows": note["rows"], "sha256": note["sha256"]}
        )
    if min(usable) == 0:
        name = listing.classes[usable.index(0)]
        first = next(row for row in skipped[1:] if name in row[0])
        raise Failure(
            f"class {name!r} has no usable training image ({first[0]}: {first[1]}); mend or remove the class, "
            f"remove {folder} and prepare again"
        )
    files.write_csv(folder / "skipped.csv", skipped)
    sums.save(folder / "statistics.safetensors")
    files.write_json(
        folder / "dataset.json",
        {
            "format_version": FORMAT_VERSION,
            "classes": listing.classes,
            "format": plan["format"],
            "size": plan["size"],
            "resized": images.RESIZED,
            "decoder": images.DECODER,
            "layout": listing.layout,
            "shards": entries,
            "skipped": len(skipped) - 1,
            "statistics_sha256": files.sha256(folder / "statistics.safetensors"),
            "statistics": Statistics.of(sums).summary(),
        },
    )
    shutil.rmtree(notes)
