"""What the units of a net respond to: the strongest images of every unit, and its mean over each class, in one pass."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from alexnet import files
from alexnet.data.batches import whole_images
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import UsageError, check_threads
from alexnet.evaluation.classifier import BATCH, Classifier
from alexnet.evaluation.outputs import Progress, check_size
from alexnet.nets.costs import ReceptiveField, costs
from alexnet.nets.fusion import BEFORE
from alexnet.nets.layer_names import canonical
from alexnet.nets.table import Learning

TOP = 9  # images of a unit
AT_ONCE = BATCH  # images, as many as ``evaluate`` takes: fewer read the large layers' weights more often


@dataclasses.dataclass(frozen=True)
class LayerUnits:
    """The units of a layer on a split's images; a unit's response is its largest sum before the activation function.

    Attributes:
        values: (units, 9) float32, the largest responses, largest first; of equal ones the lower row id. NaN where
            there are fewer images.
        rows: (units, 9) int64, row ids of these images; -1 where there are fewer.
        places: (units, 9) int64, where in the map, row by row; 0 of a unit without a map.
        means: (classes, units) float32, the mean response to the images of each class; NaN of a class without any.
        active: (units,) float32, share of the images with a response above 0.
        columns: of the map; 1 of units without.
    """

    values: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    means: np.ndarray
    active: np.ndarray
    columns: int


def unit_layers(classifier: Classifier) -> list[str]:
    """The layers whose units are looked at: those with weights of their own."""
    return [name for name, layer in classifier.net.table.layers.items() if isinstance(layer, Learning)]


def fields(classifier: Classifier) -> dict[str, ReceptiveField | None]:
    """The receptive field of each layer's units; None where they see the whole image."""
    rows = costs(classifier.net.table, len(classifier.classes), classifier.preprocessing.crop)
    return {row.name: row.receptive_field for row in rows}


def parse_unit(classifier: Classifier, text: str) -> tuple[str, int]:
    """``conv5:17`` as a layer and a unit, counted from 0. Raises ``UsageError`` where the net has no such unit."""
    layer, colon, number = text.rpartition(":")
    if not colon or not number.isascii() or not number.isdigit():
        raise UsageError(f"--unit {text}: give a layer and the unit's number, such as conv5:17")
    layer = layer_of(classifier, layer, "--unit")
    count = units_of(classifier, layer)
    if int(number) >= count:
        raise UsageError(f"--unit {text}: {layer} has {count:,} units, 0 to {count - 1:,}")
    return layer, int(number)


def layer_of(classifier: Classifier, layer: str, option: str) -> str:
    """A layer with units of its own, by any of its names, as the net calls it. Raises ``UsageError`` for another."""
    known = unit_layers(classifier)
    if layer not in known:
        with contextlib.suppress(UsageError):
            name = canonical(classifier.net.table, layer)[0].removesuffix(BEFORE)
            if name in known:
                return name
        what = "has no weights of its own" if layer in classifier.net.names else "is no layer of this net"
        near = files.nearest(layer, known)
        raise UsageError(f"{option} {layer}: {what}; {near}give one of {', '.join(known)}")
    return layer


def units_of(classifier: Classifier, layer: str) -> int:
    """How many units, or maps, a layer has."""
    return len(classifier.net.get_parameter(f"{layer}.weight"))


def strongest_images(
    classifier: Classifier,
    dataset: Dataset,
    rows: np.ndarray,
    *,
    layers: Sequence[str] | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, LayerUnits]:
    """The nine images that drive each unit most, in one pass over images, in memory that does not grow with them.

    Args:
        classifier: of the net; its center view of each image counts.
        dataset: whose images.
        rows: (n,) row ids, ascending.
        layers: whose units; of all layers with weights if not given.
        workers: threads that decode.
        progress: called with images done and images in all.

    Raises:
        UsageError: the images are smaller than what the net sees.
    """
    check_threads("--workers", workers)
    check_size(classifier, dataset)
    strongest, done = Strongest(classifier, len(dataset.classes), layers), 0
    for batch in whole_images(dataset, "", AT_ONCE, workers, rows=rows):
        strongest.add(classifier.activations(batch.images, strongest.asked), batch.labels, batch.rows.numpy())
        done += len(batch.rows)
        if progress:
            progress(done, len(rows))
    return strongest.result()


