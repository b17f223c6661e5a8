"""The first layer's filters, as the paper's Figure 3 shows them."""

import numpy as np
from matplotlib.figure import Figure

from alexnet.figures.style import write_title
from alexnet.nets.network import Network


def filters(net: Network, title: str = "") -> Figure:
    """The first layer's filters as RGB (paper Figure 3); tower one above, tower two below.

    Each is scaled by its own largest weight, gray being zero.
    """
    name = net.names[0]
    weights = net.tensors()[f"{name}.weight"].detach().float().cpu().numpy().transpose(0, 2, 3, 1)
    tiles = 0.5 + 0.5 * weights / np.maximum(np.abs(weights).max((1, 2, 3), keepdims=True), 1e-12)
    count, side = len(tiles), tiles.shape[1]
    columns = 16 if count % 16 == 0 else int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.ones((rows * (side + 1) + 1, columns * (side + 1) + 1, 3))
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (side + 1) + 1, (i % columns) * (side + 1) + 1
        sheet[top : top + side, left : left + side] = tile
    figure = Figure(figsize=(columns * 0.55, rows * 0.55 + 0.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    write_title(axes, title or f"{name}: {count} filters of {side}x{side}x3", fontsize=11, loc="left")
    return figure
