"""A network from its table: modules with the table's names, activations of any layer, sizes and costs."""

import copy
import dataclasses
import json
import math
import re
import tomllib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import randomness
from alexnet.errors import WrongUse
from alexnet.files import nearest
from alexnet.native import MOST_WINDOW, Stage
from alexnet.nets.kernels.stage_native import run_stage, runs
from alexnet.nets.layers import (
    Convolution,
    Draw,
    Dropout,
    FullyConnected,
    LocallyConnected,
    NarrowFullyConnected,
    ResponseNorm,
    WithinMapNorm,
    rounded_up_excess,
)

ACTIVATIONS = {"relu": F.relu, "tanh": torch.tanh, "gelu": F.gelu}
RULES = ("table", "he")
SEES = ("own tower", "both towers")
DROPPED = ("outputs", "inputs")
SCALED = ("at test", "in training")
FROM_INPUTS = "1/sqrt(inputs)"

TINY = 1e-30
LEAST = {"towers": 1, "filters": 1, "units": 1, "size": 1, "stride": 1, "padding": 0, "alpha": 0, "beta": 0, "k": TINY}
MOST = {"input": 1 << 14, "towers": 1 << 10, "filters": 1 << 20, "units": 1 << 20, "size": 1 << 14, "stride": 1 << 14}
MOST |= {"padding": 1 << 14, "k": 1e6, "alpha": 1e6, "beta": 100}
TAKEN = {*dir(nn.ModuleDict()), "table", "classes", "names", "layers", "dropouts"}  # attributes that are no layer

