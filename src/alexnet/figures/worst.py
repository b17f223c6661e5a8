"""What ``alexnet show --worst`` draws: the images that a net is most wrong about, and where it looked."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import nn

from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.outputs import Progress, class_places, row_probabilities
from alexnet.figures import heat, style
from alexnet.figures.dataset import dataset_of, split_of
from alexnet.figures.place import Place, named_picture
from alexnet.figures.predictions import CROSS, TICK
from alexnet.figures.style import GRID, OTHER, QUIET, RIGHT, WRONG, fitted, write
from alexnet.inside.attributions import grad_cam
from alexnet.inside.look import as_seen, center, class_index, last_maps
from alexnet.inside.plain import plain
from alexnet.runs.checkpoint import AnyCheckpoint

MOST = 200  # images on a sheet
SIDE, GAP, MARGIN, TEXT, LINE = 150, 6, 20, 12, 16  # pixels
BARS, SHOWN = 210, 4  # width of the bars, classes
CELL = 3 * (SIDE + GAP) + BARS + MARGIN
HEIGHT = 2 * LINE + SIDE + 2 * GAP


def show_worst(
    path: str | os.PathLike,
    count: int,
    *,
    label: str | None = None,
    output: str | os.PathLike | None = None,
    dataset: Dataset | str | os.PathLike | None = None,
    split: str | None = None,
    checkpoint: AnyCheckpoint = "last",
    device: torch.device | str = "cpu",
    wrote: Callable[[Path | str], None] = lambda path: None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Draws ``worst.png``, or ``worst-CLASS.png``: the images of a split that give their true class least.

    Beside each is Grad-CAM for the true class and for the most probable of the others, which is the prediction where
    that is wrong.

    Args:
        path: the run's folder.
        count: images.
        label: only images of this class; of all if not given.
        output: folder to write to; the run's if not given.
        dataset: whose images; the one that the run was trained on if not given.
        split: of it; ``val`` if not given.
        checkpoint, device: as for ``load``.
        wrote: called with the picture when it is written.
        progress: called with images done and images in all.

    Returns:
        The images in numbers, for JSON.

    Raises:
        UsageError: no such run, class, dataset or split; no image of the class; a file that may not be written.
    """
    run = load(path, checkpoint, device)
    word = None if label is None else style.first_synonyms(run.words)[class_index(run, label)]
    picture = named_picture("worst", word)
    layer, place = last_maps(run), Place.of(path, output, [picture])
    opened = dataset_of(run, dataset)
    split = split_of(opened, split)
    of_class = None if label is None else _label(run, opened, label)
    measured = evaluate([run], opened, split=split, keep_probabilities=False, progress=progress)
    chosen = np.arange(len(measured.rows)) if of_class is None else np.flatnonzero(measured.labels == of_class)
    if not len(chosen):
        raise UsageError(f"--class {label}: {opened.path} has no {split} images of it")
    rows = measured.rows[chosen[np.argsort(measured.own[chosen], kind="stable")][:count]]
    shares, labels = row_probabilities(run, opened, rows), opened.labels[rows]
    columns = class_places(run, opened) or list(range(len(run.classes)))
    names = [opened.name(int(row)) for row in rows]
    words = style.first_synonyms(opened.words)
    which = f"{len(chosen):,} {split} images" + (f" of “{words[of_class]}”" if of_class is not None else "")
    wrong = int((shares.argmax(1) != labels).sum())
    how_many = "all of them wrong" if wrong == len(rows) else f"{wrong:,} of them wrong"
    title = f"{run.name}: the {len(rows):,} of {which} that give their true class least, {how_many}"
    cells, copied = [], plain(run.net, run.preprocessing.crop)
    for row, share, true in zip(rows.tolist(), shares, labels.tolist()):
        cells.append(_looked(run, copied, opened.image(row), layer, columns[_rival(share, true)], columns[true]))
    place.write({picture: _sheet(cells, shares, labels, names, words, title, layer)}, wrote)
    return {
        "images": [
            {
                "image": name,
                "true_class": opened.words[true],
                "true_class_probability": float(share[true]),
                "prediction": opened.words[int(share.argmax())],
                "probability": float(share.max()),
            }
            for name, share, true in zip(names, shares, labels.tolist())
        ]
    }


def _label(run: Classifier, dataset: Dataset, label: str) -> int:
    """Which of a dataset's classes has a name."""
    index = class_index(run, label)
    columns = class_places(run, dataset)
    if columns is not None and index not in columns:
        raise UsageError(f"--class {label}: is no class of {dataset.path}")
    return index if columns is None else columns.index(index)


