"""Images in, dataset out: parallel, in flat memory, and it goes on where it was stopped.

``prepare`` claims the folder with a note of what goes into it; ``shards`` makes them; the folder of notes goes when
``dataset.json`` has been written.
"""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from alexnet import files, machine
from alexnet.data import codec as images
from alexnet.data import duplicates
from alexnet.data.dataset import Dataset
from alexnet.data.delivery import Delivery, delivered
from alexnet.data.format import DESCRIPTION, FORMAT_VERSION, SHARD_ROWS
from alexnet.data.shards import (
    UNFINISHED,
    Progress,
    Sample,
    Shard,
    Storage,
    describe_dataset,
    make_shards,
    missing,
    plan_shards,
    sample,
)
from alexnet.data.sizes import with_own_size
from alexnet.data.sources import Listing, Source, open_source, split_off_validation
from alexnet.errors import MOST_THREADS, AlexNetError, Interrupted, Unfinished, UsageError
from alexnet.files import Misfit, Within, checked, mistakes
from alexnet.progress import size_text

SAMPLED = 64  # images that a survey converts
MANY = 4096  # images from which on a dataset's size is estimated before it is made
SMALL = 64  # pixels: squares of at most this side are stored raw, which costs little there: 12 kB at the most
VERSION = "format_version"  # in a prepare.json of this program's
REMEDY = "remove the folder and prepare again"
MOST_BAD = 0.2  # share of bad images beyond which something else must be wrong


