"""The paper's tables 1 and 2: one net, ten views of an image, several nets averaged, and nets pretrained on more.

Nets are trained once and kept in the experiment's folder; conditions measure them in one view or ten, alone or with
their soft-max outputs averaged. Each is compared, image by image, with the condition from which it differs by one
thing. An asterisk marks nets pretrained on a larger release, as in the paper (``conv6``): for photos or drawn images
the release is all classes and table 2's challenge all but the last two, for ImageNet they are two data sets.
"""

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from alexnet.data.dataset import Dataset
from alexnet.experiments import arms
from alexnet.experiments.arms import conclusion, differences
from alexnet.experiments.experiment import (
    CHALLENGE,
    PHOTOS,
    RELEASE,
    Case,
    Experiment,
    Row,
    Scale,
    by_condition,
    held_out_split,
    is_dataset,
)
from alexnet.experiments.nets import error_cells, kept_net, measured
from alexnet.experiments.pretraining import check_more, part_of, prepared, prepared_pair, recipe_of, whole_source
from alexnet.figures.style import WRONG
from alexnet.training.recipes import RECIPES

BEYOND = 2  # classes that the release has and the challenge has not


@dataclasses.dataclass(frozen=True)
class Line:
    """One of our lines of a table.

    Attributes:
        views: in which an image is told.
        nets, pretrained: how many are averaged.
        against: the line from which it differs by one thing.
        paper: top-1 and top-5 error, %, and that of the test set.
    """

    views: int
    nets: int = 1
    pretrained: int = 0
    against: str = ""
    paper: str = "- | -"


TABLE1 = {
    "1 net, one view": Line(1, paper="39.0 / 18.3 (4.1)"),
    "1 net, ten views": Line(10, against="1 net, one view", paper="37.5 / 17.0"),
}
TABLE2 = {
    "1 net, one view": Line(1),
    "1 net, ten views": Line(10, against="1 net, one view", paper="40.7 / 18.2 | -"),
    "5 nets": Line(10, 5, against="1 net, ten views", paper="38.1 / 16.4 | 16.4"),
    "1 net*": Line(10, 0, 1, against="1 net, ten views", paper="39.0 / 16.6 | -"),
    "7 nets*": Line(10, 5, 2, against="5 nets", paper="36.7 / 15.4 | 15.3"),
}
BEFORE1 = ("| sparse coding | | | | | 47.1 / 28.2 |", "| SIFT + FVs | | | | | 45.7 / 25.7 |")
BEFORE2 = ("| SIFT + FVs | | | | | - | 26.2 |",)


def challenge_of(case: Case, name: str, lines: Mapping[str, Line]) -> tuple[Dataset | None, Dataset, str]:
    """The release, where the table has nets pretrained on one, the data set that is measured, and its split."""
    if name == "table1":
        dataset = case.dataset(size=case.stored)
        return None, dataset, held_out_split(dataset)
    pair = prepared_pair(case.data)
    if pair is not None:
        return *pair, held_out_split(pair[1], ("val",))
    if case.data is not None and is_dataset(case.data):
        if lines[case.condition].pretrained:
            whole_source(case)  # refused, with the remedy
        challenge = Dataset(case.data)
        return None, challenge, held_out_split(challenge, ("val",))
    source = whole_source(case)
    count, pretrained = len(source.listing.classes), lines[case.condition].pretrained
    if pretrained:
        check_more(case, source)
    release = prepared(case, source, RELEASE) if pretrained else None
    return release, prepared(case, part_of(source, 0, max(2, count - BEYOND)), CHALLENGE), "val"


def nets_of(case: Case, line: Line, name: str, release: Dataset | None, dataset: Dataset) -> list[Path]:
    """The runs that a line averages: each seed has five nets of its own, and two pretrained ones."""
    images, runs = dataset.splits["train"], []
    for seed in range(5 * case.seed, 5 * case.seed + line.nets):
        recipe = recipe_of(case, "source", seed, images)
        if name == "table1" and case.scale == 1:
            recipe = dataclasses.replace(RECIPES["source-2010"], seed=seed)
        runs.append(kept_net(case, f"source-{seed}", dataset, recipe))
    for seed in range(5 * case.seed, 5 * case.seed + line.pretrained):
        assert release is not None
        first = recipe_of(case, "conv6", seed, release.splits["train"], "release")
        base = kept_net(case, f"release-{seed}", release, first)
        second = recipe_of(case, "conv6", seed, images, "fine-tuned")
        runs.append(kept_net(case, f"conv6-{seed}", dataset, second, base))
    return runs


