"""A network's table as TOML text: read, checked, laid over another, written. The tables of the package lie beside."""

import json
import math
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from alexnet.errors import UsageError
from alexnet.files import MANY_DIGITS, mistakes, nearest
from alexnet.native import Window
from alexnet.nets.table import (
    AveragePoolLayer,
    BatchNormLayer,
    ConvolutionLayer,
    DropoutRule,
    FullyConnectedLayer,
    Init,
    Layer,
    LocallyConnectedLayer,
    MaxPoolLayer,
    ResponseNormLayer,
    Table,
    WithinMapNormLayer,
)

ACTIVATIONS = ("relu", "tanh", "gelu", "sigmoid", "abs_tanh")
SEES = ("own tower", "both towers")
DROPPED = ("outputs", "inputs")
SCALED = ("at test", "in training")
FROM_INPUTS = "1/sqrt(inputs)"
OLD_KEYS = {"initialisation": "initialization"}  # of tables that were written before

TINY = 1e-30
LEAST = {"towers": 1, "filters": 1, "units": 1, "size": 1, "stride": 1, "padding": 0, "alpha": 0, "beta": 0, "k": TINY}
MOST = {"input": 1 << 14, "towers": 1 << 10, "filters": 1 << 20, "units": 1 << 20, "size": 1 << 14, "stride": 1 << 14}
MOST |= {"padding": 1 << 14, "k": 1e6, "alpha": 1e6, "beta": 100}
MODULE = """
    T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda double
    dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items
    keys load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop
    register_backward_hook register_buffer register_forward_hook register_forward_pre_hook
    register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook
    register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook
    register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty
    train training type update values xpu zero_grad
"""  # what torch's modules have, by names that a layer could have; torch itself takes seconds to import
TAKEN = {  # what a net has besides its layers
    *MODULE.split(),
    *("table", "classes", "names", "dropouts", "empty", "before", "onwards", "activations", "initialize"),
    *("fold_dropout", "tensors", "state", "layers"),
}

# Which keys a layer of each kind must and may have, and of which type.
NUMBER = (int, float)
LEARNED = {"activation": str, "weights": dict, "bias": (int, float, str)}
DROPOUT = {"dropout": NUMBER, "dropout_of": str, "dropout_scaled": str}
NORM = {"size": int, "k": NUMBER, "alpha": NUMBER, "beta": NUMBER}
Keys = dict[str, type | tuple]
TYPES = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}
KINDS: dict[str, tuple[Keys, Keys]] = {
    "convolution": (
        {"filters": int, "size": int},
        {"stride": int, "padding": int, "rounding": str, "sees": str, **LEARNED, **DROPOUT},
    ),
    "locally_connected": ({"filters": int, "size": int}, {"stride": int, "padding": int, **LEARNED}),
    "response_norm": (NORM, {"alpha_divided": bool, "sees": str}),
    "response_norm_within_map": (NORM, {"alpha_divided": bool}),
    "batch_norm": ({}, {}),
    "max_pool": ({"size": int, "stride": int}, {"activation": str}),
    "average_pool": ({"size": int, "stride": int}, {"activation": str}),
    "fully_connected": ({"units": (int, str)}, {**LEARNED, **DROPOUT}),
}


def tables() -> list[str]:
    """Names of the tables that come with the package."""
    folder = resources.files("alexnet.nets").joinpath("tables")
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_table(net: str) -> Table:
    """The table of a net by its name, or of a TOML file by its path.

    Raises:
        UsageError: no such net, or a mistake in the table, naming file, layer and key.
    """
    if net.endswith(".toml"):
        try:
            text = Path(net).read_text(encoding="utf-8-sig")
        except OSError as error:
            raise UsageError(f"{net}: cannot be read ({error.strerror})") from error
        except ValueError as error:  # not UTF-8, or a name with a zero byte
            raise UsageError(f"{net}: is no text in UTF-8 ({error})") from error
        return parse_table(text, net)
    if net not in tables():
        mistakes.refuse_other(net, "net")
        raise UsageError(f"net {net!r}: unknown; {nearest(net, tables())}give {', '.join(tables())}, or a .toml file")
    text = resources.files("alexnet.nets").joinpath("tables", f"{net}.toml").read_text(encoding="utf-8")
    return parse_table(text, net)


