"""What a rank holds of a net and what it hands the others: a plan over the table, and the net of it."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

from alexnet.errors import UsageError
from alexnet.nets.fusion import Step, plan
from alexnet.nets.layers import Draw, Dropout
from alexnet.nets.network import Kept, Network
from alexnet.nets.table import (
    ConvolutionLayer,
    FullyConnectedLayer,
    Layer,
    LocallyConnectedLayer,
    ResponseNormLayer,
    Shape,
    Sized,
    Table,
)
from alexnet.training.parallel.exchange import GatherExamples, GatherMaps, GatherScores, Group, OwnScores

Before = Literal["maps", "examples", "own"]
Scheme = Literal["whole", "turns", "mixed"]


@dataclasses.dataclass(frozen=True)
class Place:
    """A layer in a rank's part of a net.

    Attributes:
        row: the layer as this rank computes it, with its shapes here.
        sizes: of the parts of what it makes, first dimension, one a rank; None: every rank makes all of it.
        before: what comes before it: the ranks exchange their ``maps`` (or units), or their ``examples``; or a rank
            goes on with its ``own`` tower of maps that all have.
    """

    row: Sized
    sizes: tuple[int, ...] | None = None
    before: Before | None = None

    @property
    def name(self) -> str:
        """Of the layer."""
        return self.row.layer.name


def part_sizes(count: int, parts: int) -> tuple[int, ...]:
    """Sizes of the parts of ``count`` maps, units or images; they differ by one at most."""
    return tuple(count // parts + (i < count % parts) for i in range(parts))


def towers_plan(table: Table, classes: int, index: int) -> list[Place]:
    """The paper's scheme (3.2): tower ``index`` of each layer; maps are exchanged where a layer sees both towers.

    Raises:
        UsageError: a layer that cannot be divided.
    """
    places: list[Place] = []
    parts, seen, sizes = table.towers, (), None  # the image is whole at every rank
    for row in table.sized(classes):
        own, before = _sees_own_tower(row.layer, parts), None
        if sizes is not None and not own:
            before = "maps"
        elif sizes is None and own and places:  # after a norm across towers, which every rank has whole
            before, sizes = "own", part_sizes(row.seen[0], parts)
            seen = (sizes[index], *row.seen[1:])
        place = _divided(row, seen if own and sizes else row.seen, parts, index, sizes if own else None, before)
        places.append(place)
        seen, sizes = place.row.made, place.sizes
    return places


def hybrid_plan(table: Table, classes: int, parts: int, index: int) -> list[Place]:
    """One weird trick (Krizhevsky 2014): convolutions whole at every rank, fully connected layers in ``parts``."""
    places: list[Place] = []
    for row in table.sized(classes):
        if not isinstance(row.layer, FullyConnectedLayer):
            places.append(Place(row))
            continue
        divided = bool(places) and places[-1].sizes is not None
        places.append(_divided(row, row.seen, parts, index, None, "maps" if divided else "examples"))
    if not places[-1].sizes:
        raise UsageError(f"--parallel hybrid: net {table.name} has no fully connected layer at its end")
    return places


def _sees_own_tower(layer: Layer, towers: int) -> bool:
    """Whether a layer needs its own tower's maps alone."""
    if isinstance(layer, ConvolutionLayer | ResponseNormLayer):
        return layer.groups % towers == 0
    return not isinstance(layer, LocallyConnectedLayer | FullyConnectedLayer)


