"""Error curves: of a training as it goes, of several runs beside each other, of a run's checkpoints."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet.figures import style
from alexnet.figures.style import GRID, INK, OTHER, QUIET, RIGHT, WRONG

LENGTH = 32  # letters of a run's name
INSIDE = 6  # runs in a legend within the plot; more are listed beside it
LEGEND = 24  # runs that a legend names


def curve(metrics: Sequence[dict], title: str = "") -> Figure:
    """Training and validation error against epochs, as the source's cost plot.

    Args:
        metrics: lines of ``metrics.jsonl``.
        title: above it.
    """
    figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    training = [line for line in metrics if line.get("split") == "train"]
    if training:
        window = max(1, len(training) // 120)
        groups = [training[i : i + window] for i in range(0, len(training), window)]
        x = [group[-1]["epoch"] for group in groups]
        y = [100 * float(np.mean([line["top1_error"] for line in group])) for group in groups]
        axes.plot(x, y, color=OTHER, linewidth=1.6, label="training (crops, dropout)")
    validation = [line for line in metrics if line.get("split") == "val"]
    if validation:
        x = [line["epoch"] for line in validation]
        y = [100 * line["top1_error"] for line in validation]
        axes.plot(x, y, color=WRONG, linewidth=2, marker="o", markersize=3, label="validation, one view")
        best = int(np.argmin(y))
        axes.annotate(
            f"{y[best]:.1f}%",
            (x[best], y[best]),
            textcoords="offset points",
            xytext=(0, -16 if y[best] > 10 else 8),
            ha="center",
            color=WRONG,
        )
    axes.set(xlabel="epoch", ylabel="top-1 error, %", ylim=(0, 100))
    style.write_title(axes, title, fontsize=11, loc="left")
    axes.grid(axis="y", color=GRID)
    if training or validation:
        axes.legend(frameon=False, fontsize=9)
    style.clean(axes)
    return figure


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
) -> Figure:
    """Error of a run's checkpoints against epochs, with its interval; the last and the best are marked.

    Args:
        epochs: of each checkpoint, ascending.
        errors: top-1 errors, shares 0..1.
        intervals: 95% intervals of them.
        title: above it.
        chance: the error of guessing, if it is to be drawn.
    """
    figure = style.blank(7.2, 4.4)
    axes = figure.add_subplot()
    y, bounds = 100 * np.asarray(errors, float), 100 * np.asarray(intervals, float).reshape(-1, 2)
    axes.fill_between(epochs, bounds[:, 0], bounds[:, 1], color=RIGHT, alpha=0.18, linewidth=0, label="95% interval")
    axes.vlines(epochs, bounds[:, 0], bounds[:, 1], color=RIGHT, linewidth=1, alpha=0.6)
    axes.plot(epochs, y, color=RIGHT, marker="o", markersize=4, linewidth=1.8, label="checkpoints")
    _error_axis(axes, bounds, chance)
    if len(y):
        _mark_ends(axes, epochs, y)
    axes.set_xlabel("epoch", color=INK)
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
    """A range of errors in percent that fits what is drawn, so that 0.2% and 99.9% are seen alike, and chance."""
    values = errors[np.isfinite(errors)]
    if chance is not None:
        values = np.append(values, 100 * chance)
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 100.0)
    room = max(0.08 * (high - low), 0.05 * min(high, 100 - low), 0.05)
    axes.set_ylim(max(low - room, -0.02 * (high + room)), high + room)
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:.4g}%"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(10, steps=[1, 2, 5, 10], integer=True))
    axes.set_ylabel("top-1 error", color=INK)
    if chance is not None:
        axes.axhline(100 * chance, color=QUIET, linewidth=1.2, linestyle=":", label=f"chance, {100 * chance:.4g}%")
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=GRID)
    style.clean(axes)


def _mark_ends(axes: Axes, x: Sequence[float], y: np.ndarray) -> None:
    """Says the last error, and the best where that is another."""
    last, best = len(y) - 1, int(np.argmin(y))
    axes.plot(x[last], y[last], "s", color=INK, markersize=6, label=f"last, {y[last]:.1f}%")
    if y[best] < y[last]:
        axes.plot(x[best], y[best], "*", color=WRONG, markersize=12, label=f"best, {y[best]:.1f}%, epoch {x[best]:.4g}")
