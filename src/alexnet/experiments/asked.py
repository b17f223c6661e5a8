"""What was asked of an experiment: checked before anything runs, and held against what its folder was begun with."""

import datetime
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import torch

from alexnet import files, machine, native
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError, check_number
from alexnet.experiments.experiment import CHALLENGE, RAW, RELEASE, Experiment, Row, Scale, is_dataset
from alexnet.experiments.pretraining import prepared_pair
from alexnet.files import mistakes
from alexnet.files.checked import Within
from alexnet.files.old_names import current_condition
from alexnet.runs.code import code

NOTE, STORES = "experiment.json", "stores"  # the file; in it, the fingerprints of the data sets that were given
ALSO = "also"  # in it: by what else the experiment was continued
LAST_SEED = 2**29 - 1  # where a condition has several nets, theirs are counted on from a multiple of its seed


class By(TypedDict):
    """When, by which version and on which machine something was measured, as far as an earlier version says."""

    date: NotRequired[str]
    machine: NotRequired[str]
    device: NotRequired[str]
    code: NotRequired[str]
    cores: NotRequired[int]
    torch: NotRequired[str]
    kernels: NotRequired[str]


class Note(By):
    """What was asked for in a folder, and by what it was begun."""

    experiment: str
    data: str | None
    scale: Annotated[float, Within(0, 1)]
    stores: NotRequired[dict[str, str]]
    also: NotRequired[list[By]]


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
    """The conditions that are meant by texts, of which several together may be one that has commas, each once.

    Raises ``UsageError`` for one that the experiment cannot have.
    """
    parts = [part.strip() for text in wanted for part in text.split(";")]  # as they are listed
    texts, conditions = [current_condition(part) for part in parts if part], []
    while texts:
        count, condition = _first(experiment, texts)
        conditions.append(condition)
        del texts[:count]
    if not conditions:
        raise UsageError(f"--conditions: names none; give some of {listed(experiment.conditions)}")
    return list(dict.fromkeys(conditions))


def _first(experiment: Experiment, texts: Sequence[str]) -> tuple[int, str]:
    """How many texts are one condition, and which: of the named ones the longest, of a form the shortest."""
    counts = range(1, len(texts) + 1)
    for count in reversed(counts):
        if ", ".join(texts[:count]) in experiment.conditions:
            return count, ", ".join(texts[:count])
    refusals = [_refused(experiment, ",".join(texts[:count])) for count in counts]
    if None not in refusals:
        assert refusals[0] is not None
        raise refusals[0]
    count = refusals.index(None) + 1
    return count, ",".join(texts[:count])


def _refused(experiment: Experiment, condition: str) -> UsageError | None:
    """What is wrong with a condition; None where the experiment has it, or it is of its form."""
    if condition in experiment.conditions:
        return None
    if experiment.check is None:
        near = files.nearest(condition, experiment.conditions)
        return UsageError(f"condition {condition!r}: {near}give one of {listed(experiment.conditions)}")
    try:
        experiment.check(condition)
    except UsageError as error:
        words = str(error)
        return UsageError(words if words.startswith("condition ") else f"condition {condition!r}: {words}")
    return None


def listed(conditions: Sequence[str]) -> str:
    """Conditions in a line, as ``--conditions`` takes them."""
    return ("; " if any("," in condition for condition in conditions) else ", ").join(conditions)


def seeds_of(seeds: Iterable[int]) -> list[int]:
    """The seeds that are wanted, each once. Raises ``UsageError`` for what is none, and for none."""
    seeds = list(dict.fromkeys(seeds))
    for seed in seeds:
        check_number("--seeds", seed, 0, LAST_SEED)
    if not seeds:
        raise UsageError("--seeds: names none; give 0..9 or 0,3,7 (a range, or single ones)")
    return [int(seed) for seed in seeds]


def check_data(name: str, experiment: Experiment, data: str | os.PathLike[str] | None) -> None:
    """Raises ``UsageError`` where images are lacking, or are given to an experiment that takes none."""
    if experiment.needs and data is None:
        raise UsageError(f"alexnet reproduce {name}: needs {experiment.needs}; give them with --data")
    if data is not None and not (experiment.needs or experiment.takes):
        raise UsageError(f"--data: {name} draws images of its own; leave it out")


def datasets_of(data: str | None) -> dict[str, Dataset]:
    """The data sets of ``data``: itself (""), or else a release and a challenge in it, by their names."""
    if data is None:
        return {}
    if is_dataset(data):
        return {"": Dataset(data)}
    return dict(zip((RELEASE, CHALLENGE), prepared_pair(data) or ()))