def parse_table(text: str, name: str) -> Table:
    """A table from TOML text. Raises ``UsageError`` naming the layer and the key that is wrong.

    With ``base = "paper"`` it says only what differs from that net: a layer's keys are changed, or all of them where
    its kind is given; a new layer says ``after`` which one it comes; ``remove`` names those that go. The table's
    text is then that of the whole.
    """
    content = _parse_toml(text, name)
    if "base" in content:
        content = _laid_over_base(content, name)
        text = to_toml(content)
    _check_keys(name, content, {"input": list, "layers": dict}, {"title": str, "towers": int, "initialization": dict})
    size = content["input"]
    if len(size) != 3 or not all(type(n) is int and 0 < n <= MOST["input"] for n in size):
        raise UsageError(f"{name}: input = {size}: give [channels, height, width]")
    towers = content.get("towers", 1)
    _check_ranges(name, {"towers": towers})
    init = content.get("initialization", {})
    _check_keys(f"{name}: initialization", init, {}, {"weights": dict, "bias": (int, float, str)})
    _check_init(f"{name}: initialization", init)
    for layer, keys in content["layers"].items():
        _check_layer(name, layer, keys, towers)
    _check_last(name, content["layers"])
    return Table(
        name=Path(name).stem,
        text=text,
        title=content.get("title", Path(name).stem),
        input=(size[0], size[1], size[2]),
        towers=towers,
        layers={layer: _layer(layer, {**init, **keys}, towers) for layer, keys in content["layers"].items()},
    )


