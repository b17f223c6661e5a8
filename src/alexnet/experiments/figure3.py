"""Figure 3 of the paper: whether one tower's first filters turn to color and the other's away from it (section 6).

A filter's *color selectivity* is the share of its energy that lies off the gray axis: of its weights minus their mean,
the sum of squares of what differs from the mean of red, green and blue at each pixel, over the sum of all squares. A
gray filter has 0, one that answers to differences of colors alone 1, and one drawn from a normal distribution
2 s^2 / (3 s^2 - 1) by expectation: 0.669 of side s = 11.

The towers of a seed are put in order: the more colorful one comes second. So the gap between them is never negative,
and it is held against the gap of halves into which the same filters are put at random.

By the paper's recipe first filters stay near their random start for some hundred thousand images. Trainings below the
full size start conv1 from smaller weights, with ten times the other layers' rate, and the others from N(0, 2 / inputs).
"""

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, SubFigure

from alexnet.experiments.experiment import NEVER, PHOTOS, Case, Experiment, Row, Scale, by_condition, fitted
from alexnet.experiments.nets import scaled, train_for
from alexnet.figures import style
from alexnet.figures.filters import columns_of, draw_block, tiles_of
from alexnet.figures.style import INK, QUIET, RIGHT, WRONG
from alexnet.nets.network import Network
from alexnet.nets.table import Learning
from alexnet.nets.table_file import load_table
from alexnet.runs.run import open_run
from alexnet.training.recipe import Recipe
from alexnet.training.recipes import RECIPES

NET = "paper"  # of two towers: conv1's first half of filters is the first one's
SHORT = Recipe(init="net", batch_size=32, layer_lr=("conv1@0=0.1",), warmup_epochs=0.2, validate_every=NEVER)
START = 0.005  # standard deviation of conv1's first weights in a short training
TOWERS = {"two towers": False, "towers joined": True}  # whether every layer sees both
SHUFFLES, SEED = 10_000, 20121203  # of the permutation test


def measure(case: Case) -> list[Row]:
    """Trains a net of two towers: its first filters, and their color selectivity before and after."""
    dataset = case.dataset(size=case.stored)
    net = fitted(NET, dataset.size, case.work)
    if TOWERS[case.condition]:
        net = joined(net, case.work)
    if case.scale == 1:
        recipe = RECIPES["paper"]
    else:
        recipe, net = scaled(SHORT, case.scale, dataset.splits["train"]), started(net, case.work)
    recipe = dataclasses.replace(recipe, net=net, seed=case.seed)
    outcome = train_for(case, dataset, case.work / "run", recipe)
    trained = open_run(case.work / "run").net
    start, end = (first_filters(net) for net in (Network(trained.table, trained.classes, case.seed), trained))
    order = tower_order(selectivity(end))
    return [
        {
            "images": dataset.splits["train"],
            "epochs": outcome.epochs,
            "top1_error": outcome.errors and outcome.errors.top1_error,
            "start": selectivity(start)[order].round(4).tolist(),
            "end": selectivity(end)[order].round(4).tolist(),
            "side": end.shape[-1],
            "filters": packed(end[order]),
        }
    ]


def joined(net: str, folder: Path) -> str:
    """A net, by name or as ``fitted`` wrote it, whose layers all see both towers: its table's path in ``folder``."""
    layers = load_table(net).layers.values()
    sections = {layer.name: 'sees = "both towers"\n' for layer in layers if getattr(layer, "groups", 1) > 1}
    return _laid_over(net, sections, folder / "joined.toml")


def started(net: str, folder: Path) -> str:
    """A net with the first weights of a short training: its table's path in ``folder``."""
    sections = {}
    for row in load_table(net).sized(classes=1):
        if isinstance(row.layer, Learning):
            inputs = math.prod(row.parameters["weight"][1:])
            std = math.sqrt(2 / inputs) if sections else START
            sections[row.layer.name] = f"weights = {{ normal = {std:.6f} }}\nbias = 0.0\n"
    return _laid_over(net, sections, folder / "started.toml")


