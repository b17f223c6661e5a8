"""What a call of ``reproduce`` measures, said and checked before anything runs: ``plan``, ``check``. Writes nothing."""

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet import files, machine
from alexnet.data.dataset import Dataset
from alexnet.experiments import asked, known, raw
from alexnet.experiments.experiment import RAW, Row, check_images, held_out_split
from alexnet.files import mistakes
from alexnet.progress import plural


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a call of ``reproduce`` measures.

    Attributes:
        name: of the experiment.
        conditions, seeds: every condition with every seed.
        data: images, as they were given.
        share: of its full size, 0..1.
        size: that in words: the scale's own, where all of it is measured.
        minutes: that all of the scale took at most, measured once on two cores of an AMD EPYC; None: not known.
        datasets: those of ``data`` that are prepared, by name.
    """

    name: str
    conditions: list[str]
    seeds: list[int]
    data: str | None
    share: float
    size: str
    minutes: int | None
    datasets: Mapping[str, Dataset]

    def missing(self, rows: Sequence[Row]) -> list[tuple[str, int]]:
        """The conditions and seeds of which there are no rows yet."""
        measured = raw.cases(rows)
        return [case for case in itertools.product(self.conditions, self.seeds) if case not in measured]

    def lines(self) -> list[str]:
        """It in words, before anything runs."""
        count = f"{plural(len(self.conditions), 'condition')}, {plural(len(self.seeds), 'seed')}"
        lines = [f"{self.name}: {self.size}: {count}"]
        for dataset in self.datasets.values():
            images = sum(dataset.splits.values())
            lines.append(f"{dataset.path}: {images:,} images of {dataset.size} pixels, as they are stored")
        return lines

    def sees(self) -> str | None:
        """The least difference that it can tell, in words; None where nothing is compared."""
        sees, dataset = known.named(self.name).sees, self.datasets.get("")
        if sees is None or len(self.conditions) == 1:
            return None
        if dataset is None:
            return "the least difference that it sees is known when the images are prepared"
        return sees(dataset.splits[held_out_split(dataset)], len(self.seeds))


def plan(
    name: str,
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    conditions: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    scale: str | float | None = None,
) -> Plan:
    """What ``reproduce`` measures, when it is called with this. Writes nothing.

    Raises:
        UsageError: as ``reproduce`` does, but for what is wrong with the folder.
    """
    if name not in known.EXPERIMENTS and os.fspath(folder) in known.EXPERIMENTS:
        words = [name, os.fspath(folder)]
        raise mistakes.Swapped(f"{folder} is an experiment; the arguments are swapped", "reproduce", words, words[::-1])
    experiment = known.named(name)
    chosen = asked.scale_of(name, experiment, scale)
    asked.check_data(name, experiment, data)
    whole = chosen.conditions or experiment.conditions, chosen.seeds or experiment.seeds
    own = (
        asked.conditions_of(experiment, whole[0] if conditions is None else conditions),
        asked.seeds_of(whole[1] if seeds is None else seeds),
    )
    images = None if data is None else os.fspath(data)
    datasets = asked.datasets_of(images)
    if "" in datasets:
        check_images(datasets[""], experiment.needs, images)
    is_part = all(set(wanted) <= set(all_of_it) for wanted, all_of_it in zip(own, whole))
    is_whole = is_part and [len(wanted) for wanted in own] == [len(all_of_it) for all_of_it in whole]
    words = next((key for key, value in experiment.scales.items() if value is chosen), "")
    if is_whole and chosen.words:
        words = chosen.words
    elif words:
        words = f"--scale {words}"
    elif chosen.share < 1:
        words = f"{chosen.share:g} of its epochs, steps or drawn images, at least one epoch"
    return Plan(name, *own, images, chosen.share, words or "full size", chosen.minutes if is_part else None, datasets)


def check(wanted: Plan, folder: str | os.PathLike[str], *, device: str = "auto") -> list[tuple[str, int]]:
    """What of a plan is not measured yet in a folder: conditions and seeds. Writes nothing.

    Raises:
        UsageError: what ``reproduce`` says of the folder, or of the device.
        AlexNetError: what is in the folder was changed.
    """
    files.check_folder(folder)
    root = Path(folder)
    asked.check_folder(root, wanted.name, wanted.data, wanted.share, wanted.datasets)
    rows = raw.measured_rows(root)
    if rows:
        raw.shown(known.named(wanted.name), rows, root / RAW)
    missing = wanted.missing(rows)
    if missing:
        check_at_hand(wanted, device)
    return missing


def check_at_hand(wanted: Plan, device: str) -> None:
    """Raises ``UsageError`` where there are no images or no such device to measure with."""
    machine.choose_device(device)
    if wanted.data is not None and not files.is_remote(wanted.data) and not files.exists(wanted.data):
        mistakes.refuse(wanted.data, "source", "--data")
