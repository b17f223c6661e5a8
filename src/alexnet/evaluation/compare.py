"""Runs beside each other: what their recipes differ in, their errors, what is due to the seed, paired differences."""

import dataclasses
import json
import os
import re
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import check_views, load
from alexnet.evaluation.errors import Errors, wilson
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.outputs import Progress, offset
from alexnet.evaluation.paired import Difference
from alexnet.files import kinds, mistakes
from alexnet.runs.checkpoint import AnyCheckpoint
from alexnet.runs.facts import Facts, read_facts
from alexnet.runs.history import latest_measurements
from alexnet.runs.run import is_run

AnyPath = str | os.PathLike[str]
Opened = TypeVar("Opened")


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """A run among those that are compared.

    Attributes:
        run: its folder.
        name: the folder's name; its path where two have one name.
        net: of the run.
        epochs, epochs_asked: done, and by the recipe; None where they are not known.
        images: that the error is of; None where there is no error.
        top1_error, top1_interval: 0..1: measured on the dataset that was given; else noted at the end of training or
            by ``alexnet evaluate``; else the journal's last. None where there is none.
        best_epoch, best_error: of the lowest validation error.
        seconds: of training, where noted.
        difference: from the first run on the same images; None for that, and where no dataset was given.
    """

    run: str
    name: str
    net: str
    epochs: float | None
    epochs_asked: int | None
    images: int | None
    top1_error: float | None
    top1_interval: tuple[float, float] | None
    best_epoch: float | None
    best_error: float | None
    seconds: float | None
    difference: Difference | None = None


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Runs whose recipes differ by their seed alone.

    Attributes:
        runs: their names.
        mean, std: of their top-1 errors; the standard deviation is that of a sample (divided by n - 1).
    """

    runs: list[str]
    mean: float
    std: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What ``compare`` says.

    Attributes:
        split, views: of the errors.
        dataset: that was measured on, if one was given.
        runs: in the order given.
        recipe_differences: for each option in which they differ, its value in each run; None where a run has none.
        seeds: groups of runs that differ by their seed alone.
        left_out: for each run of a folder of seeds that could not be read, why.
    """

    split: str
    views: int
    dataset: str | None
    runs: list[ComparedRun]
    recipe_differences: dict[str, list[Any]]
    seeds: list[Seeds]
    left_out: list[str] = dataclasses.field(default_factory=list)


def compare(
    runs: AnyPath | Sequence[AnyPath],
    dataset: Dataset | str | os.PathLike | None = None,
    *,
    split: str | None = None,
    views: int = 1,
    checkpoint: AnyCheckpoint = "last",
    precision: str = "auto",
    device: torch.device | str = "cpu",
    workers: int = 2,
    progress: Progress | None = None,
) -> Comparison:
    """Holds runs against each other: two or more, or a folder of ``train --seeds``.

    Args:
        runs: folders of runs, or of runs called ``seed-N``.
        dataset: to measure all of them on, for paired differences from the first; not given, errors are those that
            were noted, and no weights are read.
        split: ``val`` if not given.
        views, workers: as for ``evaluate``.
        checkpoint, precision, device: as for ``load``, where a dataset is given.
        progress: called with images done and images in all, over all runs.

    Raises:
        UsageError: no run there, fewer than two, one twice; classes that differ from the dataset's.
        AlexNetError: a damaged run that was given by its own name. One in a folder of seeds is left out, and
            ``Comparison.left_out`` says why; raised where fewer than two runs are left.
    """
    check_views(views)
    mistakes.check_path(runs, "run")
    asked = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    paths, left_out = expanded(asked), list[AlexNetError]()
    named = [os.fspath(run) for run in asked]
    read = {path: _unless_damaged(read_facts, path, named, left_out) for path in paths}
    facts = {path: fact for path, fact in read.items() if fact}
    errors: dict[str, Figures] = {}
    wrong: dict[str, np.ndarray] = {}
    if dataset is None:
        split = split or "val"
        errors = {path: _noted(fact, split, views) for path, fact in facts.items()}
    else:
        dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        split = split or dataset.split or "val"
        images = len(dataset.rows(split))
        for i, path in enumerate(facts):  # one in memory at a time
            count = offset(progress, i * images, len(facts) * images)
            run = _unless_damaged(lambda path: load(path, checkpoint, device, precision), path, named, left_out)
            if run:
                measured = evaluate(
                    run, dataset, split=split, views=views, workers=workers, keep_probabilities=False, progress=count
                )
                wrong[path], errors[path] = ~measured.correct, _figures(measured.errors)
                del run, measured
    if len(errors) < 2:
        raise left_out[0]
    first, *others = errors
    differences = {path: Difference.of(wrong[first], wrong[path]) for path in others if path in wrong}
    names = dict(zip(errors, _names(list(errors))))
    compared = [_compared(facts[path], names[path], errors[path], differences.get(path)) for path in errors]
    kept = [facts[path] for path in errors]
    measured_on, reasons = None if dataset is None else dataset.path, [str(error) for error in left_out]
    return Comparison(split, views, measured_on, compared, _recipe_differences(kept), _seeds(kept, compared), reasons)


def _unless_damaged(
    read: Callable[[str], Opened], path: str, named: Sequence[str], left_out: list[AlexNetError]
) -> Opened | None:
    """What is read of a run; None, and why in ``left_out``, where one of a folder of seeds is damaged."""
    try:
        return read(path)
    except AlexNetError as error:
        if path in named:
            raise
        left_out.append(error)
        return None


