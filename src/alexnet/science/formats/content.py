"""What goes into a file of activations, whatever its kind."""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from alexnet import files
from alexnet.evaluation.activations import Activations
from alexnet.science.formats.columns import OWN, Column

LEFT_OUT = ("source_row", "name", "problem")


@dataclasses.dataclass(frozen=True)
class Content:
    """What a file of activations is to hold.

    Attributes:
        layers: the shape of one image's activations, by layer.
        count: images, or more: those that cannot be read are left out.
        classes: names of labels; None where images have none.
        model: what the net is called.
        description: what was done, for ``description`` in the file; JSON.
        columns: what a list says of each image, by the name of a column.
        left_out: images that could not be read: place in the source, name, why. All are there when a file is finished.
    """

    layers: dict[str, tuple[int, ...]]
    count: int
    classes: list[str] | None
    model: str
    description: dict[str, Any]
    columns: dict[str, Column] = dataclasses.field(default_factory=dict)
    left_out: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)

    @property
    def numbers(self) -> int:
        """Of one image, in all layers."""
        return sum(map(math.prod, self.layers.values()))

    @property
    def activation_bytes(self) -> int:
        """Of all activations, in float32."""
        return 4 * self.count * self.numbers

    @property
    def kinds(self) -> dict[str, str]:
        """The columns of ``table`` and what is in each: ``text``, ``int64`` or ``float64``."""
        return {**OWN, **{name: column.kind for name, column in self.columns.items()}}

    def table(self, batch: Activations) -> dict[str, list[str] | np.ndarray]:
        """What the file says of each image, column by column: (n,) texts or numbers.

        A file's name may be no UTF-8; here it is text. The label is a class's name, empty where an image has none.
        """
        return {
            "name": [files.plain(name) for name in batch.names],
            "label": self._labels(batch),
            "done": list(batch.done),
            "source_row": batch.rows,
            **{name: column.values(batch.rows) for name, column in self.columns.items()},
        }

    def _labels(self, batch: Activations) -> list[str]:
        if batch.labels is None or self.classes is None:
            return [""] * len(batch.names)
        return ["" if label < 0 else self.classes[label] for label in batch.labels.tolist()]

    def csv_head(self) -> bytes:
        """The first line of a CSV of the images."""
        return files.to_csv([["row", *self.kinds]])

    def csv_lines(self, batch: Activations, first: int) -> bytes:
        """A line an image; a list's columns are as the list has them.

        Args:
            batch: images.
            first: images that are in the file already.
        """
        return files.to_csv(self._rows(batch, first))

    def _rows(self, batch: Activations, first: int) -> Iterator[list[object]]:
        places = batch.rows.tolist()
        for i, row in enumerate(zip(batch.names, self._labels(batch), batch.done, places)):
            yield [first + i, *row, *(column.texts[places[i]] for column in self.columns.values())]

    def text(self, images: int) -> str:
        """The description as JSON, with the number of images and those that were left out."""
        return files.to_json({"images": images, **self.description, "left_out": self.left_out_rows()})

    def left_out_rows(self) -> list[dict[str, Any]]:
        """Those that could not be read, each by the names in ``LEFT_OUT``."""
        return [dict(zip(LEFT_OUT, (row, files.plain(name), files.plain(why)))) for row, name, why in self.left_out]


def flat(batch: Activations, layers: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    """(n, numbers) of each layer."""
    return [batch.layers[layer].reshape(len(batch.names), -1) for layer in layers]


def balanced(count: int, most: int) -> int:
    """How many go together of ``count``, at most ``most``, so that the last ones leave little room empty."""
    return max(1, math.ceil(count / max(1, math.ceil(count / max(1, most)))))
