"""A unit on a sheet: images that drive it most, an image made for it, its tuning over classes; all units of a layer."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from alexnet.figures import style
from alexnet.figures.style import GRID, INK, OTHER, QUIET, RIGHT, WRONG, fitted, write
from alexnet.figures.tiles import draw_tiles, height_of, tile

WIDTH, MARGIN, TEXT, HEAD, LINE = 1200, 24, 13, 16, 18
SIDE, COLUMNS = 150, 3  # of the strongest images
MADE, FILTER = 320, 88  # sides of the image that was made, of a filter
BARS = 16  # classes


@dataclasses.dataclass(frozen=True)
class Unit:
    """What is known of a unit.

    Attributes:
        name: ``conv5:17``.
        facts: lines about it.
        pictures: the parts of the strongest images that it sees, (side, side, 3) uint8 each.
        captions: the response to each and the image's class, and its name.
        made: (side, side, 3) uint8, what it sees of the image made for it.
        response: to that image.
        strongest: its largest response to an image of the dataset.
        means: (classes,) the mean response to each class's images.
        words: what people call the classes.
        filter: (side, side, 3) uint8, its weights as colors, of a layer that sees colors.
    """

    name: str
    facts: Sequence[str]
    pictures: Sequence[np.ndarray]
    captions: Sequence[Sequence[str]]
    made: np.ndarray
    response: float
    strongest: float
    means: np.ndarray
    words: Sequence[str]
    filter: np.ndarray | None = None


def unit_sheet(unit: Unit, title: str) -> Image.Image:
    """The nine strongest images, the image that was made, and the mean response to the classes."""
    top = MARGIN + 2 * LINE + LINE * len(unit.facts)
    height = top + 2 * LINE + max(height_of(len(unit.pictures), COLUMNS, SIDE, 2), MADE + 6 * LINE) + MARGIN
    sheet = Image.new("RGB", (WIDTH, height), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, fitted(title, WIDTH - 2 * MARGIN, HEAD + 2), MARGIN, MARGIN, HEAD + 2)
    for number, line in enumerate(unit.facts):
        write(draw, fitted(line, WIDTH - 2 * MARGIN, TEXT), MARGIN, MARGIN + (number + 1) * LINE + 8, TEXT, color=QUIET)
    write(draw, "the images that drive it most, as far as it sees them", MARGIN, top, TEXT + 1)
    draw_tiles(sheet, unit.pictures, unit.captions, (MARGIN, top + LINE), COLUMNS, SIDE)
    left = 2 * MARGIN + COLUMNS * (SIDE + 6)
    write(draw, "an image made for it, cut in the same way", left, top, TEXT + 1)
    sheet.paste(tile(unit.made, MADE), (left, top + LINE))
    y = top + LINE + MADE + LINE
    for line in style.wrapped(_about_made(unit), MADE, TEXT):
        write(draw, line, left, y, TEXT, color=QUIET)
        y += LINE
    if unit.filter is not None:
        sheet.paste(tile(unit.filter, FILTER), (left, y))
        text = "its filter: the weights of each pixel's red, green and blue; gray is 0"
        for number, line in enumerate(style.wrapped(text, MADE - FILTER - 10, TEXT)):
            write(draw, line, left + FILTER + 10, y + (number + 1) * LINE, TEXT, color=QUIET)
    left += MADE + MARGIN
    _draw_tuning(draw, unit, left, top, WIDTH - MARGIN - left)
    return sheet


def _about_made(unit: Unit) -> str:
    times = f", {unit.response / unit.strongest:.1f} times the strongest above" if unit.strongest > 0 else ""
    return (
        f"{len(unit.made)}x{len(unit.made)} pixels, by gradient ascent from noise, before the activation function. The"
        f" response is {style.number(unit.response)}{times}. It shows one thing that drives the unit, far from any"
        " photo."
    )


def _draw_tuning(draw: ImageDraw.ImageDraw, unit: Unit, left: int, top: int, width: int) -> None:
    """Bars of the classes with the largest mean response, from 0; the mean over all classes as a line."""
    names = style.first_synonyms(unit.words)
    measured = np.flatnonzero(~np.isnan(unit.means))
    order = measured[np.argsort(-unit.means[measured], kind="stable")][:BARS]
    more = f", the first {len(order)} of {len(measured):,}" if len(measured) > len(order) else ""
    write(draw, f"mean response by class{more}", left, top, TEXT + 1)
    values = unit.means[order]
    low, high = min(0.0, float(values.min(initial=0))), max(0.0, float(values.max(initial=0)))
    span = (high - low) or 1.0
    zero = left + width * -low / span
    mean = float(unit.means[measured].mean()) if len(measured) else 0.0
    line = left + width * (mean - low) / span
    y = top + LINE + 6
    for index, value in zip(order.tolist(), values.tolist()):
        number = style.number(value)
        room = width - style.text_width(number, TEXT) - TEXT
        write(draw, fitted(names[index], room, TEXT), left, y, TEXT)
        write(draw, number, left + width - style.text_width(number, TEXT), y, TEXT)
        draw.rectangle((left, y + 10, left + width, y + 15), fill=GRID)
        end = left + width * (value - low) / span
        draw.rectangle((min(zero, end), y + 10, max(zero, end), y + 15), fill=RIGHT if value > 0 else OTHER)
        for x, color in ((zero, INK), (line, WRONG)):
            if left <= x <= left + width:
                draw.line((x, y + 8, x, y + 17), fill=color)
        y += 30
    text = f"Black: 0. Orange: the mean over all classes, {style.number(mean)}."
    for words in style.wrapped(text, width, TEXT):
        write(draw, words, left, y, TEXT, color=QUIET)
        y += LINE


def layer_sheet(
    pictures: Sequence[np.ndarray], captions: Sequence[Sequence[str]], title: str, note: str, side: int = 72
) -> Image.Image:
    """All units of a layer, or some at even distances: of each what it sees of its strongest image.

    Args:
        pictures: (height, height, 3) uint8 each.
        captions: the unit's number and its response.
        title, note: above them.
        side: of a tile, pixels.
    """
    columns = min(16, max(4, len(pictures)))
    width = 2 * MARGIN + columns * (side + 6)
    lines = style.wrapped(note, width - 2 * MARGIN, TEXT)
    top = MARGIN + LINE * (len(lines) + 1) + 8
    lines_below = max((len(caption) for caption in captions), default=1)
    sheet = Image.new("RGB", (width, top + height_of(len(pictures), columns, side, lines_below) + MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, fitted(title, width - 2 * MARGIN, HEAD), MARGIN, MARGIN, HEAD)
    for number, line in enumerate(lines):
        write(draw, line, MARGIN, MARGIN + (number + 1) * LINE + 6, TEXT, color=QUIET)
    draw_tiles(sheet, pictures, captions, (MARGIN, top), columns, side)
    return sheet
