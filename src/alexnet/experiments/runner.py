"""Runs experiments, resumably: ``listing`` says which there are, ``reproduce`` runs one, ``draw`` draws raw figures.

``plan`` and ``check`` say what ``reproduce`` would measure. An experiment's folder has ``experiment.json`` (what was
asked for, and the machines), ``raw.jsonl`` (what was measured, a JSON object a line, with its condition and seed),
``table.md``, ``figure.png`` and ``figure.svg``.
"""

import contextlib
import dataclasses
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet import files, machine
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.experiments import asked, raw
from alexnet.experiments.ablations import ABLATION
from alexnet.experiments.budget import BUDGET
from alexnet.experiments.cifar import ABLATION_CIFAR, ABLATION_FAST, CIFAR, FAST, LRN
from alexnet.experiments.demo import DEMO
from alexnet.experiments.experiment import RAW, Case, Experiment, Row, check_images, held_out_split
from alexnet.experiments.fall import FALL
from alexnet.experiments.figure1 import FIGURE1
from alexnet.experiments.figure3 import FIGURE3
from alexnet.experiments.figure4 import FIGURE4
from alexnet.experiments.fine_tuning import FINE_TUNING
from alexnet.experiments.invariance import INVARIANCE
from alexnet.experiments.photos import PHOTOS_FAST
from alexnet.experiments.precision import PRECISION
from alexnet.experiments.rehearsal import REHEARSAL
from alexnet.experiments.stalling import STALLING
from alexnet.experiments.tables import TABLE_1, TABLE_2
from alexnet.figures import style
from alexnet.files import mistakes
from alexnet.progress import Display, clock, plural

PICTURES = ("figure.png", "figure.svg")
EXPERIMENTS: Mapping[str, Experiment] = {
    "demo": DEMO,
    "figure1": FIGURE1,
    "figure3": FIGURE3,
    "figure4": FIGURE4,
    "cifar": CIFAR,
    "cifar-fast": FAST,
    "photos-fast": PHOTOS_FAST,
    "lrn": LRN,
    "ablations": ABLATION,
    "ablations-cifar": ABLATION_CIFAR,
    "ablations-cifar-fast": ABLATION_FAST,
    "budget": BUDGET,
    "stalling": STALLING,
    "fine-tuning": FINE_TUNING,
    "invariance": INVARIANCE,
    "precision": PRECISION,
    "rehearsal": REHEARSAL,
    "table1": TABLE_1,
    "table2": TABLE_2,
    "fall": FALL,
}


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """What ``reproduce`` made.

    Attributes:
        name: of the experiment.
        folder: what it left there: ``raw.jsonl``, ``table.md``, ``figure.png``, ``figure.svg``.
        rows: everything that was measured.
        table: lines of Markdown.
    """

    name: str
    folder: str
    rows: list[Row]
    table: list[str]


def listing() -> dict[str, dict[str, Any]]:
    """Every experiment by its name: ``description``, ``conditions``, ``paper`` (what it says), ``needs`` or ``takes``,
    ``scales``.

    Scales are by name, the smallest first, each in words; ``minutes`` has those that were measured. What an experiment
    does not have is left out.
    """
    return {name: _listed(experiment) for name, experiment in EXPERIMENTS.items()}


