"""Figure 1 of the paper: how many epochs a small net takes to an error of 25% on its training images, unit by unit.

Four weighted layers on CIFAR-10: those of the source's 18% net without its norms, and no regularization at all. With
the first seed a unit learns at each of several rates, a factor of 2 apart; with others at the best of these and its
neighbors, and further where a neighbor is better. It counts by its best rate, and at one rate that all share, too. A
training ends as soon as it is there, or takes longer than that unit's best so far.
"""

import contextlib
import dataclasses
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypedDict

from matplotlib.figure import Figure

from alexnet import files, machine
from alexnet.data.batches import ahead
from alexnet.data.dataset import Dataset
from alexnet.errors import AlexNetError
from alexnet.experiments.experiment import CIFAR_10, Case, Experiment, Row, Scale, by_condition
from alexnet.experiments.statistics import ratio
from alexnet.figures.style import INK, OTHER, RIGHT, WRONG, clean
from alexnet.files.checked import Within
from alexnet.progress import Display
from alexnet.training.recipe import Recipe
from alexnet.training.setup import set_up
from alexnet.training.start import optimizer_of, preprocessing_of, training_step
from alexnet.training.step import NotFinite

THERE = 0.25  # error on the training images (figure 1)
SHARED = 0.01  # the rate at which every unit is measured
RATES = (SHARED, 0.02, 0.005, 0.04, 0.0025, 0.08, 0.16)  # the likely ones first: later trainings end sooner
MOST = 60  # epochs
UNITS = {"relu": "ReLU", "tanh": "tanh", "sigmoid": "sigmoid", "abs_tanh": "|tanh|"}
BASE = Recipe(
    batch_size=128, color_noise=0.0, flip=False, weight_decay=0.0, schedule="constant", warmup_epochs=0.0, epochs=MOST
)
NET = """
base = "cifar-18"
title = "four layers of {unit}"
remove = ["rnorm1", "rnorm2"]

[layers.pool1]
activation = "{unit}"

[layers.conv2]
activation = "{unit}"

[layers.conv3]
activation = "{unit}"
"""


class Learned(TypedDict):
    """What came of a rate, as an interrupted case keeps it."""

    rate: float
    epochs: Annotated[float, Within(0, MOST)] | None
    errors: list[Annotated[float, Within(0, 1)]]


def measure(case: Case) -> list[Row]:
    """A unit with a seed at its rates: epochs to the error, and the error of every epoch, for each."""
    dataset, net = case.dataset(val_fraction=0.0), case.work / "net.toml"
    net.write_text(NET.format(unit=case.condition), encoding="utf-8")
    done, rates = case.work / "rows.json", RATES[: case.scaled(len(RATES))]
    first, rows = rows_of_first_seed(case, rates), begun(done, case.display)
    while (rate := next_rate(rows, rates, first)) is not None:
        best = min([row["epochs"] for row in rows if row["epochs"] is not None], default=float(MOST))
        recipe = dataclasses.replace(BASE, net=str(net), seed=case.seed, learning_rate=rate)
        errors: list[float] = []
        for error in training_errors(dataset, recipe, case.device):
            errors.append(error)
            if error <= THERE or len(errors) >= (MOST if rate == SHARED else best):
                break
        epochs = epochs_to(errors)
        words = "not reached" if epochs is None else f"{epochs:.2f} epochs"
        case.display.line(f"{UNITS.get(case.condition, case.condition)} at {rate}: {words} of {len(errors)}")
        rows.append({"rate": rate, "epochs": epochs, "errors": [round(error, 5) for error in errors]})
        files.write_json(done, rows)
    return rows


def begun(path: Path, display: Display) -> list[Row]:
    """What an interrupted case has measured; nothing, which is said, where that was damaged."""
    try:
        learned = files.read_json(path, list[Learned]) if path.exists() else []
    except AlexNetError as error:
        display.line(f"{error}; learned again")
        return []
    return [{key: row[key] for key in ("rate", "epochs", "errors")} for row in learned if row["rate"] in RATES]


