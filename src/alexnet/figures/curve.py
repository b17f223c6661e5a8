"""The error curve of a training."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from alexnet.figures.style import OTHER, WRONG, clean, write_title


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
    write_title(axes, title, fontsize=11, loc="left")
    axes.grid(axis="y", color="#e6eaee")
    if training or validation:
        axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return figure
