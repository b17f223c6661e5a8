"""Runs experiments, resumably: ``listing`` says which there are, ``reproduce`` runs one, ``draw`` draws raw figures.

An experiment's folder has ``experiment.json`` (what was asked for, and the machine), ``raw.jsonl`` (what was measured,
a JSON object a line, with its condition and seed), ``table.md``, ``figure.png`` and ``figure.svg``.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from alexnet import files, machine, native
from alexnet.errors import UsageError
from alexnet.experiments.ablations import ABLATION
from alexnet.experiments.budget import BUDGET
from alexnet.experiments.cifar import ABLATION_CIFAR, CIFAR, FAST, LRN
from alexnet.experiments.demo import DEMO
from alexnet.experiments.experiment import Case, Experiment, Row, Scale, read_rows
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
from alexnet.progress import Display, clock
from alexnet.runs.code import code

NOTE = "experiment.json"
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
    """Every experiment by its name: ``description``, ``paper`` (what it says), ``needs`` or ``takes``, ``scales``.

    Scales are by name, the smallest first, each in words; ``minutes`` has those that were measured. What an experiment
    does not have is left out.
    """
    return {name: _listed(experiment) for name, experiment in EXPERIMENTS.items()}


def _listed(experiment: Experiment) -> dict[str, Any]:
    scales = {name: scale.words for name, scale in experiment.scales.items()}
    minutes = {name: scale.minutes for name, scale in experiment.scales.items() if scale.minutes}
    entry = {"paper": experiment.paper, "needs": experiment.needs, "takes": experiment.takes, "scales": scales,
             "minutes": minutes}  # fmt: skip
    return {"description": experiment.description, **{key: value for key, value in entry.items() if value}}


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
        seeds: 0..2**32-1; those of its scale if not given.
        scale: ``minutes``, ``hours`` or ``paper``, as far as the experiment has it; or a share of its full size of
            images, epochs, steps, above 0 and at most 1. Not given: its smallest, or the whole where it has one size.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        show: shows progress on the standard error.

    Raises:
        UsageError: no such experiment or scale; no images where it needs some; a folder that holds something else, or
            the experiment at another scale or on other images.
    """
    if name not in EXPERIMENTS and os.fspath(folder) in EXPERIMENTS:
        given = [name, os.fspath(folder)]
        raise mistakes.Swapped(f"{folder} is an experiment; the arguments are swapped", "reproduce", given, given[::-1])
    experiment = _experiment(name)
    size = _size(name, experiment, scale)
    if experiment.needs and data is None:
        raise UsageError(f"alexnet reproduce {name}: needs {experiment.needs}; give them with --data")
    if conditions is not None and not conditions:
        raise UsageError(f"--conditions: names none; give some of {', '.join(experiment.conditions)}")
    is_new = not files.exists(folder)
    root = files.make_folder(folder)
    display = Display(show, unit="images")
    with _left_as_it_was(root, is_new), files.owned(root, say=display.line), contextlib.closing(display):
        place = None if data is None else os.fspath(data)
        begun = _begin(root, {"experiment": name, "data": place, "scale": size.share})
        rows = read_rows(root / "raw.jsonl") if (root / "raw.jsonl").exists() else []
        display.line(f"{name}: {size.words}" if size.words else f"{name}: {size.share:g} of its size")
        seeds = seeds or size.seeds or experiment.seeds
        for condition in conditions or size.conditions or experiment.conditions:
            for seed in seeds:
                if any((row["condition"], row["seed"]) == (condition, seed) for row in rows):
                    continue
                work = root / "work" / f"{files.sha256_text(condition)[:12]}-{seed}"
                files.make_folder(work)
                started = time.monotonic()
                case = Case(
                    condition, seed, root, work, place, size.share, device, display, len(seeds), experiment.needs
                )
                try:
                    measured = experiment.measure(case)
                except UsageError:
                    if begun and not rows:  # nothing came of it: the folder is free for what was meant
                        files.remove_folder(root / "work")
                        (root / NOTE).unlink()
                    raise
                rows += [{"condition": condition, "seed": seed, **row} for row in measured]
                files.write_bytes(root / "raw.jsonl", _lines(rows))
                files.remove_folder(work)
                display.line(f"{condition}, seed {seed}: done in {clock(time.monotonic() - started)}")
        return Reproduced(name, str(root), rows, _show(experiment, rows, root))


@contextlib.contextmanager
def _left_as_it_was(folder: Path, is_new: bool) -> Iterator[None]:
    """Removes a new folder in which nothing has come of what was asked for."""
    try:
        yield
    except UsageError:
        if is_new and {entry.name for entry in folder.iterdir()} <= {files.LOCK}:
            files.remove_folder(folder)
        raise


def draw(name: str, raw: str | os.PathLike[str], picture: str | os.PathLike[str]) -> list[str]:
    """Draws an experiment's raw figures again, from a file that ``reproduce`` wrote. Returns their table's lines."""
    experiment, rows = _experiment(name), read_rows(raw)
    style.save(experiment.figure(rows), picture)
    return experiment.table(rows)


def _experiment(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        nearest = files.nearest(name, list(EXPERIMENTS))
        known = ", ".join(EXPERIMENTS)
        raise UsageError(f"experiment {name!r}: unknown; {nearest}give one of {known}, which `alexnet reproduce` lists")
    return EXPERIMENTS[name]


def _size(name: str, experiment: Experiment, scale: str | float | None) -> Scale:
    """How much of an experiment is run. Raises ``UsageError`` where that is no scale of it."""
    scales = experiment.scales
    if scale is None:
        return next(iter(scales.values()), Scale(1.0, None, None, ""))
    if isinstance(scale, str) and scale in scales:
        return scales[scale]
    try:
        share = float(scale)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        known = f"{', '.join(scales)}, or " if scales else ""
        raise UsageError(f"--scale {scale}: {name} has {known}a share above 0 and at most 1")
    return Scale(share, None, None, "")


def _begin(folder: Path, asked: Row) -> bool:
    """Writes what was asked for, or checks that it was the same before. Says whether it is written now."""
    note = folder / NOTE
    if note.exists():
        before = files.read_json(note, dict)
        changed = [f"{key}: {before.get(key)}, now {value}" for key, value in asked.items() if before.get(key) != value]
        if changed:
            raise UsageError(f"{folder}: was begun otherwise ({'; '.join(changed)}); give another folder")
    elif any(entry.name != files.LOCK for entry in folder.iterdir()):
        mistakes.refuse(folder, "new experiment")
    else:
        about = {
            "machine": machine.cpu_name(),
            "code": code(),
            "cores": machine.cores(),
            "torch": torch.__version__,
            "kernels": native.kernels(torch.device("cpu")),
        }
        files.write_json(note, {**asked, **about})
        return True
    return False


def _lines(rows: Sequence[Row]) -> bytes:
    return "".join(files.to_json(row, indent=None) + "\n" for row in rows).encode("utf-8")


def _show(experiment: Experiment, rows: Sequence[Row], folder: Path) -> list[str]:
    """Writes table and figure."""
    table = experiment.table(rows)
    files.write_bytes(folder / "table.md", ("\n".join(table) + "\n").encode("utf-8"))
    drawing = experiment.figure(rows)
    for picture in PICTURES:
        style.save(drawing, folder / picture)
    return table