def check_folder(
    folder: Path, name: str, data: str | None, share: float, datasets: Mapping[str, Dataset]
) -> Row | None:
    """Holds what was asked for against what a folder was begun with; writes nothing.

    Args:
        folder: the experiment's.
        name: of the experiment.
        data: images, as they were given.
        share: of its full size.
        datasets: those of ``data``.

    Returns:
        What is to be kept in the folder; None where it is.

    Raises:
        UsageError: the folder holds something else, or the experiment otherwise.
        AlexNetError: what was asked for cannot be read any more.
    """
    asked = {"experiment": name, "data": None if data is None else files.absolute(data), "scale": share}
    stores = {key: dataset.fingerprint for key, dataset in datasets.items()}
    if (folder / NOTE).exists():
        before = read_note(folder)
        _check_same(folder, before, asked, stores)
        return None if STORES in before else {**before, STORES: stores}  # an earlier version had none
    inside = {entry.name for entry in folder.iterdir()} - {files.LOCK} if folder.is_dir() else set[str]()
    if RAW in inside:
        raise UsageError(f"{folder}: is the folder of an experiment whose {NOTE} is gone; give another folder")
    if inside:
        mistakes.refuse(folder, "new experiment")
    return {**asked, STORES: stores}


def read_note(folder: Path) -> Row:
    """What a folder keeps of what was asked for: a ``Note``. Raises ``AlexNetError`` where it was damaged."""
    return files.read_json(folder / NOTE, Note, remedy="give another folder")


def begin(folder: Path, name: str, data: str | None, share: float, datasets: Mapping[str, Dataset]) -> bool:
    """Writes what was asked for, where ``check_folder`` has nothing against it. Says whether the folder is new."""
    note, is_new = check_folder(folder, name, data, share, datasets), not (folder / NOTE).exists()
    if note is not None:
        files.write_json(folder / NOTE, note)
    return is_new


def measured_by(folder: Path, device: torch.device, is_first: bool) -> Row:
    """Notes in an experiment's folder by what a case is measured, where that is another than of those before.

    Args:
        folder: the experiment's.
        device: of the case.
        is_first: nothing was measured before.

    Returns:
        The note as it was.
    """
    note = read_note(folder)
    now = {
        "machine": machine.cpu_name(),
        "device": machine.device_name(device),
        "code": code(),
        "cores": machine.cores(),
        "torch": torch.__version__,
        "kernels": native.kernels(device),
    }
    for known in (note, *note.get(ALSO, [])):  # earlier versions did not know the device
        if {key: known.get(key, now["device"] if key == "device" else None) for key in now} == now:
            return note
    now = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **now}
    begins = is_first and "machine" not in note
    files.write_json(folder / NOTE, note | (now if begins else {ALSO: [*note.get(ALSO, []), now]}))
    return note


def _check_same(folder: Path, before: Row, asked: Row, stores: Mapping[str, str]) -> None:
    """Raises ``UsageError`` where something else was asked for before, or images are others now."""
    known: Any = before.get(STORES)
    data: Any = before.get("data")
    if isinstance(data, str) and (files.absolute(data) == asked["data"] or (known and known == stores)):
        asked = asked | {"data": data}  # an earlier version kept it as it was given; or the same images, moved
    changed = [f"{key}: {before.get(key)}, now {value}" for key, value in asked.items() if before.get(key) != value]
    if changed:
        raise UsageError(f"{folder}: was begun otherwise ({'; '.join(changed)}); give another folder")
    if known is not None and known != stores:
        raise UsageError(
            f"--data {asked['data']}: holds other images than when {folder} was begun; give another folder"
        )


def withdraw(folder: Path) -> None:
    """Frees a folder for what was meant, where there is nothing but what was asked for."""
    if {entry.name for entry in folder.iterdir()} <= {files.LOCK, NOTE}:
        (folder / NOTE).unlink()


def described(folder: Path) -> str:
    """What was asked for in an experiment's folder, when, by which version and on which machine it was measured."""
    note = read_note(folder)
    share = "all" if note["scale"] == 1 else f"{note['scale']:g}"
    data = f" on {note['data']}" if note["data"] else ""
    later = "".join(f"; continued {_by(one)}" for one in note.get(ALSO, []))
    return f"`alexnet reproduce {note['experiment']}`, {share} of its size{data}; begun {_by(note)}{later}."


def _by(note: Row) -> str:
    """When, by which version and on which machine."""
    if "machine" not in note:
        return "by what was not noted"
    date = f"{note['date']} " if "date" in note else ""
    by = f"{date}by alexnet {note.get('code')}, torch {note.get('torch')}, kernels {note.get('kernels')}"
    gpu = f" with {note['device']}" if note.get("device", "cpu") != "cpu" else ""
    return f"{by} on {note['machine']}{gpu}, cores: {note.get('cores')}"
