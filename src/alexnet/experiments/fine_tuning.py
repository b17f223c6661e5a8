"""Few photos of new classes: a net trained on them alone, and one that starts from a net of other classes.

A net is trained on all classes but the last three with the default recipe. Then, for each number of photos per class
and each seed, the same few photos of the last three train a net from scratch and from that one; each is measured on
these classes' validation photos, one view.
"""

import dataclasses
import statistics
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from alexnet import files, machine, randomness
from alexnet.data import synthetic as drawn
from alexnet.data.dataset import Dataset
from alexnet.data.prepare import prepare
from alexnet.data.sources.tree.rules import is_image
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments import arms
from alexnet.experiments.experiment import (
    DRAWN_IMAGES,
    NEVER,
    Case,
    Experiment,
    Row,
    Scale,
    by_condition,
    is_dataset,
)
from alexnet.experiments.nets import kept_run, train_for, wrong_images
from alexnet.figures.style import INK, OTHER, RIGHT, WRONG, clean
from alexnet.progress import plural
from alexnet.runs.facts import training_seconds
from alexnet.training.recipe import Recipe

KINDS: dict[str, tuple[bool, dict[str, Any]]] = {  # whether it starts from the other net, what is changed of the recipe
    "from scratch": (False, {}),
    "from scratch, --epochs 100": (False, {"epochs": 100}),
    "fine-tuned": (True, {}),
    "fine-tuned, --freeze conv5": (True, {"freeze": "conv5"}),
    "fine-tuned, --freeze fc7": (True, {"freeze": "fc7"}),
}
BASE = Recipe()  # what every run trains by, but for the changes of its kind
NEW_CLASSES = 3
COUNTS = (10, 30, 100)  # photos per class
FEWEST_DRAWN = 128  # images, so that each class has some of each split
UNPACKED = "photos"  # in the experiment's folder: what came as an archive, or was drawn
WANTED = "give a folder or tar archive of photos with train and val, and in each a folder for each class"


def photos(case: Case) -> Path:
    """A folder with ``train`` and ``val``, a folder in each for each class: as given, unpacked, or drawn.

    Raises:
        UsageError: what was given is no such folder, and no tar archive of one.
    """
    folder = case.folder.absolute() / UNPACKED  # a list's paths are taken from where the list lies
    if case.data is not None and Path(case.data).is_dir():
        folder = Path(case.data).absolute()
    elif not folder.exists():
        with files.atomic_folder(folder) as partial:
            if case.data is None:
                _draw(partial, case.scaled(DRAWN_IMAGES, FEWEST_DRAWN))
            else:
                _unpack(case.data, partial)
    inner = [entry for entry in folder.iterdir() if entry.is_dir()]
    root = inner[0] if len(inner) == 1 else folder
    if not all((root / split).is_dir() for split in ("train", "val")):
        raise UsageError(f"--data {case.data}: {WANTED}")
    return root


def class_names(case: Case) -> list[str]:
    """The classes of a case's photos, sorted. Raises ``UsageError`` for too few, and where ``val`` lacks one."""
    root = photos(case)
    names = sorted(path.name for path in (root / "train").iterdir() if path.is_dir())
    for name in names:
        if not (root / "val" / name).is_dir():
            raise UsageError(f"--data {case.data}: val has no folder {name}; {WANTED}")
    if len(names) < NEW_CLASSES + 2:
        raise UsageError(
            f"--data {case.data}: has {plural(len(names), 'class', 'classes')}; give {NEW_CLASSES + 2} or more, of "
            f"which {NEW_CLASSES} are new ones"
        )
    return names


def counts_of(case: Case, classes: Sequence[str]) -> list[int]:
    """The numbers of photos per class that all of some classes have. Raises ``UsageError`` where they have too few."""
    folder = photos(case) / "train"
    fewest, name = min((len(photos_of(folder / name)), name) for name in classes)
    there = [count for count in COUNTS if count <= fewest]
    if not there:
        raise UsageError(f"{folder / name}: has {plural(fewest, 'photo')}; give {COUNTS[0]} or more of each class")
    return there


