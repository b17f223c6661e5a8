"""What was asked of an experiment: checked before anything runs, and held against what its folder was begun with."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from alexnet import files, machine, native
from alexnet.data.dataset import Dataset
from alexnet.errors import AlexNetError, UsageError
from alexnet.experiments.experiment import CHALLENGE, RELEASE, Experiment, Row, Scale
from alexnet.files import mistakes
from alexnet.files.old_names import current_condition
from alexnet.runs.code import code

NOTE = "experiment.json"
LAST_SEED = 2**29 - 1  # where a condition has several nets, their seeds are counted on from a multiple of this


def scale_of(name: str, experiment: Experiment, scale: str | float | None) -> Scale:
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


def conditions_of(experiment: Experiment, wanted: Sequence[str]) -> list[str]:
    """The conditions that are meant by texts, of which several together may name one that has commas.

    Raises ``UsageError`` for one that the experiment does not have.
    """
    texts, conditions = [current_condition(text.strip()) for text in wanted], []
    while texts:
        several = (count for count in range(len(texts), 1, -1) if ", ".join(texts[:count]) in experiment.conditions)
        count = next(several, 1)
        conditions.append(", ".join(texts[:count]))
        _check_condition(experiment, conditions[-1])
        del texts[:count]
    if not conditions:
        raise UsageError(f"--conditions: names none; give some of {_listed(experiment.conditions)}")
    return list(dict.fromkeys(conditions))


def _check_condition(experiment: Experiment, condition: str) -> None:
    if condition in experiment.conditions:
        return
    if experiment.check is None:
        near = files.nearest(condition, experiment.conditions)
        raise UsageError(f"condition {condition!r}: {near}give one of {_listed(experiment.conditions)}")
    try:
        experiment.check(condition)
    except UsageError as error:
        words = str(error)
        raise UsageError(words if words.startswith("condition ") else f"condition {condition!r}: {words}") from error


def _listed(conditions: Sequence[str]) -> str:
    return ("; " if any("," in condition for condition in conditions) else ", ").join(conditions)


def seeds_of(seeds: Sequence[int]) -> list[int]:
    """The seeds that are wanted, each once. Raises ``UsageError`` for what is none."""
    for seed in seeds:
        if not isinstance(seed, int) or not 0 <= seed <= LAST_SEED:
            raise UsageError(f"--seeds {seed}: an experiment's seed is 0 to {LAST_SEED:,}")
    return list(dict.fromkeys(seeds))


def check_data(name: str, experiment: Experiment, data: str | os.PathLike[str] | None) -> None:
    """Raises ``UsageError`` where images are lacking, or are given to an experiment that takes none."""
    if experiment.needs and data is None:
        raise UsageError(f"alexnet reproduce {name}: needs {experiment.needs}; give them with --data")
    if data is not None and not (experiment.needs or experiment.takes):
        raise UsageError(f"--data: {name} draws images of its own; leave it out")


def datasets_of(data: str | None) -> dict[str, Dataset]:
    """The data sets that were given, by their folder's name in ``data``: one as it is (""), or two of that folder."""
    places = {} if data is None else {"": data, **{name: files.join(data, name) for name in (RELEASE, CHALLENGE)}}
    return {name: Dataset(place) for name, place in places.items() if files.exists(files.join(place, "dataset.json"))}


def begin(folder: Path, name: str, data: str | None, share: float, datasets: Mapping[str, Dataset]) -> None:
    """Writes what was asked for, or checks that it was the same before.

    Args:
        folder: the experiment's.
        name: of the experiment.
        data: images, as they were given.
        share: of its full size.
        datasets: those of ``data``.

    Raises:
        UsageError: the folder holds something else, or the experiment otherwise.
        AlexNetError: what was asked for cannot be read any more.
    """
    asked = {"experiment": name, "data": None if data is None else files.absolute(data), "scale": share}
    stored = {key: dataset.fingerprint for key, dataset in datasets.items()}
    if (folder / NOTE).exists():
        try:
            before = files.read_json(folder / NOTE, dict)
        except AlexNetError as error:
            raise AlexNetError(f"{error}; give another folder") from error
        _check_same(folder, before, asked, stored, data)
        return
    inside = {entry.name for entry in folder.iterdir()} - {files.LOCK}
    if "raw.jsonl" in inside or "work" in inside:
        raise UsageError(f"{folder}: is the folder of an experiment whose {NOTE} is gone; give another folder")
    if inside:
        mistakes.refuse(folder, "new experiment")
    about = {
        "machine": machine.cpu_name(),
        "code": code(),
        "cores": machine.cores(),
        "torch": torch.__version__,
        "kernels": native.kernels(torch.device("cpu")),
    }
    files.write_json(folder / NOTE, {**asked, "stores": stored, **about})


def _check_same(folder: Path, before: Row, asked: Row, stored: Mapping[str, str], data: str | None) -> None:
    """Raises ``UsageError`` where something else was asked for before, or images are others now."""
    known: Any = before.get("stores")
    if known and stored == known:  # the same images, wherever they are now
        asked = asked | {"data": before.get("data")}
    changed = [f"{key}: {before.get(key)}, now {value}" for key, value in asked.items()
               if before.get(key) not in (value, data if key == "data" else value)]  # fmt: skip
    if changed:
        raise UsageError(f"{folder}: was begun otherwise ({'; '.join(changed)}); give another folder")
    if known is not None and stored != known:
        raise UsageError(f"{folder}: --data {data}: holds other images than when this was begun; give another folder")
