"""Error curves: of a training as it goes, of several runs beside each other, of a run's checkpoints."""

import contextlib
import itertools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.figures import style
from alexnet.figures.style import GRID, INK, QUIET, RIGHT, WRONG
from alexnet.files.old_names import LATER, run_recipe
from alexnet.runs.run import read_description

WINDOWS = 120  # points of a training's curve, each a mean of steps
TRAINING = "#8494a3"
ROW = 0.18  # inches, of a legend's line
LENGTH = 32  # letters of a run's name
INSIDE = 6  # runs in a legend within the plot; more are listed beside it
LEGEND = 24  # runs that a legend names


def curve_of(folder: str | os.PathLike, metrics: Sequence[dict]) -> Figure:
    """The curve of a run from the lines of its ``metrics.jsonl``; net, data set, recipe as its files say them."""
    about, chance = "", None
    with contextlib.suppress(AlexNetError, UsageError, OSError):
        description = read_description(folder)
        classes, data = len(description["classes"]), description["data"]
        chance = 1 - 1 / classes
        name = Path(data["path"]).name if data.get("path") else "a data set"
        about = f"net {description['net']['name']}; {name}, {classes:,} classes{_recipe(folder)}"
    return curve(metrics, files.folder_name(folder), about, chance)


@files.of_run
def _recipe(folder: str | os.PathLike) -> str:
    """What a run's ``recipe.json`` says of its rates and batches."""
    recipe = run_recipe(files.read_json(Path(folder) / "recipe.json", dict))
    words = [recipe["optimizer"]] if recipe["optimizer"] != LATER["optimizer"] else []
    words += [f"{recipe['schedule']} schedule"] if "schedule" in recipe else []
    names = {"learning_rate": "learning rate", "batch_size": "batch size"}
    words += [f"{text} {recipe[key]:g}" for key, text in names.items() if isinstance(recipe.get(key), int | float)]
    return "".join(f", {text}" if index else f"; {text}" for index, text in enumerate(words))


def curve(metrics: Sequence[dict], title: str = "", about: str = "", chance: float | None = None) -> Figure:
    """Training and validation error, loss and learning rate against epochs, the first as the source's cost plot.

    Args:
        metrics: lines of ``metrics.jsonl``.
        title: above it.
        about: a second, smaller line of the title.
        chance: the error of guessing; drawn where errors come near it.
    """
    training = [line for line in metrics if line.get("split") == "train"]
    validation = [line for line in metrics if line.get("split") == "val"]
    has_rates = any(line.get("rate") for line in training)
    figure = Figure(figsize=(7.6, 7.2), dpi=style.DPI)
    heights = [3, 2, 1] if has_rates else [3, 2]
    above, middle, *below = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    window = max(1, len(training) // WINDOWS)
    groups = [training[i : i + window] for i in range(0, len(training), window)]
    rows = _draw_errors(above, groups, validation, window, chance)
    # Margins are set, since this is drawn while a training goes on and to measure texts takes as long as all the rest
    height = (7.15 if has_rates else 6.15) + ROW * rows
    figure.set_size_inches(7.6, height)
    top, bottom = 1 - (0.71 + ROW * rows) / height, 0.5 / height
    figure.subplots_adjust(left=0.118, right=0.975, top=top, bottom=bottom, hspace=0.09)
    _draw_losses(middle, groups, validation)
    for axes in below:
        _draw_rates(axes, training)
    for axes in (above, middle, *below):
        axes.yaxis.set_label_coords(-0.1, 0.5)
    ends = [line["epoch"] for line in metrics]
    if ends and max(ends) > 0:
        above.set_xlim(0, 1.02 * max(ends))
    (below or [middle])[-1].set_xlabel("epoch", color=INK)
    style.write_title(above, title, fontsize=12, loc="left", pad=26 + 72 * ROW * rows)
    about_at = 1.045 + ROW * rows / (above.get_position().height * height)
    style.say(above, 0, about_at, style.fitted_points(above, about, 9), color=QUIET)
    return figure


def _draw_errors(
    axes: Axes, groups: Sequence[Sequence[dict]], validation: Sequence[dict], window: int, chance: float | None
) -> int:
    """Draws the errors, and above them their legend; says of how many lines."""
    x, y = _means(groups, "top1_error")
    if groups:
        what = f"mean of {window:,} steps" if window > 1 else "each step's batch"
        axes.plot(x, 100 * y, **_training_look(x), label=f"training (augmented, dropout), {what}")
    measured = 100 * np.array([line["top1_error"] for line in validation])
    epochs = [line["epoch"] for line in validation]
    if validation:
        axes.plot(
            epochs, measured, color=RIGHT, marker="o", markersize=3.5, linewidth=1.8, label="validation, one view"
        )
    _error_axis(axes, np.concatenate([100 * y, measured]), chance)
    if validation:
        _mark_ends(axes, epochs, measured)
    elif groups:
        axes.plot([], [], " ", label="no validation so far")
    labels = axes.get_legend_handles_labels()[1]
    if groups or validation:  # above the axes: inside it would lie on the lines, which fill them
        look = {"frameon": False, "borderpad": 0, "borderaxespad": 0.4, "columnspacing": 3}
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize=8.5, **look)
    return math.ceil(len(labels) / 2)


