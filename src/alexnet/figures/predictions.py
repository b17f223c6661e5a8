"""Images with the bars of their most probable classes, as the paper's Figure 4 shows them."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from alexnet.figures.style import OTHER, RIGHT, WRONG, legible, write


def predictions(
    pictures: Sequence[np.ndarray],
    shares: np.ndarray,
    classes: list[str],
    labels: Sequence[int] | np.ndarray | None = None,
    captions: list[str] | None = None,
    columns: int | None = None,
) -> Image.Image:
    """Images with the bars of their five most probable classes (paper Figure 4, left), on one sheet.

    Args:
        pictures: (H, W, 3) uint8 each.
        shares: (n, classes) probabilities.
        classes: their names.
        labels: right classes, written above each picture; the right class's bar is green, others red or gray.
        captions: what to write above where there are no labels.
        columns: 4, or more where there are more than 32 pictures.
    """
    count, scale = len(pictures), 1.0 if len(pictures) <= 200 else 0.7
    width, height, side, bar, size, small = (round(scale * length) for length in (275, 385, 216, 22, 14, 12))
    columns = columns or (4 if count <= 32 else math.ceil(math.sqrt(count * height / width)))
    columns = min(columns, max(1, count))
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, picture in enumerate(pictures):
        left, top = i % columns * width, i // columns * height
        right = None if labels is None else int(labels[i])
        caption = classes[right] if right is not None else (captions[i] if captions else "")
        write(draw, legible(caption, 24), left + width // 2, top + bar, size, centered=True)
        tile = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, (left + (width - side) // 2, top + 2 * bar))
        x, longest = left + bar // 2, width - bar
        for rank, index in enumerate(np.argsort(-shares[i], kind="stable")[:5]):
            y = top + 2 * bar + side + bar // 2 + rank * bar
            color = RIGHT if index == right else WRONG if rank == 0 and right is not None else OTHER
            draw.rectangle((x, y, x + longest * float(shares[i, index]), y + 0.8 * bar), fill=color)
            write(draw, legible(classes[index], 26), x + bar // 4, y + round(0.4 * bar), small)
    return sheet
