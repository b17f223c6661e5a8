"""Stimuli as a study wants them seen: pixel by pixel, whole on a background, or at their size in degrees."""

import numpy as np
from PIL import Image, ImageColor

from alexnet.data import codec
from alexnet.errors import UsageError
from alexnet.evaluation.stimuli import Fit, Fitted

MOST_RATIO = 64.0  # of a canvas's side to the image's


def color(name: str) -> tuple[int, int, int]:
    """``gray`` (128, 128, 128), ``#ff8000`` or any other name of CSS as RGB. Raises ``UsageError`` for others."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise UsageError(f"--background {name}: unknown color; give a name such as gray, or #rrggbb") from error


def exact(side: int) -> Fit:
    """What feeds a file's pixels unchanged.

    Args:
        side: of what the net sees. Images of another size are refused (``UsageError``).
    """

    def fit(content: bytes | np.ndarray) -> Fitted:
        pixels = codec.decode_whole(content)
        height, width = pixels.shape[:2]
        if (height, width) != (side, side):
            raise UsageError(
                f"is {width}x{height} pixels, but the net sees {side}x{side}; resize the image, or leave out "
                "--stimuli exact"
            )
        return Fitted(pixels, f"{width}x{height}, unchanged")

    return fit


def padded(side: int, background: tuple[int, int, int]) -> Fit:
    """What shows whole images: the longer side is scaled to ``side``, and the rest is background."""

    def fit(content: bytes | np.ndarray) -> Fitted:
        pixels = codec.decode_whole(content)
        height, width = pixels.shape[:2]
        rows, columns = (max(1, round(n * side / max(height, width))) for n in (height, width))
        top, left = (side - rows) // 2, (side - columns) // 2
        canvas = np.empty((side, side, 3), np.uint8)
        canvas[:] = background
        canvas[top : top + rows, left : left + columns] = codec.resized(pixels, rows, columns)
        return Fitted(canvas, f"{width}x{height}, whole, as {columns}x{rows} on {_words(background)}")

    return fit


def on_screen(side: int, degrees: float, stimulus_degrees: float, background: tuple[int, int, int]) -> Fit:
    """What shows images at their size on a net's field of view, as Brain-Score does: ``canvas``, then scaled whole.

    Args:
        side: of what the net sees, pixels.
        degrees: that the net sees (Brain-Score's convention: 8).
        stimulus_degrees: that an image had when people or animals saw it.
        background: of the canvas.

    Raises:
        UsageError: degrees that cannot be meant.
    """
    for option, value in (("--degrees", degrees), ("--stimulus-degrees", stimulus_degrees)):
        if not 0 < value <= 180:
            raise UsageError(f"{option} {value:g}: must be above 0 and at most 180 degrees")
    ratio = degrees / stimulus_degrees
    if not 1 / MOST_RATIO <= ratio <= MOST_RATIO:
        raise UsageError(
            f"--degrees {degrees:g} and --stimulus-degrees {stimulus_degrees:g}: one is more than {MOST_RATIO:g} times "
            "the other; check both"
        )

    def fit(content: bytes | np.ndarray) -> Fitted:
        whole = codec.decode_whole(content)
        pixels = canvas(whole, ratio, background)
        (height, width), (rows, columns) = whole.shape[:2], pixels.shape[:2]
        what = "whole" if ratio == 1 else f"its center {columns}x{rows}"
        if ratio > 1:
            what = f"on a canvas of {columns}x{rows} ({_words(background)})"
        done = f"{width}x{height}, {what}, scaled to {side}x{side}"
        return Fitted(codec.resized(pixels, side, side), done)

    return fit


def canvas(pixels: np.ndarray, ratio: float, background: tuple[int, int, int]) -> np.ndarray:
    """An image in the middle of a canvas, or its middle: as Brain-Score's ``place_on_screen`` has it.

    Args:
        pixels: (H, W, 3) uint8.
        ratio: of the canvas's sides to the image's.
        background: of the canvas.

    Returns:
        (round(ratio H), round(ratio W), 3) uint8, halves rounded to even.

    Raises:
        BadImage: a canvas without a pixel, or larger than an image may be.
    """
    sides = [int(np.round(ratio * side)) for side in pixels.shape[:2]]
    if min(sides) < 1 or sides[0] * sides[1] > codec.MOST_PIXELS:
        size = "small" if min(sides) < 1 else "large"
        raise codec.BadImage(f"its canvas would be too {size}: {sides[1]:,}x{sides[0]:,} pixels; check --degrees")
    if ratio >= 1:
        top, left = (int(np.round((side - own) / 2)) for side, own in zip(sides, pixels.shape[:2]))
        screen = np.empty((*sides, 3), np.uint8)
        screen[:] = background
        screen[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return screen
    top, left = (int(np.round((own - side) / 2)) for side, own in zip(sides, pixels.shape[:2]))
    return np.asarray(Image.fromarray(pixels).crop((left, top, left + sides[1], top + sides[0])))


def _words(background: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*background)
