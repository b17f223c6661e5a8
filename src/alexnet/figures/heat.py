"""Maps as colors: signed ones, ones over a photo, activations, and the bars that say their scale."""

import numpy as np
from matplotlib import colormaps, colors
from PIL import Image, ImageDraw

from alexnet.figures.style import INK, OTHER, QUIET, RIGHT, WRONG, text_width, write

# Blue lowers, orange raises: told apart by the color-blind
SIGNED = colors.LinearSegmentedColormap.from_list("signed", ["#00253a", RIGHT, "#ffffff", WRONG, "#6a2f00"])
STRENGTH = colormaps["viridis"]
COVER = 0.85  # of a photo by the strongest color over it
TEXT = 12


def signed(values: np.ndarray, full: float) -> Image.Image:
    """A map as an image of its own size: white is 0, orange ``full``, blue minus ``full``.

    Args:
        values: (rows, columns) float.
        full: above 0; what lies beyond has the last color.
    """
    return _image(SIGNED(0.5 + 0.5 * np.clip(values / full, -1, 1))[..., :3])


def strength(values: np.ndarray, full: float) -> Image.Image:
    """A map of activations as an image of its own size: from dark, 0, to yellow, ``full``."""
    return _image(STRENGTH(np.clip(values / full, 0, 1))[..., :3])


def over(photo: np.ndarray, values: np.ndarray, full: float) -> Image.Image:
    """A photo in gray under a map's colors, the stronger the less of it shows: orange above 0, blue below.

    Args:
        photo: (height, width, 3) uint8.
        values: (height, width) float.
        full: above 0.
    """
    gray = 0.35 + 0.6 * (photo @ np.array([0.299, 0.587, 0.114]) / 255)[..., None]
    shares = np.clip(values / full, -1, 1)[..., None]
    color = np.where(shares > 0, colors.to_rgb(WRONG), colors.to_rgb(RIGHT))
    cover = COVER * np.abs(shares)
    return _image(gray * (1 - cover) + color * cover)


def enlarged(values: np.ndarray, side: int) -> np.ndarray:
    """A square map at (side, side) pixels, smooth between its points."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))


def scale_bar(draw: ImageDraw.ImageDraw, box: tuple[int, int, int], low: str, high: str, both: bool) -> None:
    """A bar of colors with what its ends stand for below.

    Args:
        draw: on a sheet.
        box: left, top, right, pixels.
        low, high: at its ends.
        both: whether it goes from blue over white to orange, or from white to orange.
    """
    left, top, right = box
    for x in range(left, right):
        share = (x - left) / (right - left - 1)
        color = SIGNED(share) if both else SIGNED(0.5 + 0.5 * share)
        draw.line((x, top, x, top + 8), fill=colors.to_hex(color))
    draw.rectangle((left - 1, top - 1, right, top + 9), outline=OTHER)
    write(draw, low, left, top + 19, TEXT, color=QUIET)
    write(draw, high, right - text_width(high, TEXT), top + 19, TEXT, color=QUIET)
    if both:
        write(draw, "0", (left + right) / 2, top + 19, TEXT, centered=True, color=INK)


def _image(shares: np.ndarray) -> Image.Image:
    return Image.fromarray((255 * shares).round().astype(np.uint8))
