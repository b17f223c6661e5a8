"""Square pieces of images side by side, each with a line or two below."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from alexnet.figures.style import INK, QUIET, fitted, write

GAP, LINE = 6, 15  # pixels
ENLARGED = 3  # times, from which on pixels stay squares


def tile(picture: np.ndarray, side: int) -> Image.Image:
    """A square picture at so many pixels; of a small one its pixels are seen."""
    how = Image.Resampling.NEAREST if side >= ENLARGED * len(picture) else Image.Resampling.LANCZOS
    return Image.fromarray(np.ascontiguousarray(picture)).resize((side, side), how)


def height_of(count: int, columns: int, side: int, lines: int) -> int:
    """Pixels that ``draw_tiles`` takes."""
    return -(-count // columns) * (side + lines * LINE + GAP)


def draw_tiles(
    sheet: Image.Image,
    pictures: Sequence[np.ndarray],
    captions: Sequence[Sequence[str]],
    corner: tuple[int, int],
    columns: int,
    side: int,
) -> None:
    """Draws pictures row by row.

    Args:
        sheet: to draw on.
        pictures: (height, height, 3) uint8 each.
        captions: as many lines for each; where one is too long, the first loses its end, the others (paths)
            their beginning.
        corner: left and top, pixels.
        columns: in a row.
        side: of a tile, pixels.
    """
    draw, size = ImageDraw.Draw(sheet), 11
    lines = max((len(caption) for caption in captions), default=0)
    for number, (picture, caption) in enumerate(zip(pictures, captions)):
        left = corner[0] + number % columns * (side + GAP)
        top = corner[1] + number // columns * (side + lines * LINE + GAP)
        sheet.paste(tile(picture, side), (left, top))
        for line, text in enumerate(caption):
            color = QUIET if line else INK
            write(
                draw,
                fitted(text, side, size, from_end=bool(line)),
                left,
                top + side + 9 + line * LINE,
                size,
                color=color,
            )
