"""What a net costs and sees: shapes, parameters, multiply-adds, receptive fields, from its table alone."""

import dataclasses
import math

from alexnet.errors import UsageError
from alexnet.nets.table import (
    AveragePoolLayer,
    ConvolutionLayer,
    FullyConnectedLayer,
    Layer,
    LocallyConnectedLayer,
    MaxPoolLayer,
    ResponseNormLayer,
    Shape,
    Sized,
    Table,
    WindowLayer,
    WithinMapNormLayer,
)


@dataclasses.dataclass(frozen=True)
class ReceptiveField:
    """Which pixels of the image a unit can depend on: those of a square.

    Attributes:
        size: of its side, pixels.
        step: pixels between the squares of neighboring units.
        offset: where the square of the first unit begins; below 0 where it hangs over the image's edge.
    """

    size: int = 1
    step: int = 1
    offset: int = 0

    def through(self, layer: Layer) -> "ReceptiveField | None":
        """Of a unit of the next layer; None where it depends on the whole image."""
        if isinstance(layer, FullyConnectedLayer):
            return None
        if isinstance(layer, WindowLayer):
            window = layer.window
            return ReceptiveField(
                self.size + (window.size - 1) * self.step,
                self.step * window.stride,
                self.offset - window.padding * self.step,
            )
        if isinstance(layer, WithinMapNormLayer):
            edge = layer.size // 2
            return ReceptiveField(self.size + 2 * edge * self.step, self.step, self.offset - edge * self.step)
        return self

    def pixels(self, index: int, length: int) -> range:
        """The pixels of an image's side that unit number ``index`` of a row can depend on."""
        start = self.offset + index * self.step
        return range(max(0, start), min(length, start + self.size))


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One line of ``alexnet summary``.

    Attributes:
        name, kind, kernel: as the table says.
        output: shape for one image.
        parameters: weights and biases.
        multiply_adds: of one forward pass of one image; a bias is not counted.
        memory: bytes of the output in float32 for one image.
        receptive_field: of a unit; None where it depends on the whole image.
    """

    name: str
    kind: str
    kernel: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    memory: int
    receptive_field: ReceptiveField | None


def costs(table: Table, classes: int = 1000, side: int | None = None) -> list[LayerCost]:
    """Shape, parameters, multiply-adds and receptive field of every layer; ``side`` of images if not the table's."""
    rows: list[LayerCost] = []
    field: ReceptiveField | None = ReceptiveField()
    for row in table.sized(classes, side):
        field = field.through(row.layer) if field else None
        count = sum(math.prod(shape) for shape in row.parameters.values())
        rows.append(
            LayerCost(
                name=row.layer.name,
                kind=row.layer.kind,
                kernel=_kernel(row.layer, row.seen),
                output=row.made,
                parameters=count,
                multiply_adds=_multiply_adds(row),
                memory=4 * math.prod(row.made),
                receptive_field=field,
            )
        )
    return rows


def _multiply_adds(row: Sized) -> int:
    if not isinstance(row.layer, ConvolutionLayer | LocallyConnectedLayer | FullyConnectedLayer):
        return 0
    positions = math.prod(row.made[1:]) if isinstance(row.layer, ConvolutionLayer) else 1
    return math.prod(row.parameters["weight"]) * positions


def _kernel(layer: Layer, seen: Shape) -> str:
    """A layer's kernel, for people."""
    match layer:
        case ConvolutionLayer(window=window, groups=groups):
            stride = f", stride {window.stride}" if window.stride > 1 else ""
            towers = f", {groups} towers" if groups > 1 else ""
            return f"{window.size}x{window.size}x{seen[0] // groups}{stride}{towers}"
        case LocallyConnectedLayer(window=window):
            return f"{window.size}x{window.size}x{seen[0]}, not shared"
        case MaxPoolLayer(window=window) | AveragePoolLayer(window=window):
            return f"{window.size}x{window.size}, stride {window.stride}"
        case FullyConnectedLayer():
            return str(math.prod(seen))
        case ResponseNormLayer(size=size):
            return f"{size} maps"
        case WithinMapNormLayer(size=size):
            return f"{size}x{size}"
    return ""


def multiply_adds(table: Table, classes: int) -> tuple[int, int]:
    """Of one image: in inference, and in a training step, whose images need no gradient."""
    layers = costs(table, classes)
    forward = sum(row.multiply_adds for row in layers)
    return forward, 3 * forward - layers[0].multiply_adds


def check_side(table: Table, side: int) -> None:
    """Raises ``UsageError`` where a net cannot take images of ``side`` x ``side`` pixels."""
    usual, seen = costs(table, 2), costs(table, 2, side)
    if table.input[1] != table.input[2]:
        raise UsageError(
            f"net {table.name}: takes images of {table.input[1]}x{table.input[2]} pixels; crops are square"
        )
    if table.input[0] != 3:
        raise UsageError(f"net {table.name}: takes images of {table.input[0]} channels; photos have 3")
    for own, other in zip(usual, seen):
        if own.parameters != other.parameters:
            raise UsageError(
                f"net {table.name} takes images of {table.input[1]} pixels, not of {side}: {own.name} would have "
                f"{other.parameters:,} parameters in place of {own.parameters:,}; set `input` in a table of your own "
                "(docs/variants.md)"
            )
