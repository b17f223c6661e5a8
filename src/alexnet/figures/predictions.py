"""Images with the bars of their most probable classes, as the paper's Figure 4 shows them."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from alexnet.figures import style
from alexnet.figures.style import GRID, OTHER, QUIET, RIGHT, WRONG, fitted, write

TICK, CROSS = "✓", "✗"
LARGE = 200  # pictures, from which a sheet is drawn smaller
SHOWN = 5  # classes below a picture


@dataclasses.dataclass(frozen=True)
class Cell:
    """Where the parts of a picture's place on the sheet are, in pixels from its upper left corner.

    Args:
        scale: of all sizes.
        has_name: whether the picture's name stands above it.
        has_truth: whether its true class does.
        bars: classes below it.
    """

    scale: float
    has_name: bool
    has_truth: bool
    bars: int

    def _scaled(self, length: float) -> int:
        return round(self.scale * length)

    @property
    def width(self) -> int:
        """Of the whole cell."""
        return self._scaled(276)

    @property
    def side(self) -> int:
        """Of the square picture."""
        return self._scaled(228)

    @property
    def margin(self) -> int:
        """Left and right of the picture and of what is written."""
        return (self.width - self.side) // 2

    @property
    def text(self) -> int:
        """Letters' size."""
        return self._scaled(13)

    @property
    def line(self) -> int:
        """Height of a line of text."""
        return self._scaled(17)

    @property
    def row(self) -> int:
        """Height of a class with its bar."""
        return self._scaled(28)

    @property
    def bar(self) -> int:
        """A bar's height."""
        return self._scaled(6)

    @property
    def below(self) -> int:
        """From the middle of a class's name to its bar, which the tails of letters do not reach."""
        return self.line // 2 + self._scaled(2)

    @property
    def top(self) -> int:
        """Where the picture begins."""
        return self._scaled(6) + (self.has_name + self.has_truth) * self.line

    @property
    def height(self) -> int:
        """Of the whole cell."""
        return self.top + self.side + self._scaled(6) + self.bars * self.row + self._scaled(10)


def predictions(
    pictures: Sequence[np.ndarray],
    shares: np.ndarray,
    classes: list[str],
    labels: Sequence[int] | np.ndarray | None = None,
    captions: list[str] | None = None,
    columns: int | None = None,
    title: str = "",
) -> Image.Image:
    """Images with the bars of their five most probable classes (paper Figure 4, left), on one sheet.

    Numbers stand beside the classes' names; all bars are of one scale, which is said above, as are the colors: the true
    class also has a tick, a wrong prediction a cross, and their colors differ in lightness.

    Args:
        pictures: (H, W, 3) uint8 each.
        shares: (n, classes) probabilities.
        classes: their names, ``tench, Tinca tinca``; the first synonym is drawn.
        labels: true classes, named above each picture.
        captions: the pictures' names, written above them.
        columns: 4, or more where there are more than 32 pictures.
        title: above the sheet.
    """
    count, names = len(pictures), style.first_synonyms(classes)
    cell = Cell(1.0 if count <= LARGE else 0.7, captions is not None, labels is not None, min(SHOWN, len(classes)))
    columns = columns or (4 if count <= 32 else math.ceil(math.sqrt(count * cell.height / cell.width)))
    columns = min(columns, max(1, count))
    full = scale_of(shares)
    legend = legend_of(full, labels is not None)
    head_room = columns * cell.width - 2 * cell.margin
    head = style.wrapped(title, head_room, cell.text + 2) if title else []
    items = _flowed(legend, head_room, cell.text)
    above = (len(head) + len(items)) * (cell.line + 3) + cell.bar
    sheet = Image.new("RGB", (columns * cell.width, above + -(-count // columns) * cell.height), "white")
    draw = ImageDraw.Draw(sheet)
    _write_head(draw, cell, head, items)
    for i, picture in enumerate(pictures):
        left, top = i % columns * cell.width, above + i // columns * cell.height
        true = None if labels is None else int(labels[i])
        tile = Image.fromarray(picture).resize((cell.side, cell.side), _filter_for(picture, cell.side))
        sheet.paste(tile, (left + cell.margin, top + cell.top))
        _write_names(draw, cell, left, top, captions[i] if captions else None, _truth(shares[i], true, names))
        _draw_bars(draw, cell, left, top + cell.top + cell.side, shares[i], true, names, full)
    return sheet


def scale_of(shares: np.ndarray) -> float:
    """The probability of a bar of full length: 1, or 1, 2 or 5 times a power of ten where all are well below."""
    largest = float(np.max(shares, initial=0.0))
    if not 0 < largest < 0.5:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in (1, 2, 5, 10) if largest <= step * power * (1 + 1e-9))


def legend_of(full: float, has_truth: bool) -> list[tuple[str, str]]:
    """Colors and what they say; an empty color is a text alone."""
    scale = ("", f"bar of full length: {100 * full:g}%")
    if not has_truth:
        return [scale]
    return [(RIGHT, f"{TICK} true class"), (WRONG, f"{CROSS} wrong prediction"), (OTHER, "others"), scale]


def _filter_for(picture: np.ndarray, side: int) -> Image.Resampling:
    """Small images show their pixels as the net saw them."""
    return Image.Resampling.NEAREST if side >= 3 * picture.shape[0] else Image.Resampling.LANCZOS


def _flowed(legend: list[tuple[str, str]], width: float, size: int) -> list[list[tuple[float, str, str]]]:
    """The legend's entries by lines that fit a width: where each begins, its color and its text."""
    lines: list[list[tuple[float, str, str]]] = [[]]
    x = 0.0
    for color, text in legend:
        text = fitted(text, width - size, size)
        length = style.text_width(text, size) + (1.4 * size if color else 0)
        if lines[-1] and x + length > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, color, text))
        x += length + 1.8 * size
    return lines


