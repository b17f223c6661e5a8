"""A network from its table: modules with the table's names, activations of any layer, sizes and costs."""

import dataclasses
import math
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import randomness
from alexnet.errors import WrongUse
from alexnet.nets.layers import (
    Convolution,
    Draw,
    Dropout,
    FullyConnected,
    ResponseNorm,
    rounded_up_excess,
)

ACTIVATIONS = {"relu": F.relu}
SEES = ("own tower", "both towers")

# Which keys a layer of each kind must and may have, and of which type.
NUMBER = (int, float)
KINDS: dict[str, tuple[dict[str, type | tuple], dict[str, type | tuple]]] = {
    "convolution": (
        {"filters": int, "size": int},
        {
            "stride": int,
            "padding": int,
            "rounding": str,
            "sees": str,
            "activation": str,
            "weights": dict,
            "bias": NUMBER,
        },
    ),
    "response_norm": ({"size": int, "k": NUMBER, "alpha": NUMBER, "beta": NUMBER}, {}),
    "max_pool": ({"size": int, "stride": int}, {}),
    "fully_connected": (
        {"units": (int, str)},
        {"activation": str, "dropout": NUMBER, "weights": dict, "bias": NUMBER},
    ),
}


@dataclasses.dataclass(frozen=True)
class Table:
    """A network's table, checked.

    Attributes:
        name: ``paper``, or a file's name.
        text: the TOML text; it is what a run keeps.
        title: one line for people.
        input: channels, height, width.
        towers: equal parts of every layer.
        initialisation: ``weights`` and ``bias`` for layers that say nothing else.
        layers: each layer's keys by its name, in order.
    """

    name: str
    text: str
    title: str
    input: tuple[int, int, int]
    towers: int
    initialisation: dict
    layers: dict[str, dict]


def tables() -> list[str]:
    """Names of the tables that come with the package."""
    folder = resources.files("alexnet.nets").joinpath("tables")
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_table(net: str) -> Table:
    """The table of a net by its name, or of a TOML file by its path.

    Raises:
        WrongUse: no such net, or a mistake in the table, naming file, layer and key.
    """
    if net.endswith(".toml"):
        try:
            text = Path(net).read_text(encoding="utf-8")
        except OSError as error:
            raise WrongUse(f"{net}: cannot be read ({error.strerror})") from error
        return parse_table(text, net)
    if net not in tables():
        raise WrongUse(f"net {net!r}: unknown; give {', '.join(tables())}, or a .toml file")
    text = resources.files("alexnet.nets").joinpath("tables", f"{net}.toml").read_text(encoding="utf-8")
    return parse_table(text, net)


def parse_table(text: str, name: str) -> Table:
    """A table from TOML text. Raises ``WrongUse`` naming the layer and the key that is wrong."""
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise WrongUse(f"{name}: not TOML: {error}") from error
    _check_keys(
        name,
        content,
        {"input": list, "layers": dict},
        {"title": str, "towers": int, "initialisation": dict},
    )
    size = content["input"]
    if len(size) != 3 or not all(isinstance(n, int) and n > 0 for n in size):
        raise WrongUse(f"{name}: input = {size}: give [channels, height, width]")
    towers = content.get("towers", 1)
    for layer, keys in content["layers"].items():
        where = f"{name}: layer {layer}"
        kind = keys.get("kind")
        if kind not in KINDS:
            raise WrongUse(f"{where}: kind = {kind!r}: give one of {', '.join(KINDS)}")
        required, optional = KINDS[kind]
        _check_keys(where, keys, {"kind": str, **required}, optional)
        _check_values(where, keys, towers)
    last = list(content["layers"].values())[-1:]
    if not last or last[0].get("units") != "classes":
        raise WrongUse(f'{name}: the last layer must be fully connected with units = "classes"')
    return Table(
        name=Path(name).stem,
        text=text,
        title=content.get("title", Path(name).stem),
        input=(size[0], size[1], size[2]),
        towers=towers,
        initialisation={"weights": {"normal": 0.01}, "bias": 0.0, **content.get("initialisation", {})},
        layers=content["layers"],
    )


def _check_keys(where: str, keys: dict, required: dict, optional: dict) -> None:
    for key in required:
        if key not in keys:
            raise WrongUse(f"{where}: {key} is missing")
    for key, value in keys.items():
        expected = required.get(key) or optional.get(key)
        if expected is None:
            raise WrongUse(f"{where}: {key} is not a key here; known: {', '.join([*required, *optional])}")
        if not isinstance(value, expected) or isinstance(value, bool):
            raise WrongUse(f"{where}: {key} = {value!r}: wrong type")