def _parse_toml(text: str, name: str) -> dict[str, Any]:
    """TOML's content under the keys of today."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{name}: not TOML: {error}") from error
    except ValueError as error:
        raise UsageError(f"{name}: not TOML: {MANY_DIGITS}") from error
    return {OLD_KEYS.get(key, key): value for key, value in content.items()}


def _layer(name: str, keys: dict[str, Any], towers: int) -> Layer:
    """A layer from its checked keys: every default is decided here."""
    kind, activation = keys["kind"], keys.get("activation")
    if kind == "fully_connected":
        units = None if keys["units"] == "classes" else keys["units"]
        return FullyConnectedLayer(name, activation, _dropout(keys), units, _init(keys))
    if kind == "batch_norm":
        return BatchNormLayer(name)
    if kind in ("response_norm", "response_norm_within_map"):
        across, size = kind == "response_norm", keys["size"]
        alpha = keys["alpha"] / ((size if across else size**2) if keys.get("alpha_divided") else 1)
        if not across:
            return WithinMapNormLayer(name, size=size, k=keys["k"], alpha=alpha, beta=keys["beta"])
        groups = 1 if keys.get("sees") == "both towers" else towers  # a norm sees its own tower unless told otherwise
        return ResponseNormLayer(name, size=size, groups=groups, k=keys["k"], alpha=alpha, beta=keys["beta"])
    pools = kind in ("max_pool", "average_pool")
    rounds_up = pools or keys.get("rounding") == "up"
    window = Window(keys["size"], keys.get("stride", 1), keys.get("padding", 0), rounds_up)
    if pools:
        return {"max_pool": MaxPoolLayer, "average_pool": AveragePoolLayer}[kind](name, activation, window=window)
    if kind == "locally_connected":
        return LocallyConnectedLayer(name, activation, window=window, filters=keys["filters"], init=_init(keys))
    groups = towers if keys.get("sees") == "own tower" else 1  # a convolution sees both unless told otherwise
    return ConvolutionLayer(
        name, activation, _dropout(keys), window=window, filters=keys["filters"], groups=groups, init=_init(keys)
    )


def _dropout(keys: dict[str, Any]) -> DropoutRule | None:
    if not keys.get("dropout"):
        return None
    return DropoutRule(keys["dropout"], keys.get("dropout_of") == "inputs", keys.get("dropout_scaled") == "in training")


def _init(keys: dict[str, Any]) -> Init:
    bias = keys.get("bias", 0.0)
    return Init(
        std=None if "uniform" in keys.get("weights", {}) else keys.get("weights", {"normal": 0.01})["normal"],
        bias=None if bias == FROM_INPUTS else float(bias),
    )


def _laid_over_base(content: dict[str, Any], name: str) -> dict[str, Any]:
    """What a table says, laid over the net that it names as its base."""
    changes = {"title": str, "input": list, "towers": int, "initialization": dict, "layers": dict, "remove": list}
    _check_keys(name, content, {"base": str}, changes)
    base = content["base"]
    if base not in tables():
        raise UsageError(f"{name}: base = {base!r}: unknown; give one of {', '.join(tables())}")
    whole = _parse_toml(load_table(base).text, base)
    layers = whole["layers"]
    for layer in content.get("remove", []):
        if layer not in layers:
            raise UsageError(f"{name}: remove = {layer!r}: {base} has {', '.join(layers)}")
        del layers[layer]
    for layer, keys in content.get("layers", {}).items():
        if not isinstance(keys, dict):
            raise UsageError(f"{name}: layer {layer}: give its keys below [layers.{layer}]")
        layers = _with_layer(layers, layer, dict(keys), name)
    rest = {key: value for key, value in content.items() if key not in ("base", "layers", "remove")}
    title = {} if "title" in content else {"title": f"{base}, changed"}
    return {**whole, **title, **rest, "layers": layers}


def _with_layer(layers: dict[str, Any], layer: str, keys: dict[str, Any], name: str) -> dict[str, Any]:
    """Layers of a base with one changed, or a new one after another."""
    after = keys.pop("after", None)
    if layer in layers and after is None:
        return {**layers, layer: keys if "kind" in keys else {**layers[layer], **keys}}
    if after not in layers or layer in layers:
        known = ", ".join(layers)
        if after is None:
            raise UsageError(f"{name}: layer {layer}: is new: say after which layer it comes (after = ...): {known}")
        raise UsageError(f"{name}: layer {layer}: after = {after!r}: a new layer comes after one of {known}")
    index = list(layers).index(after) + 1
    ordered = list(layers.items())
    return dict([*ordered[:index], (layer, keys), *ordered[index:]])


def to_toml(content: dict[str, Any]) -> str:
    """A table's content as TOML."""

    def value(item: object) -> str:
        if isinstance(item, dict):
            return "{ " + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items()) + " }"
        if isinstance(item, list):
            return "[" + ", ".join(value(inner) for inner in item) + "]"
        return json.dumps(item, ensure_ascii=False)  # strings, numbers and booleans are the same in both

    def lines(keys: dict[str, Any]) -> list[str]:
        return [f"{key} = {value(inner)}" for key, inner in keys.items()]

    head = {key: inner for key, inner in content.items() if key not in ("layers", "initialization")}
    parts = ["\n".join(lines(head))]
    if "initialization" in content:
        parts.append("\n".join(["[initialization]", *lines(content["initialization"])]))
    parts += ["\n".join([f"[layers.{json.dumps(name)}]", *lines(keys)]) for name, keys in content["layers"].items()]
    return "\n\n".join(parts) + "\n"


