"""Colors, fonts and files of every picture: a name is drawn as it is, in whichever font has its letters."""

import functools
import io
import itertools
import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from alexnet import files

RIGHT, WRONG, OTHER, INK = "#2a7f62", "#c8553d", "#b8c4cf", "#22303c"
TITLE = 72  # letters that fit above a curve
LARGE = 8_000_000  # pixels, from which packing them well takes longer than drawing them
FONT = "DejaVu Sans"  # comes with matplotlib


@functools.cache
def _fonts() -> dict[str, tuple[str, frozenset[int]]]:
    """The file and the letters of each installed font that can be drawn at any size; matplotlib's own first."""
    names = {entry.name for entry in font_manager.fontManager.ttflist}
    plain = {name for name in names if not name.startswith(("DejaVu", "Last Resort", "cm", "STIX"))}
    fonts = {}
    for name in [FONT, *sorted(plain, key=lambda name: ("CJK" not in name, name))]:
        try:
            path = font_manager.findfont(font_manager.FontProperties(family=name), fallback_to_default=False)
            font = font_manager.get_font(path)
        except (OSError, RuntimeError, ValueError):  # a broken font
            continue
        if font.scalable:
            fonts[name] = path, frozenset(font.get_charmap())
    return fonts


@functools.cache
def _font_of(letter: str) -> str | None:
    """An installed font that has a letter, or None."""
    return next((name for name, (_, letters) in _fonts().items() if ord(letter) in letters), None)


@functools.cache
def _pillow_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_fonts()[name][0], size, layout_engine=ImageFont.Layout.BASIC)


def legible(text: str, length: int) -> str:
    """A name for a picture: on one line, cut in the middle, by code points what no installed font has."""
    letters = [
        letter if letter.isascii() or _font_of(letter) else files.code_point(letter) for letter in files.shown(text)
    ]
    return short(letters, length)


def short(letters: Sequence[str], length: int) -> str:
    """A text, its middle left out where it is longer than ``length``; no letter that takes several is cut."""
    if sum(map(len, letters)) <= length:
        return "".join(letters)
    head, tail = _fitting(letters, length // 2), _fitting(letters[::-1], length - length // 2 - 1)
    return "".join([*head, "…", *tail[::-1]])


def _fitting(letters: Sequence[str], length: int) -> Sequence[str]:
    """The first letters that are no longer than ``length`` in all."""
    widths = np.cumsum([len(letter) for letter in letters[: length + 1]])
    return letters[: int(np.searchsorted(widths, length, side="right"))]


def lettering(text: str, length: int) -> dict[str, Any]:
    """Keywords that make matplotlib write a name as it is: no mathematics, no TeX, and fonts that have its letters."""
    text = legible(text, length)
    fonts = dict.fromkeys([FONT, *(_font_of(letter) or FONT for letter in text if not letter.isascii())])
    return {"text": text, "family": list(fonts), "parse_math": False, "usetex": False}


def write_title(axes: Axes, text: str, length: int = TITLE, **looks: Any) -> None:
    """Writes a name above a plot."""
    words = lettering(text, length)
    axes.set_title(words.pop("text"), color=INK, **words, **looks)


def clean(axes: Axes) -> None:
    """Takes away what a plot needs no ink for."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def write(draw: ImageDraw.ImageDraw, text: str, x: float, y: int, size: int, centered: bool = False) -> None:
    """Writes a legible text, its middle at a height; each stretch of it in a font that has its letters."""
    stretches = [
        (_pillow_font(font, size), "".join(letters))
        for font, letters in itertools.groupby(
            text, lambda letter: FONT if letter.isascii() else _font_of(letter) or FONT
        )
    ]
    if centered:
        x -= sum(font.getlength(letters) for font, letters in stretches) / 2
    for font, letters in stretches:
        draw.text((x, y), letters, INK, font, anchor="lm")
        x += font.getlength(letters)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a layout that is too narrow: it is drawn all the same
        FigureCanvasAgg(figure).print_png(buffer)
    files.write_bytes(path, buffer.getvalue())


def save_image(image: Image.Image, path: str | os.PathLike) -> None:
    """Writes a picture as PNG, whole or not at all."""
    buffer = io.BytesIO()
    level = 6 if image.width * image.height < LARGE else 1
    image.save(buffer, "PNG", compress_level=level)
    files.write_bytes(path, buffer.getvalue())