def measure(name: str, lines: Mapping[str, Line], case: Case) -> list[Row]:
    """Trains the nets of a line that are not there yet, and measures them together."""
    line = lines[case.condition]
    release, dataset, split = challenge_of(case, name, lines)
    case.announce(arms.plan_words(dataset.splits[split], case.planned, {}))
    images = dataset.splits["train"]
    row = measured(case, nets_of(case, line, name, release, dataset), dataset, split, line.views)
    row |= {"train": images, "size": dataset.size}
    row["epochs"] = recipe_of(case, "source", 0, images).epochs_for(images)
    return [row | ({"against": line.against} if line.against else {})]


def table(lines: Mapping[str, Line], before: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Ours beside the paper's: the mean errors, top-1 by seed, and the difference to the line it is compared with."""
    compared, more = differences(rows), " | test, top-5" if len(before) == 1 else ""
    head = "| | top-1 / top-5 error | top-1 by seed | difference, 95% interval | conclusion |"
    out = [f"{head} paper, %{more} |", "| --- " * (7 if more else 6) + "|", *before]
    for condition, group in by_condition(rows).items():
        mean = {key: statistics.mean(row[key] or 0.0 for row in group) for key in ("top1_error", "top5_error")}
        mean["top5_error"] = mean["top5_error"] if group[0]["top5_error"] is not None else None
        seeds = ", ".join(f"{row['top1_error']:.1%}" for row in group)
        means = conclusion(*compared[condition]) if condition in compared else " | "
        paper = lines[condition].paper if condition in lines else ""
        out.append(f"| {condition} | {error_cells(mean)} | {seeds} | {means} | {paper} |")
    row = rows[0]
    return [
        *out,
        "",
        f"Ours: {row['classes']:,} classes, {row['train']:,} training images of {row['size']} pixels, "
        f"{row['epochs']:,} epochs, measured on {row['images']:,} images ({row['split']}). The paper's: 1,000 classes, "
        "1.2 million images of 256 pixels, 90 epochs.",
    ]


def figure(lines: Mapping[str, Line], rows: Sequence[Row]) -> Figure:
    """Our errors by seed with the paper's beside them, and the difference to the line each is compared with."""
    drawing = arms.figure(rows)
    axes = drawing.axes[0]
    for height, condition in enumerate(by_condition(rows)):
        top1 = lines[condition].paper.split(" /")[0] if condition in lines else "-"
        if not top1.startswith("-"):
            axes.plot(float(top1), height, "x", color=WRONG, label="the paper's, of 1,000 classes")
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        drawing.legend(handles[:1], labels[:1], loc="outside lower left", frameon=False, fontsize=8)
    return drawing


def _table(name: str, lines: Mapping[str, Line], before: Sequence[str], **more: object) -> Experiment:
    return Experiment(
        conditions=tuple(lines),
        measure=functools.partial(measure, name, lines),
        figure=functools.partial(figure, lines),
        table=functools.partial(table, lines, before),
        **more,  # pyright: ignore[reportArgumentType]
    )


TABLE_1 = _table(
    "table1",
    TABLE1,
    BEFORE1,
    description="the paper's table 1: one net on a test set, in one view and in ten",
    seeds=(0, 1, 2),
    paper="ILSVRC-2010: CNN 37.5 / 17.0, SIFT + FVs 45.7 / 25.7, sparse coding 47.1 / 28.2",
    takes=PHOTOS,
    scales={
        "minutes": Scale(0.25, (0,), None, "one net over images of 128 pixels, a quarter of the epochs", 4),
        "hours": Scale(0.5, (0, 1, 2), None, "the same with half the epochs, three seeds"),
        "paper": Scale(1.0, (0,), None, "the recipe source-2010; ILSVRC-2010, prepared, as --data, on GPUs"),
    },
)
TABLE_2 = _table(
    "table2",
    TABLE2,
    BEFORE2,
    description="the paper's table 2: one net, five averaged, and with nets pretrained on more classes",
    seeds=(0, 1, 2),
    paper="ILSVRC-2012: 1 CNN 40.7 / 18.2, 5 CNNs 38.1 / 16.4, 1 CNN* 39.0 / 16.6, 7 CNNs* 36.7 / 15.4",
    takes=PHOTOS,
    scales={
        "minutes": Scale(
            0.1,
            (0,),
            ("1 net, one view", "1 net, ten views", "5 nets"),
            "five nets over images of 128 pixels, a tenth of the epochs; none is pretrained",
            minutes=13,
        ),
        "hours": Scale(0.5, (0, 1, 2), None, "every line with half the epochs, three seeds"),
        "paper": Scale(
            1.0, (0,), None, "the source's recipes; --data a folder with prepared data sets release and challenge"
        ),
    },
)
