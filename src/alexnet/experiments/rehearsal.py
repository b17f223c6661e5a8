"""The whole of ImageNet's way on small drawn ILSVRC archives: everything but the size.

Archives as the organizers have them -> ``prepare`` -> the source's two-tower net by its recipe, whose schedule is
compressed in proportion -> errors of one view and of ten -> for 2012 five nets averaged -> a row of the paper's tables.
What ``prepare`` made is held against what was written, image by image, and every stage is timed.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from matplotlib.figure import Figure

from alexnet import files
from alexnet.data import synthetic as drawn
from alexnet.data.dataset import Dataset
from alexnet.data.prepare import prepare
from alexnet.experiments import archives
from alexnet.experiments.archives import Item
from alexnet.experiments.experiment import DRAWN_IMAGES, Case, Experiment, Row, Scale
from alexnet.experiments.nets import error_cells, kept_net, measured, scaled
from alexnet.figures.style import INK, OTHER, RIGHT, WRONG, clean
from alexnet.progress import plural
from alexnet.training.recipes import RECIPES

Made = TypeVar("Made")
STAGES = "stages.json"  # in a case's folder
BATCH_SIZE = 32  # images; the recipes' 128 would leave a few steps an epoch
CONDITIONS = {"ILSVRC-2010": (2010, "source-2010", "test", 1), "ILSVRC-2012": (2012, "source", "val", 5)}
PAPER = {  # top-1 and top-5 error, %: section 4.1 and tables 1 and 2
    ("ILSVRC-2010", "1 net, one view"): "39.0 / 18.3",
    ("ILSVRC-2010", "1 net, ten views"): "37.5 / 17.0",
    ("ILSVRC-2012", "1 net, ten views"): "40.7 / 18.2",
    ("ILSVRC-2012", "5 nets, ten views"): "38.1 / 16.4",
}
COLORS = (OTHER, WRONG, RIGHT, INK, "#7a6bb0", "#c9a227")


def compared(dataset: Dataset, items: Sequence[Item], published: Sequence[str]) -> dict[str, list[int]]:
    """How many of how many differ from what the archives hold; the first of each pair is 0 where all is as it was.

    Args:
        dataset: as prepared.
        items: what was written.
        published: splits whose labels the archives say; images of the others belong nowhere.
    """
    words = {archives.wnid(label): name for label, name in enumerate(drawn.CLASSES)}
    wanted = {item.name: item for item in items if item.split in published}
    skipped = [row["name"].split("/")[-1] for row in dataset.skipped()]
    seen: dict[str, int] = dict.fromkeys(skipped, 1)
    wrong = {"classes": 0, "splits": 0, "labels": 0}
    for split in dataset.splits:
        for row in dataset.rows(split).tolist():
            name = dataset.name(row).split("/")[-1]
            seen[name] = seen.get(name, 0) + 1
            item = wanted.get(name)
            wrong["splits"] += item is None or item.split != split
            label = int(dataset.labels[row])
            wrong["labels"] += item is None or dataset.classes[label] != archives.wnid(item.label)
    pairs = list(zip(dataset.classes, dataset.words))
    right = sorted(words.items())
    missing = sum(name not in seen for name in wanted)
    extra = sum(count - (name in wanted) for name, count in seen.items())
    return {
        "classes by the devkit, in the order of the WNIDs": [sum(a != b for a, b in zip(pairs, right)), len(right)],
        "images in their split": [wrong["splits"], len(wanted) - len(skipped)],
        "labels by archive or ground truth": [wrong["labels"], len(wanted) - len(skipped)],
        "images missing, twice or from elsewhere": [missing + extra, len(wanted)],
    }


def timed(case: Case, stage: str, make: Callable[[], Made]) -> Made:
    """Makes something, and notes its seconds in the case's folder: those of all calls, where it was interrupted."""
    stages, started = stages_of(case), time.monotonic()
    try:
        return make()
    finally:
        stages[stage] = round(stages.get(stage, 0.0) + time.monotonic() - started, 2)
        files.write_json(case.work / STAGES, stages)


def stages_of(case: Case) -> dict[str, float]:
    """The seconds of each stage that is done. Raises ``AlexNetError`` where they were damaged."""
    note = case.work / STAGES
    remedy = "remove it: stages that are done take no time then"
    return files.read_json(note, dict[str, float], remedy) if note.exists() else {}


