"""Commands for data: prepare, download, verify, info."""

import contextlib
import dataclasses
import os
import re
import sys
import threading
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from rich.table import Table
from tyro.conf import Positional, arg

from alexnet import files
from alexnet.cli.options import check_outputs
from alexnet.cli.streams import print_json, say, warn
from alexnet.cli.tables import add_row, print_table, table_of, value_text
from alexnet.errors import Unfinished, UsageError, check_number, check_threads
from alexnet.progress import Display


@dataclasses.dataclass(frozen=True)
class Prepare:
    """Makes a dataset of 256x256 images from a folder, archive or table of images."""

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """Folder, .tar, .tar.gz, .tar.xz or .zip of train/CLASS/*, val/CLASS/*, test/CLASS/*, or of CLASS/* alone; a
    folder of ImageNet's archives; Kaggle's, the hub's Parquet, WebDataset, CIFAR-10, Tiny ImageNet; a .csv file."""

    dataset: Positional[Annotated[str, arg(metavar="DATASET")]]
    """Folder to make; given again, it goes on where it was stopped."""

    val_fraction: float = 0.2
    """Share of every class held out for validation where the source has no validation images."""

    seed: int = 0
    """Which images are held out."""

    size: int | None = None
    """Side of the stored square in pixels; 256, or the shorter side of the source's images where they all have one size
    and it is at most 128."""

    resize: Literal["shorter-side", "warp"] = "shorter-side"
    """shorter-side: scaled, then the central square (paper 2). warp: both sides (as Caffe's figures were measured)."""

    format: Literal["jpeg", "raw"] | None = None
    """jpeg: quality 95, 4:2:0. raw: lossless, about five times larger. jpeg, or raw for CIFAR-10."""

    layout: str | None = None
    """Name of the source's layout; recognized by itself if not given."""

    splits: Literal["auto", "none"] = "auto"
    """auto: folders of a source that are splits (train, val, test) are told by their shape and names. none: every
    folder is a class."""

    max_bad: float = 0.2
    """Share of bad images beyond which it stops with an error; fewer are left out and named in skipped.csv."""

    find_duplicates: bool = False
    """Looks for near-duplicates between training and validation; lists them in duplicates.csv."""

    part: str | None = None
    """3/16: the third of sixteen parts, where processes or machines share the work in one folder. Under torchrun
    the ranks share it."""

    workers: int | None = None
    """Threads; every core if not given. Their number changes no byte."""

    json: bool = False
    """Prints what was made as JSON."""

    def __call__(self) -> int:
        from alexnet.data.prepare import prepare

        check_threads("--workers", self.workers)
        check_number("--seed", self.seed, 0)
        display = Display(unit="images")
        patience = threading.Timer(2.0, display.line, (f"looking through {files.shown(self.source)}",))
        patience.daemon = True
        part = part_of(self.part)
        if self.part is None and part[1] > 1:
            display.line(f"RANK and WORLD_SIZE are set: this process does part {part[0]} of {part[1]}")

        def found(listing: Any) -> None:
            patience.cancel()
            display.line(_on_one_line(listing).describe(files.shown(self.source)))

        with contextlib.closing(display), contextlib.ExitStack() as stack:
            patience.start()
            stack.callback(patience.cancel)
            try:
                dataset = prepare(
                    self.source,
                    self.dataset,
                    val_fraction=self.val_fraction,
                    seed=self.seed,
                    size=self.size,
                    resize=self.resize,
                    format=self.format,
                    layout=self.layout,
                    splits=self.splits,
                    max_bad=self.max_bad,
                    duplicates=self.find_duplicates,
                    part=part,
                    workers=self.workers,
                    found=found,
                    progress=display.counter("preparing"),
                    say=display.line,
                )
            except Unfinished as unfinished:
                display.line(str(unfinished))
                return 0
        described = dataset.describe()
        if self.json:
            return print_json(described)
        for reason in dataset.skipped()[:5]:
            display.line(files.shown(f"skipped {reason['name']}: {reason['reason']}"))
        counts = ", ".join(f"{count:,} {split}" for split, count in dataset.splits.items())
        name = files.shown(self.dataset)
        display.line(f"{name}: {counts} images of {len(dataset.classes)} classes")
        if described["skipped"]:
            where = f"see {name}/skipped.csv; once mended, they go into a new dataset, not into this one"
            display.line(f"{described['skipped']:,} bad images left out, {where}")
        if described["duplicates"] is not None:
            where = f", see {name}/duplicates.csv" if described["duplicates"] else ""
            display.line(f"{described['duplicates']:,} near-duplicates between training and validation{where}")
        return 0


def _on_one_line(listing: Any) -> Any:
    """A listing for people: no name of a class breaks a line."""
    copied = dataclasses.replace(listing)
    copied.classes = [files.shown(name) for name in listing.classes]
    copied.words = [files.shown(name) for name in listing.words] if listing.words else None
    return copied