def rows_of_first_seed(case: Case, rates: Sequence[float]) -> list[Row]:
    """What was measured of the case's unit with another seed at all rates; empty where there is none."""
    own = [row for row in by_condition(case.rows).get(case.condition, []) if row["seed"] != case.seed]
    for seed in {row["seed"]: None for row in own}:
        if {row["rate"] for row in own if row["seed"] == seed} >= set(rates):
            return [row for row in own if row["seed"] == seed]
    return []


def next_rate(rows: Sequence[Row], rates: Sequence[float], first: Sequence[Row]) -> float | None:
    """The next rate to learn at; None when it is enough.

    Args:
        rows: of this seed, so far.
        rates: that there are, the shared one first.
        first: the rows of a seed that learned at all rates; empty for the first seed, which does so.
    """
    in_order = sorted(rates)
    wanted = {*rates[:1], *(() if first else rates)}
    for best in (_best(first), _best(rows)):
        if best is not None and best["rate"] in in_order:
            number = in_order.index(best["rate"])
            wanted |= {*in_order[max(0, number - 1) : number + 2]}
    tried = {row["rate"] for row in rows}
    if wanted <= tried and _best(first) and not _best(rows):  # not there, where another seed was
        wanted = {*rates}
    return next((rate for rate in rates if rate in wanted - tried), None)


def training_errors(dataset: Dataset, recipe: Recipe, device: str) -> Iterator[float]:
    """The mean error over each epoch's training images, as each was before its step; ends where numbers do."""
    where = machine.choose_device(device)
    setup = set_up(dataset, Path("nothing is written"), recipe, where)
    settled, batches = setup.recipe, setup.batches
    setup.net.initialize(settled.seed, settled.init)
    setup.net.to(where)
    update = training_step(setup, preprocessing_of(setup), optimizer_of(setup))
    update.optimizer.set_lr(dict.fromkeys(update.optimizer.tensors, recipe.learning_rate))
    with contextlib.closing(ahead(batches.load, range(MOST * batches.steps), 3)) as loaded:
        for epoch in range(MOST):
            wrong, images, loss = 0.0, 0, math.nan
            for step, batch in zip(range(epoch * batches.steps, (epoch + 1) * batches.steps), loaded):
                try:
                    result = update(batch, step)
                except NotFinite:
                    return
                wrong, images, loss = wrong + result.errors[0] * len(batch.rows), images + len(batch.rows), result.loss
            if not math.isfinite(float(loss)):
                return
            yield float(wrong) / images


def epochs_to(errors: Sequence[float], error: float = THERE) -> float | None:
    """After how many epochs an error was reached, on the straight line between two epochs; None: never."""
    before = 1.0
    for epoch, now in enumerate(errors, 1):
        if now <= error:
            return epoch - 1 + (before - error) / (before - now) if before > now else float(epoch)
        before = now
    return None


def best_of(rows: Sequence[Row]) -> dict[int, Row]:
    """By seed, the row of the rate that got there first."""
    best = {seed: _best([row for row in rows if row["seed"] == seed]) for seed in sorted({row["seed"] for row in rows})}
    return {seed: row for seed, row in best.items() if row is not None}


def _best(rows: Sequence[Row]) -> Row | None:
    """The row of the rate that got there first."""
    return min((row for row in rows if row["epochs"] is not None), key=lambda row: row["epochs"], default=None)


def at_rate(rows: Sequence[Row], rate: float = SHARED) -> dict[int, Row]:
    """By seed, the row of one rate, where it got there."""
    return {row["seed"]: row for row in rows if row["rate"] == rate and row["epochs"] is not None}


