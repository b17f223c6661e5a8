"""Experiments that train a recipe with and without one thing and compare the arms image by image: lrn, ablations.

The arms share seeds and images. A row holds whether each image was told wrong, so that what is concluded can be drawn
again from the raw figures. The least difference that the plan can see is said before anything runs.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from alexnet import machine
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments.experiment import HELD_OUT, Case, Experiment, Row, Scale, by_condition
from alexnet.experiments.statistics import Difference, difference, least_difference, packed, unpacked
from alexnet.figures.style import INK, RIGHT, clean
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES
from alexnet.training.train import train

DISAGREE = 0.1  # of images, that two runs of one recipe tell otherwise; what a plan is made with


@dataclasses.dataclass(frozen=True)
class Arm:
    """One condition: a recipe, and what is changed of it and of its net.

    Attributes:
        changes: of the recipe's fields.
        net: TOML that is laid over the recipe's net.
        views: in which an image is told.
        says: what the paper or its source has for it, or nothing.
    """

    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    net: str = ""
    views: int = 1
    says: str = ""


def scaled(recipe: Recipe, share: float, images: int) -> Recipe:
    """A recipe for so many training images whose epochs are a share of its own, and its schedule with them."""
    if share == 1:
        return recipe
    whole = recipe.epochs_for(images)
    epochs = max(1, round(whole * share))
    return dataclasses.replace(
        recipe, epochs=epochs, milestones=tuple(at * epochs / whole for at in recipe.milestones or ())
    )


def measure(arms: Mapping[str, Arm], recipe: Recipe, case: Case) -> list[Row]:
    """Trains an arm and tells the images that it was not trained on."""
    if case.condition not in arms:
        raise UsageError(f"condition {case.condition!r}: give one of {', '.join(arms)}")
    arm = arms[case.condition]
    dataset = case.dataset(val_fraction=0.0 if (recipe.net or "").startswith("cifar") else HELD_OUT)
    split = "test" if "test" in dataset.splits else "val"
    if case.condition == next(iter(arms)):
        case.display.line(plan_words(dataset.splits[split], case.planned))
    own = dataclasses.replace(recipe, **arm.changes)
    if arm.net:
        file = case.work / "net.toml"
        file.write_text(f'base = "{own.net or "paper"}"\n{arm.net}', encoding="utf-8")
        own = dataclasses.replace(own, net=str(file))
    own = dataclasses.replace(scaled(own, case.scale, dataset.splits["train"]), seed=case.seed)
    started = time.monotonic()
    outcome = train(dataset, case.work / "run", own, device=case.device, show=case.display.show)
    classifier = load(case.work / "run", device=machine.choose_device(case.device))
    evaluation = evaluate(classifier, dataset, split=split, views=arm.views)
    order = np.argsort(evaluation.rows)
    return [
        {
            "images": len(evaluation.rows),
            "split": split,
            "views": arm.views,
            "epochs": outcome.epochs,
            "top1_error": evaluation.errors.top1_error,
            "loss": evaluation.errors.loss,
            "seconds": round(time.monotonic() - started, 1),
            "wrong": packed(~evaluation.correct[order]),
        }
    ]


def wrong_of(rows: Sequence[Row], seeds: Sequence[int]) -> np.ndarray:
    """(seeds, images) bool: which images an arm's runs told wrong."""
    by_seed = {row["seed"]: unpacked(row["wrong"], row["images"]) for row in rows}
    return np.stack([by_seed[seed] for seed in seeds])


def differences(rows: Sequence[Row]) -> dict[str, Difference]:
    """Each arm's difference to the first one, over the seeds that both have."""
    groups = by_condition(rows)
    first = next(iter(groups.values()), [])
    compared = {}
    for condition, group in list(groups.items())[1:]:
        seeds = sorted({row["seed"] for row in first} & {row["seed"] for row in group})
        if seeds:
            compared[condition] = difference(wrong_of(first, seeds), wrong_of(group, seeds))
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
        shown = ", ".join(f"{error:.2%}" for error in errors)
        says = arms[condition].says if condition in arms else ""
        means = _words(compared.get(condition), group)
        lines.append(f"| {condition} | {statistics.mean(errors):.2%} | {shown} | {means} | {says} |")
    return lines


def _words(compared: Difference | None, group: Sequence[Row]) -> str:
    """The difference and its meaning, as two cells."""
    if compared is None:
        return " | "
    low, high = compared.interval
    shown = f"{100 * compared.mean:+.2f} points, {100 * low:+.2f} to {100 * high:+.2f}"
    if compared.seen:
        alone = ", by one seed alone" if len(group) == 1 else ""
        return f"{shown} | {'worse' if compared.mean > 0 else 'better'} than the first{alone}"
    least = least_difference(group[0]["images"], len(group), compared.disagreement)
    return f"{shown} | no difference seen; the plan sees {100 * least:.1f} points"