def _check_layer(name: str, layer: str, keys: Any, towers: int) -> None:
    where = f"{name}: layer {layer}"
    if not isinstance(keys, dict):
        raise UsageError(f"{where}: give its keys below [layers.{layer}]")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", layer) or layer in TAKEN:
        raise UsageError(f"{name}: layer {layer!r}: give it a name of letters and digits that begins with a letter, "
                       "such as conv1")  # fmt: skip
    kind = keys.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise UsageError(f"{where}: kind = {kind!r}: give one of {', '.join(KINDS)}")
    required, optional = KINDS[kind]
    _check_keys(where, keys, {"kind": str, **required}, optional)
    _check_values(where, keys, towers)


def _check_last(name: str, layers: dict[str, Any]) -> None:
    last = list(layers.values())[-1:]
    if not last or last[0].get("units") != "classes":
        raise UsageError(f'{name}: the last layer must be fully connected with units = "classes"')
    if last[0].get("dropout") and last[0].get("dropout_of") != "inputs":
        raise UsageError(f"{name}: layer {list(layers)[-1]}: dropout: no layer comes after the last one")


def _check_keys(where: str, keys: dict, required: dict, optional: dict) -> None:
    for key in required:
        if key not in keys:
            raise UsageError(f"{where}: {key} is missing")
    for key, value in keys.items():
        expected = required.get(key) or optional.get(key)
        if expected is None:
            raise UsageError(f"{where}: {key} is not a key here; known: {', '.join([*required, *optional])}")
        if not isinstance(value, expected) or isinstance(value, bool) != (expected is bool):
            types = expected if isinstance(expected, tuple) else (expected,)
            wanted = " or ".join(dict.fromkeys(TYPES[one] for one in types))
            example = ", such as [3, 224, 224]" if key == "input" else ""
            raise UsageError(f"{where}: {key} = {value!r}: must be {wanted}{example}")


def _check_ranges(where: str, keys: dict) -> None:
    """Refuses numbers that no net can have, or that no memory holds."""
    for key, value in keys.items():
        if key not in LEAST or isinstance(value, str):
            continue
        if not math.isfinite(value) or not LEAST[key] <= value <= MOST.get(key, math.inf):
            least = f"at least {LEAST[key]}" if LEAST[key] != TINY else "above 0"
            most = f" and at most {MOST[key]:,}" if key in MOST else ""
            raise UsageError(f"{where}: {key} = {value}: must be {least}{most}")


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
            raise UsageError(f"{where}: {key} = {keys[key]!r}: give one of {', '.join(map(repr, allowed))}")
    for key in ("filters", "units"):
        if isinstance(keys.get(key), int) and keys[key] % towers:
            raise UsageError(f"{where}: {key} = {keys[key]}: does not divide into {towers} towers")
    if isinstance(keys.get("units"), str) and keys["units"] != "classes":
        raise UsageError(f'{where}: units = {keys["units"]!r}: give a number or "classes"')
    if not 0 <= keys.get("dropout", 0) < 1:
        raise UsageError(f"{where}: dropout = {keys['dropout']}: must be at least 0 and below 1")
    if keys["kind"] == "response_norm_within_map" and keys["size"] % 2 == 0:
        raise UsageError(f"{where}: size = {keys['size']}: must be odd")
    _check_init(where, keys)


def _check_init(where: str, keys: dict) -> None:
    weights, bias = keys.get("weights", {"normal": 0.0}), keys.get("bias", 0.0)
    known = {"normal": NUMBER, "uniform": str}
    rule, value = next(iter(weights.items()), ("", None))
    right = len(weights) == 1 and rule in known and isinstance(value, known[rule]) and not isinstance(value, bool)
    right = right and (value == FROM_INPUTS if rule == "uniform" else 0 <= float(value or 0) < math.inf)
    if not right:
        raise UsageError(f'{where}: weights = {weights}: give {{ normal = STD }} or {{ uniform = "{FROM_INPUTS}" }}')
    if bias != FROM_INPUTS if isinstance(bias, str) else not abs(bias) < 1e6:
        raise UsageError(f'{where}: bias = {bias!r}: give a number or "{FROM_INPUTS}"')