def _laid_over(net: str, sections: Mapping[str, str], file: Path) -> str:
    """Writes a net's table with more lines for some of its layers; gives its path."""
    text = Path(net).read_text(encoding="utf-8") if net.endswith(".toml") else f'base = "{net}"\n'
    for name, lines in sections.items():
        head = f"[layers.{name}]\n"
        text = text.replace(head, head + lines) if head in text else f"{text}\n{head}{lines}"
    file.write_text(text, encoding="utf-8")
    return str(file)


def first_filters(net: Network) -> np.ndarray:
    """(filters, 3, side, side) float64 weights of a net's first layer."""
    return net.tensors()[f"{net.names[0]}.weight"].detach().double().numpy()


def selectivity(filters: np.ndarray) -> np.ndarray:
    """(n,) color selectivity, 0..1, of (n, 3, side, side) filters; 0 of a filter of equal weights."""
    weights = filters - filters.mean((1, 2, 3), keepdims=True)
    color = weights - weights.mean(1, keepdims=True)
    energy = (weights**2).sum((1, 2, 3))
    return (color**2).sum((1, 2, 3)) / np.where(energy > 0, energy, 1.0)


def tower_order(selectivities: np.ndarray) -> np.ndarray:
    """(n,) places of the filters of two towers such that the half of more color comes second."""
    first, second = np.split(np.arange(len(selectivities)), 2)
    colorful_first = selectivities[first].mean() > selectivities[second].mean()
    return np.concatenate([second, first] if colorful_first else [first, second])


def gaps(selectivities: np.ndarray) -> np.ndarray:
    """(...,) absolute difference of the means of both halves, of (..., filters) selectivities."""
    first, second = np.split(selectivities, 2, axis=-1)
    return np.abs(second.mean(-1) - first.mean(-1))


