"""Bytes that a rank sends in a step under each layout, from the table alone.

Sums go round a ring: a rank sends 2 (n - 1) / n of what is summed. Maps and scores go by ``all_to_all``, which sends
what is asked for and no more. Not counted: 64 bytes a step of figures and flags, and images' numbers (8 bytes each)
beside their maps.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal

from alexnet.nets.table import FullyConnectedLayer, Sized, Table
from alexnet.training.parallel.gradients import SMALL_BYTES
from alexnet.training.parallel.layout import Layout
from alexnet.training.parallel.part import Place, part_sizes

Kind = Literal["gradients", "maps", "slices"]
ELEMENT = {"float64": 8, "float32": 4, "bf16": 2, "fp16": 2}  # bytes of a number between layers


@dataclasses.dataclass(frozen=True)
class Passes:
    """How a step's images go through the net.

    Attributes:
        learning: the first layer that learns; None: all do.
        computed: whether what that layer sees was computed before the training (``training/frozen.py``).
        parts: in which a rank's images go, one after another; gradients are summed after the last one.
    """

    learning: str | None = None
    computed: bool = False
    parts: int = 1


WHOLE = Passes()  # all at once, and every layer learns


@dataclasses.dataclass(frozen=True)
class Exchange:
    """One exchange of a step.

    Attributes:
        layer: that it is of, or before.
        kind: ``gradients`` are summed while the backward pass goes on; ``maps`` (of images, or their gradients) and
            ``slices`` (of weights, or their gradients) are waited for.
        sent: bytes that a rank sends.
        rounds: messages that follow each other: each costs the link's delay.
    """

    layer: str
    kind: Kind
    sent: float
    rounds: int


def exchanges(
    table: Table,
    classes: int,
    layout: Layout,
    images: float,
    precision: str = "float32",
    backend: str = "gloo",
    passes: Passes = WHOLE,
) -> list[Exchange]:
    """What the first rank sends in a step, in the order forward, backward.

    Args:
        table, classes: of the whole net.
        layout: over ranks.
        images: of a batch that a rank sees: the batch over ``layout.data``.
        precision: of the products.
        backend: ``gloo``, whose ``reduce_scatter`` moves what an ``all_reduce`` does, or ``nccl``.
        passes: through the net.
    """
    places, first = layout.places(table, classes, 0), first_with_gradients(table, classes, layout, passes)
    rows = table.sized(classes) if places is None else [place.row for place in places]
    if layout.name == "sharded":
        sums = _sums(rows[first:], layout.data, _connected(rows), "float32", backend)
        return _of_slices(rows, layout.data, backend, first, passes) + sums
    maps = [] if places is None else _of_maps(places, layout, images, ELEMENT[precision], first, passes)
    whole = {place.name for place in places or () if place.sizes} if layout.name == "hybrid" else set()
    learning = [_own(row, places, layout) for row in rows[first:]]
    if passes.parts > 1 and precision == "bf16":  # parts' gradients add up in float32
        precision = "float32"
    return maps + _sums(learning, layout.data, whole, precision, backend)


def bytes_sent(
    table: Table,
    classes: int,
    layout: Layout,
    images: float,
    precision: str = "float32",
    backend: str = "gloo",
    passes: Passes = WHOLE,
) -> float:
    """Bytes that the first rank sends in a step; arguments as for ``exchanges``."""
    return sum(part.sent for part in exchanges(table, classes, layout, images, precision, backend, passes))


def first_with_gradients(table: Table, classes: int, layout: Layout, passes: Passes = WHOLE) -> int:
    """From which of the net's layers on a backward pass goes, by its place in the net.

    It is the first one that learns. Where ranks of ``hybrid`` would have exchanged their images before that one, the
    frozen part ends there already (``Part.before``), so that a few frozen layers have gradients, too.
    """
    if passes.learning is None:
        return 0
    places = layout.places(table, classes, 0) or ()
    first = [row.layer.name for row in table.sized(classes)].index(passes.learning)
    return next((i for i, place in enumerate(places[:first]) if place.before == "examples"), first)


def own_share(table: Table, classes: int, layout: Layout, passes: Passes = WHOLE) -> float:
    """The share of the net's parameters that the first rank has gradients of and updates, 0..1."""
    places, rows = layout.places(table, classes, 0), table.sized(classes)
    connected = _connected(rows) if layout.name == "sharded" else ()
    first = first_with_gradients(table, classes, layout, passes)
    own = sum(
        _numbers(_own(row, places, layout)) / (layout.data if row.layer.name in connected else 1)
        for row in (rows if places is None else [place.row for place in places])[first:]
    )
    return own / sum(map(_numbers, rows))


