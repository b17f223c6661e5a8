"""What ``alexnet show`` draws of a run: its curve, its filters, its predictions."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from alexnet import randomness
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import views
from alexnet.data.sources.pictures import Paths, find_pictures
from alexnet.errors import AlexNetError, UsageError, check_number
from alexnet.evaluation.classifier import Classifier, load, stacked
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.outputs import Progress, row_probabilities
from alexnet.evaluation.pictures import several
from alexnet.evaluation.predict import first_readable
from alexnet.figures.curve import curve_of
from alexnet.figures.dataset import NoImages, dataset_of, split_of
from alexnet.figures.filters import filters
from alexnet.figures.place import Drawing, Place
from alexnet.figures.predictions import predictions
from alexnet.figures.style import first_synonyms
from alexnet.files import mistakes
from alexnet.progress import plural
from alexnet.runs.checkpoint import AnyCheckpoint
from alexnet.runs.journal import read_metrics

MOST_PICTURES = 3000  # in one sheet, which then has 156 million pixels
PICTURES = ("curve.png", "filters.png", "predictions.png")


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image of the data set whose most probable class is not its own.

    Attributes:
        name: of the image in the data set's source.
        true_class: its class.
        true_class_probability: of that.
        prediction: the most probable one.
        probability: of the prediction.
    """

    name: str
    true_class: str
    true_class_probability: float
    prediction: str
    probability: float


@dataclasses.dataclass(frozen=True)
class Mistakes:
    """The errors on a split.

    Attributes:
        split: of the data set.
        images: in it.
        wrong: how many of them are taken for another class.
        shown: those of them that give their true class least, which are drawn.
    """

    split: str
    images: int
    wrong: int
    shown: list[Mistake]

    def __str__(self) -> str:
        return f"{self.wrong:,} of {self.images:,} {self.split} images wrong"


def show(
    path: str | os.PathLike,
    images: Paths = (),
    *,
    output: str | os.PathLike | None = None,
    dataset: Dataset | str | os.PathLike | None = None,
    split: str | None = None,
    only_errors: bool = False,
    count: int = 16,
    checkpoint: AnyCheckpoint = "last",
    device: torch.device | str = "cpu",
    note: Callable[[str], None] = lambda line: None,
    wrote: Callable[[Path | str], None] = lambda path: None,
    mistaken: Callable[[Mistakes], None] = lambda mistakes: None,
    progress: Progress | None = None,
) -> Sequence[Path | str]:
    """Draws ``curve.png``, ``filters.png`` and ``predictions.png`` of a run, as far as there is what they show.

    Args:
        path: the run's folder.
        images: a file or folder to predict, or several; not given, images of the dataset's split.
        output: folder to write to; the run's if not given.
        dataset: the one that the run was trained on if not given and still where it was.
        split: which of the dataset's images; ``val`` if not given and the dataset has them.
        only_errors: those whose first class is wrong, those first that give their true class least.
        count: images in the picture.
        checkpoint: ``last``, ``best`` or a step, as for ``load``.
        device: where the net runs.
        note: called with a line for each picture that is left out, and why; and where there are more images than
            ``count``.
        wrote: called with each file when it is written.
        mistaken: called with the errors that are drawn, where ``only_errors`` asks for them.
        progress: called with images done and images in all, while errors are looked for.

    Returns:
        The files written.

    Raises:
        UsageError: no such run, image, dataset or split; a file that may not be written. Before anything is written.
        AlexNetError: not one error to show; images that cannot be read, once the others are drawn.
    """
    images, bad = several(images), []
    mistakes.check_order("show", ("run", path), *(("images", image) for image in images))
    if only_errors and images:
        raise UsageError(
            "--only-errors: images given by name have no known class; leave the images out, or leave --only-errors out"
        )
    check_number("--count", count, 1, MOST_PICTURES)
    run = load(path, checkpoint, device)
    place = Place.of(path, output, PICTURES, images)
    figures: dict[str, Drawing] = {
        "curve.png": _curve_of(run, note),
        "filters.png": _filters_of(run, note),
    }
    if images:
        sheet = _named_images(run, images, count, note, bad)
    else:
        try:
            opened = dataset_of(run, dataset)
            split = split_of(opened, split)
            if only_errors:
                sheet = _errors_sheet(run, opened, split, count, mistaken, progress)
            else:
                sheet = _samples_sheet(run, opened, split, count)
        except NoImages as reason:
            note(f"no predictions.png: {reason}")
            sheet = None
    figures["predictions.png"] = sheet
    written = place.write(figures, wrote)
    if bad:
        raise AlexNetError(f"{plural(len(bad), 'image')} could not be read: {'; '.join(bad[:9])}; the others are drawn")
    return written


