"""Images of a data set beside each other, a labeled row for each class."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from alexnet.data.stored import StoredDataset
from alexnet.figures import style
from alexnet.figures.style import INK, QUIET, fitted, write
from alexnet.progress import plural

ROWS, LINES = 24, 8  # classes at most; lines at least, so that of few classes more images are shown
GAP, TEXT, NAME = 3, 14, 180  # pixels: between images, a letter's size, a name's room


def contact_sheet(dataset: StoredDataset, columns: int = 10, rows: int = ROWS, side: int = 88) -> Image.Image:
    """A picture of images of the dataset: a row for each class, or several of few classes; its name at the left.

    Args:
        dataset: any.
        columns: images in a line, spread evenly over the class's images of all splits.
        rows: classes at most; of more, as many are taken at even distances, and how many is said above.
        side: of each image, pixels.
    """
    classes = spread(len(dataset.classes), rows)
    lines = max(1, LINES // max(1, len(classes)))
    names, order, starts = style.first_synonyms(dataset.words), *_by_class(dataset)
    sizes = np.diff(starts)
    columns = min(columns, max(1, int(sizes.max(initial=0))))
    head = style.wrapped(_title(dataset, len(classes)), NAME + columns * (side + GAP) - 2 * GAP, TEXT)
    above = len(head) * (TEXT + 6) + 2 * GAP
    counts = [min(-(-int(sizes[index]) // columns), lines) or 1 for index in classes]  # lines of each class
    size = (NAME + columns * (side + GAP) + GAP, above + sum(counts) * (side + GAP) + GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, line in enumerate(head):
        write(draw, line, GAP, GAP + (TEXT + 6) * number + TEXT // 2 + 2, TEXT)
    top = above
    for index, count in zip(classes, counts):
        images = order[starts[index] : starts[index + 1]]
        middle = top + side // 2
        write(draw, fitted(names[index], NAME - 3 * GAP, TEXT), GAP, middle - TEXT // 2 - 1, TEXT, color=INK)
        write(draw, plural(len(images), "image"), GAP, middle + TEXT // 2 + 2, TEXT - 2, color=QUIET)
        for position, row in enumerate(images[spread(len(images), columns * count)]):
            left = NAME + position % columns * (side + GAP)
            sheet.paste(_tile(dataset.image(int(row)), side), (left, top + position // columns * (side + GAP)))
        top += count * (side + GAP)
    return sheet


def spread(count: int, most: int) -> Sequence[int]:
    """At most so many of ``count`` numbers from 0, at even distances, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist() if count else []


def _by_class(dataset: StoredDataset) -> tuple[np.ndarray, np.ndarray]:
    """Row ids in the order of their classes, and where each class begins in them."""
    order = np.argsort(dataset.labels, kind="stable")
    return order, np.searchsorted(dataset.labels[order], np.arange(len(dataset.classes) + 1))


def _title(dataset: StoredDataset, shown: int) -> str:
    classes = len(dataset.classes)
    splits = ", ".join(f"{count:,} {split}" for split, count in dataset.splits.items())
    part = f"; {shown:,} of the classes are shown" if shown < classes else ""
    return f"{dataset.path}: {splits} images of {plural(classes, 'class', 'classes')}{part}"


def _tile(picture: np.ndarray, side: int) -> Image.Image:
    smaller = picture.shape[0] < side
    return Image.fromarray(picture).resize((side, side), Image.Resampling.NEAREST if smaller else Image.Resampling.BOX)
