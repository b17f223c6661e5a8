"""What an experiment is: a line of description, conditions, what is measured of one, and how the figures are shown."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from alexnet import files
from alexnet.data import synthetic as drawn
from alexnet.data.dataset import Dataset
from alexnet.data.prepare import prepare
from alexnet.errors import UsageError
from alexnet.nets.table_file import load_table
from alexnet.progress import Display

Row = dict[str, Any]  # what was measured, as a JSON object
DRAWN_IMAGES = 1920  # to train on, where no images are given
HELD_OUT = 0.2  # of images that come without a split
SIZE = 128  # pixels, of photos that are stored for less than the whole experiment
CIFAR_10, PHOTOS = "CIFAR-10", "photos of several classes"  # what experiments need, or take
RELEASE, CHALLENGE = "release", "challenge"  # folders of --data where both are prepared already
RAW = "raw.jsonl"  # in an experiment's folder: what was measured
VALIDATION = ("val", "test")  # what is measured on, as far as there is one, where a test set is not what matters
SPLIT_WORDS = {"test": "test", "val": "validation"}
NEVER = 1000  # epochs between measurements: the end is measured always


@dataclasses.dataclass(frozen=True)
class Case:
    """One condition of an experiment with one seed.

    Attributes:
        condition: which of the experiment's, or one's own of the same form.
        seed: of everything random in it.
        folder: the experiment's; what all cases share may be kept there.
        work: this case's own; what is in it after an interruption is gone on with, and it is removed at the end.
        data: images that the experiment is made on, as given; None: those that are drawn.
        scale: share of the experiment's full size, 0..1.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        display: shows progress.
        planned: seeds of each condition.
        needs: the images that the experiment is about, or None.
        rows: what was measured before, of all cases.
    """

    condition: str
    seed: int
    folder: Path
    work: Path
    data: str | None
    scale: float
    device: str
    display: Display
    planned: int = 1
    needs: str | None = None
    rows: Sequence[Row] = ()

    def announce(self, line: str) -> None:
        """Says a line once, before anything of the experiment is measured."""
        if not self.rows:
            self.display.line(line)

    def scaled(self, count: int, least: int = 1) -> int:
        """A number of images, epochs or steps at this scale."""
        return max(least, round(count * self.scale))

    @property
    def stored(self) -> int | None:
        """Side in pixels of photos that are prepared for it: as ``prepare`` has them at its full size, else smaller."""
        return None if self.scale == 1 else SIZE

    def dataset(self, val_fraction: float = HELD_OUT, size: int | None = None) -> Dataset:
        """The images as a data set: as given, or prepared from what was given, or drawn.

        Args:
            val_fraction: of images that come without a split, as for ``prepare``.
            size: side of the stored images in pixels, where they are prepared here; None: ``prepare``'s own.
        """
        dataset = self._dataset(val_fraction, size)
        try:
            check_images(dataset, self.needs, self.data)
        except UsageError:
            if Path(dataset.path).parent == self.folder:  # prepared here, and of no use
                files.remove_folder(Path(dataset.path))
            raise
        return dataset

    def _dataset(self, val_fraction: float, size: int | None) -> Dataset:
        if self.data is not None and is_dataset(self.data):
            return Dataset(self.data)
        source = drawn.source(self.scaled(DRAWN_IMAGES // 32) * 32) if self.data is None else self.data
        name = "dataset" if size is None else f"dataset-{size}"
        return prepare(source, self.folder / name, size=size, val_fraction=val_fraction,
                       progress=self.display.counter("preparing"))  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of an experiment is run.

    Attributes:
        share: of its full size (images, epochs, rates), 0..1.
        seeds: each condition's; None: the experiment's.
        conditions: some of the experiment's; None: all.
        words: what that is.
        minutes: that it took at most, measured on two cores of an AMD EPYC; None: not measured.
    """

    share: float
    seeds: tuple[int, ...] | None
    conditions: tuple[str, ...] | None
    words: str
    minutes: int | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One experiment.

    Attributes:
        description: what it shows, in a line.
        conditions: what is compared, each in its own words.
        seeds: each condition's, where none are asked for.
        measure: measures one case; its rows are figures alone, small enough to be kept with the docs.
        figure: draws all rows, each with its ``condition`` and ``seed``.
        table: a summary of the rows in lines of Markdown.
        paper: what the paper or its source says of it.
        needs: the images without which it means nothing; None: it runs on those that are drawn.
        takes: images that may be given to one that needs none, and say more than drawn ones.
        scales: by name, the smallest first; without any, the whole is all there is.
        check: raises ``UsageError`` for a condition that is none of ``conditions`` and not of their form; None: there
            are no others.
        sees: the least difference that numbers of images and of seeds can tell, in words; None: nothing is compared.
    """

    description: str
    conditions: tuple[str, ...]
    seeds: tuple[int, ...]
    measure: Callable[[Case], list[Row]]
    figure: Callable[[Sequence[Row]], Figure]
    table: Callable[[Sequence[Row]], list[str]]
    paper: str = ""
    needs: str | None = None
    takes: str | None = None
    scales: Mapping[str, Scale] = dataclasses.field(default_factory=dict)
    check: Callable[[str], object] | None = None
    sees: Callable[[int, int], str] | None = None


def is_dataset(place: str) -> bool:
    """Whether images are prepared already: a data set."""
    return files.exists(files.join(place, "dataset.json"))


def check_images(dataset: Dataset, needs: str | None, data: str | None) -> None:
    """Raises ``UsageError`` where an experiment needs CIFAR-10 and images, given as ``data``, are others."""
    if needs == CIFAR_10 and (dataset.size, len(dataset.classes)) != (32, 10):
        raise UsageError(
            f"--data {data}: is not CIFAR-10, which the paper's figures are of: ten classes of 32x32 pixels, where "
            f"this has {len(dataset.classes):,} of {dataset.size}x{dataset.size}; alexnet download cifar10 FOLDER"
        )


def fitted(net: str, size: int | None, folder: Path, changes: str = "") -> str:
    """A net for stored images of ``size`` x ``size``: as it is where it fits, or its layers over smaller crops.

    The crops have the paper's share of the side, 7/8 (224 of 256). Writes the table into ``folder`` and gives its path.

    Args:
        net: its name.
        size: pixels; None: the net's own crops fit whatever it is.
        folder: of the table, where one is written.
        changes: TOML that is laid over the net.

    Raises:
        UsageError: there is no such net, or the images are too small for its layers.
    """
    side = None if size in (None, 256) else size * 7 // 8
    if side is None and not changes:
        return net
    file = folder / f"{Path(net).stem}-{'changed' if side is None else side}.toml"
    crops = "" if side is None else f"input = [3, {side}, {side}]\n"
    file.write_text(f'base = "{net}"\n{crops}{changes}', encoding="utf-8")
    if side is not None:
        load_table(net)  # what is wrong with it is not the images' fault
        try:
            load_table(str(file)).sized(2)
        except UsageError as error:
            raise UsageError(
                f"--data: images of {size} pixels are too small for the net {Path(net).stem} ({error}); give larger "
                "ones"
            ) from error
    return str(file)


def held_out_split(dataset: Dataset, splits: Sequence[str] = ("test", "val")) -> str:
    """The first of some splits that a data set has; nothing is trained on it. Raises ``UsageError`` without any."""
    for split in splits:
        if split in dataset.splits:
            return split
    raise UsageError(
        f"--data {dataset.path}: has no {' or '.join(SPLIT_WORDS[split] for split in splits)} images; "
        "prepare it with some (--val-fraction)"
    )


def by_condition(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows by their condition, in the order in which these come first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["condition"], []).append(row)
    return groups