def gap_test(selectivities: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """The mean gap between two towers, against the same filters in halves at random.

    Args:
        selectivities: of all filters, for each seed; each seed's are put into halves by themselves.

    Returns:
        The mean gap of the seeds; the 95% point of random halves' mean gap; the share of random halves with no smaller
        one (the one that was seen counted among them).
    """
    random, seen = np.random.default_rng(SEED), np.asarray(selectivities, np.float64)
    null = np.zeros(SHUFFLES)
    for filters in seen:
        null += gaps(random.permuted(np.tile(filters, (SHUFFLES, 1)), axis=1)) / len(seen)
    gap = float(gaps(seen).mean())
    as_large = np.count_nonzero(null >= gap - 1e-12)
    return gap, float(np.quantile(null, 0.95)), (1 + as_large) / (1 + SHUFFLES)


def packed(filters: np.ndarray) -> str:
    """(n, 3, side, side) filters as text: a byte a weight, each filter by its own largest weight, 0 at 127.5."""
    return base64.b64encode((255 * tiles_of(filters)).round().astype(np.uint8).tobytes()).decode("ascii")


def unpacked(text: str, side: int) -> np.ndarray:
    """(n, side, side, 3) in 0..1 of filters that ``packed`` made text of."""
    return np.frombuffer(base64.b64decode(text), np.uint8).reshape(-1, side, side, 3) / 255


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each seed and one for all: both towers' mean, the gap, and what random halves have; and the start."""
    lines = [
        "| | seed | top-1 error | mean color selectivity, tower a, tower b | gap | random halves, 95% | p | "
        "gap at the start | p at the start |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for condition, group in by_condition(rows).items():
        parts = [(str(row["seed"]), [row]) for row in group]
        for seed, part in [*parts, ("all", group)] if len(group) > 1 else parts:
            first, second = np.split(np.mean([row["end"] for row in part], 0), 2)
            errors = [row["top1_error"] for row in part if row["top1_error"] is not None]
            gap, limit, p = gap_test([row["end"] for row in part])
            gap_then, _, p_then = gap_test([row["start"] for row in part])
            lines.append(
                f"| {condition} | {seed} | {f'{np.mean(errors):.1%}' if errors else ''} | {first.mean():.3f}, "
                f"{second.mean():.3f} | {gap:.3f} | {limit:.3f} | {_chance(p)} | {gap_then:.3f} | {_chance(p_then)} |"
            )
    return lines


def _chance(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def figure(rows: Sequence[Row]) -> Figure:
    """The filters of the first seed, tower a above tower b; below, the selectivity of every seed's filters."""
    row = rows[0]
    halves = np.split(unpacked(row["filters"], row["side"]), 2)
    columns = columns_of(len(halves[0]))
    drawing = Figure(figsize=(8.4, 4.0 + 2 * 0.53 * -(-len(halves[0]) // columns)), dpi=style.DPI, layout="constrained")
    (above,), (below,) = drawing.subfigures(2, 1, squeeze=False, height_ratios=[drawing.get_figheight() - 3.2, 3.2])
    drawing.suptitle(f"First filters of a net of {row['condition']}, seed {row['seed']}", color=INK, fontsize=11)
    for axes, name, half in zip(above.subplots(2, 1), "ab", halves):
        axes.set_title(f"tower {name}", loc="left", fontsize=9, color=INK)
        draw_block(axes, half, columns)
    _draw_selectivities(below, rows)
    return drawing


def _draw_selectivities(part: SubFigure, rows: Sequence[Row]) -> None:
    """For each seed, before and after, a dot a filter and a line at each tower's mean."""
    left, right = part.subplots(1, 2, sharey=True)
    side = rows[0]["side"]
    for axes, key, title in ((left, "start", "at the start"), (right, "end", "after training")):
        for place, row in enumerate(rows):
            for shift, color, half in zip((-0.17, 0.17), (RIGHT, WRONG), np.split(np.array(row[key]), 2)):
                spread = place + shift + np.linspace(-0.1, 0.1, len(half))
                axes.plot(spread, half, ".", color=color, markersize=3, alpha=0.6, markeredgewidth=0)
                label = f"tower {'a' if shift < 0 else 'b'}, its mean" if place == 0 else None
                ends = [place + shift - 0.14, place + shift + 0.14]
                axes.plot(ends, [half.mean()] * 2, color=color, linewidth=2.2, label=label)
        axes.axhline(2 * side**2 / (3 * side**2 - 1), color=QUIET, linewidth=0.8, linestyle=":")
        names = [f"{row['seed']}" if row["condition"] == "two towers" else f"{row['seed']} joined" for row in rows]
        axes.set(xlabel="seed", ylim=(0, 1), xlim=(-0.5, len(rows) - 0.5))
        style.name_ticks(axes.xaxis, range(len(rows)), names)
        axes.set_title(title, fontsize=10, color=INK, loc="left")
        axes.grid(axis="y", color=style.GRID)
        style.clean(axes)
    left.set_ylabel("color selectivity of a filter")
    left.legend(frameon=False, fontsize=8, loc="center right", bbox_to_anchor=(1, 0.35))
    left.annotate("dotted: what random filters have", (-0.45, 0.03), fontsize=8, color=QUIET)


FIGURE3 = Experiment(
    "first filters of a net of two towers: whether one tower turns to color and the other away from it",
    conditions=tuple(TOWERS),
    seeds=(0, 1, 2, 3, 4),
    measure=measure,
    figure=figure,
    table=table,
    paper="one tower color-agnostic, the other color-specific, in every run (6)",
    takes=PHOTOS,
    scales={
        "minutes": Scale(
            0.15, (0, 1, 2), ("two towers",), "three seeds, a seventh of the epochs, 128 pixels", minutes=22
        ),
        "hours": Scale(0.8, None, None, "five seeds, with and without towers, 128 pixels"),
        "paper": Scale(1.0, None, None, "the paper's recipe, five seeds; with --data an ImageNet dataset on GPUs"),
    },
)
