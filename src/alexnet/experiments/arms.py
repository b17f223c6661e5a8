"""Experiments that train a recipe with and without one thing and compare the arms image by image.

The arms share seeds and images. A row holds whether each image was told wrong, so that what is concluded can be drawn
again from the raw figures. The least difference that the plan can see is said before anything runs.
"""

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alexnet import files, machine
from alexnet.data.dataset import Dataset
from alexnet.errors import AlexNetError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments.experiment import (
    HELD_OUT,
    Case,
    Experiment,
    Row,
    by_condition,
    fitted,
    held_out_split,
)
from alexnet.experiments.nets import kept_run, scaled, wrong_images
from alexnet.experiments.statistics import (
    Difference,
    difference,
    least_difference,
    seeds_needed,
    unpacked,
)
from alexnet.figures.style import INK, RIGHT, clean
from alexnet.nets.table_file import load_table
from alexnet.progress import plural
from alexnet.runs.facts import training_seconds
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES

DISAGREE = 0.15  # of images, that two runs of one recipe tell otherwise; what a plan is made with
FEW = 30  # images, below which the draws of a bootstrap say too little
NONE_SEEN = 3.0  # images that may well differ where none of a sample does: the 95% bound, over the sample's size
SIDE_OF_POOL5 = "SIDE OF POOL5"  # in an arm's net: of the maps that the first fully connected layer sees


@dataclasses.dataclass(frozen=True)
class Arm:
    """One condition: a recipe, and what is changed of it and of its net.

    Attributes:
        changes: of the recipe's fields.
        net: TOML that is laid over the recipe's net.
        views: in which an image is told.
        says: the source's experiment and what it measured, or what the paper has for it, or nothing.
        effect: points of top-1 error that this is, where there is a figure; the plan is held against it.
        against: the arm that it is compared with; the first, if not said.
        of: the arm whose runs are measured in another way; nothing is trained for this one.
        nets: how many of these runs are averaged: those of seeds 0 to 2 for each of these seeds, of 3 to 5, ...
    """

    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    net: str = ""
    views: int = 1
    says: str = ""
    effect: float | None = None
    against: str = ""
    of: str = ""
    nets: int = 1


def by_recipe(name: str, **more: Any) -> Arm:
    """The arm that trains by a named recipe; ``more``: its other attributes."""
    return Arm(dict(vars(RECIPES[name])), **more)


def _for_cifar(recipe: Recipe) -> bool:
    """Whether a recipe's net sees CIFAR's small images, and is measured on their test split."""
    return (recipe.net or "").startswith("cifar")


def net_file(arm: Arm, net: str, size: int | None, folder: Path) -> str:
    """An arm's net for stored images of a size; its table is written into ``folder``."""
    changes = arm.net
    if SIDE_OF_POOL5 in changes:
        rows = load_table(fitted(net, size, folder)).sized(2)
        side = next(row.made[-1] for row in rows if row.layer.name == "pool5")
        changes = changes.replace(SIDE_OF_POOL5, str(side))
    return fitted(net, size, folder, changes)


def own_recipe(arm: Arm, recipe: Recipe, case: Case, dataset: Dataset, folder: Path) -> Recipe:
    """What an arm trains by at the case's scale; ``folder`` is for its net's table."""
    own = dataclasses.replace(recipe, **arm.changes)
    size = None if _for_cifar(own) else dataset.size
    own = dataclasses.replace(own, net=net_file(arm, own.net or "paper", size, folder))
    return scaled(own, case.scale, dataset.splits["train"])


def trained(arms: Mapping[str, Arm], recipe: Recipe, case: Case, dataset: Dataset, seed: int) -> tuple[Path, Recipe]:
    """The run of the case's arm with a seed, and its recipe; trained unless it is there already.

    Runs that other arms measure are kept in the experiment's folder, the others go with the case.
    """
    name = arms[case.condition].of or case.condition
    shared = any(arm.of == name for arm in arms.values())
    folder = case.folder / "runs" / f"{files.sha256_text(name)[:12]}-{seed}" if shared else case.work
    files.make_folder(folder)
    own = dataclasses.replace(own_recipe(arms[name], recipe, case, dataset, folder), seed=seed)
    return kept_run(case, folder, dataset, own), own


