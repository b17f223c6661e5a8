"""The demo: draws the embedded data set, trains the paper's net on it, measures, and shows what came of it."""

import contextlib
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from alexnet import files, machine
from alexnet.data import synthetic as drawn
from alexnet.data.prepare import prepare
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.errors import Errors
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments.experiment import Case, Experiment, Row
from alexnet.figures.show import show
from alexnet.figures.style import RIGHT, WRONG, clean
from alexnet.files import mistakes
from alexnet.progress import Display
from alexnet.runs.facts import training_seconds
from alexnet.training.recipe import Recipe
from alexnet.training.train import train

IMAGES, EPOCHS = 1920, 7
QUICK_IMAGES, QUICK_EPOCHS, QUICK_SIZE = 320, 6, 128
QUICK_NET = "paper-112.toml"
QUICK_TABLE = """# The paper's net for images of half the side: a quarter of the work, and all of its layers.
base = "paper"
input = [3, 112, 112]
"""


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """What the demo ended with.

    Attributes:
        one_view, ten_views: errors on the validation images.
        chance: the error of chance.
        training_images, epochs: what it was trained on.
        training_seconds: spent on training steps, over all calls.
        run, dataset: folders, for more commands.
        pictures: files to look at.
    """

    one_view: Errors
    ten_views: Errors
    chance: float
    training_images: int
    epochs: int
    training_seconds: float
    run: str
    dataset: str
    pictures: list[str]


def demo(
    folder: str | os.PathLike = "demo", *, quick: bool = False, seed: int = 0, device: str = "auto"
) -> Demonstration:
    """Draws a data set, trains the net ``paper`` with the default recipe, evaluates, and draws figures.

    The same call goes on where it was stopped. The data set is always the same; ``seed`` is of the training.

    Args:
        folder: to write to: ``dataset``, ``run`` and the pictures.
        quick: fewer images of half the side, for the paper's layers on 112 pixels; it errs on about half of them.
        seed: 0..2**32-1.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.

    Raises:
        UsageError: the folder holds something else, or a demo with other options.
        AlexNetError: a full or read-only disk.
    """
    folder = _folder(folder, quick)
    images, epochs = (QUICK_IMAGES, QUICK_EPOCHS) if quick else (IMAGES, EPOCHS)
    recipe = Recipe(epochs=epochs, seed=seed)
    if quick:
        files.write_bytes(folder / QUICK_NET, QUICK_TABLE.encode())
        recipe = dataclasses.replace(recipe, net=str(folder / QUICK_NET))
    display = Display(unit="images")
    with contextlib.closing(display):
        dataset = prepare(
            drawn.source(images),
            folder / "store",
            size=QUICK_SIZE if quick else None,
            found=lambda listing: display.line(listing.describe("the demo", advise=False)),
            progress=display.counter("drawing"),
        )
        run = folder / "run"
        train(dataset, run, recipe, device=device)
        opened = load(run, device=machine.choose_device(device))
        measured = {
            views: evaluate([opened], dataset, views=views, progress=display.counter(f"evaluating, views: {views}"))
            for views in (1, 10)
        }
    pictures = show(run, output=folder, dataset=dataset, device=machine.choose_device(device))
    return Demonstration(
        one_view=measured[1].errors,
        ten_views=measured[10].errors,
        chance=1 - 1 / len(dataset.classes),
        training_images=images,
        epochs=epochs,
        training_seconds=training_seconds(run) or 0.0,
        run=str(run),
        dataset=dataset.path,
        pictures=[str(Path(path)) for path in pictures],
    )


def _folder(path: str | os.PathLike, quick: bool) -> Path:
    """The demo's folder; refused where it holds something else, or the other demo."""
    folder = files.make_folder(path)
    began_quick = (folder / QUICK_NET).exists()
    if (folder / "store").exists() and quick != began_quick:
        began = f"alexnet demo {folder}{' --quick' if began_quick else ''}"
        raise UsageError(f"{folder}: was begun with `{began}`; give that again, or another folder")
    unknown = sorted({entry.name for entry in folder.iterdir()} - {"store", "run", QUICK_NET})
    if unknown and not (folder / "store").exists():
        mistakes.refuse(folder, "new demo")
    return folder


def measure(case: Case) -> list[Row]:
    """The demo with one seed; at a scale below 1 the quick one."""
    outcome = demo(case.work / "demo", quick=case.scale < 1, seed=case.seed, device=case.device)
    return [
        {
            "views": views,
            "images": errors.images,
            "top1_error": errors.top1_error,
            "top1_interval": errors.top1_interval,
            "chance": outcome.chance,
            "training_seconds": outcome.training_seconds,
        }
        for views, errors in ((1, outcome.one_view), (10, outcome.ten_views))
    ]


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each seed."""
    lines = ["| seed | views | top-1 error, 95% interval |", "| --- | --- | --- |"]
    for row in rows:
        low, high = row["top1_interval"]
        lines.append(f"| {row['seed']} | {row['views']} | {row['top1_error']:.1%}, {low:.1%} to {high:.1%} |")
    return lines


def figure(rows: Sequence[Row]) -> Figure:
    """Every seed's error with its 95% interval, one view and ten."""
    drawing = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = drawing.add_subplot()
    for color, views, offset in ((WRONG, 1, -0.1), (RIGHT, 10, 0.1)):
        shown = [row for row in rows if row["views"] == views]
        errors = [100 * row["top1_error"] for row in shown]
        bars = [[abs(100 * row["top1_interval"][end] - error) for row, error in zip(shown, errors)] for end in (0, 1)]
        x = [number + offset for number in range(len(shown))]
        axes.errorbar(x, errors, bars, fmt="o", color=color, label=f"{views} view{'s' if views > 1 else ''}")
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    axes.set(xticks=range(len(seeds)), xticklabels=seeds, xlabel="seed", ylabel="top-1 error, %", ylim=(0, None))
    axes.legend(frameon=False, fontsize=9)
    clean(axes)
    return drawing


DEMO = Experiment(
    "synthetic images that a linear classifier cannot tell apart, learned in minutes",
    conditions=("default",),
    seeds=(0,),
    measure=measure,
    figure=figure,
    table=table,
)