def prepare(
    source: str | os.PathLike | Source,
    dataset: str | os.PathLike,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    size: int | None = None,
    resize: str = images.SHORTER_SIDE,
    format: str | None = None,
    layout: str | None = None,
    splits: str = "auto",
    max_bad_fraction: float = MOST_BAD,
    find_duplicates: bool = False,
    part: tuple[int, int] = (1, 1),
    workers: int | None = None,
    shard_rows: int = SHARD_ROWS,
    found: Callable[[Listing], None] | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> Dataset:
    """Makes a dataset of a folder, archive or table of images; goes on with one that was not finished.

    Args:
        source: folder, archive, CSV, Parquet or Arrow file, or an opened source.
        dataset: folder to make.
        val_fraction: share of each class's training images held out where there are no validation images.
        seed: which ones.
        size: side of the stored square in pixels; 256, or the shorter side of the source's images where they all have
            one size and it is at most 128.
        resize: ``shorter-side`` (paper 2) or ``warp`` (as Caffe's figures were measured).
        format: ``jpeg`` (quality 95, 4:2:0) or ``raw`` (lossless); raw where the square's side is at most 64, else
            jpeg.
        layout: name of the source's layout; recognized by itself if not given.
        splits: ``auto``, or ``none``: every folder of the source is a class, whatever it is called.
        max_bad_fraction: share of bad images beyond which it stops.
        find_duplicates: looks for near-duplicates between training and validation.
        part: (3, 16), the third of sixteen parts, where processes or machines share the work in one folder.
            The last part to finish completes the dataset, whose bytes are those that one process would write.
        workers: threads; every core if not given.
        shard_rows: source images a shard.
        found: called with the listing before the first image is read.
        progress: called with images done and images in all.
        say: is told where the place of a process that died is taken.

    Raises:
        UsageError: the source cannot be meant, or the folder holds something else.
        Interrupted: by Ctrl-C; the same call goes on.
        AlexNetError: a class without one usable image, too many bad ones, a full or read-only disk; or another process
            is at the same part.
        Unfinished: this part is done, others are not.
    """
    _check_options(
        val_fraction=val_fraction, seed=seed, size=size, resize=resize, format=format,
        max_bad_fraction=max_bad_fraction, part=part, workers=workers, shard_rows=shard_rows,
    )  # fmt: skip
    source, storage = _open(source, dataset, layout, splits, val_fraction, seed, size, resize, format)
    if found:
        found(source.listing)
    plan = _plan(source, storage, shard_rows)
    if len(source.listing) >= MANY and part == (1, 1) and not _check_claim(dataset, plan):
        check_space(dataset, _estimate(sample(source, storage, workers or machine.cores(), SAMPLED), source))
    work = _Work(source, plan_shards(source.listing, shard_rows), part, plan, storage, workers or machine.cores())
    lock, say = f"{files.LOCK}-{part[0]}-of-{part[1]}", say or (lambda line: None)
    with delivered(dataset, lock, say) as delivery:
        folder = _claim(delivery.folder if delivery else dataset, plan)
        if delivery:
            delivery.begin()
            _check_claim(folder, plan)  # another part may have come first
        with files.owned(folder, lock, say):
            if not (folder / DESCRIPTION).exists():
                try:
                    work.finish(folder, max_bad_fraction * len(source.listing), progress, delivery)
                except KeyboardInterrupt:
                    raise Interrupted(_interrupted(folder, work.shards, shard_rows)) from None
            made = Dataset(dataset)
            files.remove_leftovers(folder)
            shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
            if find_duplicates and made.description.get("duplicates") is None:
                made.note_duplicates(duplicates.find_duplicates(made, progress))
    return made


@dataclasses.dataclass(frozen=True)
class Survey:
    """What ``prepare`` would make of a source, by its listing and some of its images.

    Attributes:
        listing: what was found.
        size, format, resize: how images would be stored.
        begun: whether the dataset's folder is one that the same command would go on with.
        sampled: images that were converted to see.
        bad: name and reason of those among them that would be left out.
        bytes: of the whole dataset, estimated from these; 0 where none was good.
        seconds: for all images with as many threads, estimated.
        free_bytes: of the disk that the dataset would be on.
    """

    listing: Listing
    size: int
    format: str
    resize: str
    begun: bool
    sampled: int
    bad: list[tuple[str, str]]
    bytes: int
    seconds: float
    free_bytes: int

    def describe(self) -> dict[str, Any]:
        """In plain values."""
        rest = {name: value for name, value in vars(self).items() if name != "listing"}
        listing = self.listing
        return {"layout": listing.layout, "classes": listing.classes, "counts": listing.counts(), **rest}


def survey(
    source: str | os.PathLike | Source,
    dataset: str | os.PathLike,
    *,
    val_fraction: float = 0.2,
    seed: int = 0,
    size: int | None = None,
    resize: str = images.SHORTER_SIDE,
    format: str | None = None,
    layout: str | None = None,
    splits: str = "auto",
    workers: int | None = None,
    shard_rows: int = SHARD_ROWS,
) -> Survey:
    """Looks through a source as ``prepare`` does with the same arguments, converts a few images, and writes nothing.

    Raises:
        UsageError: ``prepare`` would refuse the source, an option, or the dataset's folder.
    """
    _check_options(
        val_fraction=val_fraction, seed=seed, size=size, resize=resize, format=format, max_bad_fraction=MOST_BAD,
        part=(1, 1), workers=workers, shard_rows=shard_rows,
    )  # fmt: skip
    source, storage = _open(source, dataset, layout, splits, val_fraction, seed, size, resize, format)
    begun = _check_claim(dataset, _plan(source, storage, shard_rows))
    tried = sample(source, storage, workers or machine.cores(), SAMPLED)
    return Survey(
        listing=source.listing,
        **dataclasses.asdict(storage),
        begun=begun,
        sampled=tried.images,
        bad=tried.bad,
        bytes=_estimate(tried, source),
        seconds=tried.seconds / max(1, tried.images) * len(source.listing),
        free_bytes=files.free_bytes(files.work_place(dataset)),
    )


def _estimate(tried: Sample, source: Source) -> int:
    """Bytes of all of a source's images, by some of them; 0 where none was good."""
    good = tried.images - len(tried.bad)
    return round(tried.bytes / good * len(source.listing)) if good else 0


def check_space(dataset: str | os.PathLike, needed: int) -> None:
    """Raises ``AlexNetError`` where a disk has no room for a dataset of about so many bytes.

    One on object storage needs room for the shards that are being written alone.
    """
    if files.is_remote(dataset):
        return
    free = files.free_bytes(dataset)
    if needed > free:
        raise AlexNetError(
            f"{dataset}: needs about {size_text(needed)} of disk, {size_text(free)} are free there; make room, or give "
            "a folder on another disk"
        )


def _open(
    source: str | os.PathLike | Source,
    dataset: str | os.PathLike,
    layout: str | None,
    splits: str,
    val_fraction: float,
    seed: int,
    size: int | None,
    resize: str,
    format: str | None,
) -> tuple[Source, Storage]:
    """The source with its splits, and how its images are stored."""
    mistakes.check_order("prepare", ("source", source), ("new dataset", dataset))
    mistakes.refuse_other(dataset, "new dataset")
    files.check_written(dataset)
    opened = source if isinstance(source, Source) else open_source(source, layout, splits=splits, without=dataset)
    opened = split_off_validation(opened, val_fraction, seed)
    begun_size, begun_format = _begun_with(dataset)
    size = begun_size if size is None else size
    if size is None:
        opened = with_own_size(opened)
    size = size or opened.listing.size
    return opened, Storage(format or begun_format or ("raw" if size <= SMALL else "jpeg"), size, resize)


def _plan(source: Source, storage: Storage, shard_rows: int) -> dict[str, Any]:
    """What goes into the dataset: a command that is given again must agree with it."""
    listing = source.listing
    return {
        VERSION: FORMAT_VERSION,
        **dataclasses.asdict(storage),
        "shard_rows": shard_rows,
        "classes": listing.classes,
        "words": listing.words,
        "images": len(listing),
        "source": source.fingerprint(),
    }


@dataclasses.dataclass(frozen=True)
class _Work:
    """What one process does of a dataset: its source, all shards, which part of them, the plan, how images are kept."""

    source: Source
    shards: list[Shard]
    part: tuple[int, int]
    plan: dict[str, Any]
    storage: Storage
    workers: int

    def finish(self, folder: Path, allowed: float, progress: Progress | None, delivery: Delivery | None) -> None:
        """Makes the part's shards, and the dataset where it is the last. Raises ``Unfinished`` where others miss."""
        shards, part = self.shards, self.part
        first, last = (len(shards) * k // part[1] for k in (part[0] - 1, part[0]))
        mine = shards[first:last]
        try:
            make_shards(self.source, folder, mine, self.storage, self.workers, allowed, progress, delivery)
            if delivery:
                delivery.look()
            if not missing(folder, shards):
                describe_dataset(folder, self.source, shards, self.plan, allowed)
                if delivery:
                    delivery.finish()
        except (FileNotFoundError, AlexNetError):
            if not (folder / DESCRIPTION).exists():  # else another part has finished the dataset, and tidied it
                raise
        if not (folder / DESCRIPTION).exists():
            raise Unfinished(
                f"{folder}: part {part[0]} of {part[1]} is done; {missing(folder, shards):,} of {len(shards):,} "
                "shards are other parts', and the last part to finish completes the dataset"
            )


def _interrupted(folder: Path, shards: list[Shard], shard_rows: int) -> str:
    """What is kept of an interrupted preparation, and what to do."""
    done = len(shards) - missing(folder, shards)
    kept = f"{done:,} of {len(shards):,} shards are finished and kept" if done else "no shard was finished yet"
    return (
        f"{folder}: interrupted; the same command goes on. {kept}; an unfinished one (up to {shard_rows:,} images) is "
        "made again from its start"
    )


Whole = Annotated[int, Within(1, 2**31)]
OPTIONS: dict[str, Any] = {  # what each may be, from Python as from the command line
    "val_fraction": float,
    "seed": int,
    "size": Annotated[int, Within(images.SMALLEST, 4096)] | None,  # pyright: ignore[reportOperatorIssue]
    "resize": Literal["shorter-side", "warp"],
    "format": Literal["jpeg", "raw"] | None,
    "max_bad_fraction": Annotated[float, Within(0, 1)],
    "part": tuple[int, int],
    "workers": Annotated[int, Within(1, MOST_THREADS)] | None,  # pyright: ignore[reportOperatorIssue]
    "shard_rows": Whole,
}


def _check_options(**options: Any) -> None:
    """Raises ``UsageError`` naming the option that cannot be meant."""
    for name, value in options.items():
        try:
            checked(value, OPTIONS[name])
        except Misfit as misfit:
            raise UsageError(f"--{name.replace('_', '-')} {misfit}") from misfit
    part = options["part"]
    if not 1 <= part[0] <= part[1]:
        raise UsageError(f"--part {part[0]}/{part[1]}: give N/PARTS, the parts from 1/16 to 16/16 of sixteen")


def _claim(dataset: str | os.PathLike, plan: dict) -> Path:
    """The dataset's folder with this plan noted in it, or an error if it holds something else."""
    folder = files.make_folder(dataset)
    if not _check_claim(dataset, plan):
        files.write_json(folder / "prepare.json", plan)
        _check_claim(dataset, plan)  # another part may have come first
    return folder


def _check_claim(dataset: str | os.PathLike, plan: dict) -> bool:
    """Whether the folder has this plan noted in it already. Raises ``UsageError`` where it holds something else."""
    folder = files.read_copy(dataset)
    note = folder / "prepare.json"
    files.check_folder(folder)
    if not folder.exists():
        return False
    if not note.exists():
        others = [entry for entry in folder.iterdir() if entry != note and not _own(entry.name)]
        if (folder / DESCRIPTION).exists() and not note.exists():
            raise UsageError(
                f"{dataset}: is a dataset whose prepare.json is missing, so what it was made of is not known; give "
                "another folder, or remove it and prepare again"
            )
        if others and not note.exists():  # another part may have come first
            mistakes.refuse(dataset, "new dataset")
        return False
    old = files.read_json(note, dict, REMEDY)
    if VERSION not in old:
        mistakes.refuse(dataset, "new dataset")
    plan = json.loads(files.to_json(plan))
    differ = [key for key in plan if old.get(key) != plan[key]]
    if differ:
        raise UsageError(
            f"{dataset}: was begun with other images or options ({'; '.join(_differences(differ, old, plan))}); "
            "give the command it was begun with, another folder, or remove it"
        )
    return True


def _differences(keys: Sequence[str], old: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """What differs between two plans, in words."""
    said = [f"--{key} {old.get(key)} then, {plan[key]} now" for key in ("size", "format", "resize") if key in keys]
    if "images" in keys:
        said.append(f"the source has changed: {old.get('images')} images then, {plan['images']} now")
    elif "classes" in keys or "words" in keys:
        said.append("the source has changed: other classes")
    elif "source" in keys:
        said.append("the source has other images, or --val-fraction, --seed, --layout or --splits was another one")
    return said or [f"{', '.join(keys)} differ"]


def _begun_with(dataset: str | os.PathLike) -> tuple[int | None, str | None]:
    """Size and format of a dataset that was begun, for whoever gives none again; None where none was begun."""
    note = files.join(dataset, "prepare.json")
    if not files.exists(note):
        return None, None
    begun = files.read_json(note, dict, REMEDY)
    if VERSION not in begun:  # somebody else's file
        return None, None
    try:
        size, form = (checked(begun.get(option), OPTIONS[option], option) for option in ("size", "format"))
    except Misfit as misfit:
        raise AlexNetError(f"{note}: {misfit}; {REMEDY}") from misfit
    return size, form


def _own(name: str) -> bool:
    """Whether a file's name is one that preparing itself leaves before it has begun."""
    return name.endswith(files.PARTIAL) or name.startswith(files.LOCK)
