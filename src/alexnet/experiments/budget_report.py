"""What to train in so many minutes: worked out from what was measured of nets, sizes, epochs and photos, and drawn."""

import dataclasses
import itertools
import statistics
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from alexnet.evaluation.errors import wilson
from alexnet.experiments.experiment import Row, by_condition
from alexnet.figures import style
from alexnet.progress import plural

BUDGETS = (5, 15, 60)  # minutes
TICKS = (0.1, 0.2, 0.5, 1, 2, *BUDGETS, 240, 1440)


@dataclasses.dataclass(frozen=True)
class Measured:
    """A point with the means of its seeds.

    Attributes:
        net, size, photos, epochs, recipe: as ``Point`` has them; epochs are those that were trained.
        minutes: of training.
        speed: images per second.
        error, interval: top-1, 0..1, with its 95% interval.
    """

    net: str
    size: int
    photos: int
    epochs: int
    recipe: str
    minutes: float
    speed: float
    error: float
    interval: tuple[float, float]

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Measured":
        """From the rows of its seeds."""
        first = rows[0]
        minutes, speed, error = (
            statistics.mean(row[key] for row in rows) for key in ("seconds", "images_per_second", "top1_error")
        )
        return cls(
            net=first["net"],
            size=first["size"],
            photos=first["photos"],
            epochs=first["epochs"],
            recipe=first["recipe"],
            minutes=minutes / 60,
            speed=speed,
            error=error,
            interval=wilson(error, first["images"]),
        )

    def __str__(self) -> str:
        recipe = "" if self.recipe == "default" else f", recipe {self.recipe}"
        return f"{self.net} at {self.size} pixels, {plural(self.epochs, 'epoch')}{recipe}"

    @property
    def series(self) -> str:
        """What is drawn in one color."""
        return self.net if self.recipe == "default" else f"{self.net}, {self.recipe}"

    @property
    def cell(self) -> str:
        """What it is and what came of it."""
        return f"{self}: {self.error:.1%} in {self.minutes:.1f} min"


def by_photos(rows: Sequence[Row]) -> dict[int, list[Measured]]:
    """What was measured, by the number of photos, the quickest first."""
    points = sorted((Measured.of(group) for group in by_condition(rows).values()), key=lambda point: point.minutes)
    counts = sorted({point.photos for point in points})
    return {count: [point for point in points if point.photos == count] for count in counts}


def front(points: Sequence[Measured]) -> list[Measured]:
    """Of points, the quickest first, those that err less than all that are quicker."""
    best: list[Measured] = []
    for point in points:
        if not best or point.error < best[-1].error:
            best.append(point)
    return best


def advice(points: Sequence[Measured], minutes: float, less: float = 0.0) -> str:
    """What to take where there are so many minutes: the least error, and what is as good within its interval.

    Args:
        points: the quickest first.
        minutes: that there are.
        less: for which there is advice already; where nothing takes longer, that is said.
    """
    if points[-1].minutes <= less:
        return "nothing so long was measured"
    affordable = front([point for point in points if point.minutes <= minutes])
    if not affordable:
        return f"nothing so short; the quickest: {points[0].cell}"
    best = affordable[-1]
    sooner = next(point for point in affordable if point.error <= best.interval[1])
    return best.cell + ("" if sooner is best else f"; within its interval: {sooner.cell}")


def table(rows: Sequence[Row]) -> list[str]:
    """What to take by photos and minutes, then all that was measured."""
    groups = by_photos(rows)
    lines = [
        f"| photos | {' | '.join(f'in {minutes} minutes' for minutes in BUDGETS)} | longest measured |",
        "| --- |" + " --- |" * (len(BUDGETS) + 1),
    ]
    for count, points in groups.items():
        cells = " | ".join(advice(points, *pair) for pair in zip(BUDGETS, (0, *BUDGETS)))
        lines.append(f"| {count:,} | {cells} | {points[-1].minutes:.1f} min |")
    lines += [
        "",
        "| photos | trained | minutes | images/s | top-1 error, 95% interval | nothing quicker errs less |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for count, points in groups.items():
        for point in points:
            low, high = point.interval
            error = f"{point.error:.1%}, {low:.1%} to {high:.1%}"
            mark = "yes" if point in front(points) else ""
            lines.append(f"| {count:,} | {point} | {point.minutes:.1f} | {point.speed:.0f} | {error} | {mark} |")
    return lines


def figure(rows: Sequence[Row]) -> Figure:
    """Error against minutes of training for each number of photos, and the front.

    Colors are for nets and recipes, markers for sizes.
    """
    groups = by_photos(rows)
    series = list(dict.fromkeys(Measured.of([row]).series for row in rows))
    sizes = sorted({row["size"] for row in rows})
    colors, markers = dict(zip(series, itertools.cycle(style.LINES))), dict(zip(sizes, style.MARKERS))
    drawing = style.blank(4.6 * len(groups) + 1.8, 4.6)
    panels = drawing.subplots(1, len(groups), squeeze=False, sharex=True, sharey=True)[0]
    minutes = [point.minutes for points in groups.values() for point in points]
    for axes, (count, points) in zip(panels, groups.items()):
        best = front(points)
        x, y = [point.minutes for point in best], [100 * point.error for point in best]
        axes.step([*x, 1.5 * max(minutes)], [*y, y[-1]], where="post", color=style.QUIET, linewidth=1, zorder=1)
        for point in points:
            low, high = (100 * end for end in point.interval)
            error = 100 * point.error
            look = {"color": colors[point.series], "marker": markers[point.size], "markersize": 6, "linewidth": 1}
            axes.errorbar([point.minutes], [error], [[error - low], [high - error]], **look)
            axes.annotate(str(point.epochs), (point.minutes, error), (5, 4), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel="minutes of training", title=f"{count:,} photos")
        axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
        axes.minorticks_off()
        axes.set_xlim(min(minutes) / 1.5, 1.5 * max(minutes))
        axes.grid(axis="x", color=style.GRID)
        axes.set_axisbelow(True)
        style.clean(axes)
    panels[0].set_ylabel("top-1 error, %, with its 95% interval")
    legend = [Line2D([], [], color=color, linewidth=3, label=name) for name, color in colors.items()]
    legend += [
        Line2D([], [], color=style.INK, marker=marker, linestyle="", label=f"{size} pixels")
        for size, marker in markers.items()
    ]
    legend += [Line2D([], [], color=style.QUIET, linewidth=1, label="least error so far")]
    drawing.legend(handles=legend, loc="outside right upper", frameon=False, fontsize=9, title="numbers: epochs")
    return drawing