# Which keys a layer of each kind must and may have, and of which type.
NUMBER = (int, float)
LEARNT = {"activation": str, "weights": dict, "bias": (int, float, str)}
DROPOUT = {"dropout": NUMBER, "dropout_of": str, "dropout_scaled": str}
NORM = {"size": int, "k": NUMBER, "alpha": NUMBER, "beta": NUMBER}
Keys = dict[str, type | tuple]
KINDS: dict[str, tuple[Keys, Keys]] = {
    "convolution": (
        {"filters": int, "size": int},
        {"stride": int, "padding": int, "rounding": str, "sees": str, **LEARNT, **DROPOUT},
    ),
    "locally_connected": ({"filters": int, "size": int}, {"stride": int, "padding": int, **LEARNT}),
    "response_norm": (NORM, {"alpha_divided": bool, "sees": str}),
    "response_norm_within_map": (NORM, {"alpha_divided": bool}),
    "batch_norm": ({}, {}),
    "max_pool": ({"size": int, "stride": int}, {"activation": str}),
    "average_pool": ({"size": int, "stride": int}, {"activation": str}),
    "fully_connected": ({"units": (int, str)}, {**LEARNT, **DROPOUT}),
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
            text = Path(net).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise WrongUse(f"{net}: cannot be read ({error.strerror})") from error
        except ValueError as error:  # not UTF-8, or a name with a zero byte
            raise WrongUse(f"{net}: is no text in UTF-8 ({error})") from error
        return parse_table(text, net)
    if net not in tables():
        raise WrongUse(f"net {net!r}: unknown; {nearest(net, tables())}give {', '.join(tables())}, or a .toml file")
    text = resources.files("alexnet.nets").joinpath("tables", f"{net}.toml").read_text(encoding="utf-8")
    return parse_table(text, net)


def parse_table(text: str, name: str) -> Table:
    """A table from TOML text. Raises ``WrongUse`` naming the layer and the key that is wrong.

    With ``base = "paper"`` it says only what differs from that net: a layer's keys are changed, or all of them where
    its kind is given; a new layer says ``after`` which one it comes; ``remove`` names those that go. The table's
    text is then that of the whole.
    """
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise WrongUse(f"{name}: not TOML: {error}") from error
    if "base" in content:
        content = _over(content, name)
        text = to_toml(content)
    _check_keys(
        name,
        content,
        {"input": list, "layers": dict},
        {"title": str, "towers": int, "initialisation": dict},
    )
    size = content["input"]
    if len(size) != 3 or not all(type(n) is int and 0 < n <= MOST["input"] for n in size):
        raise WrongUse(f"{name}: input = {size}: give [channels, height, width]")
    towers = content.get("towers", 1)
    _check_ranges(name, {"towers": towers})
    initialisation = content.get("initialisation", {})
    _check_keys(f"{name}: initialisation", initialisation, {}, {"weights": dict, "bias": (int, float, str)})
    _check_initialisation(f"{name}: initialisation", initialisation)
    for layer, keys in content["layers"].items():
        where = f"{name}: layer {layer}"
        if not isinstance(keys, dict):
            raise WrongUse(f"{where}: give its keys below [layers.{layer}]")
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", layer) or layer in TAKEN:
            raise WrongUse(f"{name}: layer {layer!r}: give it a name of letters and digits that begins with a letter, "
                           "such as conv1")  # fmt: skip
        kind = keys.get("kind")
        if not isinstance(kind, str) or kind not in KINDS:
            raise WrongUse(f"{where}: kind = {kind!r}: give one of {', '.join(KINDS)}")
        required, optional = KINDS[kind]
        _check_keys(where, keys, {"kind": str, **required}, optional)
        _check_values(where, keys, towers)
    last = list(content["layers"].values())[-1:]
    if not last or last[0].get("units") != "classes":
        raise WrongUse(f'{name}: the last layer must be fully connected with units = "classes"')
    if last[0].get("dropout") and last[0].get("dropout_of") != "inputs":
        raise WrongUse(f"{name}: layer {list(content['layers'])[-1]}: dropout: no layer comes after the last one")
    return Table(
        name=Path(name).stem,
        text=text,
        title=content.get("title", Path(name).stem),
        input=(size[0], size[1], size[2]),
        towers=towers,
        initialisation={"weights": {"normal": 0.01}, "bias": 0.0, **initialisation},
        layers=content["layers"],
    )


def _over(content: dict, name: str) -> dict:
    """What a table says, laid over the net that it names as its base."""
    changes = {"title": str, "input": list, "towers": int, "initialisation": dict, "layers": dict, "remove": list}
    _check_keys(name, content, {"base": str}, changes)
    if content["base"] not in tables():
        raise WrongUse(f"{name}: base = {content['base']!r}: unknown; give one of {', '.join(tables())}")
    found = tomllib.loads(load_table(content["base"]).text)
    layers = found["layers"]
    for layer in content.get("remove", []):
        if layer not in layers:
            raise WrongUse(f"{name}: remove = {layer!r}: {content['base']} has {', '.join(layers)}")
        del layers[layer]
    for layer, keys in content.get("layers", {}).items():
        if not isinstance(keys, dict):
            raise WrongUse(f"{name}: layer {layer}: give its keys below [layers.{layer}]")
        keys = dict(keys)
        after = keys.pop("after", None)
        if layer in layers and after is None:
            layers[layer] = keys if "kind" in keys else {**layers[layer], **keys}
        elif after in layers and layer not in layers:
            place = list(layers).index(after) + 1
            ordered = list(layers.items())
            layers = dict([*ordered[:place], (layer, keys), *ordered[place:]])
        else:
            known = ", ".join(layers)
            raise WrongUse(f"{name}: layer {layer}: after = {after!r}: a new layer comes after one of {known}")
    rest = {key: value for key, value in content.items() if key not in ("base", "layers", "remove")}
    return {**found, **rest, "layers": layers}


def to_toml(content: dict) -> str:
    """A table's content as TOML."""

    def value(given: object) -> str:
        if isinstance(given, dict):
            return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in given.items()) + " }"
        if isinstance(given, list):
            return "[" + ", ".join(value(inner) for inner in given) + "]"
        return json.dumps(given, ensure_ascii=False)  # strings, numbers and booleans are the same in both

    def lines(keys: dict) -> list[str]:
        return [f"{key} = {value(inner)}" for key, inner in keys.items()]

    parts = [
        "\n".join(lines({key: inner for key, inner in content.items() if key not in ("layers", "initialisation")}))
    ]
    if "initialisation" in content:
        parts.append("\n".join(["[initialisation]", *lines(content["initialisation"])]))
    parts += ["\n".join([f"[layers.{json.dumps(name)}]", *lines(keys)]) for name, keys in content["layers"].items()]
    return "\n\n".join(parts) + "\n"


def _check_keys(where: str, keys: dict, required: dict, optional: dict) -> None:
    for key in required:
        if key not in keys:
            raise WrongUse(f"{where}: {key} is missing")
    for key, value in keys.items():
        expected = required.get(key) or optional.get(key)
        if expected is None:
            raise WrongUse(f"{where}: {key} is not a key here; known: {', '.join([*required, *optional])}")
        if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
            raise WrongUse(f"{where}: {key} = {value!r}: wrong type")