def _divided(
    row: Sized,
    seen: Shape,
    parts: int,
    index: int,
    sizes: tuple[int, ...] | None,
    before: Before | None,
) -> Place:
    """A layer of which a rank has a part; ``sizes`` are those of what it sees, where it sees its own tower alone."""
    layer = row.layer
    if isinstance(layer, FullyConnectedLayer):
        sizes = part_sizes(row.made[0], parts)
        layer = dataclasses.replace(layer, units=sizes[index])
    elif isinstance(layer, ConvolutionLayer):
        own, sizes = sizes is not None, part_sizes(layer.filters, parts)
        groups = layer.groups // parts if own else layer.groups
        layer = dataclasses.replace(layer, filters=sizes[index], groups=groups)
    elif isinstance(layer, LocallyConnectedLayer):
        sizes = part_sizes(layer.filters, parts)
        layer = dataclasses.replace(layer, filters=sizes[index])
    elif isinstance(layer, ResponseNormLayer) and sizes is not None:
        layer = dataclasses.replace(layer, groups=layer.groups // parts)
    made = row.made if sizes is None else (sizes[index], *row.made[1:])
    return Place(Sized(layer, seen, made, row.parameters), sizes, before)


class Part(Network):
    """A rank's part of a net. Its parameters are slices of the whole net's, under the same names.

    Args:
        table: the whole net's.
        classes: units of the whole net's last layer.
        places: the plan.
        index: which part.
        group: the ranks that together have the whole net.
        scheme: in which parts the ranks' images go through divided layers that see those of all ranks (Krizhevsky
            2014, section 4): ``whole``, all at once; ``turns``, one rank's after the other; ``mixed``, a part of each
            rank's at a time.
    """

    def __init__(
        self,
        table: Table,
        classes: int,
        places: Sequence[Place],
        index: int,
        group: Group,
        scheme: Scheme = "whole",
    ):
        with torch.device("meta"):
            super().__init__(table, classes, rows=[place.row for place in places])
        self.allocate()
        self.index, self.group = index, group
        self.sizes = {place.name: place.sizes for place in places if place.sizes}
        self._exchanges = {place.name: place.before for place in places}
        self._previous = dict(zip(self.names[1:], places))
        self._breaks = frozenset(self._previous[name].name for name, what in self._exchanges.items() if what)
        self._last, self._scheme = places[-1], scheme
        for place in places:
            if place.row.layer.dropout:
                self.dropouts[place.name] = _dropout(place, self._previous.get(place.name), index)

    def _through(self, steps: Sequence[Step], x: Tensor, draw: Draw | None, kept: Kept | None = None) -> Tensor:
        steps = plan(tuple(layer for step in steps for layer in step.layers), self._breaks | frozenset(kept or ()))
        shared = next((i for i, step in enumerate(steps) if self._exchanges[step.layers[0].name] == "examples"), None)
        if shared is None:
            x = self._apart(steps, x, draw, kept)
            ends = bool(steps) and steps[-1].layers[-1].name == self.names[-1]
            return GatherScores.apply(x, self._last.sizes, self.group) if ends and self._last.sizes else x
        x = self._apart(steps[:shared], x, draw, kept)
        return torch.cat([self._together(steps[shared:], x, draw, part) for part in self._parts(len(x))])

    def _apart(self, steps: Sequence[Step], x: Tensor, draw: Draw | None, kept: Kept | None = None) -> Tensor:
        """Step by step, with the ranks' maps put together where a layer sees more than its own part."""
        for step in steps:
            name = step.layers[0].name
            if self._exchanges[name] == "maps":
                x = GatherMaps.apply(x, self._gathered(self._previous[name], x), self.group)
            elif self._exchanges[name] == "own":
                own = x.chunk(self.table.towers, 1)[self.index]
                x = own.contiguous(memory_format=torch.channels_last)
            x = super()._through((step,), x, draw, kept)
        return x

    def _parts(self, count: int) -> list[slice]:
        """Of this rank's images those that go with each part of the other ranks' through the divided layers."""
        ranks = dist.get_world_size(self.group)
        if self._scheme == "turns":
            return [slice(0, count if rank == self.index else 0) for rank in range(ranks)]
        if self._scheme == "mixed":
            return [slice(count * i // ranks, count * (i + 1) // ranks) for i in range(ranks)]
        return [slice(0, count)]

    def _together(self, steps: Sequence[Step], x: Tensor, draw: Draw | None, part: slice) -> Tensor:
        """The divided layers on a part of every rank's images; the scores of its own ones."""
        x = x[part]
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(counts, torch.tensor([len(x)]), group=self.group)  # on the CPU: no GPU is waited for
        images = [int(count) for count in counts]
        if draw is not None:
            rows = GatherExamples.apply(draw.rows[part], images, self.group)
            draw = dataclasses.replace(draw, rows=rows)
        x = self._apart(steps, GatherExamples.apply(x, images, self.group), draw)
        return OwnScores.apply(x, self._last.sizes, images, self.group)

    def _gathered(self, before: Place, x: Tensor) -> tuple[int, ...]:
        """Of each rank's part of what a layer made, second dimension: its maps, or flattened all of their numbers."""
        assert before.sizes is not None
        area = 1 if x.shape[1] == before.sizes[self.index] else math.prod(before.row.made[1:])
        return tuple(size * area for size in before.sizes)

    def before(self, images: Tensor, layer: str) -> Tensor:
        return super().before(images, self._own_images_to(layer))

    def onwards(self, seen: Tensor, layer: str, draw: Draw | None = None) -> Tensor:
        first = self._own_images_to(layer)
        for name in self.names[self.names.index(first) : self.names.index(layer)]:
            if name in self.dropouts:
                self.dropouts[name].eval()  # as of all layers before the one that is asked for
        return super().onwards(seen, first, draw)

    def _own_images_to(self, layer: str) -> str:
        """A layer, or an earlier one from which on ranks compute units of all ranks' images: they exchange these there,
        and whoever stops later would have others' images."""
        names = self.names[: self.names.index(layer)]
        return next((name for name in names if self._exchanges[name] == "examples"), layer)

    def initialize(self, seed: int, init: str = "net") -> None:
        """Does nothing: the whole net is initialized, then sliced."""


def _dropout(place: Place, before: Place | None, index: int) -> Dropout:
    """Dropout of a part of a layer: each unit's mask is that of its index in the whole net."""
    layer = place.row.layer
    assert layer.dropout is not None
    part, rule = place if not layer.dropout.of_inputs else before, layer.dropout
    if part is None or part.sizes is None or (rule.of_inputs and place.before):
        return Dropout(rule.rate, layer.name, rule.inverted)
    area = math.prod(part.row.made[1:])
    first, units = area * sum(part.sizes[:index]), area * sum(part.sizes)
    return Dropout(rule.rate, layer.name, rule.inverted, (first, units))