def _listed(experiment: Experiment) -> dict[str, Any]:
    scales = {name: scale.words for name, scale in experiment.scales.items()}
    minutes = {name: scale.minutes for name, scale in experiment.scales.items() if scale.minutes}
    entry = {"conditions": list(experiment.conditions), "paper": experiment.paper, "needs": experiment.needs,
             "takes": experiment.takes, "scales": scales, "minutes": minutes}  # fmt: skip
    return {"description": experiment.description, **{key: value for key, value in entry.items() if value}}


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
        measured = _cases(rows)
        return [case for case in itertools.product(self.conditions, self.seeds) if case not in measured]

    def lines(self) -> list[str]:
        """It in words, before anything runs."""
        count = f"{plural(len(self.conditions), 'condition')}, {plural(len(self.seeds), 'seed')}"
        lines = [f"{self.name}: {self.size}: {count}"]
        for dataset in self.datasets.values():
            count = sum(dataset.splits.values())
            lines.append(f"{dataset.path}: {count:,} images of {dataset.size} pixels, as they are stored")
        return lines

    def sees(self) -> str | None:
        """The least difference that it can tell, in words; None where nothing is compared."""
        sees, dataset = EXPERIMENTS[self.name].sees, self.datasets.get("")
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
    if name not in EXPERIMENTS and os.fspath(folder) in EXPERIMENTS:
        words = [name, os.fspath(folder)]
        raise mistakes.Swapped(f"{folder} is an experiment; the arguments are swapped", "reproduce", words, words[::-1])
    experiment = _experiment(name)
    size = asked.scale_of(name, experiment, scale)
    asked.check_data(name, experiment, data)
    whole = size.conditions or experiment.conditions, size.seeds or experiment.seeds
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
    words = next((key for key, value in experiment.scales.items() if value is size), "")
    if is_whole and size.words:
        words = size.words
    elif words:
        words = f"--scale {words}"
    elif size.share < 1:
        words = f"{size.share:g} of its epochs, steps or drawn images, at least one epoch"
    return Plan(name, *own, images, size.share, words or "full size", size.minutes if is_part else None, datasets)


def check(wanted: Plan, folder: str | os.PathLike[str], *, device: str = "auto") -> list[tuple[str, int]]:
    """What of a plan is not measured yet in a folder: conditions and seeds. Writes nothing.

    Raises:
        UsageError: what ``reproduce`` says of the folder, or of the device.
        AlexNetError: what is in the folder was changed.
    """
    files.check_folder(folder)
    root = Path(folder)
    asked.check_folder(root, wanted.name, wanted.data, wanted.share, wanted.datasets)
    rows = measured_rows(root)
    if rows:
        raw.shown(EXPERIMENTS[wanted.name], rows, root / RAW)
    missing = wanted.missing(rows)
    if missing:
        _check_at_hand(wanted, device)
    return missing


def _check_at_hand(wanted: Plan, device: str) -> None:
    """Raises ``UsageError`` where there are no images or no such device to measure with."""
    machine.choose_device(device)
    if wanted.data is not None and not files.is_remote(wanted.data) and not files.exists(wanted.data):
        mistakes.refuse(wanted.data, "source", "--data")


def _cases(rows: Sequence[Row]) -> set[tuple[str, int]]:
    return {(row["condition"], row["seed"]) for row in rows}


def measured_rows(folder: Path) -> list[Row]:
    """What was measured in a folder, of whole cases."""
    return raw.whole(raw.read_rows(folder / RAW)) if (folder / RAW).exists() else []