def seen_by_unit(
    square: np.ndarray, preprocessing: Preprocessing, field: ReceptiveField | None, place: int, columns: int
) -> np.ndarray:
    """The part of an image that a unit sees from a place of its map; gray where its square hangs over the edge.

    Args:
        square: (size, size, 3) uint8, as the run stores images.
        preprocessing: of the run: the net sees the center.
        field: of the layer; None: the whole image.
        place: in the map, row by row.
        columns: of the map.

    Returns:
        (side, side, 3) uint8: at most what the net sees.
    """
    edge, crop = (preprocessing.size - preprocessing.crop) // 2, preprocessing.crop
    inner = square[edge : edge + crop, edge : edge + crop]
    if field is None or field.size >= crop:
        return inner
    top, left = (field.offset + index * field.step for index in divmod(place, columns))
    margin = field.size
    padded = np.full((crop + 2 * margin, crop + 2 * margin, 3), 128, np.uint8)
    padded[margin : margin + crop, margin : margin + crop] = inner
    return padded[margin + top : margin + top + field.size, margin + left : margin + left + field.size]


class Strongest:
    """What drives the units of layers most, kept while images come, in memory that does not grow with them.

    Args:
        classifier: of the net.
        classes: how many the images have.
        layers: whose units; of all layers with weights if not given.

    Attributes:
        asked: the names of the outputs to take, sums before the activation function.
    """

    def __init__(self, classifier: Classifier, classes: int, layers: Sequence[str] | None = None):
        names = unit_layers(classifier) if layers is None else list(layers)
        self._counted = {name: _Counted(units_of(classifier, name), classes) for name in names}
        self.asked = [name + BEFORE for name in names]

    def add(self, outputs: Mapping[str, Tensor], labels: Tensor, rows: np.ndarray) -> None:
        """Takes a batch, whose row ids are above those of earlier ones.

        Args:
            outputs: by their names, (N, units) or (N, maps, height, width) float32.
            labels, rows: (N,) int64 classes and row ids of the images.
        """
        for name, counts in self._counted.items():
            counts.add(outputs[name + BEFORE], labels, rows)

    def result(self) -> dict[str, LayerUnits]:
        """What was kept, by layer."""
        return {name: counts.result() for name, counts in self._counted.items()}


class _Counted:
    """What is kept of a layer while images come."""

    def __init__(self, units: int, classes: int):
        self.values = np.full((units, TOP), -np.inf, np.float32)
        self.rows, self.places = np.full((units, TOP), -1), np.zeros((units, TOP), np.int64)
        self.sums, self.counts = torch.zeros(classes, units, dtype=torch.float64), torch.zeros(classes)
        self.above, self.images, self.columns = np.zeros(units, np.int64), 0, 1

    def add(self, outputs: Tensor, labels: Tensor, rows: np.ndarray) -> None:
        """Takes a batch.

        Args:
            outputs: (N, units) or (N, maps, height, width) float32.
            labels, rows: (N,) classes and row ids of the images.
        """
        maps = outputs.flatten(2) if outputs.dim() == 4 else outputs[:, :, None]
        self.columns = outputs.shape[3] if outputs.dim() == 4 else 1
        responses = maps.amax(2).cpu()
        self.sums.index_add_(0, labels, responses.double())
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        values = responses.numpy()
        self.above += (values > 0).sum(0)
        self.images += len(values)
        stronger = np.flatnonzero((values > self.values[:, -1]).any(0))
        if len(stronger):
            self._merge(stronger, values[:, stronger], maps, rows)

    def _merge(self, units: np.ndarray, values: np.ndarray, maps: Tensor, rows: np.ndarray) -> None:
        """Sorts (N, n) responses of units into those that are kept; equal ones stay in the order of the images."""
        every = np.concatenate([self.values[units], values.T], 1)
        order = np.argsort(-every, axis=1, kind="stable")[:, :TOP]
        new_rows = np.concatenate([self.rows[units], np.broadcast_to(rows, (len(units), len(rows)))], 1)
        old_places = np.take_along_axis(self.places[units], np.minimum(order, TOP - 1), 1)
        which, slots = np.nonzero(order >= TOP)
        images = torch.from_numpy(order[which, slots] - TOP)
        chosen = maps[images.to(maps.device), torch.from_numpy(units[which]).to(maps.device)]
        old_places[which, slots] = chosen.argmax(1).cpu().numpy()
        self.values[units] = np.take_along_axis(every, order, 1)
        self.rows[units] = np.take_along_axis(new_rows, order, 1)
        self.places[units] = old_places

    def result(self) -> LayerUnits:
        missing = self.rows < 0
        return LayerUnits(
            values=np.where(missing, np.nan, self.values).astype(np.float32),
            rows=self.rows,
            places=np.where(missing, 0, self.places),
            means=(self.sums / self.counts[:, None]).float().numpy(),
            active=(self.above / max(1, self.images)).astype(np.float32),
            columns=self.columns,
        )
