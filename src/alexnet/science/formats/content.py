"""What goes into a file of activations, whatever its kind."""

import dataclasses
import math
from typing import Any

import numpy as np

from alexnet import files
from alexnet.evaluation.activations import Activations


@dataclasses.dataclass(frozen=True)
class Content:
    """What a file of activations is to hold.

    Attributes:
        layers: the shape of one image's activations, by layer.
        count: images, or more: those that cannot be read are left out.
        classes: names of labels; None where images have none.
        model: what the net is called.
        description: what was done, for ``description`` in the file; JSON.
    """

    layers: dict[str, tuple[int, ...]]
    count: int
    classes: list[str] | None
    model: str
    description: dict[str, Any]

    @property
    def numbers(self) -> int:
        """Of one image, in all layers."""
        return sum(map(math.prod, self.layers.values()))

    @property
    def bytes(self) -> int:
        """Of all activations, in float32."""
        return 4 * self.count * self.numbers

    def labels(self, batch: Activations) -> list[str]:
        """The name of each image's class; empty where it has none."""
        if batch.labels is None or self.classes is None:
            return [""] * len(batch.names)
        return ["" if label < 0 else self.classes[label] for label in batch.labels.tolist()]

    def names(self, batch: Activations) -> list[str]:
        """Names as text of UTF-8: a file's name may be none."""
        return [files.plain(name) for name in batch.names]

    def text(self, images: int) -> str:
        """The description as JSON, with the number of images."""
        return files.to_json({"images": images, **self.description})


def flat(batch: Activations, layers: dict[str, tuple[int, ...]]) -> list[np.ndarray]:
    """(n, numbers) of each layer."""
    return [batch.layers[layer].reshape(len(batch.names), -1) for layer in layers]


def balanced(count: int, most: int) -> int:
    """How many go together of ``count``, at most ``most``, so that the last ones leave little room empty."""
    return max(1, math.ceil(count / max(1, math.ceil(count / max(1, most)))))
