"""One image on its way through a net, on one sheet, in the order of the net."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from alexnet.figures import heat, style
from alexnet.figures.style import GRID, INK, OTHER, QUIET, RIGHT, WRONG, fitted, write
from alexnet.inside.attributions import COPIES
from alexnet.inside.look import EVERY, Attribution, Look

WIDTH, MARGIN, GAP = 1600, 24, 6  # pixels
TEXT, HEAD, LINE = 13, 16, 18
PICTURE = 300  # side of what the net sees
TILE, STRONGEST = 68, 9  # of a layer
COLUMN = (WIDTH - 3 * MARGIN) // 2
LABEL = COLUMN - STRONGEST * (TILE + GAP)  # room for a layer's name
MAP, SMALL = 250, 104  # sides of an attribution map, and of that of random weights
PANEL = (WIDTH - 2 * MARGIN) // 4


@dataclasses.dataclass(frozen=True)
class Panel:
    """An attribution map on the sheet.

    Attributes:
        title: what it is.
        text: how it is to be read.
        pictures: of the net, and of random weights; square, of any side.
        low, high: what the ends of its scale stand for.
        both: whether the scale has a side below 0.
        attribution: the map.
    """

    title: str
    text: str
    pictures: tuple[Image.Image, Image.Image]
    low: str
    high: str
    both: bool
    attribution: Attribution


def inside_sheet(look: Look, words: Sequence[str], title: str) -> Image.Image:
    """The photo, what the net sees, its answer, the strongest maps of each layer, and what the answer depends on.

    Args:
        look: at the image.
        words: what people call the classes.
        title: above it.
    """
    names = style.first_synonyms(words)
    rows = -(-len(look.layers) // 2)
    top_layers = 2 * MARGIN + LINE + PICTURE + 4 * LINE
    row_height = TILE + LINE + 4
    top_maps = top_layers + LINE + 10 + rows * row_height + MARGIN
    sheet = Image.new("RGB", (WIDTH, top_maps + MAP + 250), "white")
    draw = ImageDraw.Draw(sheet)
    write(draw, fitted(title, WIDTH - 2 * MARGIN, HEAD + 2), MARGIN, MARGIN, HEAD + 2)
    _draw_answer(sheet, draw, look, names, 2 * MARGIN + LINE)
    write(draw, f"The {STRONGEST} strongest units of each layer, in the order of the net", MARGIN, top_layers, HEAD)
    for number, (name, values) in enumerate(look.layers.items()):
        left = MARGIN + number // rows * (COLUMN + MARGIN)
        _draw_layer(sheet, draw, name, values, left, top_layers + LINE + 10 + number % rows * row_height)
    heading = f"What the score of “{names[look.index]}” depends on"
    write(draw, fitted(heading, WIDTH - 2 * MARGIN, HEAD), MARGIN, top_maps, HEAD)
    ends = [
        _draw_panel(sheet, draw, panel, MARGIN + number * PANEL, top_maps + LINE)
        for number, panel in enumerate(_panels(look))
    ]
    return sheet.crop((0, 0, WIDTH, max(ends) + MARGIN // 2))


def strongest(values: np.ndarray, count: int = STRONGEST) -> list[tuple[int, float]]:
    """The units with the largest outputs of a (maps, rows, columns) or (units,) layer, with these, largest first."""
    largest = values.reshape(len(values), -1).max(1)
    order = np.argsort(-largest, kind="stable")[:count]
    return [(int(unit), float(largest[unit])) for unit in order]


def _draw_answer(sheet: Image.Image, draw: ImageDraw.ImageDraw, look: Look, names: Sequence[str], top: int) -> None:
    """The photo with its frame, what the net sees, the five most probable classes, how to read the sheet."""
    room = 400
    photo = Image.fromarray(look.photo)
    scale = min(room / photo.width, PICTURE / photo.height)
    shown = photo.resize((max(1, round(scale * photo.width)), max(1, round(scale * photo.height))))
    sheet.paste(shown, (MARGIN, top))
    upper, left, lower, right = (round(scale * edge) for edge in look.cut)
    frame = (MARGIN + left, top + upper, MARGIN + right - 1, top + lower - 1)
    for inset, color in ((0, "black"), (1, "white"), (2, "white"), (3, "black")):
        draw.rectangle((frame[0] + inset, frame[1] + inset, frame[2] - inset, frame[3] - inset), outline=color)
    height, width = look.photo.shape[:2]
    side = len(look.crop)
    _write_below(draw, f"the photo, {width:,}x{height:,} pixels; the net sees what is in the frame", MARGIN, top, room)
    left = MARGIN + room + MARGIN
    seen = Image.fromarray(np.clip(128 + look.seen, 0, 255).astype(np.uint8)).resize((PICTURE, PICTURE), 0)
    sheet.paste(seen, (left, top))
    text = f"what the net sees: {side}x{side} pixels, minus the mean image (gray: no difference)"
    _write_below(draw, text, left, top, PICTURE)
    left += PICTURE + 2 * MARGIN
    width = 330
    _draw_bars(draw, look, names, left, top, width)
    left += width + 2 * MARGIN
    _draw_legend(draw, left, top, WIDTH - MARGIN - left)


def _write_below(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, width: int) -> None:
    for number, line in enumerate(style.wrapped(text, width, TEXT)):
        write(draw, line, left, top + PICTURE + LINE // 2 + 4 + number * LINE, TEXT, color=QUIET)


def _draw_bars(draw: ImageDraw.ImageDraw, look: Look, names: Sequence[str], left: int, top: int, width: int) -> None:
    """The five most probable classes, and the class that the maps are about if it is none of them."""
    write(draw, "the net's answer", left, top + LINE // 2, HEAD)
    order: list[int] = np.argsort(-look.shares, kind="stable")[:5].tolist()
    if look.index not in order:
        order.append(look.index)
    for number, index in enumerate(order):
        y = top + 2 * LINE + number * 42
        share = style.percent(float(look.shares[index]))
        room = width - style.text_width(share, HEAD) - TEXT
        write(draw, fitted(names[index], room, HEAD), left, y, HEAD)
        write(draw, share, left + width - style.text_width(share, HEAD), y, HEAD)
        bar = (left, y + 13, left + width, y + 21)
        draw.rectangle(bar, fill=GRID)
        end = left + width * float(look.shares[index])
        draw.rectangle((left, y + 13, end, y + 21), fill=RIGHT if index == look.index else OTHER)


def _draw_legend(draw: ImageDraw.ImageDraw, left: int, top: int, width: int) -> None:
    paragraphs = (
        "The blue bar is the class that the maps below are about.",
        "Below a tile: the number of the unit, counted from 0, and its largest output. Tiles of a layer share one"
        " scale, from 0 (dark) to the layer's largest (yellow); a gray tile is a unit whose output is 0.",
        "Small map: the same for a net with random weights. Its scale is its own. r is the rank correlation of"
        " both. Where they are alike, a map says nothing of what was learned.",
        "A map shows where the score changes, not why. None is proof of a cause.",
    )
    write(draw, "how to read this sheet", left, top + LINE // 2, HEAD)
    y = top + 2 * LINE
    for text in paragraphs:
        for line in style.wrapped(text, width, TEXT):
            write(draw, line, left, y, TEXT, color=QUIET)
            y += LINE
        y += 5


def _draw_layer(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, name: str, values: np.ndarray, left: int, top: int
) -> None:
    """A layer's name and size, and its strongest maps, or of single units their numbers."""
    full = float(values.max())
    count = len(values)
    size = f"{count:,} units" if values.ndim == 1 else f"{count:,} of {values.shape[1]}x{values.shape[2]}"
    active = int((values.reshape(count, -1).max(1) > 0).sum())
    write(draw, fitted(name, LABEL - GAP, HEAD), left, top + 12, HEAD)
    for number, text in enumerate((size, f"{active:,} positive", f"largest {style.number(full)}")):
        write(draw, fitted(text, LABEL - GAP, TEXT - 2), left, top + 31 + 15 * number, TEXT - 2, color=QUIET)
    for number, (unit, largest) in enumerate(strongest(values)):
        x = left + LABEL + number * (TILE + GAP)
        if largest <= 0:
            draw.rectangle((x, top, x + TILE - 1, top + TILE - 1), fill=GRID)
        elif values.ndim == 1:
            draw.rectangle((x, top + TILE * (1 - largest / full), x + TILE // 2, top + TILE - 1), fill=RIGHT)
            draw.line((x, top + TILE - 1, x + TILE - 1, top + TILE - 1), fill=OTHER)
        else:
            sheet.paste(heat.strength(values[unit], full).resize((TILE, TILE), Image.Resampling.NEAREST), (x, top))
        label = f"{unit}: {style.number(largest, 2)}"
        write(draw, fitted(label, TILE + GAP, TEXT - 2), x, top + TILE + 9, TEXT - 2, color=INK)


def _panels(look: Look) -> list[Panel]:
    side = len(look.crop)
    panels = []
    for title, text, attribution in (
        (
            "Gradient",
            "Orange: the score before the soft-max grows where this pixel gets brighter, by so much per gray level."
            " Blue: it falls.",
            look.gradient,
        ),
        (
            "SmoothGrad",
            f"The mean of the gradients of {COPIES} noisy copies. Less noise, the same meaning.",
            look.smooth_gradient,
        ),
    ):
        full = _full(np.abs(attribution.values))
        pictures = (
            heat.signed(attribution.values, full),
            heat.signed(attribution.randomized, _full(np.abs(attribution.randomized))),
        )
        high = style.number(full, 2)
        panels.append(Panel(title, text, pictures, f"-{high}", high, True, attribution))
    return [*panels, _cam_panel(look, side), _occlusion_panel(look, side)]


def _cam_panel(look: Look, side: int) -> Panel:
    cam = look.grad_cam
    full = float(cam.values.max()) or 1.0
    pictures = tuple(
        heat.over(look.crop, heat.enlarged(values, side), float(values.max()) or 1.0)
        for values in (cam.values, cam.randomized)
    )
    rows, columns = cam.values.shape
    text = (
        f"Maps of {look.cam_layer}, weighed by the score's gradient and summed; {rows}x{columns} values, made smooth."
        " Only what speaks for the class is shown."
    )
    high = style.number(full, 2) if cam.values.max() > 0 else "0: nothing speaks for it"
    return Panel(f"Grad-CAM at {look.cam_layer}", text, (pictures[0], pictures[1]), "0", high, False, cam)


def _occlusion_panel(look: Look, side: int) -> Panel:
    hidden = look.occlusion
    pictures = []
    for values, every in ((hidden.losses, 1), (look.occlusion_map.randomized, EVERY)):
        pictures.append(heat.over(look.crop, hidden.painted(values, side, every), float(np.abs(values).max()) or 1.0))
    full = float(np.abs(hidden.losses).max())
    text = (
        f"What the probability, {style.percent(hidden.probability)}, loses (orange) or gains (blue) when a gray window"
        f" of {hidden.window}x{hidden.window} pixels hides this place; a step is {hidden.step} pixels."
    )
    points = f"{style.number(100 * full, 2)} points"
    return Panel("Occlusion", text, (pictures[0], pictures[1]), f"-{points}", points, True, look.occlusion_map)


def _full(values: np.ndarray) -> float:
    """What has the strongest color: all but a hundredth of the values lie below; above 0."""
    return float(np.quantile(values, 0.99)) or float(values.max()) or 1.0


def _draw_panel(sheet: Image.Image, draw: ImageDraw.ImageDraw, panel: Panel, left: int, top: int) -> int:
    """Draws a map with its scale and caption beside that of random weights; gives where it ends."""
    write(draw, panel.title, left, top + LINE // 2, TEXT + 1)
    y = top + LINE + 4
    smooth = Image.Resampling.LANCZOS if panel.pictures[0].width > MAP else Image.Resampling.NEAREST
    sheet.paste(panel.pictures[0].resize((MAP, MAP), smooth), (left, y))
    draw.rectangle((left - 1, y - 1, left + MAP, y + MAP), outline=OTHER)
    x = left + MAP + 2 * GAP
    sheet.paste(panel.pictures[1].resize((SMALL, SMALL), Image.Resampling.BOX), (x, y))
    draw.rectangle((x - 1, y - 1, x + SMALL, y + SMALL), outline=OTHER)
    correlation = panel.attribution.correlation
    alike = correlation is not None and correlation >= 0.5
    said = "r: none, a map is empty" if correlation is None else f"r = {correlation:z.2f}"
    for number, text in enumerate(("random weights", said)):
        color = WRONG if alike and number else QUIET
        write(draw, text, x, y + SMALL + 12 + number * LINE, TEXT, color=color)
    heat.scale_bar(draw, (left, y + MAP + 8, left + MAP), panel.low, panel.high, panel.both)
    y += MAP + 8 + 2 * LINE + 8
    for line in style.wrapped(panel.text, PANEL - MAP // 12 - GAP, TEXT):
        write(draw, line, left, y, TEXT, color=QUIET)
        y += LINE
    return y