def _write_head(
    draw: ImageDraw.ImageDraw, cell: Cell, head: Sequence[str], items: Sequence[Sequence[tuple[float, str, str]]]
) -> None:
    y = cell.bar + cell.line // 2
    for line in head:
        write(draw, line, cell.margin, y, cell.text + 2)
        y += cell.line + 3
    for line in items:
        for x, color, text in line:
            left = cell.margin + x
            if color:
                half = 0.4 * cell.text
                draw.rectangle((left, y - half, left + 2 * half, y + half), fill=color)
                left += 1.4 * cell.text
            write(draw, text, left, y, cell.text)
        y += cell.line + 3


def _truth(shares: np.ndarray, true: int | None, names: Sequence[str]) -> tuple[str, str]:
    """What stands above a picture of a known class: tick or cross, the class, its probability if it has no bar."""
    if true is None:
        return "", ""
    top = np.argsort(-shares, kind="stable")[:SHOWN]
    mark = TICK if top[0] == true else CROSS
    return f"{mark} true: {names[true]}", "" if true in top else style.percent(float(shares[true]))


def _write_names(
    draw: ImageDraw.ImageDraw, cell: Cell, left: int, top: int, caption: str | None, truth: tuple[str, str]
) -> None:
    y = top + cell.bar + cell.line // 2 - 2
    x = left + cell.margin
    if caption is not None:
        size = cell.text - 1
        write(draw, fitted(caption, cell.side, size, from_end=True), x, y, size, color=QUIET)
        y += cell.line
    if truth[0]:
        text, share = truth
        taken = style.text_width(f"  {share}", cell.text) if share else 0.0
        write(draw, fitted(text, cell.side - taken, cell.text) + (f"  {share}" if share else ""), x, y, cell.text)


def _draw_bars(
    draw: ImageDraw.ImageDraw,
    cell: Cell,
    left: int,
    top: int,
    shares: np.ndarray,
    true: int | None,
    names: list[str],
    full: float,
) -> None:
    """A line for each of the most probable classes: mark and name, the number at the right, the bar below."""
    x, right = left + cell.margin, left + cell.margin + cell.side
    for rank, index in enumerate(np.argsort(-shares, kind="stable")[: cell.bars].tolist()):
        share = float(shares[index])
        wrong = rank == 0 and true is not None and index != true
        color = QUIET if true is None else RIGHT if index == true else WRONG if wrong else OTHER
        mark = f"{TICK} " if index == true else f"{CROSS} " if wrong else ""
        number = style.percent(share)
        length = style.text_width(number, cell.text)
        middle = top + cell.bar + rank * cell.row + cell.line // 2
        write(draw, fitted(mark + names[index], cell.side - length - cell.text, cell.text), x, middle, cell.text)
        write(draw, number, right - length, middle, cell.text)
        y = middle + cell.below
        draw.rectangle((x, y, right, y + cell.bar - 2), fill=GRID)
        end = x + (right - x) * min(1.0, share / full)
        if share > 0:
            draw.rectangle((x, y, max(x, end), y + cell.bar - 2), fill=color)
