"""Which classes are taken for which."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colors, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet.figures import style
from alexnet.figures.style import INK, OTHER

NAMED, NUMBERED = 40, 20  # classes, up to which each is named, and each count is written
LISTED = 18  # confusions in the list
LENGTH = 18  # letters of a name
# From white to nearly black by lightness alone; rows without images are gray
SHADES = colors.LinearSegmentedColormap.from_list("shades", ["#ffffff", "#7fb3d9", style.RIGHT, "#001b2e"])
SHADES = SHADES.with_extremes(bad=style.GRID)


def confusion(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """A confusion matrix: rows are true classes, columns predictions, colors the share of the row.

    Up to 20 classes, each count is written; of more than 40, a few classes are named. Beside it, the most frequent
    confusions.

    Args:
        counts: (classes, classes) integers, images of the row's class taken for the column's.
        classes: their names, ``tench, Tinca tinca``; the first synonym is drawn.
    """
    count = len(classes)
    side = float(np.clip(2.4 + 0.42 * count, 3.6, 8.2)) if count <= NAMED else 7.6
    figure = style.blank(side + 5, side + 1)
    matrix, listing = figure.subplots(1, 2, width_ratios=[side, 3.6])
    rows = counts.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = np.where(rows > 0, counts / rows, np.nan)
    norm = colors.Normalize(0, 1) if count <= NUMBERED else colors.PowerNorm(0.5, 0, 1)
    image = matrix.imshow(shares, cmap=SHADES, norm=norm, interpolation=None if count > NAMED else "nearest")
    _name_classes(matrix, classes)
    if count <= NUMBERED:
        _write_counts(matrix, counts, shares)
    bar = figure.colorbar(image, ax=matrix, location="bottom", shrink=0.6, aspect=30, pad=0.02)
    empty = "; gray: a class without images" if (rows == 0).any() else ""
    bar.set_label(f"share of the true class's images{empty}", color=INK, fontsize=9)
    bar.ax.xaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
    bar.ax.tick_params(colors=INK, labelsize=8)
    bar.outline.set_visible(False)  # pyright: ignore[reportCallIssue]
    images, right = int(rows.sum()), int(np.trace(counts))
    style.write_title(matrix, f"{images:,} images of {count:,} classes, {right:,} right", fontsize=11, loc="left")
    style.write_lines(listing, *_most_frequent(counts, classes))
    return figure


def _name_classes(axes: Axes, classes: Sequence[str]) -> None:
    count = len(classes)
    chosen = range(count) if count <= NAMED else np.linspace(0, count - 1, 11).round().astype(int).tolist()
    names = [style.labels_of(classes, LENGTH)[index] for index in chosen]
    size = 9 if count <= NUMBERED else 8
    style.name_ticks(axes.yaxis, chosen, names, fontsize=size)
    upright = count <= 3
    style.name_ticks(axes.xaxis, chosen, names, fontsize=size, rotation=0 if upright else 90, ha="center", va="top")
    axes.set_xlabel("prediction", color=INK)
    axes.set_ylabel("true class", color=INK)
    axes.tick_params(colors=INK, length=0 if count <= NAMED else 3)
    axes.spines[:].set_color(OTHER)


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Each count, in black or white by what it is written on; zeros are left out."""
    size = 10 if len(counts) <= 12 else 7
    for row, column in np.argwhere(counts > 0).tolist():
        ink = style.ink_on(SHADES(shares[row, column]))
        number = int(counts[row, column])
        text = f"{number:,}" if number < 10_000 or len(counts) <= 4 else f"{number / 1000:.0f}k"
        axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=size)


def _most_frequent(counts: np.ndarray, classes: Sequence[str]) -> tuple[str, list[str]]:
    """A title and lines: which are taken for which most often."""
    wrong = np.asarray(counts) * (1 - np.eye(len(classes), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    names, images = style.labels_of(classes, LENGTH), counts.sum(1)
    lines = []
    for row, column in zip(*np.unravel_index(order, wrong.shape)):
        if wrong[row, column]:
            lines.append(f"{wrong[row, column]:,} of {images[row]:,}:  {names[row]} → {names[column]}")
    return ("most frequent confusions", lines) if lines else ("no confusions", [])