def checked(case: Case) -> tuple[list[str], list[int]]:
    """The classes of a case's photos, and the numbers of photos per class to learn from.

    Raises:
        UsageError: the photos cannot be used. Nothing is left of those that were unpacked for it.
    """
    try:
        classes = class_names(case)
        return classes, counts_of(case, classes[-NEW_CLASSES:])
    except UsageError:
        if (case.folder / UNPACKED).exists():
            files.remove_folder(case.folder / UNPACKED)
        raise


def photos_of(folder: Path) -> list[Path]:
    """The images of a class, sorted."""
    return sorted(path for path in folder.iterdir() if is_image(path.name))


def _unpack(data: str, folder: Path) -> None:
    """Unpacks a tar archive. Raises ``UsageError`` where it is none."""
    try:
        with tarfile.open(data) as archive:
            archive.extractall(folder, filter="data")
    except (OSError, tarfile.TarError) as error:
        raise UsageError(f"--data {data}: {WANTED} ({error})") from error


def _draw(folder: Path, count: int) -> None:
    """Draws ``count`` training images and a quarter as many for validation, as PNG files."""
    for index in range(count + count // drawn.VALIDATION_SHARE):
        label = index % len(drawn.CLASSES)
        place = files.make_folder(folder / ("train" if index < count else "val") / drawn.CLASSES[label])
        Image.fromarray(drawn.draw(index, label)).save(place / f"{index:05d}.png")


def write_list(folder: Path, file: Path, classes: Sequence[str], count: int | None, seed: int) -> Path:
    """A CSV of all validation photos of some classes and ``count`` training photos of each."""
    rows = [("path", "label", "split")]
    for number, name in enumerate(classes):
        paths = photos_of(folder / "train" / name)
        if count is not None:
            order = randomness.permutation(seed, f"few photos of class {number}", 0, len(paths)).tolist()
            paths = [paths[index] for index in sorted(order[:count])]
        rows += [(str(path), name, "train") for path in paths]
        rows += [(str(path), name, "val") for path in photos_of(folder / "val" / name)]
    files.write_csv(file, rows)
    return file


def listed(case: Case, name: str, classes: Sequence[str], count: int | None) -> Dataset:
    """A data set of some classes' photos, prepared once for all conditions."""
    list_file, folder = case.folder / f"{name}.csv", case.folder / name
    if is_dataset(str(folder)):
        return Dataset(folder)
    before = list_file.read_bytes() if list_file.exists() else None
    write_list(photos(case), list_file, classes, count, case.seed)
    if folder.exists() and list_file.read_bytes() != before:  # begun where the experiment was before
        files.remove_folder(folder)
    return prepare(list_file, folder)


def measure(case: Case) -> list[Row]:
    """A row for each number of photos per class: the error, and the seconds of the training's steps."""
    tuned, change = KINDS[case.condition]
    classes, counts = checked(case)
    if len(counts) < len(COUNTS):
        case.announce(
            f"a class has fewer than {COUNTS[len(counts)]} photos: measured with {', '.join(map(str, counts))} alone"
        )
    validation = photos(case) / "val"
    images = sum(len(photos_of(validation / name)) for name in classes[-NEW_CLASSES:])
    case.announce(arms.plan_words(images, case.planned, {}))
    pretrained = None
    if tuned:
        old = listed(case, "old-classes", classes[:-NEW_CLASSES], None)
        base = dataclasses.replace(BASE, epochs=case.scaled(BASE.epochs_for(old.splits["train"])))
        pretrained = kept_run(case, files.make_folder(case.folder / "pretrained"), old, base)
    rows = []
    for count in counts:
        dataset = listed(case, f"few-{count}-{case.seed}", classes[-NEW_CLASSES:], count)
        recipe = dataclasses.replace(BASE, seed=case.seed, validate_every=NEVER, **change)
        whole = recipe.epochs_for(dataset.splits["train"], fine_tuning=tuned)
        recipe = dataclasses.replace(recipe, epochs=case.scaled(whole))
        run = case.work / f"run-{count}"
        outcome = train_for(case, dataset, run, recipe, pretrained, show=False)
        evaluation = evaluate([load(run, device=machine.choose_device(case.device))], dataset)
        row = {"count": count, "epochs": outcome.epochs, "training_seconds": training_seconds(run)}
        rows.append(row | {"top1_error": evaluation.errors.top1_error, **wrong_images(evaluation)})
    return rows


def _by_count(rows: Sequence[Row]) -> dict[int, list[float]]:
    """The errors of all seeds by the number of photos per class."""
    counts = sorted({row["count"] for row in rows})
    return {count: [row["top1_error"] for row in rows if row["count"] == count] for count in counts}


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each condition: the mean of the seeds, the lowest and the highest; and differences to the first."""
    counts = list(_by_count(rows))
    lines = [
        f"| photos per class | {' | '.join(map(str, counts))} |",
        "| --- |" + " --- |" * len(counts),
    ]
    for condition, group in by_condition(rows).items():
        by_count = _by_count(group)
        cells = [
            f"{statistics.mean(errors):.1%} ({min(errors):.1%} to {max(errors):.1%})" if errors else ""
            for errors in (by_count.get(count, []) for count in counts)
        ]
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    seeds = plural(len({row["seed"] for row in rows}), "seed")
    chance = f"Guessing among {NEW_CLASSES} classes errs on {1 - 1 / NEW_CLASSES:.1%}."
    lines += ["", f"Top-1 error: the mean of {seeds}, the lowest and the highest. {chance}"]
    return [*lines, *_differences(rows, counts)]


def _differences(rows: Sequence[Row], counts: Sequence[int]) -> list[str]:
    """A table of what each condition errs more than the first by, image by image, for each number of photos."""
    compared = {count: arms.differences([row for row in rows if row["count"] == count]) for count in counts}
    lines = []
    for condition in list(by_condition(rows))[1:]:
        for count in counts:
            if condition in compared[count]:
                means = arms.difference_cells(condition, compared[count], rows[0]["condition"])
                lines.append(f"| {condition} | {count} | {means} |")
    title = "| | photos per class | difference to the first, 95% interval | conclusion |"
    return ["", title, "| --- | --- | --- | --- |", *lines] if lines else []


def figure(rows: Sequence[Row]) -> Figure:
    """Error against photos per class; the bars reach from the lowest seed to the highest."""
    drawing = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = drawing.add_subplot()
    colors = (WRONG, OTHER, RIGHT, INK, "#7a6bb0")
    for number, (color, (condition, group)) in enumerate(zip(colors, by_condition(rows).items())):
        by_count = _by_count(group)
        places = [count * 1.03**number for count in by_count]  # side by side
        means = [100 * statistics.mean(errors) for errors in by_count.values()]
        bars = [
            [mean - 100 * min(errors) for mean, errors in zip(means, by_count.values())],
            [100 * max(errors) - mean for mean, errors in zip(means, by_count.values())],
        ]
        axes.errorbar(places, means, bars, fmt="o-", color=color, linewidth=1.4, markersize=4, label=condition)
    axes.set(xscale="log", xlabel="photos per class", ylabel="top-1 error, %", ylim=(0, None))
    axes.set_xticks(list(_by_count(rows)), map(str, _by_count(rows)))
    axes.set_xticks([], minor=True)
    axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return drawing


FINE_TUNING = Experiment(
    "few photos of new classes: from scratch and from another net",
    conditions=tuple(KINDS),
    seeds=(0, 1, 2, 3, 4),
    measure=measure,
    figure=figure,
    table=table,
    paper="a net that starts from one of more classes: 16.6% top-5 error, 18.2% without (6; source number 146)",
    takes="photos: a folder or tar archive of train/CLASS and val/CLASS",
    scales={
        "minutes": Scale(
            0.06,
            (0,),
            ("from scratch", "fine-tuned", "fine-tuned, --freeze fc7"),
            "three kinds, a sixteenth of the epochs, one seed",
            minutes=7,
        ),
        "hours": Scale(1.0, (0, 1, 2, 3, 4), None, "every kind, five seeds"),
    },
)