def table(rows: Sequence[Row]) -> list[str]:
    """For each unit: epochs at its best rate and at the shared one, the factor to ReLU's, and who learned at what."""
    groups = by_condition(rows)
    lines = [
        f"| unit | best rate, by seed | epochs to {THERE:.0%} | times ReLU's | epochs at {SHARED} | times ReLU's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for unit, group in groups.items():
        best, shared = best_of(group), at_rate(group)
        rates = ", ".join(f"{row['rate']:g}" for row in best.values()) or "none got there"
        cells = [
            text
            for own, relus in (
                (best, best_of(groups.get("relu", []))),
                (shared, at_rate(groups.get("relu", []))),
            )
            for text in (_epochs(own, len({row["seed"] for row in group})), _factor(relus, own))
        ]
        lines.append(f"| {UNITS.get(unit, unit)} | {rates} | {' | '.join(cells)} |")
    return [*lines, "", *(_rates_of(unit, group) for unit, group in groups.items())]


def _epochs(by_seed: dict[int, Row], seeds: int) -> str:
    """The mean, the lowest and the highest of the seeds that got there, and how many these are where not all did."""
    epochs = [row["epochs"] for row in by_seed.values()]
    if not epochs:
        return f"over {MOST}"
    of_all = f"; {len(epochs)} of {seeds} seeds" if len(epochs) < seeds else ""
    return f"{statistics.mean(epochs):.1f} ({min(epochs):.1f} to {max(epochs):.1f}{of_all})"


def _rates_of(unit: str, rows: Sequence[Row]) -> str:
    """Which seeds of a unit learned at which rates, in a line."""
    seeds: dict[tuple[float, ...], list[int]] = {}
    for seed in dict.fromkeys(row["seed"] for row in rows):
        seeds.setdefault(tuple(sorted(row["rate"] for row in rows if row["seed"] == seed)), []).append(seed)
    searched = (
        f"seed{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))} at {', '.join(f'{rate:g}' for rate in rates)}"
        for rates, numbers in seeds.items()
    )
    return f"- {UNITS.get(unit, unit)} was learned by {'; '.join(searched)}."


def _factor(first: dict[int, Row], second: dict[int, Row]) -> str:
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return ""
    if first == second:
        return "1"
    mean, low, high = ratio([first[seed]["epochs"] for seed in seeds], [second[seed]["epochs"] for seed in seeds])
    return f"{mean:.1f}" if math.isnan(low) else f"{mean:.1f} ({low:.1f} to {high:.1f})"


def figure(rows: Sequence[Row]) -> Figure:
    """Training error against epochs, each unit at its best rate; a line a seed."""
    drawing = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = drawing.add_subplot()
    styles = {"relu": (RIGHT, "-"), "tanh": (WRONG, "--"), "sigmoid": (OTHER, "-."), "abs_tanh": (INK, ":")}
    for unit, group in by_condition(rows).items():
        color, line = styles.get(unit, (INK, "-"))
        for number, row in enumerate(best_of(group).values()):
            errors = [100 * error for error in row["errors"]]
            label = UNITS.get(unit, unit) if number == 0 else None
            axes.plot(range(1, len(errors) + 1), errors, line, color=color, linewidth=1.3, label=label)
    axes.axhline(100 * THERE, color=INK, linewidth=0.8, linestyle=":")
    axes.set(xlabel="epochs", ylabel="error on the training images, %", ylim=(0, 100), xlim=(0, None))
    if axes.get_legend_handles_labels()[0]:  # a unit got there
        axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return drawing


FIGURE1 = Experiment(
    "epochs of a small net to 25% training error on CIFAR-10: ReLU against tanh and others",
    conditions=tuple(UNITS),
    seeds=(0, 1, 2, 3, 4),
    measure=measure,
    figure=figure,
    table=table,
    paper="ReLU six times fewer epochs than tanh (figure 1)",
    needs=CIFAR_10,
    scales={
        "minutes": Scale(0.3, (0,), ("relu", "tanh"), "two units at two rates, one seed", 10),
        "hours": Scale(1.0, (0, 1, 2, 3, 4), None, "four units, one seed at seven rates, four around the best"),
    },
)
