"""What people call a net's layers: torchvision's places, as thingsvision and Brain-Score use them, Caffe's, our own."""

from collections.abc import Iterable

from alexnet.errors import UsageError
from alexnet.files import nearest
from alexnet.nets.fusion import BEFORE
from alexnet.nets.table import Table

# torchvision/models/alexnet.py: places in its `features` and `classifier`; dropout's at test are what they see
TORCHVISION = {
    **{f"features.{number}": f"conv{n}{BEFORE}" for n, number in enumerate((0, 3, 6, 8, 10), 1)},
    **{f"features.{number}": f"conv{n}" for n, number in enumerate((1, 4, 7, 9, 11), 1)},
    "features.2": "pool1",
    "features.5": "pool2",
    "features.12": "pool5",
    "avgpool": "pool5",
    "classifier.0": "pool5",
    "classifier.1": f"fc6{BEFORE}",
    "classifier.2": "fc6",
    "classifier.3": "fc6",
    "classifier.4": f"fc7{BEFORE}",
    "classifier.5": "fc7",
    "classifier.6": "fc8",
}
# dnnbrain and timm count the fully connected layers from one, and name what a module does
COUNTED = {
    "fc1": f"fc6{BEFORE}",
    "fc2": f"fc7{BEFORE}",
    "fc3": "fc8",
    "fc1_relu": "fc6",
    "fc2_relu": "fc7",
    **{f"conv{n}_maxpool": f"pool{n}" for n in (1, 2, 5)},
}
ALEXNET = {BEFORE.join(name.split(BEFORE)[:1]) for name in TORCHVISION.values()}  # the layers that these names are of


def canonical(table: Table, names: str | Iterable[str]) -> list[str]:
    """Layers by any of their names, as the table calls them: each once, in the order in which they were named.

    ``conv5:before`` is conv5 before its activation function. A layer's own name wins over what others call by it.

    Args:
        table: the net's.
        names: one or several.

    Raises:
        UsageError: no layer, or no such one: with the name that is nearest.
    """
    several = [names] if isinstance(names, str) else list(names)
    if not several:
        raise UsageError(f"layers: name one or more of net {table.name}: {', '.join(table.layers)}")
    aliases = _aliases(table)
    return list(dict.fromkeys(_plain(table, _one(table, str(name), aliases)) for name in several))


def _one(table: Table, name: str, aliases: dict[str, str]) -> str:
    base = name.strip().removesuffix(BEFORE)
    if base in table.layers:
        return name.strip()
    target = aliases.get(base.lower())
    if target is None:
        known = [*table.layers, *aliases]
        raise UsageError(
            f"layer {name!r}: net {table.name} has no such layer; {nearest(base, known)}"
            f"give one of {', '.join(table.layers)} (add {BEFORE} for what comes before its activation function)"
        )
    return target if base == name.strip() or target.endswith(BEFORE) else target + BEFORE


def _plain(table: Table, name: str) -> str:
    """Without ``:before`` where the layer does nothing after it."""
    layer = table.layers[name.removesuffix(BEFORE)]
    after = layer.activation or (layer.dropout and not layer.dropout.of_inputs)
    return name if after else layer.name


def _aliases(table: Table) -> dict[str, str]:
    """Other programs' names of the table's layers."""
    aliases = {"logits": list(table.layers)[-1]}
    for name, layer in table.layers.items():
        if layer.activation:
            aliases |= {f"{name}_{layer.activation}": name, f"{name}/{layer.activation}": name}
            digits = name.lstrip("abcdefghijklmnopqrstuvwxyz_")
            aliases.setdefault(f"{layer.activation}{digits}", name)
    if set(table.layers) >= ALEXNET:
        aliases |= TORCHVISION | COUNTED
    return {alias: name for alias, name in aliases.items() if alias not in table.layers}