def _numbers(row: Sized) -> int:
    return sum(math.prod(shape) for shape in row.parameters.values())


def _connected(rows: Sequence[Sized]) -> set[str]:
    return {row.layer.name for row in rows if isinstance(row.layer, FullyConnectedLayer)}


def _own(row: Sized, places: Sequence[Place] | None, layout: Layout) -> Sized:
    """A layer with the shapes of the parameters that the first rank has of it."""
    sizes = next((place.sizes for place in places or () if place.name == row.layer.name), None)
    if sizes is None:
        return row
    own = {name: (part_sizes(shape[0], layout.parts)[0], *shape[1:]) for name, shape in row.parameters.items()}
    return dataclasses.replace(row, parameters=own)


def rounds(ranks: int, backend: str = "gloo") -> int:
    """Messages of an ``all_reduce`` that follow each other: around gloo's ring, or up and down NCCL's tree."""
    return 2 * (ranks - 1) if backend == "gloo" else 2 * math.ceil(math.log2(ranks))


def ring(ranks: int) -> float:
    """Bytes that a rank sends in an ``all_reduce`` around a ring, in parts of what is summed."""
    return 2 * (ranks - 1) / ranks


def _sums(rows: Sequence[Sized], ranks: int, left_out: set[str], precision: str, backend: str) -> list[Exchange]:
    """Gradients' sums, the last layer's first: the small ones together, at the end.

    With bf16 gradients come to the weights' copies, so in bf16; of biases they are float32.
    """
    if ranks == 1:
        return []
    sums, together = [], 0.0
    for row in reversed(rows):
        if row.layer.name in left_out:
            continue
        for name, shape in row.parameters.items():
            size = 8 if precision == "float64" else 2 if precision == "bf16" and name == "weight" else 4
            count = size * math.prod(shape)
            if count > SMALL_BYTES:
                sums.append(Exchange(row.layer.name, "gradients", ring(ranks) * count, rounds(ranks, backend)))
            else:
                together += count
    if together:
        sums.append(Exchange("small", "gradients", ring(ranks) * together, rounds(ranks, backend)))
    return sums


def _of_maps(
    places: Sequence[Place], layout: Layout, images: float, size: int, first: int, passes: Passes
) -> list[Exchange]:  # fmt: skip
    """Maps, units and scores, forward and backward, of the first of the ranks that have the net together.

    What the first layer with gradients sees needs none itself, so nothing comes back there.
    """
    turns = passes.parts * (1 if layout.scheme == "whole" else layout.parts)  # in which images go through
    others, batch = layout.parts - 1, images * (layout.parts if layout.name == "hybrid" else 1)
    forward, backward = [], []
    for number, (before, place) in enumerate(itertools.pairwise(places), 1):
        own = math.prod(before.row.made)  # numbers an image that this rank makes
        if place.before == "examples":  # own images to each other rank, and back their gradients
            there = back = own * images * others
        elif place.before == "maps":
            there = own * batch * others
            back = own / before.sizes[0] * sum(before.sizes[1:]) * batch if before.sizes else 0
        else:
            continue
        if number >= first or not passes.computed:
            forward.append(Exchange(place.name, "maps", size * there, turns))
        if number > first:
            backward.append(Exchange(place.name, "maps", size * back, turns))
    last = places[-1]
    if last.sizes is not None and layout.name == "hybrid":  # to each rank the scores of its own images
        forward.append(Exchange("scores", "maps", size * last.sizes[0] * (batch - images), turns))
        backward.append(Exchange("scores", "maps", size * sum(last.sizes[1:]) * images, turns))
    elif last.sizes is not None:  # the loss is computed alike everywhere: nothing comes back
        forward.append(Exchange("scores", "maps", size * last.sizes[0] * batch * others, turns))
    return forward + backward[::-1]


def _of_slices(rows: Sequence[Sized], ranks: int, backend: str, first: int, passes: Passes) -> list[Exchange]:
    """Slices of the fully connected layers (FSDP2): weights together, gradients summed and cut, for each part.

    Each layer is a root of its own, whose whole weights stay from forward to backward, so they come together once.
    """
    slices, share = [], ring(ranks) if backend == "gloo" else (ranks - 1) / ranks
    for row in rows[first:]:
        if isinstance(row.layer, FullyConnectedLayer):
            padded = sum(4 * ranks * -(-shape[0] // ranks) * math.prod(shape[1:]) for shape in row.parameters.values())
            for _ in range(passes.parts):
                slices.append(Exchange(row.layer.name, "slices", padded * (ranks - 1) / ranks, ranks - 1))
                slices.append(Exchange(row.layer.name, "slices", padded * share, rounds(ranks, backend)))
    return slices