def measure(arms: Mapping[str, Arm], recipe: Recipe, case: Case) -> list[Row]:
    """Trains an arm, where it has runs of its own, and tells the images that it was not trained on."""
    arm, cifar = arms[case.condition], _for_cifar(recipe)
    dataset = case.dataset(0.0 if cifar else HELD_OUT, None if cifar else case.stored)
    split = held_out_split(dataset)
    case.announce(plan_words(dataset.splits[split], case.planned, arms))
    first = case.seed - case.seed % arm.nets
    runs = [trained(arms, recipe, case, dataset, seed) for seed in range(first, first + arm.nets)]
    device = machine.choose_device(case.device)
    evaluation = evaluate([load(run, device=device) for run, _ in runs], dataset, split=split, views=arm.views)
    row = {
        "split": split,
        "views": arm.views,
        "epochs": runs[0][1].epochs_for(dataset.splits["train"]),
        "top1_error": evaluation.errors.top1_error,
        "loss": evaluation.errors.loss,
        "training_seconds": round(sum(training_seconds(run) or 0.0 for run, _ in runs), 1),
        **wrong_images(evaluation),
    }
    return [row | ({"against": arm.against} if arm.against else {}) | ({"nets": arm.nets} if arm.nets > 1 else {})]


def wrong_of(rows: Sequence[Row], seeds: Sequence[int]) -> np.ndarray:
    """(seeds, images) bool: which images an arm's runs told wrong."""
    by_seed = {row["seed"]: unpacked(row["wrong"], row["images"]) for row in rows}
    return np.stack([by_seed[seed] for seed in seeds])


def differences(rows: Sequence[Row]) -> dict[str, tuple[str, Difference]]:
    """What each arm is compared with, the first one or another, and its difference over the seeds that both have.

    Rows that do not say which images were told wrong are left out.
    """
    everything, groups = by_condition(rows), by_condition([row for row in rows if "wrong" in row])
    compared = {}
    for condition, group in list(groups.items())[1:]:
        other = next((name for name in (group[0].get("against"), *groups) if name in groups), condition)
        first, second = ({row["seed"] for row in own} for own in (groups[other], group))
        seeds = sorted(first & second)
        if len({(row["images"], row.get("split")) for row in (*groups[other], *group)}) > 1:
            raise AlexNetError(f"{condition!r} and {other!r} were measured on other images, and cannot be compared")
        if seeds:
            of_both = difference(wrong_of(groups[other], seeds), wrong_of(group, seeds))
            measured = {row["seed"] for name in (other, condition) for row in everything[name]}
            compared[condition] = other, dataclasses.replace(of_both, unpaired=len(measured) - len(seeds))
    return compared


