"""Images of a data set beside each other, spread over its classes."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from alexnet.data.dataset import Dataset


def contact_sheet(dataset: Dataset, columns: int = 12, rows: int = 8, side: int = 96) -> Image.Image:
    """A picture of images of the dataset, spread over its classes and splits.

    Args:
        dataset: any.
        columns, rows: images across and down.
        side: of each, pixels.
    """
    chosen = spread(dataset, columns * rows)
    sheet = Image.new("RGB", (columns * (side + 2) + 2, -(-len(chosen) // columns) * (side + 2) + 2), "white")
    for index, row in enumerate(chosen):
        tile = Image.fromarray(dataset.image(row)).resize((side, side), Image.Resampling.BOX)
        sheet.paste(tile, (2 + index % columns * (side + 2), 2 + index // columns * (side + 2)))
    return sheet


def spread(dataset: Dataset, count: int) -> Sequence[int]:
    """At most ``count`` row ids, as evenly over the classes as may be, in the order of the labels."""
    labels = dataset.labels
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(dataset.classes)))
    turn = np.arange(len(order)) - starts[labels[order]]  # which of its class an image is
    chosen = order[np.argsort(turn, kind="stable")[:count]]
    return chosen[np.argsort(labels[chosen], kind="stable")].tolist()
