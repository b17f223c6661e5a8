"""The error of each class."""

from collections.abc import Sequence

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet.evaluation.errors import wilson
from alexnet.figures import style
from alexnet.figures.style import GRID, INK, OTHER, QUIET, RIGHT, WRONG

ALL = 50  # classes, up to which each has its bar
ENDS = 20  # classes at each end, where there are more
LENGTH = 26  # letters of a name


def class_errors(errors: np.ndarray, images: np.ndarray, classes: Sequence[str]) -> Figure:
    """Top-1 error of each class with its 95% Wilson score interval, the worst first.

    Of more than 50 classes, the worst and the best 20, and how many classes have which error.

    Args:
        errors: (classes,) shares, 0..1; NaN of a class without images, which is left out and counted.
        images: (classes,) integers, how many images each error is of.
        classes: their names, ``tench, Tinca tinca``; the first synonym is drawn.
    """
    errors, images = np.asarray(errors, float), np.asarray(images)
    measured = np.flatnonzero(~np.isnan(errors) & (images > 0))
    order = measured[np.lexsort((measured, -images[measured], -errors[measured]))]
    names = style.labels_of(classes, LENGTH)
    mean = float(errors[order].mean()) if len(order) else 0.0
    title = _title(len(order), len(classes), mean)
    if len(order) <= ALL:
        figure = style.blank(7.5, 1.4 + 0.24 * max(4, len(order)))
        axes = figure.add_subplot()
        _bars(axes, order, errors, images, names, mean)
        figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
        return figure
    figure = style.blank(11.5, 6.6)
    grid = figure.add_gridspec(2, 2, height_ratios=[5, 1.6])
    for column, (chosen, what) in enumerate([(order[:ENDS], "worst"), (order[: -ENDS - 1 : -1], "best")]):
        axes = figure.add_subplot(grid[0, column])
        _bars(axes, chosen, errors, images, names, mean)
        style.write_title(axes, f"the {what} {ENDS}", fontsize=10, loc="left")
    _histogram(figure.add_subplot(grid[1, :]), errors[order])
    figure.suptitle(title, fontsize=11, color=INK, x=0.01, ha="left")
    return figure


def _title(measured: int, classes: int, mean: float) -> str:
    missing = f" ({classes - measured:,} more have no images)" if measured < classes else ""
    return f"top-1 error of {measured:,} classes{missing}, 95% intervals; dashed: their mean, {100 * mean:.1f}%"


def _bars(axes: Axes, order: np.ndarray, errors: np.ndarray, images: np.ndarray, names: list[str], mean: float) -> None:
    """A horizontal bar for each class, its interval over it, and its error as a number at the right."""
    y = np.arange(len(order))
    values = 100 * errors[order]
    axes.barh(y, values, 0.72, color=OTHER)
    intervals = 100 * np.array([wilson(float(errors[i]), int(images[i])) for i in order]).reshape(-1, 2)
    axes.hlines(y, intervals[:, 0], intervals[:, 1], color=INK, linewidth=1.2)
    axes.plot(values, y, "o", color=RIGHT, markersize=4, clip_on=False)
    axes.axvline(100 * mean, color=WRONG, linewidth=1.2, linestyle="--")
    style.name_ticks(axes.yaxis, y.tolist(), [names[i] for i in order], fontsize=8.5)
    for row, i in enumerate(order):
        axes.text(102, row, f"{100 * errors[i]:.1f}% of {images[i]:,}", va="center", fontsize=8, color=INK)
    axes.set(xlim=(0, 100), ylim=(max(len(order), 1) - 0.4, -0.6))
    style.clean(axes)
    axes.tick_params(axis="y", length=0, labelsize=8.5)
    _percent(axes)


def _histogram(axes: Axes, errors: np.ndarray) -> None:
    axes.hist(100 * errors, bins=np.linspace(0, 100, 41).tolist(), color=OTHER, edgecolor="white", linewidth=0.5)
    middle = 100 * float(np.median(errors))
    axes.axvline(middle, color=QUIET, linewidth=1.2, linestyle=":", label=f"median {middle:.0f}%")
    axes.legend(frameon=False, fontsize=8)
    axes.set_xlim(0, 100)
    axes.set_ylabel("classes", color=INK, fontsize=9)
    axes.set_xlabel("top-1 error", color=INK, fontsize=9)
    axes.yaxis.set_major_locator(ticker.MaxNLocator(4, integer=True))
    style.clean(axes)
    _percent(axes)


def _percent(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(ticker.PercentFormatter(100, decimals=0))
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID)
