"""What each layer makes of an image: its strongest units, and their maps as a picture."""

import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from alexnet.evaluation.classifier import Classifier, stacked
from alexnet.inside.look import attribution_maps, center, last_maps
from alexnet.web.pictures import url_of

MOST_UNITS = 96  # of a layer, that are sent
STRIP = 48  # pixels, at most, of a layer without maps
# From the darkest to the lightest: dark blue, blue, yellow, white; lightness alone tells them apart
ENDS = np.array([[13, 22, 33], [0, 82, 127], [86, 180, 233], [240, 228, 66], [255, 255, 245]], float)
STEPS = np.linspace(0, 1, 256) * (len(ENDS) - 1)
COLORS = np.stack([np.interp(STEPS, np.arange(len(ENDS)), ENDS[:, k]) for k in range(3)], 1).round().astype(np.uint8)


class Activations(NamedTuple):
    """Outputs of layers for the center view, {layer: (maps, rows, columns) or (units,) float32} for each image."""

    layers: tuple[str, ...]
    views: int = 1
    pool: str | None = None

    def __call__(self, classifier: Classifier, squares: Sequence[np.ndarray]) -> Sequence[Any]:
        """As ``Classifier.activations``."""
        outputs = classifier.activations(stacked(squares), self.layers, self.views, self.pool)
        arrays = {name: tensor.cpu().numpy() for name, tensor in outputs.items()}
        return [{name: array[number] for name, array in arrays.items()} for number in range(len(squares))]


class Features(NamedTuple):
    """What a features file has of each image: {layer: activations}, with products of a precision of its own.

    Attributes:
        classifier: of the run that is asked, with float32 products as ``alexnet features`` has them by default.
        layers, views, pool: as for ``Activations``.
    """

    classifier: Classifier
    layers: tuple[str, ...]
    views: int = 1
    pool: str | None = None

    def __call__(self, classifier: Classifier, squares: Sequence[np.ndarray]) -> Sequence[Any]:
        """As ``Classifier.activations`` of its own classifier."""
        return Activations(self.layers, self.views, self.pool)(self.classifier, squares)


class Sought(NamedTuple):
    """Outputs of a layer for the center view of an image, and of its flip where that is asked for.

    (1, numbers) or (2, numbers) float32 for each image.
    """

    layer: str
    views: int

    def __call__(self, classifier: Classifier, squares: Sequence[np.ndarray]) -> Sequence[Any]:
        """As ``Classifier.activations``."""
        turned = [square[:, ::step] for square in squares for step in (1, -1)[: self.views]]
        outputs = Activations((self.layer,))(classifier, [np.ascontiguousarray(square) for square in turned])
        rows = np.stack([output[self.layer].ravel() for output in outputs])
        return list(rows.reshape(len(squares), self.views, -1))


class Attributions(NamedTuple):
    """What the score of a class depends on; (class, maps by their name) for each image.

    Attributes:
        label: of the class; None: the most probable one of each image.
    """

    label: int | None = None
    views: int = 20  # about what it costs: SmoothGrad's eight images forward and backward

    def __call__(self, classifier: Classifier, squares: Sequence[np.ndarray]) -> Sequence[Any]:
        """As ``alexnet show RUN IMAGE`` draws them, without those of random weights."""
        layer, answers = last_maps(classifier), []
        for square in squares:
            index = self.label
            if index is None:
                index = int(classifier.square_probabilities([square])[0].argmax())
            maps = attribution_maps(classifier, center(classifier, square), layer, index)
            answers.append((index, dict(zip(("gradient", "SmoothGrad", "Grad-CAM"), maps))))
        return answers


def drawn(values: np.ndarray) -> str:
    """A (rows, columns) map as the ``data:`` URL of a PNG, by how far its numbers are from 0."""
    sizes = np.abs(values)
    return _picture(sizes, float(np.quantile(sizes, 0.995)))


def strongest(
    name: str, outputs: np.ndarray, count: int, unit: int | None = None, towers: int = 1, white: float | None = None
) -> dict[str, Any]:
    """The strongest units of a layer, as JSON; or one unit.

    Args:
        name: of the layer.
        outputs: (maps, rows, columns) or (units,) float32.
        count: of units; the strongest first, by the highest number in their map.
        unit: the one that is asked for, instead.
        white: the number that is white in the picture; the layer's highest, if not given.
        towers: equal parts of the units, of each of which so many are given, one part after the other.
    """
    peaks = outputs.reshape(len(outputs), -1).max(1)
    parts = np.split(np.arange(len(peaks)), towers if len(peaks) % towers == 0 else 1)
    order = np.concatenate([part[np.argsort(-peaks[part], kind="stable")[:count]] for part in parts])
    order = order if unit is None else np.array([unit])
    maps = outputs.ndim == 3
    highest = float(peaks.max(initial=0))
    answer: dict[str, Any] = {
        "layer": name,
        "units": len(outputs),
        "active": int((peaks > 0).sum()),
        "highest": highest,
        "strongest": [{"unit": int(index), "value": float(peaks[index])} for index in order],
        "rows": outputs.shape[1] if maps else 1,
        "columns": outputs.shape[2] if maps else 1,
        "picture": None,
    }
    if maps:
        for entry, index in zip(answer["strongest"], order):
            position = np.unravel_index(int(outputs[index].argmax()), outputs.shape[1:])
            entry["row"], entry["column"] = int(position[0]), int(position[1])
    answer["picture"] = _picture(
        np.concatenate(list(outputs[order]), axis=1) if maps else _strip(outputs), highest if white is None else white
    )
    return answer


def _strip(outputs: np.ndarray) -> np.ndarray:
    """(rows, 1), the highest numbers of at most so many equal parts of a layer without maps."""
    starts = np.linspace(0, len(outputs), min(STRIP, len(outputs)), endpoint=False).astype(int)
    return np.maximum.reduceat(outputs, starts)[:, None]


def _picture(numbers: np.ndarray, highest: float) -> str:
    """Numbers as the ``data:`` URL of a PNG of as many pixels: from 0 (and below) to the highest one shown."""
    image = Image.fromarray(np.clip(numbers * (255 / highest if highest > 0 else 0), 0, 255).astype(np.uint8))
    image.putpalette(COLORS.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return url_of(buffer.getvalue(), "png")
