"""Pictures with the images that are most similar to them, a line each, as the paper's Figure 4 (right) shows them."""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from alexnet.figures import style
from alexnet.figures.style import GRID, INK, OTHER, QUIET, fitted, write

SIDE, GAP, TEXT, LINE, BAR = 132, 10, 12, 16, 5  # pixels: of a picture, between them, of letters, of their lines, a bar
SAME = 1e-3  # of the median distance: what rounding makes of no distance
MOST = 10  # similar images in a line; of more there are several lines


@dataclasses.dataclass(frozen=True)
class Drawn:
    """An image beside a picture.

    Attributes:
        picture: (side, side, 3) uint8; None where it is not there any more.
        distance: from the picture; 0 is the same.
        relative: the same as a share of the median distance of two images.
        label: below it.
        name: below that, of the file.
    """

    picture: np.ndarray | None
    distance: float
    relative: float
    label: str
    name: str = ""


def neighbors(
    pictures: Sequence[tuple[str, np.ndarray]], similar: Sequence[Sequence[Drawn]], title: str, note: str
) -> Image.Image:
    """A sheet: each picture at the left, and its similar images beside it, nearest first.

    The bar below an image is its distance; one of full length is the median distance of two images.

    Args:
        pictures: names, and (side, side, 3) uint8.
        similar: of each picture the images.
        title: above the sheet.
        note: below the title.
    """
    columns = min(MOST, max(map(len, similar)))
    left, cell = SIDE + 3 * GAP, SIDE + GAP
    width = left + columns * cell + GAP
    lines = [[row[i : i + columns] for i in range(0, len(row), columns)] for row in similar]
    height = SIDE + 3 * LINE + BAR + 2 * GAP + 4
    head = [*style.wrapped(title, width - 2 * GAP, TEXT + 2), *style.wrapped(note, width - 2 * GAP, TEXT)]
    above = len(head) * (LINE + 3) + 2 * GAP
    sheet = Image.new("RGB", (width, above + sum(len(rows) for rows in lines) * height), "white")
    draw = ImageDraw.Draw(sheet)
    title_lines = len(style.wrapped(title, width - 2 * GAP, TEXT + 2))
    for number, text in enumerate(head):
        is_title = number < title_lines
        y = GAP + LINE // 2 + number * (LINE + 3)
        write(draw, text, GAP, y, TEXT + 2 if is_title else TEXT, color=INK if is_title else QUIET)
    top = above
    for (name, picture), rows in zip(pictures, lines):
        draw.line((GAP, top - GAP // 2, width - GAP, top - GAP // 2), fill=GRID)
        sheet.paste(_tile(picture), (GAP, top))
        write(draw, fitted(name, SIDE, TEXT, from_end=True), GAP, top + SIDE + LINE // 2 + 2, TEXT)
        for row in rows:
            for column, drawn in enumerate(row):
                _draw(sheet, draw, drawn, left + column * cell, top)
            top += height
    return sheet


def _draw(sheet: Image.Image, draw: ImageDraw.ImageDraw, drawn: Drawn, x: int, top: int) -> None:
    if drawn.picture is None:
        draw.rectangle((x, top, x + SIDE - 1, top + SIDE - 1), fill=GRID)
        write(draw, "not there any more", x + SIDE / 2, top + SIDE // 2, TEXT, centered=True, color=QUIET)
    else:
        sheet.paste(_tile(drawn.picture), (x, top))
    y = top + SIDE + 4
    draw.rectangle((x, y, x + SIDE - 1, y + BAR - 1), fill=GRID)
    end = x + (SIDE - 1) * min(1.0, drawn.relative)
    if drawn.relative > 0:
        draw.rectangle((x, y, max(x + 1, end), y + BAR - 1), fill=OTHER if drawn.relative > 1 else style.RIGHT)
    text = "the same" if drawn.relative < SAME else style.number(drawn.distance)
    write(draw, text, x, y + BAR + LINE // 2 + 1, TEXT)
    write(draw, fitted(drawn.label, SIDE, TEXT), x, y + BAR + LINE + LINE // 2 + 1, TEXT, color=QUIET)
    name = fitted(os.path.basename(drawn.name), SIDE, TEXT - 1, from_end=True)
    write(draw, name, x, y + BAR + 2 * LINE + LINE // 2 + 1, TEXT - 1, color=QUIET)


def _tile(picture: np.ndarray) -> Image.Image:
    large = 3 * picture.shape[0] <= SIDE
    return Image.fromarray(picture).resize(
        (SIDE, SIDE), Image.Resampling.NEAREST if large else Image.Resampling.LANCZOS
    )