def reproduce(
    name: str,
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    conditions: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    scale: str | float | None = None,
    device: str = "auto",
    show: bool = True,
) -> Reproduced:
    """Runs an experiment: every condition with every seed. The same call goes on where it was stopped.

    Args:
        name: one of ``listing()``.
        folder: to write to.
        data: images: a data set, or what ``prepare`` takes; the synthetic images if not given.
        conditions: some of the experiment's, or others of their form; those of its scale if not given.
        seeds: 0..2**29-1; those of its scale if not given.
        scale: ``minutes``, ``hours`` or ``paper``, as far as the experiment has it; or a share of its full size of
            images, epochs, steps, above 0 and at most 1. Not given: its smallest, or the whole where it has one size.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        show: shows progress on the standard error.

    Raises:
        UsageError: no such experiment or scale; no images where it needs some; a folder that holds something else, or
            the experiment at another scale or on other images; a condition or seed that it cannot have.
        AlexNetError: its raw figures were changed.
    """
    wanted = plan(name, folder, data=data, conditions=conditions, seeds=seeds, scale=scale)
    experiment = _experiment(name)
    files.check_folder(folder)
    is_new = not Path(folder).exists()
    root = files.make_folder(folder)
    display = Display(show, unit="images")
    with _gone_if_empty(root, is_new), files.owned(root, say=display.line), contextlib.closing(display):
        begun = asked.begin(root, name, wanted.data, wanted.share, wanted.datasets)
        rows = measured_rows(root)
        missing = wanted.missing(rows)
        files.remove_leftovers(root, owned=True)
        files.remove_leftovers(root / "work", owned=True)
        for case in _cases(rows):  # killed before that was removed
            shutil.rmtree(_work(root, *case), ignore_errors=True)
        if rows and missing:
            raw.shown(experiment, rows, root / RAW)  # or nothing more is measured
        for line in wanted.lines():
            display.line(line)
        try:
            if missing:
                _check_at_hand(wanted, device)
            for number, (condition, seed) in enumerate(missing, 1):
                if len(missing) > 1:
                    display.line(f"{number:,} of {len(missing):,}: {condition}, seed {seed}")
                work = _work(root, condition, seed)
                case = Case(condition, seed, root, work, wanted.data, wanted.share, device, display, len(wanted.seeds),
                            experiment.needs, rows)  # fmt: skip
                rows = _measured(experiment, case, rows)
        except UsageError:
            _removed_if_empty(root / "work")
            if begun:
                asked.withdraw(root)
            raise
        _removed_if_empty(root / "work")
        return Reproduced(name, str(root), rows, _show(experiment, rows, root))


def _work(root: Path, condition: str, seed: int) -> Path:
    """The folder of what a case has not finished."""
    return root / "work" / f"{files.sha256_text(condition)[:12]}-{seed}"


def _measured(experiment: Experiment, case: Case, rows: Sequence[Row]) -> list[Row]:
    """Measures a case and keeps what came of it, with the rows of before. Returns all of them."""
    started, is_new = time.monotonic(), not case.work.exists()
    files.make_folder(case.work)
    note = asked.measured_by(case.folder, machine.choose_device(case.device), is_first=not rows)
    try:
        measured = experiment.measure(case)
    except UsageError:
        if is_new and not any(case.work.rglob("metrics.jsonl")):  # of a training
            files.remove_folder(case.work)
            files.write_json(case.folder / asked.NOTE, note)
        raise
    now = raw.in_order([*rows, *raw.rows_of(case.condition, case.seed, measured)], experiment.conditions)
    files.write_bytes(case.folder / RAW, raw.to_bytes(now))
    files.remove_folder(case.work)
    case.display.line(f"{case.condition}, seed {case.seed}: done in {clock(time.monotonic() - started)}")
    return now


@contextlib.contextmanager
def _gone_if_empty(folder: Path, is_new: bool) -> Iterator[None]:
    """Removes a new folder again where a mistake left it empty."""
    try:
        yield
    except UsageError:
        if is_new:
            _removed_if_empty(folder)
        raise


def _removed_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # in `work` may be what was stopped and was not asked for now
        folder.rmdir()


def draw(name: str, figures: str | os.PathLike[str], picture: str | os.PathLike[str]) -> list[str]:
    """Draws an experiment's raw figures again, from a file that ``reproduce`` wrote. Returns their table's lines."""
    experiment, rows = _experiment(name), raw.read_rows(figures)
    lines, figure = raw.shown(experiment, rows, figures)
    style.save(figure, picture)
    return lines


def _experiment(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        nearest = files.nearest(name, list(EXPERIMENTS))
        known = ", ".join(EXPERIMENTS)
        raise UsageError(f"experiment {name!r}: unknown; {nearest}give one of {known}, which `alexnet reproduce` lists")
    return EXPERIMENTS[name]


def _show(experiment: Experiment, rows: Sequence[Row], folder: Path) -> list[str]:
    """Writes table and figure. Returns the table's lines."""
    table, drawing = raw.shown(experiment, rows, folder / RAW)
    content = "\n".join([*table, "", asked.described(folder), ""])
    files.write_bytes(folder / "table.md", content.encode("utf-8"))
    for picture in PICTURES:
        style.save(drawing, folder / picture)
    return table
