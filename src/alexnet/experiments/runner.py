"""Runs experiments, resumably: ``listing`` says which there are, ``reproduce`` runs one, ``draw`` draws raw figures.

An experiment's folder has ``experiment.json`` (what was asked for, and the machine), ``raw.jsonl`` (what was measured,
a JSON object a line, with its condition and seed), ``table.md`` and ``figure.png``.
"""

import contextlib
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from alexnet import files, machine, native
from alexnet.errors import UsageError
from alexnet.experiments.demo import DEMO
from alexnet.experiments.experiment import Case, Experiment, Row, read_rows
from alexnet.experiments.fine_tuning import FINE_TUNING
from alexnet.experiments.precision import PRECISION
from alexnet.experiments.stalling import STALLING
from alexnet.figures import style
from alexnet.files import mistakes
from alexnet.progress import Display

EXPERIMENTS: Mapping[str, Experiment] = {
    "demo": DEMO,
    "stalling": STALLING,
    "fine-tuning": FINE_TUNING,
    "precision": PRECISION,
}


@dataclasses.dataclass(frozen=True)
class Reproduced:
    """What ``reproduce`` made.

    Attributes:
        name: of the experiment.
        folder: what it left there: ``raw.jsonl``, ``table.md``, ``figure.png``.
        rows: everything that was measured.
        table: lines of Markdown.
    """

    name: str
    folder: str
    rows: list[Row]
    table: list[str]


def listing() -> dict[str, str]:
    """Every experiment's description by its name."""
    return {name: experiment.description for name, experiment in EXPERIMENTS.items()}


def reproduce(
    name: str,
    folder: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    conditions: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    scale: float = 1.0,
    device: str = "auto",
    show: bool = True,
) -> Reproduced:
    """Runs an experiment: every condition with every seed. The same call goes on where it was stopped.

    Args:
        name: one of ``listing()``.
        folder: to write to.
        data: images: a data set, or what ``prepare`` takes; the synthetic images if not given.
        conditions: some of the experiment's, or others of their form; all of its own if not given.
        seeds: 0..2**32-1; the experiment's own if not given.
        scale: share of the experiment's full size (images, epochs, steps), above 0 and at most 1.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.
        show: shows progress on the standard error.

    Raises:
        UsageError: no such experiment; a folder that holds something else, or the experiment at another scale or on
            other images.
    """
    if name not in EXPERIMENTS and os.fspath(folder) in EXPERIMENTS:
        given = [name, os.fspath(folder)]
        raise mistakes.Swapped(f"{folder} is an experiment; the arguments are swapped", "reproduce", given, given[::-1])
    experiment = _experiment(name)
    if not 0 < scale <= 1:
        raise UsageError(f"--scale {scale}: must be above 0 and at most 1")
    root = files.make_folder(folder)
    display = Display(show, unit="images")
    with files.owned(root, say=display.line), contextlib.closing(display):
        _begin(root, {"experiment": name, "data": None if data is None else os.fspath(data), "scale": scale})
        rows = read_rows(root / "raw.jsonl") if (root / "raw.jsonl").exists() else []
        for condition in experiment.conditions if conditions is None else conditions:
            for seed in experiment.seeds if seeds is None else seeds:
                if any((row["condition"], row["seed"]) == (condition, seed) for row in rows):
                    continue
                work = root / "work" / f"{files.sha256_text(condition)[:12]}-{seed}"
                place = None if data is None else os.fspath(data)
                case = Case(condition, seed, root, files.make_folder(work), place, scale, device, display)
                rows += [{"condition": condition, "seed": seed, **row} for row in experiment.measure(case)]
                files.write_bytes(root / "raw.jsonl", _lines(rows))
                files.remove_folder(work)
                display.line(f"{condition}, seed {seed}: done")
        return Reproduced(name, str(root), rows, _show(experiment, rows, root))


def draw(name: str, raw: str | os.PathLike[str], picture: str | os.PathLike[str]) -> list[str]:
    """Draws an experiment's raw figures again, from a file that ``reproduce`` wrote. Returns their table's lines."""
    experiment, rows = _experiment(name), read_rows(raw)
    style.save(experiment.figure(rows), picture)
    return experiment.table(rows)


def _experiment(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        nearest = files.nearest(name, list(EXPERIMENTS))
        raise UsageError(f"experiment {name!r}: unknown; {nearest}give one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def _begin(folder: Path, asked: Row) -> None:
    """Writes what was asked for, or checks that it was the same before."""
    note = folder / "experiment.json"
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
            "cores": machine.cores(),
            "torch": torch.__version__,
            "kernels": native.kernels(torch.device("cpu")),
        }
        files.write_json(note, {**asked, **about})


def _lines(rows: Sequence[Row]) -> bytes:
    return "".join(files.to_json(row, indent=None) + "\n" for row in rows).encode("utf-8")


def _show(experiment: Experiment, rows: Sequence[Row], folder: Path) -> list[str]:
    """Writes table and figure."""
    table = experiment.table(rows)
    files.write_bytes(folder / "table.md", ("\n".join(table) + "\n").encode("utf-8"))
    style.save(experiment.figure(rows), folder / "figure.png")
    return table
