"""The demo: draws the embedded data set, trains the paper's net on it, measures, and shows what came of it."""

import contextlib
import dataclasses
import os
from pathlib import Path

from alexnet import figures, files, machine
from alexnet.data import demo as drawn
from alexnet.data.prepare import prepare
from alexnet.errors import WrongUse
from alexnet.evaluation.classifier import load
from alexnet.evaluation.errors import Errors
from alexnet.evaluation.evaluate import evaluate
from alexnet.runs.journal import read_journal
from alexnet.training.journal import Display
from alexnet.training.recipe import Recipe
from alexnet.training.trainer import train

IMAGES, EPOCHS = 1920, 7
QUICK_IMAGES, QUICK_EPOCHS = 320, 2


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """What the demo ended with.

    Attributes:
        one_view, ten_views: errors on the validation images.
        chance: the error of guessing.
        training_images, epochs: what it was trained on.
        training_seconds: spent on training steps, over all calls.
        run, store: folders, for more commands.
        pictures: files to look at.
    """

    one_view: Errors
    ten_views: Errors
    chance: float
    training_images: int
    epochs: int
    training_seconds: float
    run: str
    store: str
    pictures: list[str]


def demo(
    folder: str | os.PathLike = "demo", *, quick: bool = False, seed: int = 0, device: str = "auto"
) -> Demonstration:
    """Draws a data set, trains the net ``paper`` with the default recipe, evaluates, and draws figures.

    The same call goes on where it was stopped. The data set is always the same; ``seed`` is of the training.

    Args:
        folder: to write to: ``store``, ``run`` and the pictures.
        quick: less data and fewer epochs; what it learns is not worth looking at.
        seed: 0..2**32-1.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``, ``mps``.

    Raises:
        WrongUse: the folder holds something else, or a demo with other options.
        Failure: a full or read-only disk.
    """
    folder = files.make_folder(folder)
    unknown = sorted({entry.name for entry in folder.iterdir()} - {"store", "run"})
    if unknown and not (folder / "store").exists():
        raise WrongUse(f"{folder}: is not empty and no demo; give another folder")
    images, epochs = (QUICK_IMAGES, QUICK_EPOCHS) if quick else (IMAGES, EPOCHS)
    display = Display(unit="images")
    with contextlib.closing(display):
        store = prepare(
            drawn.source(images),
            folder / "store",
            found=lambda listing: display.line(listing.describe("the demo")),
            progress=display.counter("drawing"),
        )
        run = folder / "run"
        train(store, run, Recipe(epochs=epochs, seed=seed), device=device)
        opened = load(run, device=machine.choose_device(device))
        found = {
            views: evaluate([opened], store, views=views, progress=display.counter(f"evaluating, views: {views}"))
            for views in (1, 10)
        }
    pictures = figures.show(run, output=folder, store=store, device=machine.choose_device(device))
    return Demonstration(
        one_view=found[1].errors,
        ten_views=found[10].errors,
        chance=1 - 1 / len(store.classes),
        training_images=images,
        epochs=epochs,
        training_seconds=sum(line.get("seconds", 0.0) for _, line in read_journal(run / "timings.jsonl")[0]),
        run=str(run),
        store=store.path,
        pictures=[str(Path(path)) for path in pictures],
    )
