"""What a network is: frozen layers in order, every default decided, and the geometry of what they make.

Network, fusion, costs, importers, exporters and parallel plans read a layer's groups, window and sizes here alone.
"""

import dataclasses
import math
from typing import ClassVar

from alexnet.errors import UsageError
from alexnet.native import Window

Shape = tuple[int, ...]  # (maps, height, width) or (units,)


@dataclasses.dataclass(frozen=True)
class Init:
    """How a layer's parameters are initialized where the net's own rule is asked for.

    Attributes:
        std: of the weights, N(0, std^2); None: uniform within 1/sqrt(inputs), as torch's layers are.
        bias: of every unit; None: uniform as well.
    """

    std: float | None = 0.01
    bias: float | None = 0.0


@dataclasses.dataclass(frozen=True)
class DropoutRule:
    """Dropout of a layer.

    Attributes:
        rate: the probability that a unit is dropped.
        of_inputs: of what the layer sees (Caffe and torchvision before fc6), not of what it gives (paper 4.2).
        inverted: what stays is scaled in training, and nothing at test.
    """

    rate: float
    of_inputs: bool = False
    inverted: bool = False


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer of a table.

    Attributes:
        name: its own, ``conv1``.
        activation: ``relu``, ``tanh``, ``gelu``, ``sigmoid``, ``abs_tanh``, or None.
        dropout: or None.
    """

    kind: ClassVar[str]
    name: str
    activation: str | None = None
    dropout: DropoutRule | None = None

    def output(self, shape: Shape, classes: int) -> Shape:
        """The shape that it makes of one. Raises ``UsageError`` where it cannot see such a shape."""
        _maps(shape, self.kind)
        return shape

    def parameters(self, shape: Shape, classes: int) -> dict[str, Shape]:
        """The shapes of its parameters by name, where it sees ``shape``."""
        return {}


def _maps(shape: Shape, kind: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise UsageError(f"{kind} after a fully connected layer")
    return shape[0], shape[1], shape[2]


@dataclasses.dataclass(frozen=True)
class WindowLayer(Layer):
    """A layer that moves a window over maps.

    Attributes:
        window: its geometry.
    """

    window: Window = dataclasses.field(kw_only=True)

    def sides(self, shape: Shape) -> tuple[int, int]:
        """Height and width of what it makes. Raises ``UsageError`` where the window is larger than the maps."""
        _, height, width = _maps(shape, self.kind)
        size = self.window.size
        if size > min(height, width) + 2 * self.window.padding:
            raise UsageError(f"{size}x{size} windows on {height}x{width} maps")
        return self.window.outputs(height), self.window.outputs(width)

    def output(self, shape: Shape, classes: int) -> Shape:
        return (shape[0], *self.sides(shape))


@dataclasses.dataclass(frozen=True)
class ConvolutionLayer(WindowLayer):
    """A convolution (paper 3.2, 3.5).

    Attributes:
        filters: of the whole net.
        groups: parts of the filters, each of which sees its own part of the maps alone: the towers, or 1.
        init: of its parameters.
    """

    kind = "convolution"
    filters: int = dataclasses.field(kw_only=True)
    groups: int = 1
    init: Init = Init()

    def output(self, shape: Shape, classes: int) -> Shape:
        sides = self.sides(shape)
        _check_towers(shape[0], self.groups)
        return (self.filters, *sides)

    def parameters(self, shape: Shape, classes: int) -> dict[str, Shape]:
        weight = (self.filters, shape[0] // self.groups, self.window.size, self.window.size)
        return {"weight": weight, "bias": (self.filters,)}


@dataclasses.dataclass(frozen=True)
class LocallyConnectedLayer(WindowLayer):
    """A convolution whose filters are not shared between positions (the source's CIFAR-10 nets)."""

    kind = "locally_connected"
    filters: int = dataclasses.field(kw_only=True)
    init: Init = Init()

    def output(self, shape: Shape, classes: int) -> Shape:
        return (self.filters, *self.sides(shape))

    def parameters(self, shape: Shape, classes: int) -> dict[str, Shape]:
        size, sides = self.window.size, self.sides(shape)
        return {"weight": (self.filters, shape[0], size, size, *sides), "bias": (self.filters, *sides)}


@dataclasses.dataclass(frozen=True)
class ResponseNormLayer(Layer):
    """Local response normalization across maps (paper 3.3): ``x / (k + alpha sum of x^2) ** beta``.

    Attributes:
        size: maps in a sum.
        groups: parts of the maps, each normalized by itself: the towers, or 1.
        k, alpha, beta: as the paper writes them; alpha is divided by nothing any more.
    """

    kind = "response_norm"
    size: int = dataclasses.field(kw_only=True)
    k: float = dataclasses.field(kw_only=True)
    alpha: float = dataclasses.field(kw_only=True)
    beta: float = dataclasses.field(kw_only=True)
    groups: int = 1

    def output(self, shape: Shape, classes: int) -> Shape:
        _check_towers(_maps(shape, self.kind)[0], self.groups)
        return shape


@dataclasses.dataclass(frozen=True)
class WithinMapNormLayer(Layer):
    """Local response normalization within each map, over ``size`` x ``size`` pixels (2012 source, ``cnorm2``)."""

    kind = "response_norm_within_map"
    size: int = dataclasses.field(kw_only=True)
    k: float = dataclasses.field(kw_only=True)
    alpha: float = dataclasses.field(kw_only=True)
    beta: float = dataclasses.field(kw_only=True)


@dataclasses.dataclass(frozen=True)
class BatchNormLayer(Layer):
    """Batch normalization, in variants of the net."""

    kind = "batch_norm"

    def parameters(self, shape: Shape, classes: int) -> dict[str, Shape]:
        return {"weight": (shape[0],), "bias": (shape[0],)}


@dataclasses.dataclass(frozen=True)
class MaxPoolLayer(WindowLayer):
    """Max pooling whose windows overlap where the stride is smaller (paper 3.4)."""

    kind = "max_pool"


@dataclasses.dataclass(frozen=True)
class AveragePoolLayer(WindowLayer):
    """Average pooling, divided by the part of the window that lies inside the maps."""

    kind = "average_pool"


@dataclasses.dataclass(frozen=True)
class FullyConnectedLayer(Layer):
    """A fully connected layer.

    Attributes:
        units: None: as many as there are classes.
        init: of its parameters.
    """

    kind = "fully_connected"
    units: int | None = None
    init: Init = Init()

    def output(self, shape: Shape, classes: int) -> Shape:
        return (classes if self.units is None else self.units,)

    def parameters(self, shape: Shape, classes: int) -> dict[str, Shape]:
        units = self.output(shape, classes)
        return {"weight": (*units, math.prod(shape)), "bias": units}


Learning = ConvolutionLayer | LocallyConnectedLayer | FullyConnectedLayer  # those whose weights are products' factors


def _check_towers(maps: int, groups: int) -> None:
    if maps % groups:
        raise UsageError(f"{maps} maps do not divide into {groups} towers")


@dataclasses.dataclass(frozen=True)
class Sized:
    """A layer at its place in a net: what it sees, and what it makes.

    Attributes:
        layer: of the table.
        seen, made: (maps, height, width) or (units,).
        parameters: shapes by name.
    """

    layer: Layer
    seen: Shape
    made: Shape
    parameters: dict[str, Shape]


@dataclasses.dataclass(frozen=True)
class Table:
    """A network's table, checked.

    Attributes:
        name: ``paper``, or a file's name.
        text: the TOML text; it is what a run keeps.
        title: one line for people.
        input: channels, height, width.
        towers: equal parts of every layer.
        layers: by their names, in order.
    """

    name: str
    text: str
    title: str
    input: tuple[int, int, int]
    towers: int
    layers: dict[str, Layer]

    def sized(self, classes: int, side: int | None = None) -> list[Sized]:
        """Every layer with its shapes.

        Args:
            classes: units of the last layer.
            side: of the images, pixels; as the table says if not given.

        Raises:
            UsageError: a layer that cannot see what the one before makes, by its name.
        """
        rows: list[Sized] = []
        shape: Shape = self.input if side is None else (self.input[0], side, side)
        for layer in self.layers.values():
            try:
                made = layer.output(shape, classes)
                rows.append(Sized(layer, shape, made, layer.parameters(shape, classes)))
            except UsageError as error:
                raise UsageError(f"{self.name}: layer {layer.name}: {error}") from error
            shape = made
        return rows

    def check_layers(self, names: list[str]) -> None:
        """Raises ``UsageError`` where one of these is no layer of the table."""
        for name in names:
            if name not in self.layers:
                raise UsageError(f"layer {name!r}: net {self.name} has {', '.join(self.layers)}")

    def next_learning(self, layer: str) -> str:
        """The first layer with parameters after another. Raises ``UsageError`` where there is none, or no such one."""
        self.check_layers([layer])
        names = list(self.layers)
        for row in self.sized(2)[names.index(layer) + 1 :]:
            if row.parameters:
                return row.layer.name
        raise UsageError(f"layer {layer!r}: no layer with weights comes after it")