def _check_ranges(where: str, keys: dict) -> None:
    """Refuses numbers that no net can have, or that no memory holds."""
    for key, value in keys.items():
        if key not in LEAST or isinstance(value, str):
            continue
        if not math.isfinite(value) or not LEAST[key] <= value <= MOST.get(key, math.inf):
            least = f"at least {LEAST[key]}" if LEAST[key] != TINY else "above 0"
            most = f" and at most {MOST[key]:,}" if key in MOST else ""
            raise WrongUse(f"{where}: {key} = {value}: must be {least}{most}")


def _check_values(where: str, keys: dict, towers: int) -> None:
    _check_ranges(where, keys)
    choices = {
        "activation": ACTIVATIONS,
        "sees": SEES,
        "rounding": ("up", "down"),
        "dropout_of": DROPPED,
        "dropout_scaled": SCALED,
    }
    for key, allowed in choices.items():
        if key in keys and keys[key] not in allowed:
            raise WrongUse(f"{where}: {key} = {keys[key]!r}: give one of {', '.join(map(repr, allowed))}")
    for key in ("filters", "units"):
        if isinstance(keys.get(key), int) and keys[key] % towers:
            raise WrongUse(f"{where}: {key} = {keys[key]}: does not divide into {towers} towers")
    if isinstance(keys.get("units"), str) and keys["units"] != "classes":
        raise WrongUse(f'{where}: units = {keys["units"]!r}: give a number or "classes"')
    if not 0 <= keys.get("dropout", 0) < 1:
        raise WrongUse(f"{where}: dropout = {keys['dropout']}: must be at least 0 and below 1")
    if keys["kind"] == "response_norm_within_map" and keys["size"] % 2 == 0:
        raise WrongUse(f"{where}: size = {keys['size']}: must be odd")
    _check_initialisation(where, keys)


def _check_initialisation(where: str, keys: dict) -> None:
    weights, bias = keys.get("weights", {"normal": 0.0}), keys.get("bias", 0.0)
    known = {"normal": NUMBER, "uniform": str}
    rule, value = next(iter(weights.items()), ("", None))
    right = len(weights) == 1 and rule in known and isinstance(value, known[rule]) and not isinstance(value, bool)
    right = right and (value == FROM_INPUTS if rule == "uniform" else 0 <= float(value or 0) < math.inf)
    if not right:
        raise WrongUse(
            f'{where}: weights = {weights}: give {{ normal = DEVIATION }} or {{ uniform = "{FROM_INPUTS}" }}'
        )
    if bias != FROM_INPUTS if isinstance(bias, str) else not abs(bias) < 1e6:
        raise WrongUse(f'{where}: bias = {bias!r}: give a number or "{FROM_INPUTS}"')


