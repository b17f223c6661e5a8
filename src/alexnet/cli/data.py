"""Commands for data: prepare, download, verify."""

import contextlib
import dataclasses
import os
import re
import shlex
import threading
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from alexnet import files
from alexnet.cli.options import Folder, Working
from alexnet.cli.streams import print_json, say, warn
from alexnet.errors import Unfinished, UsageError, check_number, check_threads
from alexnet.files import mistakes
from alexnet.files.kinds import INDEX, kind_of
from alexnet.progress import Display, clock, plural, size_text


@dataclasses.dataclass(frozen=True)
class Prepare(Working):
    """Make a dataset of 256x256 images from a folder, archive or table of images."""

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """Folder, .tar, .tar.gz, .tar.xz or .zip of train/CLASS/*, val/CLASS/*, test/CLASS/*, or of CLASS/* alone; a
    folder of ImageNet's archives; Kaggle's layout, the Hugging Face hub's Parquet, WebDataset, CIFAR-10, Tiny ImageNet;
    a .csv file. Local, or s3://, https:// (docs/data.md)."""

    dataset: Positional[Annotated[str, arg(metavar="DATASET")]]
    """Folder to make, local or s3://. If interrupted, run the same command to resume."""

    val_fraction: float = 0.2
    """Fraction of every class held out for validation where the source has no validation images."""

    seed: int = 0
    """Random seed: which images are held out."""

    size: int | None = None
    """Side of the stored images in pixels (default: 256, or the shorter side of the source's images where they all
    have one size and it is at most 128)."""

    resize: Literal["shorter-side", "warp"] = "shorter-side"
    """shorter-side: scale it, then take the central square (paper 2). warp: scale both sides (as Caffe's published
    errors were measured)."""

    format: Literal["jpeg", "raw"] | None = None
    """jpeg: quality 95, 4:2:0. raw: lossless, seven times larger at 256 pixels (default: raw up to 64 pixels, jpeg
    above)."""

    layout: Annotated[str | None, arg(metavar="LAYOUT")] = None
    """Layout of the source: folder, csv, table, cifar10, ilsvrc, kaggle, tiny-imagenet, wnid-tars, webdataset (default:
    recognized from its files)."""

    splits: Literal["auto", "none"] = "auto"
    """auto: folders that are splits (train, val, test) are recognized by their contents and names. none: every folder
    is a class."""

    max_bad_fraction: float = 0.2
    """Largest fraction of bad images. They are left out and named in skipped.csv. If there are more, the command
    fails."""

    find_duplicates: bool = False
    """Look for near-duplicates between training and validation, and list them in duplicates.csv."""

    part: Annotated[str | None, arg(metavar="N/PARTS")] = None
    """Part of the work that this process does, where several share it: 3/16 is the third of sixteen parts. All give the
    same DATASET (default: all; under torchrun, the part of the process's rank)."""

    workers: int | None = None
    """Threads (default: one per core). The dataset is the same for any number."""

    dry_run: bool = False
    """Say what would be made. Convert a few images to estimate space and time. Write nothing."""

    def __call__(self) -> int:
        check_threads("--workers", self.workers)
        check_number("--seed", self.seed, 0)
        if self.dry_run:
            return self._dry_run()
        display = Display(unit="images")
        part = part_of(self.part)
        if self.part is None and part[1] > 1:
            display.line(f"RANK and WORLD_SIZE are set: this process does part {part[0]} of {part[1]}")
        with contextlib.closing(display):
            try:
                dataset = self._prepare(part, display)
            except Unfinished as unfinished:
                display.line(str(unfinished))
                return 0
        if self.json:
            return print_json(dataset.describe())
        self._print(dataset, display)
        return 0

    def _dry_run(self) -> int:
        from alexnet.data.prepare import check_space, survey

        surveyed = survey(
            self.source, self.dataset, val_fraction=self.val_fraction, seed=self.seed, size=self.size,
            resize=self.resize, format=self.format, layout=self.layout, splits=self.splits, workers=self.workers,
        )  # fmt: skip
        if self.json:
            return print_json(surveyed.describe())
        for line in _on_one_line(surveyed.listing).describe(files.shown(self.source)).split("\n"):
            say(line)
        say(f"{self.dataset}: {surveyed.size}x{surveyed.size} pixels, {surveyed.format}, {surveyed.resize}")
        for name, reason in surveyed.bad[:5]:
            say(f"would be left out: {name}: {reason}")
        say(
            f"about {size_text(surveyed.bytes)} and {clock(surveyed.seconds)}, by {plural(surveyed.sampled, 'image')}; "
            f"{size_text(surveyed.free_bytes)} free"
        )
        if surveyed.begun:
            say(f"{self.dataset}: is there already; prepare would go on with it, where anything is left")
        check_space(self.dataset, surveyed.bytes)
        say("dry run: nothing was written")
        return 0

    def _prepare(self, part: tuple[int, int], display: Display) -> Any:
        """Prepares; says what was found, and where that takes long, what is being looked through."""
        from alexnet.data.prepare import prepare

        patience = threading.Timer(2.0, display.line, (f"looking through {files.shown(self.source)}",))
        patience.daemon = True

        def on_listing(listing: Any) -> None:
            patience.cancel()
            display.line(_on_one_line(listing).describe(files.shown(self.source)))

        patience.start()
        try:
            return prepare(
                self.source,
                self.dataset,
                val_fraction=self.val_fraction,
                seed=self.seed,
                size=self.size,
                resize=self.resize,
                format=self.format,
                layout=self.layout,
                splits=self.splits,
                max_bad_fraction=self.max_bad_fraction,
                find_duplicates=self.find_duplicates,
                part=part,
                workers=self.workers,
                found=on_listing,
                progress=display.counter("preparing"),
                say=display.line,
            )
        finally:
            patience.cancel()

    def _print(self, dataset: Any, display: Display) -> None:
        from alexnet.training.recipes import SIDE, fitting, hint

        description = dataset.describe()
        for row in dataset.skipped()[:5]:
            display.warn(files.shown(f"skipped {row['name']}: {row['reason']}"))
        counts = ", ".join(f"{count:,} {split}" for split, count in dataset.splits.items())
        name = files.shown(self.dataset)
        display.warn(f"{name}: {counts} images of {plural(len(dataset.classes), 'class', 'classes')}")  # quiet or not
        if description["skipped"]:
            where = f"see {name}/skipped.csv; once fixed, they go into a new dataset, not into this one"
            display.warn(f"{plural(description['skipped'], 'bad image')} left out, {where}")
        if description["duplicates"] is not None:
            where = f", see {name}/duplicates.csv" if description["duplicates"] else ""
            pairs = plural(description["duplicates"], "near-duplicate")
            display.warn(f"{pairs} between training and validation{where}")
        recipe = fitting(dataset.size)
        if recipe is None and dataset.size < SIDE:
            display.line(f"note: the paper's net sees {SIDE}x{SIDE} pixels: {hint(name, dataset.size)}")
            return
        recipe = recipe if dataset.size < SIDE else "fast"
        display.line(f"next: alexnet train {shlex.quote(name)} RUN --recipe {recipe}")


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
class Download(Working):
    """Download a public data set or published weights by name, and verify the checksum."""

    name: Positional[Annotated[str, arg(metavar="NAME")]]
    """imagenette, imagenette-320, imagenette-160, cifar10, cifar10-binary, tiny-imagenet; torchvision-weights,
    caffe-weights, caffenet-weights, onnx-alexnet-weights, onnx-caffenet-weights."""

    folder: Positional[Folder]
    """Folder to put the file in. If interrupted, run the same command to resume."""

    url: Annotated[str | None, arg(metavar="URL")] = None
    """Another address to download the same file from (default: the published one). The checksum is checked all the
    same."""

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
class Verify(Working):
    """Check every hash of a dataset, a run or an index, and decode every image of a dataset."""

    path: Positional[Annotated[str, arg(metavar="PATH")]]
    """Dataset, run or index."""

    def __call__(self) -> int:
        from alexnet.data.stored import StoredDataset
        from alexnet.runs.run import is_run
        from alexnet.runs.verify import verify

        display = Display(unit="images")
        with contextlib.closing(display):
            if is_run(self.path):
                problems = dict(verify(self.path))
            elif kind_of(self.path).name == INDEX:
                from alexnet.search.index import verify as verify_index

                problems = verify_index(self.path)
            else:
                mistakes.refuse_neither(self.path)
                problems = dict(StoredDataset(self.path).verify(display.counter("verifying")))
        wrong = [(name, problem) for name, problem in problems.items() if problem]
        if self.json:
            print_json(problems)
        for name, problem in wrong:
            warn(f"{self.path}/{name}: {problem}")
        if not self.json and not wrong:
            say(f"{self.path}: OK: {len(problems):,} files match their checksums")
        return 1 if wrong else 0
