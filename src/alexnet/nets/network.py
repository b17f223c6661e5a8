"""The network: its layers under their own names, and the way of an image through them (paper 3.5)."""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import randomness
from alexnet.errors import UsageError
from alexnet.files import nearest
from alexnet.nets.fusion import BEFORE, Step, plan
from alexnet.nets.kernels.stage_native import run_stage, runs
from alexnet.nets.layers import (
    Convolution,
    Draw,
    Dropout,
    FullyConnected,
    LocallyConnected,
    MaxPool,
    ResponseNorm,
    WithinMapNorm,
)
from alexnet.nets.table import (
    AveragePoolLayer,
    BatchNormLayer,
    ConvolutionLayer,
    FullyConnectedLayer,
    Layer,
    Learning,
    LocallyConnectedLayer,
    MaxPoolLayer,
    ResponseNormLayer,
    Shape,
    Sized,
    Table,
    WithinMapNormLayer,
)
from alexnet.nets.table_file import MOST, load_table


def _abs_tanh(x: Tensor) -> Tensor:
    return x.tanh().abs()


ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh, "gelu": F.gelu, "sigmoid": torch.sigmoid, "abs_tanh": _abs_tanh}
INITS = ("net", "he")
Kept = dict[str, Tensor | None]  # outputs that are asked for, by name