def part_of(given: str | None) -> tuple[int, int]:
    """``3/16`` as numbers; torchrun's rank where nothing is given; else all in one."""
    if given is None:
        return _rank(os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", ""))
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", given, re.ASCII)
    if not match:
        raise UsageError(f"--part {given}: give 1/16 to 16/16, say")
    return int(match[1]), int(match[2])


def _rank(rank: str, world: str) -> tuple[int, int]:
    """What torchrun's two variables say; nothing where one of them is missing or empty: some launcher left it."""
    if not rank.strip() or not world.strip():
        return 1, 1
    try:
        part, parts = int(rank) + 1, int(world)
    except ValueError:
        part, parts = 0, 0
    if not 1 <= part <= parts:
        raise UsageError(
            f"RANK={rank} WORLD_SIZE={world}: these environment variables must be numbers, RANK from 0 to "
            "WORLD_SIZE - 1, as torchrun sets them; set them so, unset them, or give --part 1/1"
        )
    return part, parts


@dataclasses.dataclass(frozen=True)
class Download:
    """Fetches a public data set or published weights by name, checks their checksum, goes on where it was cut."""

    name: Positional[Annotated[str, arg(metavar="NAME")]]
    """imagenette, imagenette-320, imagenette-160, cifar10, cifar10-binary, tiny-imagenet; torchvision-weights,
    caffe-weights, caffenet-weights, onnx-alexnet-weights, onnx-caffenet-weights."""

    folder: Positional[Annotated[str, arg(metavar="FOLDER")]]
    """Folder to put the file in."""

    url: str | None = None
    """Another place to fetch the same file from; the checksum stays."""

    json: bool = False
    """Prints the file's path as JSON."""

    def __call__(self) -> int:
        from alexnet.data.download import PUBLISHED, download

        display = Display(unit="MB")
        with contextlib.closing(display):
            path = download(self.name, self.folder, url=self.url, progress=display.counter("fetching"))
        if self.json:
            return print_json({"file": str(path)})
        say(f"{path}: whole, its checksum is the published one; next: {PUBLISHED[self.name].next.format(path)}")
        return 0


@dataclasses.dataclass(frozen=True)
class Verify:
    """Checks every hash of a dataset or a run, and decodes every image of a dataset."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """Dataset or run."""

    json: bool = False
    """Prints each file and what is wrong with it, or null."""

    def __call__(self) -> int:
        from alexnet.data.dataset import Dataset
        from alexnet.runs.run import is_run
        from alexnet.runs.verify import verify

        display = Display(unit="images")
        with contextlib.closing(display):
            progress = display.counter("verifying")
            found = list(verify(self.path) if is_run(self.path) else Dataset(self.path).verify(progress))
        wrong = [(name, problem) for name, problem in found if problem]
        if self.json:
            print_json(dict(found))
        for name, problem in wrong:
            warn(f"{self.path}/{name}: {problem}")
        if not self.json and not wrong:
            say(f"{self.path}: all {len(found)} files are as they were written")
        return 1 if wrong else 0


@dataclasses.dataclass(frozen=True)
class Info:
    """Says what a dataset or a run is."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """Dataset or run."""

    picture: str | None = None
    """PNG file to draw images of the dataset into, spread over its classes."""

    json: bool = False
    """As JSON."""

    def __call__(self) -> int:
        from alexnet.data.dataset import Dataset
        from alexnet.runs.run import describe_run, is_run

        if self.picture and not self.picture.lower().endswith(".png"):
            raise UsageError(f"--picture {self.picture}: is written as PNG; give a name that ends in .png")
        picture = None
        if is_run(self.path):
            if self.picture:
                raise UsageError(f"--picture: {self.path} is a run; `alexnet show {self.path}` draws it")
            described = describe_run(self.path)
        else:
            dataset = Dataset(self.path)
            check_outputs({"--picture": self.picture}, [self.path])
            described = dataset.describe()
            if self.picture:
                from alexnet.figures.sheet import contact_sheet

                picture = contact_sheet(dataset)
        if self.json:
            print_json(described)
            return self._save(picture)
        if described["words"] == described["classes"]:
            del described["words"]
        counts = described.pop("counts", {})
        for key, value in described.items():
            say(f"{key.replace('_', ' ')}: {value_text(value)}")
        if counts:
            print_table(_class_counts(described.get("words") or described["classes"], counts))
        if self.picture:
            say(f"picture: {self.picture}")
        return self._save(picture)

    def _save(self, picture: Any) -> int:
        """Writes the picture after what was said."""
        if self.picture:
            from alexnet.figures.style import save_image

            sys.stdout.flush()
            save_image(picture, self.picture)
        return 0


MOST_CLASSES = 24  # that are shown each on a line


def _class_counts(classes: Sequence[str], counts: dict[str, list[int]]) -> Table:
    """Images of each class and split; of many classes, the largest and smallest."""
    order = sorted(range(len(classes)), key=lambda i: (-sum(each[i] for each in counts.values()), i))
    shown = table_of("class", *counts, right=range(1, len(counts) + 1))
    if len(order) > MOST_CLASSES:
        half = MOST_CLASSES // 2
        for i in order[:half]:
            add_row(shown, classes[i], *(f"{each[i]:,}" for each in counts.values()))
        add_row(shown, f"... {len(order) - 2 * half:,} more", *("" for _ in counts))
        order = order[-half:]
    for i in order:
        add_row(shown, classes[i], *(f"{each[i]:,}" for each in counts.values()))
    return shown