def _curve_of(run: Classifier, note: Callable[[str], None]) -> Figure | None:
    metrics = read_metrics(run.path)
    if metrics:
        return curve_of(run.path, metrics)
    why = (
        "its weights were imported" if run.data.get("imported") else "it has no metrics.jsonl with a training's errors"
    )
    note(f"no curve.png: {run.path}: {why}; nothing says how its error fell")
    return None


def _filters_of(run: Classifier, note: Callable[[str], None]) -> Figure | None:
    first = run.net.names[0]
    weights = run.net.tensors().get(f"{first}.weight")
    if weights is None or weights.dim() != 4 or weights.shape[1] != 3:
        note(f"no filters.png: the first layer of {run.path}, {first}, has no filters that can be seen as colors")
        return None
    return filters(run.net)


def _named_images(
    run: Classifier, images: Sequence[str], count: int, note: Callable[[str], None], bad: list[str]
) -> Image.Image:
    sources = find_pictures(images)
    names, pictures = first_readable(run, sources, count, bad)
    total = sum(len(source.members) for source in sources)
    shares = run.square_probabilities(pictures).numpy()
    title = f"{run.name}: {plural(len(pictures), 'image')}"
    if total > len(pictures) == count:
        title = f"{run.name}: the first {len(pictures):,} of {total:,} images"
        note(f"the first {len(pictures):,} of {total:,} images are drawn; --count draws more")
    return predictions(_seen(run, pictures), shares, run.words, captions=names, title=title)


def _seen(run: Classifier, squares: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What is scored of each square, the center crop, as (crop, crop, 3) uint8."""
    crop = run.preprocessing.crop
    return [views(stacked([square]), crop, 1)[0, 0].permute(1, 2, 0).numpy() for square in squares]


def _samples_sheet(run: Classifier, dataset: Dataset, split: str, count: int) -> Image.Image:
    """Images of a split as they come by chance, the same ones each time."""
    rows = dataset.rows(split)
    order = randomness.permutation(0, "shown images", 0, len(rows)).numpy()
    shown = rows[np.sort(order[:count])]
    shares = row_probabilities(run, dataset, shown)
    right = int((shares.argmax(1) == dataset.labels[shown]).sum())
    title = f"{run.name}: {len(shown):,} of {len(rows):,} {split} images, {right:,} right"
    return rows_sheet(run, dataset, shown, shares, title)


def _errors_sheet(
    run: Classifier,
    dataset: Dataset,
    split: str,
    count: int,
    mistaken: Callable[[Mistakes], None],
    progress: Progress | None,
) -> Image.Image:
    """Images of a split that are taken for another class, those first that give their true class least."""
    rows = dataset.rows(split)
    measured = evaluate([run], dataset, split=split, keep_probabilities=False, progress=progress)
    wrong = np.flatnonzero(measured.predicted != measured.labels)
    if not len(wrong):
        raise AlexNetError(
            f"{run.path}: not one error on the {split} images of {dataset.path}; there is nothing to draw"
        )
    shown = rows[wrong[np.argsort(measured.own[wrong], kind="stable")][:count]]
    shares, words = row_probabilities(run, dataset, shown), first_synonyms(dataset.words)
    tops = zip(shown.tolist(), shares.argmax(1).tolist(), shares.max(1).tolist())
    described = [
        Mistake(dataset.name(row), words[true], float(own[true]), words[top], share)
        for (row, top, share), own, true in zip(tops, shares, dataset.labels[shown].tolist())
    ]
    mistakes = Mistakes(split, len(rows), len(wrong), described)
    mistaken(mistakes)
    which = "all of them" if len(shown) == len(wrong) else f"the {len(shown):,} that give their true class least"
    return rows_sheet(run, dataset, shown, shares, f"{run.name}: {mistakes}; {which}")


def rows_sheet(run: Classifier, dataset: Dataset, rows: np.ndarray, shares: np.ndarray, title: str) -> Image.Image:
    """Images of a dataset by their (n,) row ids, with the bars of (n, classes) probabilities and their true classes."""
    squares, names = [dataset.image(int(row)) for row in rows], [dataset.name(int(row)) for row in rows]
    return predictions(_seen(run, squares), shares, dataset.words, dataset.labels[rows], names, title=title)