def measure(case: Case) -> list[Row]:
    """A row for one year: what was checked, the seconds of each stage, and the errors."""
    year, name, split, nets = CONDITIONS[case.condition]
    training = case.scaled(DRAWN_IMAGES // 32) * 32
    folder, size = case.work / "archives", case.stored
    timed(case, "archives written", lambda: archives.write(year, folder, training))
    progress = case.display.counter("preparing")
    dataset = timed(case, "prepared", lambda: prepare(folder, case.work / "dataset", size=size, progress=progress))
    items, published = archives.contents(year, training), ("train", "val", "test")[: 3 if year == 2010 else 2]
    recipe = dataclasses.replace(scaled(RECIPES[name], case.scale, training), batch_size=BATCH_SIZE)
    seeds = range(case.seed * nets, (case.seed + 1) * nets)
    recipes = {f"net-{seed}": dataclasses.replace(recipe, seed=seed) for seed in seeds}
    runs = timed(
        case, "trained", lambda: [kept_net(case, net, dataset, own, shared=False) for net, own in recipes.items()]
    )
    results = {}
    for chosen, views in [(runs[:1], 1), (runs[:1], 10), (runs, 10)][: 2 if nets == 1 else 3]:
        title = f"{plural(len(chosen), 'net')}, {'one view' if views == 1 else 'ten views'}"
        row = timed(case, f"measured: {title}", lambda: measured(case, chosen, dataset, split, views))  # noqa: B023
        results[title] = {key: row[key] for key in ("top1_error", "top5_error", "loss")}
    return [
        {
            "images": dataset.splits,
            "skipped": len(dataset.skipped()),
            "left_out": sum(item.split not in published for item in items),
            "checks": compared(dataset, items, published),
            "classes": len(dataset.classes),
            "size": dataset.size,
            "recipe": name,
            "nets": nets,
            "epochs": recipe.epochs,
            "results": results,
            "stages": stages_of(case),
        }
    ]


def table(rows: Sequence[Row]) -> list[str]:
    """The results as in tables 1 and 2, then what was checked, then the seconds of each stage."""
    lines = ["| | net | images seen, measured | top-1 / top-5 error | paper, % |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        images, split = row["images"], CONDITIONS[row["condition"]][2]
        counts = f"{images['train']:,} x {row['epochs']} epochs, {images[split]:,} {split}"
        for title, result in row["results"].items():
            says = PAPER.get((row["condition"], title), "-")
            lines.append(f"| {row['condition']} | {title} | {counts} | {error_cells(result)} | {says} |")
    lines += ["", "| checked | | wrong |", "| --- | --- | --- |"]
    for row in rows:
        for what, (wrong, of) in row["checks"].items():
            lines.append(f"| {row['condition']} | {what} | {wrong:,} of {of:,}{' **wrong**' if wrong else ''} |")
        kept = f"{row['skipped']:,} damaged, {row['left_out']:,} without published labels"
        lines.append(f"| {row['condition']} | images left out | {kept} |")
    lines += ["", "| stage | | seconds | images/s |", "| --- | --- | --- | --- |"]
    for row in rows:
        for stage, seconds in row["stages"].items():
            seen = row["images"]["train"] * row["epochs"] * row["nets"] if stage == "trained" else 0
            rate = f"{seen / seconds:,.0f}" if seen and seconds else ""
            lines.append(f"| {row['condition']} | {stage} | {seconds:,.1f} | {rate} |")
    return [*lines, "", f"Guessing among {rows[0]['classes']} classes errs at {guessing(rows[0]['classes'])}."]


def guessing(classes: int) -> str:
    """Top-1 and top-5 error of guessing."""
    return f"{1 - 1 / classes:.1%} / {max(0.0, 1 - 5 / classes):.1%}"


def figure(rows: Sequence[Row]) -> Figure:
    """Where the time goes, a bar a year; and the errors beside those of guessing."""
    drawing = Figure(figsize=(9, 3.6), dpi=110, layout="constrained")
    left, right = drawing.subplots(1, 2, width_ratios=(3, 2))
    names = list(dict.fromkeys(stage for row in rows for stage in row["stages"]))
    for height, row in enumerate(rows):
        start = 0.0
        for stage, seconds in row["stages"].items():
            color = COLORS[names.index(stage) % len(COLORS)]
            left.barh(height, seconds, left=start, color=color, height=0.5, label=stage)
            start += seconds
    handles, labels = left.get_legend_handles_labels()
    once = {label: handle for handle, label in zip(handles, labels)}
    left.legend(list(once.values()), list(once), frameon=False, fontsize=8, loc="upper center", ncols=2,
                bbox_to_anchor=(0.5, -0.18))  # fmt: skip
    left.set(yticks=range(len(rows)), yticklabels=[row["condition"] for row in rows], xlabel="seconds")
    left.invert_yaxis()
    bars = [(f"{row['condition'][-4:]}: {title}", result) for row in rows for title, result in row["results"].items()]
    for height, (_, result) in enumerate(bars):
        right.plot(100 * result["top1_error"], height, "o", color=RIGHT)
        right.plot(100 * (result["top5_error"] or 0), height, "s", color=OTHER)
    classes = rows[0]["classes"]
    for guess, color in ((1 - 1 / classes, RIGHT), (max(0.0, 1 - 5 / classes), OTHER)):
        right.axvline(100 * guess, color=color, linestyle=":", linewidth=1)
    right.set(yticks=range(len(bars)), yticklabels=[title for title, _ in bars], xlim=(0, 100),
              ylim=(len(bars) - 0.5, -0.5),
              xlabel="error, %\ncircle: top-1, square: top-5\ndotted: guessing")  # fmt: skip
    clean(left)
    clean(right)
    return drawing


REHEARSAL = Experiment(
    "the whole of ImageNet's way, from the archives to a row of the tables, on small drawn archives",
    conditions=tuple(CONDITIONS),
    seeds=(0,),
    measure=measure,
    figure=figure,
    table=table,
    paper="2010 (table 1): 37.5 / 17.0; 2012 (table 2): 40.7 / 18.2, five nets 38.1 / 16.4",
    scales={
        "minutes": Scale(
            0.2, (0,), None, "384 training images of eight classes a year, 128 pixels, a fifth of the epochs", 4
        ),
        "hours": Scale(1.0, (0,), None, "1,920 training images a year, 256 pixels, every epoch of the recipes"),
    },
)