class Network(nn.Module):
    """A net built from its table and initialized. Each layer is an attribute by the table's name: ``net.conv1``.

    Built within ``torch.device("meta")`` it has shapes and no weights.

    Args:
        table: the net's table, or a name or path for ``load_table``.
        classes: units of the last layer.
        seed, init: of the weights, as for ``initialize``.
        rows: the layers to build where they are not the table's own, but a part of each.

    Attributes:
        table: what it was built from.
        classes: units of the last layer.
        names: of the layers, in order.

    Raises:
        UsageError: no such net, a mistake in its table, or no such rule.
    """

    def __init__(
        self,
        table: Table | str = "paper",
        classes: int = 1000,
        seed: int = 0,
        init: str = "net",
        rows: Sequence[Sized] | None = None,
    ):
        super().__init__()
        if not 1 <= classes <= MOST["units"]:
            raise UsageError(f"classes {classes}: must be between 1 and {MOST['units']:,}")
        self.table = load_table(table) if isinstance(table, str) else table
        self.classes = classes
        self.names = list(self.table.layers)
        self.dropouts = nn.ModuleDict()
        rows = self.table.sized(classes) if rows is None else rows
        self._layers = tuple(row.layer for row in rows)
        self._plan = plan(self._layers)
        self._folded: dict[str, float] = {}  # layers whose factor of dropout is in the next one's weights
        for row in rows:
            self.add_module(row.layer.name, _module(row.layer, row.seen, classes))
            if row.layer.dropout:
                rule = row.layer.dropout
                self.dropouts[row.layer.name] = Dropout(rule.rate, row.layer.name, rule.inverted)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if not next(self.parameters()).is_meta:
            self.initialize(seed, init)

    @classmethod
    def empty(cls, table: Table | str = "paper", classes: int = 1000) -> "Network":
        """A net whose weights are whatever lay in memory, for those who put all of them or initialize it themselves."""
        with torch.device("meta"):
            net = cls(table, classes)
        net.allocate()
        return net

    def allocate(self) -> None:
        """Gives a net that was built on ``meta`` memory on the CPU, float32, and no values."""
        self.float()  # whatever torch's default type is
        self._apply(_empty)  # to_empty would import SymPy, which takes half a second
        for layer in self.children():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()

    def forward(self, images: Tensor, draw: Draw | None = None) -> Tensor:
        """Scores of each class before the soft-max.

        Args:
            images: (N, 3, 224, 224) float, prepared as the run says; 227 x 227 is accepted by the paper's net.
            draw: what dropout masks are a function of, in training.

        Returns:
            (N, classes) float.

        Raises:
            ValueError: images of a size the net cannot take.
        """
        self._check_input(images)
        return self._through(self._plan, images, draw)

    def _through(self, steps: Sequence[Step], x: Tensor, draw: Draw | None, kept: Kept | None = None) -> Tensor:
        """Step by step: in one pass where the compiled path runs, else one layer after the other.

        What ``kept`` asks for is put there; its layers end the steps that they are in.
        """
        kept = {} if kept is None else kept
        for step in steps:
            layers = step.layers
            if step.head:
                x = self._sums(step.head, x, draw, kept)
            if step.stage and runs(x):
                x, layers = run_stage(x, step.stage), ()
                self._keep(kept, step.layers[-1].name, x)
            elif step.head:
                x, layers = self._activated(step.head, x, draw, kept), layers[1:]
            for layer in layers:
                x = self._activated(layer, self._sums(layer, x, draw, kept), draw, kept)
        return x

    def _sums(self, layer: Layer, x: Tensor, draw: Draw | None, kept: Kept) -> Tensor:
        """A layer's own function: dropout of what it sees, then its module."""
        if isinstance(layer, FullyConnectedLayer):
            inputs = getattr(self.get_submodule(layer.name), "in_features", 0)
            if math.prod(x.shape[1:]) != inputs:
                raise ValueError(
                    f"{layer.name} sees {math.prod(x.shape[1:])} inputs where the net has {inputs}: "
                    "images of another size"
                )
        x = self.get_submodule(layer.name)(self._drop(layer, x, draw, of_inputs=True))
        self._keep(kept, layer.name + BEFORE, x)
        return x

    def _activated(self, layer: Layer, x: Tensor, draw: Draw | None, kept: Kept) -> Tensor:
        """A layer's outputs from its sums: its activation function, then dropout of what it gives."""
        if layer.activation == "relu" and torch.is_grad_enabled() and x.grad_fn is not None and not kept:
            x = x.relu_()  # nobody else needs what it was
        elif layer.activation:
            x = ACTIVATIONS[layer.activation](x)
        x = self._drop(layer, x, draw, of_inputs=False)
        self._keep(kept, layer.name, x)
        return x

    def _drop(self, layer: Layer, x: Tensor, draw: Draw | None, of_inputs: bool) -> Tensor:
        if layer.dropout and layer.dropout.of_inputs == of_inputs:
            return self.dropouts[layer.name](x, draw)
        return x

    def _keep(self, kept: Kept, name: str, x: Tensor) -> None:
        if name in kept:
            kept[name] = x * self._folded[name] if name in self._folded else x

    def _check_input(self, images: Tensor) -> None:
        if isinstance(images, torch.fx.Proxy):
            raise UsageError("torch.fx.symbolic_trace: cannot follow a net; torch.export.export can")
        if images.dim() != 4 or images.shape[1] != self.table.input[0]:
            raise ValueError(
                f"images {tuple(images.shape)}: must be (N, {self.table.input[0]}, height, width); "
                f"the net takes {self.table.input[0]} channels"
            )

    def before(self, images: Tensor, layer: str) -> Tensor:
        """What a layer sees: the outputs of the one before it.

        Args:
            images: as for ``forward``.
            layer: of the table.

        Returns:
            (N, maps, height, width) float; (N, inputs) where the layer is fully connected.
        """
        self._check_input(images)
        x = self._through(plan(self._layers[: self.names.index(layer)]), images, None)
        return x.flatten(1) if isinstance(self.table.layers[layer], FullyConnectedLayer) else x

    def onwards(self, seen: Tensor, layer: str, draw: Draw | None = None) -> Tensor:
        """Scores from what ``before`` gave: the net from a layer on.

        Args:
            seen: by the layer.
            layer: of the table.
            draw: as for ``forward``.
        """
        return self._through(plan(self._layers[self.names.index(layer) :]), seen, draw)

    def activations(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """The outputs of layers by name, after their activation function and dropout.

        The net runs up to the last of them, and what lies between them takes the compiled path as ever.

        Args:
            images: as for ``forward``.
            names: layers of the table; ``fc8`` gives the scores. ``conv5:before`` is conv5 before its activation
                function.

        Returns:
            (N, ...) float for each name.

        Raises:
            UsageError: no such layer.
        """
        self._check_input(images)
        wanted = list(names)
        layers = [name.removesuffix(BEFORE) for name in wanted]
        self.table.check_layers(layers)
        kept: Kept = dict.fromkeys(wanted)
        last = max((self.names.index(name) for name in layers), default=-1)
        self._through(plan(self._layers[: last + 1], frozenset(wanted)), images, None, kept)
        return {name: tensor for name, tensor in kept.items() if tensor is not None}

    def dropout_factor(self, name: str) -> float:
        """What dropout multiplies a layer's outputs with at test (paper 4.2); 1 before the activation function."""
        rule = None if name.endswith(BEFORE) else self.table.layers[name].dropout
        return 1.0 if rule is None or rule.of_inputs or rule.inverted else 1 - rule.rate

    def initialize(self, seed: int, init: str = "net") -> None:
        """Initializes every parameter, each by its own name: towers, devices and order change nothing.

        Args:
            seed: 0..2**32-1.
            init: ``net``, what the net's table says (paper section 5); ``he``, weights N(0, 2 / inputs) and
                biases 0 (He, Zhang, Ren, Sun, ICCV 2015), with which deep ReLU nets start to learn anywhere.

        Raises:
            UsageError: no such rule.
        """
        if init not in INITS:
            raise UsageError(f"initialization {init!r}: unknown; {nearest(init, INITS)}give one of {', '.join(INITS)}")
        with torch.no_grad():
            for name, layer in self.table.layers.items():
                module = self.get_submodule(name)
                if isinstance(module, nn.BatchNorm2d):
                    module.reset_parameters()
                elif isinstance(layer, Learning):
                    assert isinstance(module, Convolution | FullyConnected | LocallyConnected)
                    self._initialize(layer, module, seed, init)

    def _initialize(
        self, layer: Learning, module: Convolution | FullyConnected | LocallyConnected, seed: int, init: str
    ) -> None:
        inputs = fan_in(module)
        bound = 1 / math.sqrt(inputs)
        purpose, shape = f"initialisation/{layer.name}", tuple(module.weight.shape)  # a key of the random streams
        std, bias = layer.init.std, layer.init.bias
        if init == "he":
            std, bias = math.sqrt((1.0 if layer.name == self.names[-1] else 2.0) / inputs), 0.0
        if std is None:
            module.weight.copy_(randomness.uniform_tensor(seed, f"{purpose}.weight", shape, bound))
        else:
            module.weight.copy_(randomness.normal_tensor(seed, f"{purpose}.weight", shape).mul_(std))
        assert module.bias is not None
        if bias is None:
            module.bias.copy_(randomness.uniform_tensor(seed, f"{purpose}.bias", tuple(module.bias.shape), bound))
        else:
            module.bias.fill_(bias)

    def fold_dropout(self) -> None:
        """Puts dropout's factor at test into the weights of the layer that comes next, where it has weights."""
        for name, dropout in self.dropouts.items():
            layer = self.table.layers[name]
            assert isinstance(dropout, Dropout) and layer.dropout
            after = self._layers[self.names.index(name) + (not layer.dropout.of_inputs)]
            if dropout.inverted or not isinstance(after, Learning):
                continue
            with torch.no_grad():
                self.get_parameter(f"{after.name}.weight").mul_(1 - dropout.rate)
            dropout.inverted = True
            if not layer.dropout.of_inputs:
                self._folded[name] = 1 - dropout.rate

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter by its name, on disk as here: ``conv1.weight``, ``conv1.bias``, ..."""
        return dict(self.named_parameters())

    def filters(self) -> dict[str, int]:
        """The convolutions' weights by name, and in how many groups of filters each is."""
        layers = self.table.layers.items()
        return {f"{name}.weight": layer.groups for name, layer in layers if isinstance(layer, ConvolutionLayer)}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the parameters, and the running moments of batch norms."""
        return {**self.tensors(), **{name: value for name, value in self.named_buffers() if value.is_floating_point()}}


def _empty(like: Tensor) -> Tensor:
    """An uninitialized tensor on the CPU of a shape and type, whose elements lie in memory in the same order."""
    return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device="cpu")


def fan_in(layer: Convolution | FullyConnected | LocallyConnected) -> int:
    """How many inputs each unit of a layer sees."""
    return math.prod(layer.weight.shape[1:4] if isinstance(layer, LocallyConnected) else layer.weight.shape[1:])


def _module(layer: Layer, seen: Shape, classes: int) -> nn.Module:
    """The module for a layer of a table that sees (maps, height, width) or (units,)."""
    match layer:
        case FullyConnectedLayer():
            return FullyConnected(math.prod(seen), *layer.output(seen, classes))
        case ConvolutionLayer():
            return Convolution(seen[0], layer.filters, layer.window, layer.groups)
        case LocallyConnectedLayer():
            return LocallyConnected((seen[0], seen[1], seen[2]), layer.filters, layer.window)
        case ResponseNormLayer():
            return ResponseNorm(layer.size, layer.groups, layer.k, layer.alpha, layer.beta)
        case WithinMapNormLayer():
            return WithinMapNorm(layer.size, layer.k, layer.alpha, layer.beta)
        case BatchNormLayer():
            return nn.BatchNorm2d(seen[0])
        case MaxPoolLayer():
            return MaxPool(layer.window)
        case AveragePoolLayer():  # divides by the part of the window that lies inside
            return nn.AvgPool2d(layer.window.size, layer.window.stride, ceil_mode=True, count_include_pad=False)
    raise AssertionError(layer)
