"""What precision costs in error: runs trained in float32 and in bf16, each measured in float32, bf16 and int8."""

import dataclasses
import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure

from alexnet import machine
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments import arms
from alexnet.experiments.experiment import (
    PHOTOS,
    VALIDATION,
    Case,
    Experiment,
    Row,
    Scale,
    by_condition,
    held_out_split,
)
from alexnet.experiments.nets import train_for, wrong_images
from alexnet.figures.style import INK, RIGHT, WRONG, clean
from alexnet.progress import plural
from alexnet.training.recipe import Recipe

BASE = Recipe()  # what every run trains by, but for precision, seed and epochs
EPOCHS = 10
MEASURED = ("float32", "bf16", "int8")


def check(condition: str) -> None:
    """Raises ``UsageError`` for a precision in which nothing can be trained."""
    dataclasses.replace(BASE, precision=condition)


def measure(case: Case) -> list[Row]:
    """Trains in the condition's precision; a row for each precision of measurement."""
    dataset, path = case.dataset(), case.work / "run"
    split = held_out_split(dataset, VALIDATION)
    case.announce(arms.plan_words(dataset.splits[split], case.planned, {}))
    changes = {"epochs": case.scaled(EPOCHS), "seed": case.seed, "precision": case.condition}
    train_for(case, dataset, path, dataclasses.replace(BASE, **changes))
    run = load(path, device=machine.choose_device(case.device))
    rows = []
    for precision in MEASURED:
        evaluation = evaluate([run], dataset, split=split, precision=precision)
        errors = evaluation.errors
        rows.append(
            {
                "trained_in": case.condition,
                "measured_in": precision,
                "top1_error": errors.top1_error,
                "top1_interval": errors.top1_interval,
                "loss": errors.loss,
                **wrong_images(evaluation),
            }
        )
    return rows


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each pair of precisions: every seed's error, their mean, and the difference to the first pair."""
    by_pair = [{**row, "condition": f"{row['condition']}, {row['measured_in']}"} for row in rows]
    pairs, compared = by_condition(by_pair), arms.differences(by_pair)
    lines = [
        "| trained in | measured in | top-1 error, by seed | mean | difference to the first, 95% interval "
        "| conclusion |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for pair, group in pairs.items():
        errors = [row["top1_error"] for row in group]
        shown = ", ".join(f"{error:.2%}" for error in errors)
        means = arms.difference_cells(pair, compared, next(iter(pairs)))
        both = f"{group[0]['trained_in']} | {group[0]['measured_in']}"
        lines.append(f"| {both} | {shown} | {statistics.mean(errors):.2%} | {means} |")
    low, high = rows[0]["top1_interval"]
    images = plural(rows[0]["images"], "image")
    return [*lines, "", f"Measured on {images}: the first error's 95% interval is {low:.1%} to {high:.1%}."]


def figure(rows: Sequence[Row]) -> Figure:
    """Every seed's error with its 95% interval, by the precision of training and of measurement."""
    drawing = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = drawing.add_subplot()
    for color, (condition, group) in zip((RIGHT, WRONG, INK), by_condition(rows).items()):
        for number, row in enumerate(group):
            x = MEASURED.index(row["measured_in"]) + 0.02 * number + (0.2 if color != RIGHT else -0.1)
            error, (low, high) = row["top1_error"], row["top1_interval"]
            bars = [[100 * (error - low)], [100 * (high - error)]]
            label = f"trained in {condition}" if number == 0 else None
            axes.errorbar([x], [100 * error], bars, fmt="o", color=color, linewidth=1, markersize=4, label=label)
    axes.set(xticks=range(len(MEASURED)), xticklabels=MEASURED, xlabel="measured in", ylabel="top-1 error, %")
    axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return drawing


PRECISION = Experiment(
    "bf16 and int8 against float32: what they cost in error",
    conditions=("float32", "bf16"),
    seeds=(0, 1, 2),
    measure=measure,
    figure=figure,
    table=table,
    check=check,
    paper="float32; the source exchanged half precision between towers: 40.52 / 18.42 to 40.53 / 18.05 (170-quant)",
    takes=PHOTOS,
    scales={
        "minutes": Scale(0.1, (0,), None, "one epoch, one seed", 5),
        "hours": Scale(1.0, (0, 1, 2), None, "ten epochs, three seeds"),
    },
)
