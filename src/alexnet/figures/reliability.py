"""Whether probabilities are what they say: of images called something with 80%, are 80% right?"""

import numpy as np
from matplotlib import ticker
from matplotlib.figure import Figure

from alexnet.figures import style
from alexnet.figures.style import GRID, INK, OTHER, QUIET, RIGHT, WRONG


def reliability(confidence: np.ndarray, accuracy: np.ndarray, counts: np.ndarray, ece: float) -> Figure:
    """A reliability diagram: accuracy against confidence by bins, and how many images each bin has.

    Args:
        confidence: (bins,) mean probability of the predictions in each bin, 0..1; bins are of equal width. NaN where
            a bin is empty.
        accuracy: (bins,) share of them that are right; NaN where a bin is empty.
        counts: (bins,) images in each.
        ece: expected calibration error, 0..1: the mean distance of both, weighted by ``counts``.
    """
    confidence, accuracy = np.asarray(confidence, float), np.asarray(accuracy, float)
    counts = np.asarray(counts)
    edges = np.linspace(0, 1, len(counts) + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, 0.92 / len(counts)
    filled = counts > 0
    figure = style.blank(5.2, 6)
    upper, lower = figure.subplots(2, 1, height_ratios=[3.2, 1], sharex=True)
    upper.bar(middles[filled], accuracy[filled], width, color=OTHER, label="share that is right")
    upper.plot([0, 1], [0, 1], color=QUIET, linewidth=1.2, linestyle="--", label="calibrated")
    upper.vlines(confidence[filled], accuracy[filled], confidence[filled], color=WRONG, linewidth=2.4, label="gap")
    upper.plot(confidence[filled], accuracy[filled], "o", color=RIGHT, markersize=4.5)
    upper.set(ylim=(0, 1), xlim=(0, 1))
    upper.set_ylabel("accuracy", color=INK)
    upper.legend(frameon=False, fontsize=9, loc="upper left")
    lower.bar(middles, counts, width, color=OTHER)
    lower.set_ylabel("images", color=INK)
    lower.set_xlabel("probability of the prediction (mean of the bin)", color=INK)
    lower.set_ylim(0, max(1, counts.max(initial=0)) * 1.08)
    lower.yaxis.set_major_locator(ticker.MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    percent = ticker.PercentFormatter(1, decimals=0)
    upper.yaxis.set_major_formatter(percent)
    lower.xaxis.set_major_formatter(percent)
    for axes in (upper, lower):
        style.clean(axes)
        axes.set_axisbelow(True)
        axes.grid(color=GRID)
    total = int(counts.sum())
    style.write_title(upper, f"{total:,} images: expected calibration error {100 * ece:.1f}%", fontsize=11, loc="left")
    return figure