def table(arms: Mapping[str, Arm], rows: Sequence[Row]) -> list[str]:
    """A line for each arm: its errors, its difference to the first arm with its interval, and what that means."""
    compared = differences(rows)
    lines = [
        "| | top-1 error, mean | by seed | difference to the first, 95% interval | conclusion | paper or source |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for condition, group in by_condition(rows).items():
        errors = [row["top1_error"] for row in group]
        own = errors if group[0].get("nets", 1) == 1 else list(dict.fromkeys(errors))  # one figure for several seeds
        shown = ", ".join(f"{error:.2%}" for error in own)
        says = arms[condition].says if condition in arms else ""
        means = difference_cells(condition, compared, rows[0]["condition"])
        lines.append(f"| {condition} | {statistics.mean(errors):.2%} | {shown} | {means} | {says} |")
    return lines


def difference_cells(condition: str, compared: Mapping[str, tuple[str, Difference]], first: str) -> str:
    """What an arm is by ``differences``, as two cells of a table of differences to the first arm; empty where nothing.

    Args:
        condition: the arm's.
        compared: what ``differences`` gives.
        first: the first arm's condition.
    """
    if condition not in compared:
        return " | "
    other, own = compared[condition]
    return conclusion("the first" if other == first else other, own)


def conclusion(other: str, compared: Difference) -> str:
    """The difference to another arm and its meaning, as two cells."""
    low, high = compared.interval
    shown = f"{100 * compared.mean:+.2f} points, {100 * low:+.2f} to {100 * high:+.2f}"
    shown += "" if other == "the first" else f" (to {other})"
    if compared.images < FEW:
        return f"{shown} | on {plural(compared.images, 'image')} nothing can be told"
    both = f", by the {compared.seeds} seeds that both have" if compared.unpaired else ""
    by = ", by one seed alone" if compared.seeds == 1 else both
    if compared.seen:
        return f"{shown} | {'worse' if compared.mean > 0 else 'better'} than {other}{by}"
    disagreement = max(compared.disagreement, NONE_SEEN / compared.images)
    least = least_difference(compared.images, compared.seeds, disagreement)
    return f"{shown} | no difference seen{by}; the plan sees {100 * least:.1f} points"


def figure(rows: Sequence[Row]) -> Figure:
    """Every arm's errors by seed, and its difference to the first arm, or to the one it is for, with its interval."""
    groups, compared = by_condition(rows), differences(rows)
    drawing = Figure(figsize=(9, 1.6 + 0.45 * len(groups)), dpi=110, layout="constrained")
    left, right = drawing.subplots(1, 2, sharey=True)
    labels = []
    for height, (condition, group) in enumerate(groups.items()):
        errors = [100 * row["top1_error"] for row in group]
        left.plot(errors, [height] * len(errors), "o", color=RIGHT, markersize=4)
        left.plot([statistics.mean(errors)], [height], "|", color=INK, markersize=14)
        other, own = compared.get(condition, ("", None))
        labels.append(condition if other in ("", next(iter(groups))) else f"{condition}\n(to {other})")
        if own is not None and own.images >= FEW:
            mean, (low, high) = 100 * own.mean, (100 * end for end in own.interval)
            right.errorbar([mean], [height], xerr=[[mean - low], [high - mean]], fmt="o", color=RIGHT, markersize=4)
    right.axvline(0, color=INK, linewidth=0.8, linestyle=":")
    left.set(yticks=range(len(groups)), yticklabels=labels, xlabel="top-1 error, %")
    left.set_ylim(len(groups) - 0.5, -0.5)
    right.set(xlabel="difference to the first, points, with its 95% interval")
    clean(left)
    clean(right)
    return drawing


def plan_words(images: int, seeds: int, arms: Mapping[str, Arm]) -> str:
    """The least difference that the plan sees, before it runs, and the seeds that the paper's effects would need."""
    least = 100 * least_difference(images, seeds, DISAGREE)
    several = "1 seed sees" if seeds == 1 else f"{seeds} seeds see"
    words = f"on {images:,} images {several} a difference of {least:.1f} points four times in five"
    needed = [
        f"{name}, {arm.effect:g} points: {seeds_needed(images, arm.effect / 100, DISAGREE)}"
        for name, arm in arms.items()
        if arm.effect
    ]
    return words + (f"; seeds that the paper's effects need: {'; '.join(needed)}" if needed else "")


def experiment_of(description: str, recipe: str, arms: Mapping[str, Arm], **more: object) -> Experiment:
    """An experiment that compares arms of a named recipe; ``more``: its other attributes."""
    return Experiment(
        description,
        tuple(arms),
        measure=functools.partial(measure, arms, RECIPES[recipe]),
        figure=figure,
        table=functools.partial(table, arms),
        sees=functools.partial(plan_words, arms=arms),
        **more,  # pyright: ignore[reportArgumentType]
    )