def _draw_losses(axes: Axes, groups: Sequence[Sequence[dict]], validation: Sequence[dict]) -> None:
    x, y = _means(groups, "loss")
    measured = np.array([_number(line.get("loss")) for line in validation])
    axes.plot(x, y, **_training_look(x))
    axes.plot([line["epoch"] for line in validation], measured, color=RIGHT, marker="o", markersize=3.5, linewidth=1.8)
    finite = y[np.isfinite(y)]
    usual = finite[finite <= 2 * np.quantile(finite, 0.9)] if len(finite) else finite  # a leap would hide the rest
    _fit(axes, np.concatenate([usual, measured[np.isfinite(measured)]]))
    axes.set_ylabel("loss (nats)", color=INK)
    _plain(axes)


def _draw_rates(axes: Axes, training: Sequence[dict]) -> None:
    """Learning rates step by step, as far as the journal has them; by powers of ten where they fall by as much."""
    lines = [line for line in training if line.get("rate") is not None]
    every = max(1, len(lines) // 2000)
    lines = [*lines[::every], *lines[-1:]]
    rates = np.array([line["rate"] for line in lines])
    axes.plot([line["epoch"] for line in lines], rates, color=INK, linewidth=1.2, drawstyle="steps-post")
    if rates.min() > 0 and rates.max() > 20 * rates.min() and len(np.unique(rates)) <= min(20, len(rates) // 3):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(numticks=4))
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    else:
        axes.set_ylim(0, 1.15 * float(rates.max()))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(3))
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.set_ylabel("learning rate", color=INK)
    _plain(axes)


def _training_look(x: Sequence[float]) -> dict[str, Any]:
    """A line, or points where there are too few for one."""
    return {"color": TRAINING, "linewidth": 1.4, "marker": "." if len(x) < 3 else ""}


def _means(groups: Sequence[Sequence[dict]], key: str) -> tuple[list[float], np.ndarray]:
    """Epochs at which groups of steps end, and their means."""
    means = [float(np.mean([_number(line.get(key)) for line in group])) for group in groups]
    return [group[-1]["epoch"] for group in groups], np.array(means)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def curves(runs: Mapping[str, Sequence[dict]]) -> Figure:
    """Validation error against epochs of several runs, each by a color, a line style and a mark of its own.

    Args:
        runs: lines of ``metrics.jsonl`` by the run's name. Of a run without validation the training error is drawn,
            averaged over each epoch, and called so.
    """
    figure = style.blank(8.6 if len(runs) > INSIDE else 7.2, 4.4)
    axes = figure.add_subplot()
    looks = zip(itertools.cycle(style.LINES), itertools.cycle(style.DASHES), itertools.cycle(style.MARKERS))
    handles, names = [], []
    for (name, metrics), (color, dash, marker) in zip(runs.items(), looks):
        x, y, note = _errors_of(metrics)
        every = max(1, len(x) // 12)
        look = {"color": color, "linestyle": dash, "marker": marker, "markersize": 4, "markevery": every}
        (line,) = axes.plot(x, y, linewidth=1.7, **look)
        handles.append(line)
        names.append(style.legible(name, LENGTH) + (f", {y[-1]:.1f}%" if y else "") + note)
    lows = [line.get_ydata() for line in handles if len(line.get_ydata())]
    _error_axis(axes, np.concatenate(lows) if lows else np.zeros(0))
    axes.set_xlabel("epoch", color=INK)
    shown = f"; the first {LEGEND} are named" if len(runs) > LEGEND else ""
    style.write_title(axes, f"{len(runs):,} runs, top-1 error and where it ended{shown}", fontsize=11, loc="left")
    if handles:
        legend = axes.legend(handles[:LEGEND], names[:LEGEND], frameon=False, fontsize=8.5, handlelength=3.4)
        if len(runs) > INSIDE:
            legend.set_loc("upper left")
            legend.set_bbox_to_anchor((1.01, 1), axes.transAxes)
        style.letter(legend.get_texts())
    return figure


def learning_curve(
    epochs: Sequence[float],
    errors: Sequence[float],
    intervals: Sequence[tuple[float, float]],
    title: str = "",
    chance: float | None = None,
    unit: str = "epoch",
) -> Figure:
    """Error of a run's checkpoints against epochs, with its interval; the last and the best are marked.

    Args:
        epochs: of each checkpoint, ascending.
        errors: top-1 errors, shares 0..1.
        intervals: 95% intervals of them.
        title: above it.
        chance: the error of guessing, if it is to be drawn.
        unit: what ``epochs`` are, where they are something else.
    """
    figure = style.blank(7.2, 4.4)
    axes = figure.add_subplot()
    y, bounds = 100 * np.asarray(errors, float), 100 * np.asarray(intervals, float).reshape(-1, 2)
    axes.fill_between(epochs, bounds[:, 0], bounds[:, 1], color=RIGHT, alpha=0.18, linewidth=0, label="95% interval")
    axes.vlines(epochs, bounds[:, 0], bounds[:, 1], color=RIGHT, linewidth=1, alpha=0.6)
    axes.plot(epochs, y, color=RIGHT, marker="o", markersize=4, linewidth=1.8, label="checkpoints")
    _error_axis(axes, bounds, chance)
    if len(y):
        _mark_ends(axes, epochs, y, unit)
    axes.set_xlabel(unit, color=INK)
    style.write_title(axes, title or "error of each checkpoint", fontsize=11, loc="left")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _errors_of(metrics: Sequence[dict]) -> tuple[list[float], list[float], str]:
    """Epochs, errors in percent and what to add to the run's name, of validation or, where there is none, training."""
    validation = [line for line in metrics if line.get("split") == "val"]
    if validation:
        return [line["epoch"] for line in validation], [100 * line["top1_error"] for line in validation], ""
    training = [line for line in metrics if line.get("split") == "train"]
    groups = [list(group) for _, group in itertools.groupby(training, lambda line: int(np.ceil(line["epoch"])))]
    x = [group[-1]["epoch"] for group in groups]
    y = [100 * float(np.mean([line["top1_error"] for line in group])) for group in groups]
    return x, y, " (training error)" if training else " (no error measured)"


def _error_axis(axes: Axes, errors: np.ndarray, chance: float | None = None) -> None:
    """A range of errors in percent that fits what is drawn, so that 0.2% and 99.9% are seen alike; chance if near."""
    values = errors[np.isfinite(errors)]
    if chance is not None:
        spread = float(values.max() - values.min()) if values.size else 0.0
        near = not values.size or 100 * chance <= values.max() + 0.5 * max(spread, 2.0)
        values = np.append(values, 100 * chance) if near else values
        if near:
            axes.axhline(100 * chance, color=QUIET, linewidth=1.2, linestyle=":", label="chance" + _of(chance))
        else:
            axes.plot([], [], " ", label="chance" + _of(chance) + ", is far above")
    _fit(axes, values, 0.0, 100.0)
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.4g}%"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(10, steps=[1, 2, 5, 10], integer=True))
    axes.set_ylabel("top-1 error", color=INK)
    _plain(axes)


def _of(share: float) -> str:
    return f", {100 * share:.4g}%"


def _fit(axes: Axes, values: np.ndarray, least: float = 0.0, most: float = math.inf) -> None:
    """Makes an axis hold values and a little room; where they are all but one number, what is around it."""
    nothing = (least, most if math.isfinite(most) else 1.0)
    low, high = (float(values.min()), float(values.max())) if values.size else nothing
    room = max(0.07 * (high - low), 0.02 * min(high - least, max(most - low, 0.0)), 1e-3 * max(1.0, high))
    axes.set_ylim(max(low - room, least - 0.3 * room), min(high + room, most + 0.3 * room))


def _plain(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID)
    style.clean(axes)


def _mark_ends(axes: Axes, x: Sequence[float], y: np.ndarray, unit: str = "epoch") -> None:
    """Says the last error, and the best where that is another."""
    last, best = len(y) - 1, int(np.argmin(y))
    axes.plot(x[last], y[last], "s", color=INK, markersize=6, label=f"last, {y[last]:.1f}%")
    if y[best] < y[last]:
        when = f"{x[best]:,.2f}".rstrip("0").rstrip(".")
        axes.plot(x[best], y[best], "*", color=WRONG, markersize=12, label=f"best, {y[best]:.1f}%, {unit} {when}")