def _rival(share: np.ndarray, true: int) -> int:
    """The most probable class that is not the true one; of a net of one class, that."""
    order = np.argsort(-share, kind="stable")
    return int(order[0] if order[0] != true or len(order) == 1 else order[1])


def _looked(
    run: Classifier, copied: nn.Sequential, square: np.ndarray, layer: str, rival: int, true: int
) -> list[Image.Image]:  # fmt: skip
    """What the net sees, and over it Grad-CAM for the most probable wrong class and for the true one."""
    crop = center(run, square)
    image, seen = as_seen(run, crop), crop[0].permute(1, 2, 0).numpy()
    maps = [grad_cam(copied, layer, image, index).cpu().numpy() for index in (rival, true)]
    full = max(float(values.max()) for values in maps) or 1.0  # one scale, so that both can be compared
    drawn = [heat.over(seen, heat.enlarged(values, run.preprocessing.crop), full) for values in maps]
    return [picture.resize((SIDE, SIDE)) for picture in (Image.fromarray(seen.copy()), *drawn)]


def _sheet(
    cells: Sequence[Sequence[Image.Image]],
    shares: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    words: Sequence[str],
    title: str,
    layer: str,
) -> Image.Image:
    """Two images in a row: photo, where the prediction is from, where the true class would be, the bars."""
    columns = min(2, len(cells))
    width = MARGIN + max(columns, 1) * CELL
    note = (
        f"Of each image: what the net sees; Grad-CAM at {layer} for the most probable wrong class; the same for the"
        " true class, on the same scale (orange: speaks for the class; gray: nothing does). The bars are probabilities."
    )
    head = [*style.wrapped(title, width - 2 * MARGIN, TEXT + 3), *style.wrapped(note, width - 2 * MARGIN, TEXT)]
    top = MARGIN + len(head) * (LINE + 3)
    sheet = Image.new("RGB", (width, top + -(-len(cells) // columns) * HEIGHT + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(head):
        first = number < len(head) - len(style.wrapped(note, width - 2 * MARGIN, TEXT))
        size, color = (TEXT + 3, style.INK) if first else (TEXT, QUIET)
        write(draw, line, MARGIN, MARGIN + number * (LINE + 3), size, color=color)
    for number, (pictures, share, true, name) in enumerate(zip(cells, shares, labels.tolist(), names)):
        corner = MARGIN + number % columns * CELL, top + number // columns * HEIGHT
        _draw_cell(sheet, pictures, share, true, name, words, corner)
    return sheet


def _draw_cell(
    sheet: Image.Image,
    pictures: Sequence[Image.Image],
    share: np.ndarray,
    true: int,
    name: str,
    words: Sequence[str],
    corner: tuple[int, int],
) -> None:
    """An image with its true class and its file's name above, what each picture is below."""
    draw, (left, top) = ImageDraw.Draw(sheet), corner
    truth = f"{TICK if int(share.argmax()) == true else CROSS} true: {words[true]}, {style.percent(float(share[true]))}"
    write(draw, fitted(truth, 2 * SIDE, TEXT + 1), left, top + LINE // 2, TEXT + 1)
    file = fitted(name, SIDE + BARS, TEXT - 1, from_end=True)
    write(draw, file, left + 2 * (SIDE + GAP), top + LINE // 2, TEXT - 1, color=QUIET)
    below = ("what the net sees", f"for {words[_rival(share, true)]}", f"for {words[true]}")
    for column, (picture, text) in enumerate(zip(pictures, below)):
        x = left + column * (SIDE + GAP)
        sheet.paste(picture, (x, top + LINE + GAP))
        write(draw, fitted(text, SIDE, TEXT - 1), x, top + LINE + GAP + SIDE + LINE // 2, TEXT - 1, color=QUIET)
    _draw_bars(draw, share, true, words, left + 3 * (SIDE + GAP) + GAP, top + LINE + GAP)


def _draw_bars(
    draw: ImageDraw.ImageDraw, share: np.ndarray, true: int, words: Sequence[str], left: int, top: int
) -> None:
    """The most probable classes."""
    width = BARS - GAP
    order: list[int] = np.argsort(-share, kind="stable")[:SHOWN].tolist()
    for rank, index in enumerate(order):
        value, y = float(share[index]), top + 8 + rank * 34
        number = style.percent(value)
        room = width - style.text_width(number, TEXT) - TEXT
        write(draw, fitted(words[index], room, TEXT), left, y, TEXT)
        write(draw, number, left + width - style.text_width(number, TEXT), y, TEXT)
        draw.rectangle((left, y + 10, left + width, y + 16), fill=GRID)
        color = RIGHT if index == true else WRONG if rank == 0 else OTHER
        draw.rectangle((left, y + 10, left + width * value, y + 16), fill=color)
