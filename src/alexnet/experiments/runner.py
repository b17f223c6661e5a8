"""Runs experiments, resumably: ``reproduce`` runs one, ``draw`` draws raw figures again.

``known`` says which there are, ``plans`` what a call would measure. An experiment's folder has ``experiment.json``
(what was asked for, and the machines), ``raw.jsonl`` (what was measured, a JSON object a line, with its condition and
seed), ``table.md``, ``figure.png`` and ``figure.svg``.
"""

import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from alexnet import files, machine
from alexnet.errors import UsageError
from alexnet.experiments import asked, raw
from alexnet.experiments.experiment import RAW, Case, Experiment, Row
from alexnet.experiments.known import named
from alexnet.experiments.plans import check_at_hand, plan
from alexnet.figures import style
from alexnet.progress import Display, clock

PICTURES = ("figure.png", "figure.svg")


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
        name: one of ``known.listing()``.
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
    experiment = named(name)
    files.check_folder(folder)
    is_new = not Path(folder).exists()
    root = files.make_folder(folder)
    display = Display(show, unit="images")
    with _gone_if_empty(root, is_new), files.owned(root, say=display.line), contextlib.closing(display):
        begun = asked.begin(root, name, wanted.data, wanted.share, wanted.datasets)
        rows = raw.measured_rows(root)
        missing = wanted.missing(rows)
        files.remove_leftovers(root, owned=True)
        files.remove_leftovers(root / "work", owned=True)
        for case in raw.cases(rows):  # killed before that was removed
            shutil.rmtree(_work(root, *case), ignore_errors=True)
        if rows and missing:
            raw.shown(experiment, rows, root / RAW)  # or nothing more is measured
        for line in wanted.lines():
            display.line(line)
        try:
            if missing:
                check_at_hand(wanted, device)
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
    device = machine.choose_device(case.device)
    note = asked.measured_by(case.folder, device, is_first=not rows)
    try:
        measured = experiment.measure(case)
    except UsageError:
        if is_new and not any(case.work.rglob("metrics.jsonl")):  # of a training
            files.remove_folder(case.work)
            files.write_json(case.folder / asked.NOTE, note)
        raise
    on = machine.cpu_name() if device.type == "cpu" else machine.device_name(device)
    now = raw.in_order([*rows, *raw.rows_of(case.condition, case.seed, measured, on)], experiment.conditions)
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
    experiment, rows = named(name), raw.read_rows(figures)
    lines, figure = raw.shown(experiment, rows, figures)
    style.save(figure, picture)
    return lines


def _show(experiment: Experiment, rows: Sequence[Row], folder: Path) -> list[str]:
    """Writes table and figure. Returns the table's lines."""
    table, drawing = raw.shown(experiment, rows, folder / RAW)
    content = "\n".join([*table, "", asked.described(folder), ""])
    files.write_bytes(folder / "table.md", content.encode("utf-8"))
    for picture in PICTURES:
        style.save(drawing, folder / picture)
    return table
