"""Images of a data set beside each other, spread over its classes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from alexnet.data.store import Store


def contact_sheet(store: Store, columns: int = 12, rows: int = 8, side: int = 96) -> Image.Image:
    """A picture of images of the store, spread over its classes and splits.

    Args:
        store: any.
        columns, rows: images across and down.
        side: of each, pixels.
    """
    chosen = spread(store, columns * rows)
    sheet = Image.new("RGB", (columns * (side + 2) + 2, -(-len(chosen) // columns) * (side + 2) + 2), "white")
    for index, row in enumerate(chosen):
        tile = Image.fromarray(store.image(row)).resize((side, side), Image.Resampling.BOX)
        sheet.paste(tile, (2 + index % columns * (side + 2), 2 + index // columns * (side + 2)))
    return sheet


def spread(store: Store, count: int) -> Sequence[int]:
    """At most ``count`` row ids, as evenly over the classes as may be, in the order of the labels."""
    labels = store.labels
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(store.classes)))
    turn = np.arange(len(order)) - starts[labels[order]]  # which of its class an image is
    chosen = order[np.argsort(turn, kind="stable")[:count]]
    return chosen[np.argsort(labels[chosen], kind="stable")].tolist()
