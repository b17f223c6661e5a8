"""What to train in so many minutes on one machine: error against minutes for nets, sizes of image, epochs and photos.

A condition is a net and what it is trained by: ``one-gpu size=128 photos=5000 epochs=8``. Its minutes are those of the
training alone, on the machine that ran it. What to take is worked out from what was measured, and from nothing else.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from alexnet import machine, randomness
from alexnet.data.dataset import Dataset
from alexnet.data.prepare import prepare
from alexnet.data.sources import folder
from alexnet.data.sources.tree import Tree
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import load
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments.budget_report import figure, table
from alexnet.experiments.experiment import (
    NEVER,
    PHOTOS,
    VALIDATION,
    Case,
    Experiment,
    Row,
    Scale,
    fitted,
    held_out_split,
)
from alexnet.experiments.nets import scaled, train_for
from alexnet.nets.table_file import load_table
from alexnet.runs.facts import read_facts
from alexnet.training.recipes import named


@dataclasses.dataclass(frozen=True)
class Point:
    """What is trained.

    Attributes:
        net: its name.
        size: pixels of the stored images; the net sees 7/8 of them.
        photos: to train on, of all classes together.
        epochs: at the experiment's full size.
        recipe: its name.
    """

    net: str
    size: int
    photos: int
    epochs: int
    recipe: str = "default"

    @classmethod
    def of(cls, condition: str) -> "Point":
        """From its words. Raises ``UsageError`` where they are others, or count none."""
        net, *pairs = condition.split()
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        numbers = {key: values[key] for key in ("size", "photos", "epochs") if values.get(key, "").isdecimal()}
        if len(numbers) < 3 or len(values) < len(pairs) or values.keys() - {*numbers, "recipe"}:
            raise UsageError(
                f"condition {condition!r}: give a net with size, photos and epochs: paper size=128 photos=500 epochs=8"
            )
        whole = {key: int(number) for key, number in numbers.items()}
        none = next((key for key, number in whole.items() if not number), None)
        if none:
            raise UsageError(f"condition {condition!r}: {none} must be at least 1")
        return cls(net, whole["size"], whole["photos"], whole["epochs"], values.get("recipe", "default"))


def check(condition: str) -> None:
    """Raises ``UsageError`` where a condition is none, or there is no such net or recipe."""
    point = Point.of(condition)
    load_table(point.net)
    named(point.recipe)


class Fewer(Tree):
    """Some of a data set's training images, as many of each class, and all that are for validation.

    Args:
        dataset: whose stored images.
        count: to train on.
        seed: which ones; fewer are among those that are more.
    """

    kind = "data set"

    def __init__(self, dataset: Dataset, count: int, seed: int):
        self.dataset, self.rows, names = dataset, list[int](), list[str]()
        training, labels = dataset.rows("train"), dataset.labels
        for label in range(len(dataset.classes)):
            own = training[labels[training] == label]
            order = randomness.permutation(seed, f"fewer photos of class {label}", 0, len(own)).numpy()
            share = count // len(dataset.classes) + (label < count % len(dataset.classes))
            self.rows += np.sort(own[order[:share]]).tolist()
        validation = dataset.rows(held_out_split(dataset, VALIDATION)).tolist()
        for split, rows in (("train", self.rows), ("val", validation)):
            names += [f"{split}/{labels[row]:05d}/{row:08d}.bmp" for row in rows]
        self.rows += validation
        super().__init__(dataset.path, names)

    def read(self, member: int) -> np.ndarray:
        return self.dataset.image(self.rows[member])


def photos(case: Case, point: Point) -> Dataset:
    """So many photos of a size, prepared once for all conditions; a part of them is stored once more, in its format.

    Raises:
        UsageError: there are fewer, or smaller ones, or fewer than classes, or none to measure on.
    """
    dataset = case.dataset(size=point.size)
    there = dataset.splits["train"]
    if point.photos > there or dataset.size < point.size:
        raise UsageError(
            f"condition {case.condition!r}: --data has {there:,} photos to train on, of {dataset.size} pixels; give "
            "--conditions with no more, or other --data"
        )
    classes = len(dataset.classes)
    if point.photos < classes:
        raise UsageError(f"condition {case.condition!r}: --data has {classes:,} classes; give photos={classes} or more")
    if (there, dataset.size) == (point.photos, point.size):
        return dataset
    name = f"photos-{point.photos}-{point.size}-{case.seed}"
    source = folder.source(Fewer(dataset, point.photos, case.seed))
    return prepare(source, case.folder / name, size=point.size, format=dataset.format,
                   progress=case.display.counter("preparing"))  # fmt: skip


def measure(case: Case) -> list[Row]:
    """Trains a point: its error, and the seconds of the training without start, validation and end."""
    point = Point.of(case.condition)
    recipe = named(point.recipe)
    dataset, run = photos(case, point), case.work / "run"
    split = held_out_split(dataset, VALIDATION)
    share = case.scaled(point.epochs) / recipe.epochs_for(point.photos)
    recipe = dataclasses.replace(scaled(recipe, share, point.photos), seed=case.seed, validate_every=NEVER)
    recipe = dataclasses.replace(recipe, net=fitted(point.net, point.size, case.work))
    outcome = train_for(case, dataset, run, recipe)
    classifier = load(run, device=machine.choose_device(case.device))
    errors = evaluate(classifier, dataset, split=split).errors
    seconds = read_facts(run).seconds or 0.0
    return [
        {
            **dataclasses.asdict(point),
            "epochs": outcome.epochs,
            "seconds": round(seconds, 2),
            "images_per_second": round(outcome.epochs * point.photos / seconds, 1),
            "images": errors.images,
            "top1_error": errors.top1_error,
            "top1_interval": errors.top1_interval,
        }
    ]


NETS = ("paper", "one-gpu", "torchvision", "caffe")
EPOCHS = {  # by recipe and photos
    "default": {500: (60, 200), 5000: (8, 32), 50_000: (8, 32)},
    "fast": {500: (30, 100), 5000: (8, 16), 50_000: (4, 12)},
}


def grid(counts: Sequence[int], sizes: Sequence[int], nets: Sequence[str], recipe: str = "default") -> list[str]:
    """The conditions of so many photos, of these sizes, for these nets and the recipe."""
    return [
        f"{net} size={size} photos={count} epochs={epochs}" + ("" if recipe == "default" else f" recipe={recipe}")
        for count, size, net in itertools.product(counts, sizes, nets)
        for epochs in EPOCHS[recipe][count]
    ]


SMALL = tuple(
    grid((500, 5000), (64, 128), NETS)
    + grid((500, 5000), (256,), NETS[:2])
    + grid((500, 5000), (64, 128, 256), ("paper",), "fast")
)
LARGE = grid((50_000,), (64, 128, 256), NETS) + grid((50_000,), (64, 128, 256), ("paper",), "fast")
FEW = (
    "one-gpu size=64 photos=500 epochs=20",
    "one-gpu size=128 photos=500 epochs=20",
    "paper size=128 photos=500 epochs=20",
    "paper size=128 photos=500 epochs=20 recipe=fast",
    "paper size=128 photos=500 epochs=60",
    "paper size=128 photos=500 epochs=60 recipe=fast",
    "one-gpu size=64 photos=5000 epochs=4",
    "one-gpu size=128 photos=5000 epochs=4",
    "torchvision size=128 photos=5000 epochs=4",
    "paper size=128 photos=5000 epochs=4",
    "paper size=128 photos=5000 epochs=4 recipe=fast",
    "paper size=128 photos=5000 epochs=8",
    "paper size=128 photos=5000 epochs=8 recipe=fast",
)
BUDGET = Experiment(
    "what to train in 5, 15 or 60 minutes: error against minutes for nets, sizes, epochs and numbers of photos",
    conditions=tuple(dict.fromkeys((*FEW, *SMALL, *LARGE))),
    seeds=(0,),
    measure=measure,
    figure=figure,
    table=table,
    check=check,
    paper="five to six days for 90 epochs of 1.2 million images on two GTX 580 (5)",
    needs=PHOTOS,
    scales={
        "minutes": Scale(1.0, (0,), FEW, "thirteen points of 500 and 5,000 photos, two recipes, one seed", 20),
        "hours": Scale(1.0, (0,), SMALL, "four nets, three sizes, two recipes, 500 and 5,000 photos, one seed"),
        "paper": Scale(1.0, (0, 1, 2), None, "up to 50,000 photos, three seeds; with --data an ImageNet dataset"),
    },
)
