"""The first layer's filters, as the paper's Figure 3 shows them."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alexnet.figures import style
from alexnet.figures.style import INK, QUIET
from alexnet.nets.network import Network

TILE = 0.52  # inches, a filter's side with its margin
NARROW = 4.6  # inches that the title needs


def filters(net: Network, title: str = "") -> Figure:
    """The first layer's filters as RGB (paper Figure 3), each tower's in a block of its own.

    Each is scaled by its own largest weight, gray being zero.

    Args:
        net: whose first layer has filters of three channels.
        title: above them.
    """
    name = net.names[0]
    tiles = tiles_of(net.tensors()[f"{name}.weight"].detach().float().cpu().numpy())
    count, side, towers = len(tiles), tiles.shape[1], net.table.towers
    blocks = np.split(tiles, towers) if towers > 1 and count % towers == 0 else [tiles]
    columns = columns_of(len(blocks[0]))
    rows = -(-len(blocks[0]) // columns)
    label = 0.26 if len(blocks) > 1 else 0.0
    width, height = max(NARROW, columns * TILE + 0.2), 0.62 + len(blocks) * (rows * TILE + label + 0.08)
    figure = Figure(figsize=(width, height), dpi=style.DPI)
    title = title or f"{name}: {count:,} filters of {side}x{side} pixels in RGB"
    style.write_over(figure, 0.1, height - 0.18, title, 11, INK)
    style.write_over(figure, 0.1, height - 0.43, "each scaled by its own largest weight; gray is 0", 8.5, QUIET)
    top = height - 0.62
    for tower, block in enumerate(blocks):
        if len(blocks) > 1:
            style.write_over(figure, 0.1, top - label / 2, f"tower {tower + 1} (GPU {tower + 1})", 9, INK)
        top -= label + rows * TILE
        bounds = (0.1 / width, top / height, columns * TILE / width, rows * TILE / height)
        draw_block(figure.add_axes(bounds), block, columns)
        top -= 0.08
    return figure


def columns_of(count: int) -> int:
    """How many filters stand in a row: 16, as in Figure 3, where they fill the rows, else about a square."""
    return 16 if count % 16 == 0 and count > 32 else min(count, int(np.ceil(np.sqrt(2 * count))))


def tiles_of(weights: np.ndarray) -> np.ndarray:
    """(filters, side, side, 3) in 0..1 of (filters, 3, side, side) weights: each by its own largest; 0 is gray, 0.5."""
    weights = weights.transpose(0, 2, 3, 1)
    return 0.5 + 0.5 * weights / np.maximum(np.abs(weights).max((1, 2, 3), keepdims=True), 1e-12)


def draw_block(axes: Axes, tiles: np.ndarray, columns: int) -> None:
    """Filters side by side, so many in a row, as (filters, side, side, 3) tiles in 0..1."""
    count, side = len(tiles), tiles.shape[1]
    rows = -(-count // columns)
    sheet = np.ones((rows * (side + 1) - 1, columns * (side + 1) - 1, 3))
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (side + 1), (i % columns) * (side + 1)
        sheet[top : top + side, left : left + side] = tile
    axes.imshow(sheet, interpolation="nearest", aspect="equal")
    axes.set_anchor("NW")
    axes.set_axis_off()
