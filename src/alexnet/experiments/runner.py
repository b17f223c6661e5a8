"""Runs experiments, resumably: ``listing`` says which there are, ``reproduce`` runs one, ``draw`` draws raw figures.

An experiment's folder has ``experiment.json`` (what was asked for, and the machine), ``raw.jsonl`` (what was measured,
a JSON object a line, with its condition and seed), ``table.md``, ``figure.png`` and ``figure.svg``.
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
from alexnet.experiments.experiment import RAW, Case, Experiment, Row
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
        conditions, seeds: each of the ones with each of the others.
        data: images, as given.
        share: of its full size, 0..1.
        words: what that is; empty where it was given as a number.
        minutes: that all of it took at most, measured on two cores of an AMD EPYC; None: not measured.
        datasets: those of ``data``, by name.
    """

    name: str
    conditions: list[str]
    seeds: list[int]
    data: str | None
    share: float
    words: str
    minutes: int | None
    datasets: Mapping[str, Dataset]

    def missing(self, rows: Sequence[Row]) -> list[tuple[str, int]]:
        """The conditions and seeds of which there are no rows yet."""
        measured = {(row["condition"], row["seed"]) for row in rows}
        return [case for case in itertools.product(self.conditions, self.seeds) if case not in measured]

    def lines(self) -> list[str]:
        """It in words, before anything runs."""
        count = f"{plural(len(self.conditions), 'condition')}, {plural(len(self.seeds), 'seed')}"
        share = (
            f"{self.share:g} of its epochs, steps or drawn images, at least one epoch" if self.share < 1 else "whole"
        )
        lines = [f"{self.name}: {self.words or share}: {count}"]
        for dataset in self.datasets.values():
            count = sum(dataset.splits.values())
            lines.append(f"{dataset.path}: {count:,} images of {dataset.size} pixels, as they are stored")
        return lines


def plan(
    name: str,
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    conditions: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    scale: str | float | None = None,
) -> Plan:
    """What ``reproduce`` would measure. Takes what it takes, raises what it raises, and writes nothing."""
    if name not in EXPERIMENTS and os.fspath(folder) in EXPERIMENTS:
        given = [name, os.fspath(folder)]
        raise mistakes.Swapped(f"{folder} is an experiment; the arguments are swapped", "reproduce", given, given[::-1])
    experiment = _experiment(name)
    size = asked.scale_of(name, experiment, scale)
    asked.check_data(name, experiment, data)
    whole = size.conditions or experiment.conditions, size.seeds or experiment.seeds
    own = (
        asked.conditions_of(experiment, whole[0] if conditions is None else conditions),
        asked.seeds_of(whole[1] if seeds is None else seeds),
    )
    is_whole = own == (list(whole[0]), list(whole[1]))
    words = size.words if is_whole or not size.words else f"{size.words}; asked for"
    place = None if data is None else os.fspath(data)
    minutes = size.minutes if is_whole else None
    made = Plan(name, *own, place, size.share, words, minutes, asked.datasets_of(place))
    asked.check_folder(Path(folder), name, place, size.share, made.datasets)
    return made


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
    experiment, is_new = _experiment(name), not files.exists(folder)
    root = files.make_folder(folder)
    display = Display(show, unit="images")
    with _gone_if_empty(root, is_new), files.owned(root, say=display.line), contextlib.closing(display):
        begun = asked.begin(root, name, wanted.data, wanted.share, wanted.datasets)
        rows = measured_rows(root)
        missing = wanted.missing(rows)
        files.remove_leftovers(root, owned=True)
        files.remove_leftovers(root / "work", owned=True)
        for case in {(row["condition"], row["seed"]) for row in rows}:  # killed before that was removed
            shutil.rmtree(_work(root, *case), ignore_errors=True)
        if rows and missing:
            raw.shown(experiment, rows, root / RAW)  # or nothing more is measured
        for line in wanted.lines():
            display.line(line)
        try:
            if missing:
                asked.measured_by(root, machine.choose_device(device))
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
    try:
        measured = experiment.measure(case)
    except UsageError:
        if is_new and not any(case.work.rglob("metrics.jsonl")):  # of a training
            files.remove_folder(case.work)
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