def figure(rows: Sequence[Row]) -> Figure:
    """Every arm's errors by seed, and its difference to the first arm with its interval."""
    groups, compared = by_condition(rows), differences(rows)
    drawing = Figure(figsize=(8, 1.6 + 0.45 * len(groups)), dpi=110, layout="constrained")
    left, right = drawing.subplots(1, 2, sharey=True)
    for place, (condition, group) in enumerate(groups.items()):
        errors = [100 * row["top1_error"] for row in group]
        left.plot(errors, [place] * len(errors), "o", color=RIGHT, markersize=4)
        left.plot([statistics.mean(errors)], [place], "|", color=INK, markersize=14)
        if condition in compared:
            own = compared[condition]
            mean, (low, high) = 100 * own.mean, (100 * end for end in own.interval)
            right.errorbar([mean], [place], xerr=[[mean - low], [high - mean]], fmt="o", color=RIGHT, markersize=4)
    right.axvline(0, color=INK, linewidth=0.8, linestyle=":")
    left.set(yticks=range(len(groups)), yticklabels=list(groups), xlabel="top-1 error, %")
    left.invert_yaxis()
    right.set(xlabel="difference to the first, points")
    clean(left)
    clean(right)
    return drawing


def plan_words(images: int, seeds: int) -> str:
    """The least difference that the plan sees, before it runs."""
    least = 100 * least_difference(images, seeds, DISAGREE)
    return f"{seeds} seeds of {images:,} images see a difference of {least:.1f} points four times in five"


def _experiment(description: str, recipe: str, arms: Mapping[str, Arm], **more: object) -> Experiment:
    return Experiment(
        description,
        tuple(arms),
        measure=functools.partial(measure, arms, RECIPES[recipe]),
        figure=figure,
        table=functools.partial(table, arms),
        **more,  # pyright: ignore[reportArgumentType]
    )


NO_NORMS = 'remove = ["rnorm1", "rnorm2"]\n'
LRN_ARMS = {
    "with norms": Arm(views=9, says="11%"),
    "without norms": Arm(net=NO_NORMS, views=9, says="13%"),
}
SOURCES = {
    "cifar-quick": "26% in 80 s",
    "cifar-18": "18% in 20 min",
    "cifar-13": "13% in 25 min",
    "cifar-11": "11% in 75 min",
}
CIFAR_ARMS = {
    name: Arm(dict(vars(RECIPES[name])), views=9 if name in ("cifar-13", "cifar-11") else 1, says=says)
    for name, says in SOURCES.items()
}
PLAIN_POOL = "".join(f"[layers.{name}]\nsize = 2\n" for name in ("pool1", "pool2", "pool5"))
ACTIVE = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")
TANH = "".join(f'[layers.{name}]\nactivation = "tanh"\n' for name in ACTIVE)
ABLATIONS = {
    "whole": Arm(),
    "without norms": Arm(net='remove = ["norm1", "norm2"]\n', says="1.4 points worse (3.3)"),
    "pooling without overlap": Arm(net=PLAIN_POOL, says="0.4 points worse (3.4)"),
    "without color noise": Arm({"color_noise": 0.0}, says="over 1 point worse (4.1)"),
    "without flips": Arm({"flip": False}),
    "without dropout": Arm(net="[layers.fc6]\ndropout = 0.0\n[layers.fc7]\ndropout = 0.0\n", says="overfits (4.2)"),
    "one tower": Arm({"net": "one-gpu"}, says="1.7 points worse (3.2)"),
    "tanh": Arm(net=TANH, says="six times slower (3.1)"),
}

CIFAR = _experiment(
    "the source's four CIFAR-10 nets by its own recipes",
    "cifar-quick",
    CIFAR_ARMS,
    seeds=(0, 1, 2),
    paper="; ".join(f"{name}: {says}" for name, says in SOURCES.items()),
    needs="CIFAR-10",
    scales={
        "minutes": Scale(0.1, (0,), ("cifar-quick", "cifar-18"), "two nets, a tenth of their epochs, one seed"),
        "hours": Scale(1.0, (0, 1, 2), ("cifar-quick", "cifar-18"), "two nets, three seeds"),
        "paper": Scale(1.0, (0, 1, 2), None, "four nets, three seeds: days on two cores"),
    },
)
LRN = _experiment(
    "CIFAR-10 with and without response norms",
    "cifar-11",
    LRN_ARMS,
    seeds=(0, 1, 2),
    paper="13% without, 11% with (3.3)",
    needs="CIFAR-10",
    scales={
        "minutes": Scale(0.006, (0,), None, "three epochs, one seed"),
        "hours": Scale(0.05, (0, 1, 2), None, "a twentieth of the epochs, three seeds"),
        "paper": Scale(1.0, (0, 1, 2), None, "520 epochs, three seeds"),
    },
)
ABLATION = _experiment(
    "photos with one thing of the paper left out at a time",
    "default",
    ABLATIONS,
    seeds=(0, 1, 2),
    paper="norms 1.4, overlap 0.4, color over 1, two GPUs 1.7 points",
    needs="photos of several classes",
    scales={
        "minutes": Scale(0.05, (0,), ("whole", "without norms", "without dropout"), "three arms, a twentieth"),
        "hours": Scale(0.2, (0, 1), None, "every arm, a fifth of the epochs, two seeds"),
        "paper": Scale(1.0, (0, 1, 2), None, "every arm, three seeds; with --data an ImageNet dataset on GPUs"),
    },
)