def expanded(paths: Sequence[AnyPath]) -> list[str]:
    """Runs, and all that should be runs in folders of ``train --seeds``, by their seeds.

    Raises:
        UsageError: something else, fewer than two, or one twice.
    """
    runs: list[str] = []
    for path in paths:
        mistakes.check_path(path, "run")
        inside = [] if is_run(path) else _seeds_in(path)
        if not any(map(is_run, inside)) and not is_run(path):
            if kinds.kind_of(path).name == kinds.DATASET:
                raise UsageError(f"{path}: is a dataset, not a run; to measure on it: --dataset {path}")
            mistakes.refuse(path, "run")
        inside.sort(key=lambda inner: [int(number) for number in re.findall(r"\d+", files.folder_name(inner))])
        runs += inside or [os.fspath(path)]
    real = [run if files.is_remote(run) else os.path.realpath(run) for run in runs]
    for i, run in enumerate(runs):
        if real[i] in real[:i]:
            raise UsageError(f"{run}: is given twice; give each run once")
    if len(runs) < 2:
        raise UsageError(f"{' '.join(runs) or 'runs'}: one run alone; give two or more, or a folder of train --seeds")
    return runs


def _seeds_in(path: AnyPath) -> list[str]:
    """The folders called ``seed-N`` in one, local or remote."""
    if files.is_remote(path):
        inside = [files.join(path, name) for name in files.folders(os.fspath(path))]
    else:
        inside = [str(inner) for inner in Path(path).glob("seed-*") if inner.is_dir()]
    return [inner for inner in inside if re.fullmatch(r"seed-\d+", files.folder_name(inner))]


def _names(paths: Sequence[str]) -> list[str]:
    names = [files.folder_name(path) for path in paths]
    return [path if names.count(name) > 1 else name for path, name in zip(paths, names)]


Figures = tuple[int | None, float | None, tuple[float, float] | None]


def _figures(errors: Errors) -> Figures:
    return errors.images, errors.top1_error, errors.top1_interval


def _noted(facts: Facts, split: str, views: int) -> Figures:
    """Images, error and interval that were noted of a run's last checkpoint; of a training under way, its last."""
    own = facts.description["data"].get("store")
    noted = [line for line in latest_measurements(facts.path) if line["step"] == facts.last and line["store"] == own]
    at_the_end = facts.description["errors"].get(split)
    noted += [{**at_the_end, "split": split}] if at_the_end else []
    for line in reversed(noted):
        if (line["split"], line["views"]) == (split, views):
            return line["images"], line["top1_error"], tuple(line["top1_interval"])
    if split != "val" or views != 1 or not facts.validation:
        return None, None, None
    images = (facts.description["data"].get("images") or {}).get("val", 0)
    error = facts.validation[-1]["top1_error"]
    return images, error, wilson(error, images)


def _compared(facts: Facts, name: str, figures: Figures, difference: Difference | None) -> ComparedRun:
    best = facts.best or {}
    return ComparedRun(
        run=facts.path,
        name=name,
        net=facts.description["net"]["name"],
        epochs=facts.epochs,
        epochs_asked=facts.epochs_asked,
        images=figures[0],
        top1_error=figures[1],
        top1_interval=figures[2],
        best_epoch=best.get("epoch"),
        best_error=best.get("top1_error"),
        seconds=facts.seconds,
        difference=difference,
    )


def _recipe(facts: Facts) -> dict[str, Any]:
    """What a run was trained by, as far as runs are compared by it: the data by their path, nets by their tables."""
    if facts.recipe is None:
        return {}
    recipe = {key: value for key, value in facts.recipe.items() if key not in ("start_from_weights", "code")}
    recipe["net"] = facts.description["net"]["name"]
    if "store" in recipe:
        recipe["dataset"] = facts.description["data"].get("path") or recipe["store"][:12]
    return recipe


def _recipe_differences(facts: Sequence[Facts]) -> dict[str, list[Any]]:
    """Options in which runs differ. One that a run does not say, imported weights any, tells nothing of it."""
    recipes = [_recipe(fact) for fact in facts]
    stores, tables = ({recipe.get(key) for recipe in recipes if recipe} for key in ("store", "table"))
    differences = {}
    for key in dict.fromkeys(key for recipe in recipes for key in recipe):
        known = [json.dumps(recipe[key]) for recipe in recipes if key in recipe]
        hidden = key in ("store", "table") or (key == "dataset" and len(stores) == 1)
        hidden = hidden or (key == "net" and len(tables) == 1)
        if len(set(known)) > 1 and not hidden:
            differences[key] = [recipe.get(key) for recipe in recipes]
    if len(tables) > 1 and "net" not in differences:  # one name, two nets
        order = list(tables)
        differences["net"] = [f"{recipe.get('net')} ({order.index(recipe.get('table')) + 1})" for recipe in recipes]
    return differences


def _seeds(facts: Sequence[Facts], compared: Sequence[ComparedRun]) -> list[Seeds]:
    groups: dict[str, list[ComparedRun]] = {}
    for fact, run in zip(facts, compared):
        if fact.recipe is not None and run.top1_error is not None:
            rest = {key: value for key, value in fact.recipe.items() if key not in ("seed", "start_from", "code")}
            groups.setdefault(json.dumps(rest, sort_keys=True), []).append(run)
    return [
        Seeds([run.name for run in group], statistics.mean(errors), statistics.stdev(errors))
        for group in groups.values()
        if len(errors := [run.top1_error for run in group if run.top1_error is not None]) > 1
    ]
