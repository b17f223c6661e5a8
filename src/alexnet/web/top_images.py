"""The images that drive each unit most, found while nobody else asks the net, and kept in memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from alexnet.data.dataset import Dataset
from alexnet.figures.sheet import spread
from alexnet.inside.kept_units import known_units
from alexnet.inside.units import LayerUnits, Strongest, fields, seen_by_unit, units_of
from alexnet.web.batcher import Batcher
from alexnet.web.behind import Behind
from alexnet.web.layers import Activations
from alexnet.web.pictures import joined, url_of

MOST_SHOWN = 48  # units of a layer


class TopImages(Behind):
    """Looks once at all images of a split, for all units; or takes what ``alexnet show --unit`` kept with the run.

    Args:
        batcher: what answers.
        dataset: of the run.
        split: its images.
    """

    def __init__(self, batcher: Batcher, dataset: Dataset, split: str):
        self._classifier = batcher.classifier
        self._kept = Strongest(self._classifier, len(dataset.classes))
        self._fields = fields(self._classifier)
        self._units: dict[str, LayerUnits] = {}
        self._shown: frozenset[int] = frozenset()
        super().__init__(batcher, dataset, split, Activations(tuple(self._kept.asked)))

    def known(self) -> bool:
        """Whether the run's folder has them, of these weights and images."""
        units = known_units(self._classifier.path, self._classifier, self.dataset, self.split)
        if units is not None:
            self._set(units)
        return units is not None

    def take(self, answers: Sequence[Any], rows: np.ndarray) -> None:
        """Keeps the strongest."""
        outputs = {name: torch.from_numpy(np.stack([answer[name] for answer in answers])) for name in self._kept.asked}
        self._kept.add(outputs, torch.from_numpy(self.dataset.labels[rows].astype(np.int64)), rows)

    def finish(self) -> None:
        """Makes the result."""
        self._set(self._kept.result())

    def _set(self, units: dict[str, LayerUnits]) -> None:
        self._units = units
        rows = np.unique(np.concatenate([own.rows.ravel() for own in units.values()]))
        self._shown = frozenset(rows[rows >= 0].tolist())

    def shows(self, row: int) -> bool:
        """Whether an image drives some unit most."""
        return row in self._shown

    def of(self, layer: str, unit: int) -> dict[str, Any]:
        """The nine images of a unit as JSON: what the unit sees of each, side by side in one picture.

        Args:
            layer, unit: that there are.
        """
        empty = {"active": None, "side": None, "means": [], "strongest": [], "picture": None}
        answer: dict[str, Any] = {**self.state(), "layer": layer, "unit": unit, **empty}
        if not self.finished:
            return answer
        units, dataset = self._units[layer], self.dataset
        ranks = np.flatnonzero(units.rows[unit] >= 0).tolist()
        rows = [int(units.rows[unit, rank]) for rank in ranks]
        places = [int(units.places[unit, rank]) for rank in ranks]
        seen = [self._seen(layer, unit, rank) for rank in ranks]
        return {
            **answer,
            "active": float(units.active[unit]),
            "side": seen[0].shape[0] if seen else 0,
            "means": list(zip(dataset.words, units.means[:, unit].tolist())),
            "strongest": [
                {
                    "row": row,
                    "name": dataset.name(row),
                    "label": int(dataset.labels[row]),
                    "class": dataset.words[dataset.labels[row]],
                    "value": float(units.values[unit, rank]),
                    "place": list(divmod(position, units.columns)),
                }
                for rank, row, position in zip(ranks, rows, places)
            ],
            "picture": url_of(joined(seen)),
        }

    def of_layer(self, layer: str, first: int | None = None, count: int = MOST_SHOWN) -> dict[str, Any]:
        """Units of a layer as JSON, each with what it sees of the image that drives it most.

        Args:
            layer: that there is.
            first: from this unit on, one after the other; None: at even distances.
            count: of units, at most.
        """
        answer: dict[str, Any] = {**self.state(), "layer": layer, "units": units_of(self._classifier, layer)}
        if not self.finished:
            return {**answer, "shown": [], "picture": None}
        units, dataset = self._units[layer], self.dataset
        asked = spread(answer["units"], count) if first is None else range(answer["units"])[first : first + count]
        numbers = [number for number in asked if units.rows[number, 0] >= 0]
        rows = [int(units.rows[number, 0]) for number in numbers]
        return {
            **answer,
            "shown": [
                {"unit": number, "row": row, "name": dataset.name(row), "value": float(units.values[number, 0])}
                for number, row in zip(numbers, rows)
            ],
            "picture": url_of(joined([self._seen(layer, number, 0) for number in numbers])),
        }

    def _seen(self, layer: str, unit: int, rank: int) -> np.ndarray:
        """(side, side, 3) uint8, what a unit sees of one of its strongest images."""
        units = self._units[layer]
        square, place = self.dataset.image(int(units.rows[unit, rank])), int(units.places[unit, rank])
        return seen_by_unit(square, self._classifier.preprocessing, self._fields[layer], place, units.columns)
