"""Binary codes beside each other: what they find again, by their length."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from alexnet.figures import style
from alexnet.figures.style import DASHES, GRID, INK, LINES, MARKERS, QUIET
from alexnet.search.bits import Compared, Worth
from alexnet.search.codes import WORDS


def codes(compared: Compared) -> Figure:
    """Recall of the ten nearest by codes alone and ranked again, and mean average precision by label.

    Args:
        compared: what ``compare_codes`` gave; images without labels have no third plot.
    """
    labeled = compared.worths[0].map is not None
    figure = style.blank(4.1 * (3 if labeled else 2), 4.2)
    plots = figure.subplots(1, 3 if labeled else 2, squeeze=False)[0]
    _lines(plots[0], compared.worths, lambda worth: worth.recall10)
    plots[0].set_title("ten nearest found by codes alone", color=INK, fontsize=10)
    _lines(plots[1], compared.worths, lambda worth: worth.ranked10)
    plots[1].set_title(f"ten nearest among the {compared.ranked} nearest codes", color=INK, fontsize=10)
    for axes in plots[:2]:
        axes.set_ylim(0, 1.02)
    if labeled:
        _lines(plots[2], compared.worths, lambda worth: worth.map or 0)
        exact = compared.worths[0].map or 0
        plots[2].axhline(exact, color=QUIET, linestyle=":", linewidth=1.4, label="exact distance")
        plots[2].set_ylim(0, 1.3 * max(worth.map or 0 for worth in compared.worths))
        plots[2].set_title("mean average precision by label, codes alone", color=INK, fontsize=10)
        plots[2].legend(frameon=False, fontsize=8.5, loc="upper right", handles=plots[2].lines[-1:])
    plots[0].legend(frameon=False, fontsize=8.5, loc="upper left")
    plots[0].set_ylabel("share", color=INK)
    return figure


def _lines(axes: Axes, worths: Sequence[Worth], value: Callable[[Worth], float]) -> None:
    bits = sorted({worth.bits for worth in worths if worth.bits})
    for number, (kind, words) in enumerate(WORDS.items()):
        own = [worth for worth in worths if worth.kind == kind]
        if own:
            looks = {"color": LINES[number], "marker": MARKERS[number], "markersize": 5, "linewidth": 1.6}
            axes.plot([w.bits for w in own], list(map(value, own)), linestyle=DASHES[number], label=words, **looks)
    axes.set_xscale("log", base=2)
    axes.set_xticks(bits, labels=list(map(str, bits)))
    axes.minorticks_off()
    axes.set_xlabel("bits", color=INK)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    style.clean(axes)
    axes.set_axisbelow(True)
    axes.grid(color=GRID)