def _check_values(where: str, keys: dict, towers: int) -> None:
    choices = {"activation": ACTIVATIONS, "sees": SEES, "rounding": ("up", "down")}
    for key, allowed in choices.items():
        if key in keys and keys[key] not in allowed:
            raise WrongUse(f"{where}: {key} = {keys[key]!r}: give one of {', '.join(map(repr, allowed))}")
    for key in ("filters", "size", "stride"):
        if key in keys and keys[key] < 1:
            raise WrongUse(f"{where}: {key} = {keys[key]}: must be at least 1")
    for key in ("filters", "units"):
        if isinstance(keys.get(key), int) and keys[key] % towers:
            raise WrongUse(f"{where}: {key} = {keys[key]}: does not divide into {towers} towers")
    if isinstance(keys.get("units"), str) and keys["units"] != "classes":
        raise WrongUse(f'{where}: units = {keys["units"]!r}: give a number or "classes"')
    if not 0 <= keys.get("dropout", 0) < 1:
        raise WrongUse(f"{where}: dropout = {keys['dropout']}: must be at least 0 and below 1")
    if "weights" in keys and list(keys["weights"]) != ["normal"]:
        raise WrongUse(f"{where}: weights = {keys['weights']}: give {{ normal = DEVIATION }}")


class Network(nn.Module):
    """A net built from its table. Layers are attributes under the table's names, in the table's order.

    Args:
        table: the net's table, or a name or path for ``load_table``.
        classes: units of the last layer.
    """

    def __init__(self, table: Table | str = "paper", classes: int = 1000):
        super().__init__()
        self.table = load_table(table) if isinstance(table, str) else table
        self.classes = classes
        self.names = list(self.table.layers)
        self._activations = {name: keys.get("activation") for name, keys in self.table.layers.items()}
        self.layers = nn.ModuleDict()
        self.dropouts = nn.ModuleDict()
        shape: tuple[int, ...] = self.table.input
        for name, keys in self.table.layers.items():
            layer, shape = _build(keys, shape, self.table.towers, classes, f"{self.table.name}: layer {name}")
            self.layers[name] = layer
            if keys.get("dropout"):
                self.dropouts[name] = Dropout(keys["dropout"], name)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

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
        return self._run(images, draw, {})

    def activations(self, images: Tensor, names: Iterable[str]) -> dict[str, Tensor]:
        """The outputs of layers by name, after their activation function and dropout.

        Args:
            images: as for ``forward``.
            names: layers of the table; ``fc8`` gives the scores.

        Returns:
            (N, ...) float for each name.

        Raises:
            WrongUse: no such layer.
        """
        wanted = list(names)
        for name in wanted:
            if name not in self.names:
                raise WrongUse(f"layer {name!r}: net {self.table.name} has {', '.join(self.names)}")
        kept: dict[str, Tensor | None] = dict.fromkeys(wanted)
        self._run(images, None, kept)
        return {name: tensor for name, tensor in kept.items() if tensor is not None}

    def _run(self, x: Tensor, draw: Draw | None, kept: dict[str, Tensor | None]) -> Tensor:
        if x.shape[1] != self.table.input[0]:
            raise ValueError(f"images have {x.shape[1]} channels; the net takes {self.table.input[0]}")
        for name, layer in self.layers.items():
            if isinstance(layer, FullyConnected) and x[0].numel() != layer.in_features:
                raise ValueError(
                    f"{name} sees {x[0].numel()} inputs where the net has {layer.in_features}: images of another size"
                )
            x = layer(x)
            activation = self._activations[name]
            if activation == "relu" and torch.is_grad_enabled() and not kept:
                x = x.relu_()
            elif activation:
                x = ACTIVATIONS[activation](x)
            if name in self.dropouts:
                x = self.dropouts[name](x, draw)
            if name in kept:
                kept[name] = x
        return x

    def initialise(self, seed: int, rule: str = "table") -> None:
        """Draws every parameter anew, each by its own name: towers, devices and order change nothing.

        Args:
            seed: 0..2**32-1.
            rule: ``table``, what the net's table says (paper section 5); ``he``, weights N(0, 2 / inputs) and
                biases 0 (He, Zhang, Ren, Sun, ICCV 2015), with which deep ReLU nets start to learn anywhere.
        """
        with torch.no_grad():
            for name, layer in self.layers.items():
                if not isinstance(layer, nn.Conv2d | nn.Linear):
                    continue
                keys = {**self.table.initialisation, **self.table.layers[name]}
                deviation, bias = keys["weights"]["normal"], keys["bias"]
                if rule == "he":
                    inputs = layer.weight[0].numel()
                    gain = 1.0 if name == self.names[-1] else 2.0
                    deviation, bias = math.sqrt(gain / inputs), 0.0
                drawn = randomness.normal_tensor(seed, f"initialisation/{name}.weight", tuple(layer.weight.shape))
                layer.weight.copy_(drawn.mul_(deviation))
                if layer.bias is not None:
                    layer.bias.fill_(bias)

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter by the name it has on disk: ``conv1.weight``, ``conv1.bias``, ..."""
        return {name.removeprefix("layers."): value for name, value in self.named_parameters()}


def _build(
    keys: dict, shape: tuple[int, ...], towers: int, classes: int, where: str
) -> tuple[nn.Module, tuple[int, ...]]:
    """The module for one layer of a table, and the shape (maps, height, width) or (units,) that it makes."""
    kind = keys["kind"]
    if kind == "fully_connected":
        units = classes if keys["units"] == "classes" else keys["units"]
        return FullyConnected(math.prod(shape), units), (units,)
    if len(shape) != 3:
        raise WrongUse(f"{where}: {kind} after a fully connected layer")
    maps, height, width = shape
    if kind == "response_norm":
        return ResponseNorm(keys["size"], towers, keys["k"], keys["alpha"], keys["beta"]), shape
    size, stride, padding = keys["size"], keys.get("stride", 1), keys.get("padding", 0)
    if size > min(height, width) + 2 * padding:
        raise WrongUse(f"{where}: {size}x{size} windows on {height}x{width} maps")
    round_up = kind == "max_pool" or keys.get("rounding", "down") == "up"
    out = [
        1 + (n + 2 * padding + (rounded_up_excess(n, size, stride, padding) if round_up else 0) - size) // stride
        for n in (height, width)
    ]
    if kind == "max_pool":
        return nn.MaxPool2d(size, stride, ceil_mode=True), (maps, *out)
    groups = towers if keys.get("sees", "both towers") == "own tower" else 1
    layer = Convolution(maps, keys["filters"], size, stride, padding, groups, round_up)
    return layer, (keys["filters"], *out)


@dataclasses.dataclass(frozen=True)
class LayerCost:
    """One line of ``alexnet summary``.

    Attributes:
        name, kind, kernel: as the table says.
        output: shape for one image.
        parameters: weights and biases.
        multiply_adds: of one forward pass of one image; a bias is not counted.
        memory: bytes of the output in float32 for one image.
    """

    name: str
    kind: str
    kernel: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    memory: int


def costs(table: Table, classes: int = 1000) -> list[LayerCost]:
    """Shape, parameters and multiply-adds of every layer, without allocating one weight."""
    rows = []
    shape: tuple[int, ...] = table.input
    with torch.device("meta"):
        for name, keys in table.layers.items():
            layer, shape = _build(keys, shape, table.towers, classes, f"{table.name}: layer {name}")
            kernel, products = "", 0
            if isinstance(layer, nn.Conv2d):
                kernel = f"{layer.kernel_size[0]}x{layer.kernel_size[1]}x{layer.in_channels // layer.groups}"
                kernel += f", stride {layer.stride[0]}" if layer.stride[0] > 1 else ""
                kernel += f", {layer.groups} towers" if layer.groups > 1 else ""
                products = layer.weight.numel() * shape[1] * shape[2]
            elif isinstance(layer, nn.Linear):
                kernel, products = str(layer.in_features), layer.weight.numel()
            elif isinstance(layer, nn.MaxPool2d):
                kernel = f"{layer.kernel_size}x{layer.kernel_size}, stride {layer.stride}"
            elif isinstance(layer, ResponseNorm):
                kernel = f"{layer.size} maps"
            count = sum(parameter.numel() for parameter in layer.parameters())
            rows.append(LayerCost(name, keys["kind"], kernel, shape, count, products, 4 * math.prod(shape)))
    return rows