class Network(nn.Module):
    """A net built from its table, its weights drawn. Layers are in ``layers`` by the table's names, in its order.

    Built within ``torch.device("meta")`` it has shapes and no weights.

    Args:
        table: the net's table, or a name or path for ``load_table``.
        classes: units of the last layer.
        seed, rule: of the weights, as for ``initialise``.

    Raises:
        WrongUse: no such net, a mistake in its table, or no such rule.
    """

    def __init__(self, table: Table | str = "paper", classes: int = 1000, seed: int = 0, rule: str = "table"):
        super().__init__()
        if not 1 <= classes <= MOST["units"]:
            raise WrongUse(f"classes {classes}: must be between 1 and {MOST['units']:,}")
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
                inverted = keys.get("dropout_scaled") == "in training"
                self.dropouts[name] = Dropout(keys["dropout"], name, inverted)
        self._stages = stages(self)
        self._folded: dict[str, float] = {}
        self._drops_inputs = {name for name, keys in self.table.layers.items() if keys.get("dropout_of") == "inputs"}
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        if not next(self.parameters()).is_meta:
            self.initialise(seed, rule)

    @classmethod
    def empty(cls, table: Table | str = "paper", classes: int = 1000) -> "Network":
        """A net whose weights are whatever lay in memory, for those who put all of them or draw them themselves."""
        with torch.device("meta"):
            net = cls(table, classes).float()  # whatever torch's default type is
        net._apply(_empty)  # to_empty would import SymPy, which takes half a second
        for layer in net.layers.values():
            if isinstance(layer, nn.BatchNorm2d):
                layer.reset_parameters()
        return net

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

    def before(self, images: Tensor, layer: str) -> Tensor:
        """What a layer sees: the outputs of the one before it.

        Args:
            images: as for ``forward``.
            layer: of the table.

        Returns:
            (N, maps, height, width) float; (N, inputs) where the layer is fully connected.
        """
        place = self.names.index(layer)
        found = self._run(images, None, {}, 0, place)
        return found.flatten(1) if isinstance(self.layers[layer], nn.Linear) else found

    def onwards(self, seen: Tensor, layer: str, draw: Draw | None = None) -> Tensor:
        """Scores from what ``before`` gave: the net from a layer on.

        Args:
            seen: by the layer.
            layer: of the table.
            draw: as for ``forward``.
        """
        return self._run(seen, draw, {}, self.names.index(layer))

    def next_learning(self, layer: str) -> str:
        """The first layer with weights after another one. Raises ``WrongUse`` where there is none, or no such layer."""
        if layer not in self.names:
            raise WrongUse(f"layer {layer!r}: net {self.table.name} has {', '.join(self.names)}")
        for name in self.names[self.names.index(layer) + 1 :]:
            if any(True for _ in self.layers[name].parameters()):
                return name
        raise WrongUse(f"layer {layer!r}: no layer with weights comes after it")

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

    def _run(
        self, x: Tensor, draw: Draw | None, kept: dict[str, Tensor | None], done: int = 0, until: int | None = None
    ) -> Tensor:
        if done == 0 and x.shape[1] != self.table.input[0]:
            raise ValueError(f"images have {x.shape[1]} channels; the net takes {self.table.input[0]}")
        until = len(self.names) if until is None else until
        while done < until:
            stage, taken = self._stages.get(self.names[done], (None, 0))
            if stage and not kept and done + taken <= until and runs(x):
                x, done = run_stage(x, stage), done + taken
                continue
            name = self.names[done]
            layer, activation = self.layers[name], self._activations[name]
            if isinstance(layer, FullyConnected | NarrowFullyConnected) and x[0].numel() != layer.in_features:
                raise ValueError(
                    f"{name} sees {x[0].numel()} inputs where the net has {layer.in_features}: images of another size"
                )
            if name in self._drops_inputs:
                x = self.dropouts[name](x, draw)
            x = layer(x)
            done += 1
            stage, taken = self._stages.get(f"after {name}", (None, 0))
            if stage and not kept and done + taken <= until and runs(x):
                x, done = run_stage(x, stage), done + taken
                continue
            if activation == "relu" and torch.is_grad_enabled() and not kept:
                x = x.relu_()
            elif activation:
                x = ACTIVATIONS[activation](x)
            if name in self.dropouts and name not in self._drops_inputs:
                x = self.dropouts[name](x, draw)
            if name in kept:
                kept[name] = x * self._folded[name] if name in self._folded else x
        return x

    def initialise(self, seed: int, rule: str = "table") -> None:
        """Draws every parameter anew, each by its own name: towers, devices and order change nothing.

        Args:
            seed: 0..2**32-1.
            rule: ``table``, what the net's table says (paper section 5); ``he``, weights N(0, 2 / inputs) and
                biases 0 (He, Zhang, Ren, Sun, ICCV 2015), with which deep ReLU nets start to learn anywhere.

        Raises:
            WrongUse: no such rule.
        """
        if rule not in RULES:
            raise WrongUse(f"initialisation {rule!r}: unknown; {nearest(rule, RULES)}give one of {', '.join(RULES)}")
        with torch.no_grad():
            for name, layer in self.layers.items():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.reset_parameters()
                elif isinstance(layer, nn.Conv2d | nn.Linear | LocallyConnected):
                    self._initialise(name, layer, seed, rule)

    def _initialise(self, name: str, layer: nn.Conv2d | nn.Linear | LocallyConnected, seed: int, rule: str) -> None:
        keys = {**self.table.initialisation, **self.table.layers[name]}
        inputs = fan_in(layer)
        bound = 1 / math.sqrt(inputs)
        purpose, shape = f"initialisation/{name}", tuple(layer.weight.shape)
        if rule == "he":
            gain = 1.0 if name == self.names[-1] else 2.0
            layer.weight.copy_(
                randomness.normal_tensor(seed, f"{purpose}.weight", shape).mul_(math.sqrt(gain / inputs))
            )
        elif "uniform" in keys["weights"]:
            layer.weight.copy_(randomness.uniform_tensor(seed, f"{purpose}.weight", shape, bound))
        else:
            deviation = keys["weights"]["normal"]
            layer.weight.copy_(randomness.normal_tensor(seed, f"{purpose}.weight", shape).mul_(deviation))
        if layer.bias is None:
            return
        if rule == "table" and keys["bias"] == FROM_INPUTS:
            layer.bias.copy_(randomness.uniform_tensor(seed, f"{purpose}.bias", tuple(layer.bias.shape), bound))
        else:
            layer.bias.fill_(keys["bias"] if rule == "table" else 0.0)

    def for_inference(self, dtype: torch.dtype, narrow: bool = False) -> "Network":
        """A copy in evaluation mode that does at each call only what depends on the images.

        The weights of products are of their type already, and dropout's factor at test (paper 4.2) is in the weights
        of the layer that comes next, where there is one.

        Args:
            dtype: of the products.
            narrow: keeps the fully connected layers' weights in int8.
        """
        found = copy.deepcopy(self).eval()
        with torch.no_grad():
            for name, dropout in found.dropouts.items():
                place = found.names.index(name) + (name not in found._drops_inputs)
                after = found.layers[found.names[place]]
                assert isinstance(dropout, Dropout)
                if not dropout.inverted and isinstance(after, LEARNING):
                    after.weight.mul_(1 - dropout.rate)
                    dropout.inverted = True
                    if name not in found._drops_inputs:
                        found._folded[name] = 1 - dropout.rate
        for name, layer in found.layers.items():
            if narrow and isinstance(layer, FullyConnected):
                found.layers[name] = NarrowFullyConnected(layer)
            elif isinstance(layer, LEARNING):
                layer.low_weight = None
                layer.to(dtype)
        return found

    def keep_copies(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Gives each product a copy of its weights in its own type, in place of the one that autocast makes each step.

        Gradients come to the copies; whoever changes the weights changes these, too.

        Args:
            dtype: of the products under autocast.

        Returns:
            The copies, by the weights' names.
        """
        found = {}
        for name, layer in self.layers.items():
            if isinstance(layer, LEARNING):
                found[f"{name}.weight"] = layer.low_weight = layer.weight.detach().to(dtype).requires_grad_()
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Every parameter by the name it has on disk: ``conv1.weight``, ``conv1.bias``, ..."""
        return {name.removeprefix("layers."): value for name, value in self.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the parameters, and the running moments of batch norms."""
        moments = {
            name.removeprefix("layers."): value for name, value in self.named_buffers() if value.is_floating_point()
        }
        return {**self.tensors(), **moments}


def _empty(like: Tensor) -> Tensor:
    """An uninitialised tensor on the CPU of a shape and type; of four dimensions: channels-last in memory."""
    order = torch.channels_last if like.dim() == 4 else torch.contiguous_format
    return torch.empty(like.shape, dtype=like.dtype, device="cpu", memory_format=order)


def stages(net: Network) -> dict[str, tuple[Stage, int]]:
    """What the compiled path does in one pass, and how many layers of the table that is.

    By ``after LAYER`` with that convolution's ReLU, which is not counted; by ``LAYER`` where it begins with a norm or
    a pooling.
    """
    found = {}
    for place, name in enumerate(net.names):
        layer, activation = net.layers[name], net._activations[name]
        if isinstance(layer, Convolution | LocallyConnected):
            if name in net.dropouts or activation not in (None, "relu"):
                continue
            stage, taken = _stage_at(net, place + 1, activation == "relu")
            if taken:
                found[f"after {name}"] = stage, taken
        else:
            stage, taken = _stage_at(net, place, False)
            if taken:
                found[name] = stage, taken
    return found


def _stage_at(net: Network, place: int, relu: bool) -> tuple[Stage, int]:
    """The stage that begins at a place of the table, and how many layers it is; none where there is none."""
    layers: list[nn.Module | None] = [net.layers[name] for name in net.names[place : place + 2]] + [None]
    norm = pool = None
    after, taken = None, 0
    first = layers[0]
    if isinstance(first, ResponseNorm) and first.beta == 0.75:
        norm, taken = (first.size, first.towers, first.k, first.alpha), 1
    second = layers[taken]
    if isinstance(second, nn.MaxPool2d):
        after = net._activations[net.names[place + taken]]
        assert isinstance(second.kernel_size, int) and isinstance(second.stride, int)
        if after in (None, "relu") and second.stride <= second.kernel_size <= MOST_WINDOW:
            pool, taken = (second.kernel_size, second.stride), taken + 1
    return Stage(relu, norm, pool, pool is not None and after == "relu"), taken


LEARNING = (Convolution, FullyConnected, LocallyConnected)


def fan_in(layer: nn.Conv2d | nn.Linear | LocallyConnected) -> int:
    """How many inputs each unit of a layer sees."""
    return math.prod(layer.weight.shape[1:4] if isinstance(layer, LocallyConnected) else layer.weight.shape[1:])


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
    if kind == "batch_norm":
        return nn.BatchNorm2d(maps), shape
    if kind == "response_norm":
        alpha = keys["alpha"] / (keys["size"] if keys.get("alpha_divided") else 1)
        groups = 1 if keys.get("sees") == "both towers" else towers
        if maps % groups:
            raise WrongUse(f"{where}: {maps} maps do not divide into {groups} towers")
        return ResponseNorm(keys["size"], groups, keys["k"], alpha, keys["beta"]), shape
    if kind == "response_norm_within_map":
        alpha = keys["alpha"] / (keys["size"] ** 2 if keys.get("alpha_divided") else 1)
        return WithinMapNorm(keys["size"], keys["k"], alpha, keys["beta"]), shape
    size, stride, padding = keys["size"], keys.get("stride", 1), keys.get("padding", 0)
    if size > min(height, width) + 2 * padding:
        raise WrongUse(f"{where}: {size}x{size} windows on {height}x{width} maps")
    round_up = kind in ("max_pool", "average_pool") or keys.get("rounding", "down") == "up"
    out = [
        1 + (n + 2 * padding + (rounded_up_excess(n, size, stride, padding) if round_up else 0) - size) // stride
        for n in (height, width)
    ]
    if kind == "max_pool":
        return nn.MaxPool2d(size, stride, ceil_mode=True), (maps, *out)
    if kind == "average_pool":  # divides by the part of the window that lies inside
        return nn.AvgPool2d(size, stride, ceil_mode=True, count_include_pad=False), (maps, *out)
    if kind == "locally_connected":
        return LocallyConnected((maps, height, width), keys["filters"], size, stride, padding), (keys["filters"], *out)
    groups = towers if keys.get("sees", "both towers") == "own tower" else 1
    if maps % groups:
        raise WrongUse(f"{where}: {maps} maps do not divide into {groups} towers")
    layer = Convolution(maps, keys["filters"], size, stride, padding, groups, round_up)
    return layer, (keys["filters"], *out)


def check_side(table: Table, side: int) -> None:
    """Raises ``WrongUse`` where a net cannot take images of ``side`` x ``side`` pixels."""
    usual = costs(table, 2)
    seen = costs(dataclasses.replace(table, input=(table.input[0], side, side)), 2)
    if table.input[1] != table.input[2]:
        raise WrongUse(f"net {table.name}: takes images of {table.input[1]}x{table.input[2]} pixels; crops are square")
    if table.input[0] != 3:
        raise WrongUse(f"net {table.name}: takes images of {table.input[0]} channels; photos have 3")
    for own, other in zip(usual, seen):
        if own.parameters != other.parameters:
            raise WrongUse(
                f"net {table.name} takes images of {table.input[1]} pixels, not of {side}: {own.name} would have "
                f"{other.parameters:,} parameters in place of {own.parameters:,}"
            )


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
            elif isinstance(layer, LocallyConnected):
                kernel = "x".join(map(str, (layer.size, layer.size, layer.weight.shape[1]))) + ", not shared"
                products = layer.weight.numel()
            elif isinstance(layer, WithinMapNorm):
                kernel = f"{layer.size}x{layer.size}"
            elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
                kernel = f"{layer.kernel_size}x{layer.kernel_size}, stride {layer.stride}"
            elif isinstance(layer, ResponseNorm):
                kernel = f"{layer.size} maps"
            count = sum(parameter.numel() for parameter in layer.parameters())
            rows.append(LayerCost(name, keys["kind"], kernel, shape, count, products, 4 * math.prod(shape)))
    return rows
