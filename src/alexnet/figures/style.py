"""Colors, fonts and files of every picture: a name is drawn as it is, in whichever font has its letters."""

import collections
import functools
import io
import itertools
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib import colors, font_manager
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from alexnet import files
from alexnet.files import kinds

if TYPE_CHECKING:  # sheets that Pillow draws need no axes of matplotlib's, which take a fifth of a second to import
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# Okabe and Ito's colors, told apart by the color-blind; RIGHT, WRONG and OTHER also by their lightness, in gray
RIGHT, WRONG, OTHER, INK, QUIET, GRID = "#00527f", "#d55e00", "#b8c4cf", "#22303c", "#5b6b7a", "#e6eaee"
LINES = (RIGHT, WRONG, "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (6, 2, 1, 2, 1, 2)))
MARKERS = "osD^vPX"
DPI = 110
TITLE = 72  # letters that fit above a curve
LARGE = 8_000_000  # pixels, from which packing them well takes longer than drawing them
ABOUT = "Description"  # in a picture's file: what it shows, where its name does not say all
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
    return short(_letters(text), length)


def _letters(text: str) -> list[str]:
    """The letters of a name on one line; one that no installed font has is its code point."""
    return [
        letter if letter.isascii() or _font_of(letter) else files.code_point(letter) for letter in files.shown(text)
    ]


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


def label(text: str, length: int) -> str:
    """A name beside a bar or at an axis: legible, its end left out where it is longer than ``length``."""
    letters = _letters(text)
    if sum(map(len, letters)) <= length:
        return "".join(letters)
    return "".join(_fitting(letters, length - 1)).rstrip() + "…"


def first_synonyms(names: Sequence[str]) -> list[str]:
    """``tench`` of ImageNet's ``tench, Tinca tinca``; the whole names of classes that are alike but for the others."""
    first = [name.split(", ")[0] or name for name in names]
    counts = collections.Counter(first)
    return [short if counts[short] == 1 else name for short, name in zip(first, names)]


def labels_of(names: Sequence[str], length: int) -> list[str]:
    """A label of each class, of its first synonym; those that would look alike are cut in the middle."""
    labels = [label(name, length) for name in first_synonyms(names)]
    counts = collections.Counter(labels)
    return [text if counts[text] == 1 else legible(name, length) for text, name in zip(labels, names)]


def percent(share: float) -> str:
    """``97.3%``; below one percent with two decimals, ``0.12%``, since with many classes that is much."""
    if 0 < share < 0.0001:
        return "<0.01%"
    return f"{100 * share:.0f}%" if share in (0, 1) else f"{100 * share:.{1 if share >= 0.01 else 2}f}%"


def number(value: float, digits: int = 3) -> str:
    """A measured number with so many digits, ``1.50`` of 1.5, so that those in a row compare; never ``1e+03``."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    whole = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if whole < -4:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{digits - 1 - whole}f}" if whole < digits else f"{value:,.0f}"


def contrast(first: str, second: str) -> float:
    """How well one color is read on another, 1 to 21: WCAG 2.2, which asks for 4.5 of text and 3 of lines."""
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: Any) -> float:
    shares = np.asarray(colors.to_rgb(color))
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def ink_on(color: Any) -> str:
    """Black or white, whichever is read better on a color; its contrast is at least 4.5."""
    return max(("black", "white"), key=lambda ink: contrast(ink, color))


def write_title(axes: "Axes", text: str, length: int = TITLE, fontsize: float = 11, **looks: Any) -> None:
    """Writes a name above a plot, cut where it is longer than so many letters or than the plot is wide."""
    words = lettering(fitted_points(axes, legible(text, length), fontsize), length)
    axes.set_title(words.pop("text"), color=INK, fontsize=fontsize, **words, **looks)


def fitted_points(axes: "Axes", text: str, points: float) -> str:
    """A legible text that begins at a plot's left edge, cut at its figure's right edge."""
    figure = axes.figure
    return fitted(text, 0.85 * figure.bbox.width, round(points * figure.dpi / 72))


def blank(width: float, height: float) -> "Figure":
    """An empty figure of so many inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def name_ticks(axis: "Axis", positions: Sequence[float], names: Sequence[str], **looks: Any) -> None:
    """Names at an axis' ticks; each is legible already, as ``label`` makes it."""
    axis.set_ticks(list(positions), labels=list(names))
    for text, name in zip(axis.get_ticklabels(), names):
        text.set(**{**lettering(name, len(name)), **looks})


def letter(texts: Iterable["Text"]) -> None:
    """Draws texts that are there, a legend's, as they are: no mathematics, and fonts that have their letters."""
    for text in texts:
        text.set(**lettering(text.get_text(), len(text.get_text())))


def say(axes: "Axes", x: float, y: float, text: str, **looks: Any) -> None:
    """Writes a text that may hold names into a plot, in shares of the plot's sides."""
    words = lettering(text, len(text))
    axes.text(x, y, words.pop("text"), transform=axes.transAxes, **{"color": INK, "fontsize": 9, **words, **looks})


def write_over(figure: "Figure", x: float, y: float, text: str, points: float, color: str) -> None:
    """Writes a text that may hold names at so many inches from a figure's lower left corner, cut at its right edge."""
    width, height = figure.get_size_inches()
    text = fitted(text, (width - 2 * x) * figure.dpi, round(points * figure.dpi / 72))
    words = lettering(text, len(text))
    figure.text(x / width, y / height, words.pop("text"), va="center", color=color, fontsize=points, **words)


def write_lines(axes: "Axes", title: str, lines: Sequence[str]) -> None:
    """Fills a plot with lines of text below a title, from its upper left corner."""
    axes.set_axis_off()
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    step = 1 / max(1, len(lines))
    for index, line in enumerate(lines):
        say(axes, 0, 1 - min(step, 0.06) * (index + 0.5), line, va="center")


def clean(axes: "Axes") -> None:
    """Takes away what a plot needs no ink for."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def text_width(text: str, size: int) -> float:
    """Pixels that a legible text takes in a picture."""
    return sum(_letter_width(letter, size) for letter in text)


@functools.lru_cache(1 << 14)
def _letter_width(letter: str, size: int) -> float:
    return _pillow_font((None if letter.isascii() else _font_of(letter)) or FONT, size).getlength(letter)


def fitted(text: str, width: float, size: int, from_end: bool = False) -> str:
    """A legible text of at most so many pixels; where it is longer, its end is left out, or its beginning."""
    letters = _letters(text)[:: -1 if from_end else 1]
    ends = np.cumsum([text_width(letter, size) for letter in letters])
    if len(letters) and ends[-1] > width:
        count = int(np.searchsorted(ends, width - text_width("…", size), side="right"))
        letters = [*letters[:count], "…"]
    return "".join(letters[:: -1 if from_end else 1])


def wrapped(text: str, width: float, size: int) -> list[str]:
    """A legible text in lines of at most so many pixels, broken between words; a word that is too long is cut."""
    lines: list[str] = []
    for word in "".join(_letters(text)).split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(fitted(word, width, size))
    return lines


def write(
    draw: ImageDraw.ImageDraw, text: str, x: float, y: int, size: int, centered: bool = False, color: str = INK
) -> None:
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
        draw.text((x, y), letters, color, font, anchor="lm")
        x += font.getlength(letters)


def save(figure: "Figure", path: str | os.PathLike) -> None:
    """Writes a figure as PNG, or as SVG where the name ends so; whole or not at all, and the same each time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a layout that is too narrow: it is drawn all the same
        if os.fspath(path).lower().endswith(".svg"):
            with matplotlib.rc_context({"svg.hashsalt": "alexnet"}):
                FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
        else:
            FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": kinds.MAKER})
    files.write_bytes(path, buffer.getvalue())


def save_image(image: Image.Image, path: str | os.PathLike) -> None:
    """Writes a picture as PNG, whole or not at all."""
    buffer = io.BytesIO()
    level = 6 if image.width * image.height < LARGE else 1
    made_by = PngInfo()
    made_by.add_text("Software", kinds.MAKER)
    if ABOUT in image.info:
        made_by.add_itxt(ABOUT, files.plain(image.info[ABOUT]))
    image.save(buffer, "PNG", compress_level=level, pnginfo=made_by)
    files.write_bytes(path, buffer.getvalue())
