"""What a file of another program holds, whatever its format, and whether a net of ours is the one it describes."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from alexnet.nets.network import Network
from alexnet.nets.table import ConvolutionLayer, FullyConnectedLayer, MaxPoolLayer, ResponseNormLayer, Sized, Table

MOST_BYTES = 1 << 31  # of a file: every AlexNet has a quarter of a gigabyte


@dataclasses.dataclass
class Foreign:
    """What was read.

    Attributes:
        format: for people.
        tensors: float tensors under our names (``conv1.weight``), or by their place (``0.weight``, ``0.bias``,
            ``1.weight``, ...) where the file names layers its own way. Fully connected ones are (units, inputs).
        operations: the layers in order, each in the words of ``operations``; None where the file says nothing of
            them.
        side: of the input, where the file says it.
        metadata: what our own exporter wrote beside the weights.
        path: where the tensors lie in the file, by its keys: ``model_state_dict``; empty for the whole.
        ordered: the tensors are in the order of the layers; else in any.
    """

    format: str
    tensors: dict[str, Tensor]
    operations: list[str] | None = None
    side: int | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    path: str = ""
    ordered: bool = True


def convolution_words(filters: int, size: int, stride: int, groups: int, padding: tuple[int, int]) -> str:
    """A convolution in words; ``padding`` before the first pixel and after the last."""
    more = f" and {padding[1] - padding[0]} more at the far edges" if padding[1] != padding[0] else ""
    return f"convolution {filters} of {size}x{size}, stride {stride}, groups {groups}, padding {padding[0]}{more}"


def norm_words(size: int, alpha: float, beta: float, k: float) -> str:
    """A response norm across maps in words; ``alpha`` as Caffe and ONNX have it, which they divide by the size."""
    return f"response norm over {size} maps, alpha {alpha:.4g}, beta {beta:.4g}, k {k:.4g}"


def pool_words(size: int, stride: int) -> str:
    """A max pooling in words."""
    return f"max pooling {size}x{size}, stride {stride}"


def connected_words(units: int) -> str:
    """A fully connected layer in words."""
    return f"fully connected {units}"


def operations(table: Table, classes: int, side: int) -> list[str]:
    """A net's layers in the words of ``Foreign.operations``, activations beside them, for images of ``side``."""
    words: list[str] = []
    for row in table.sized(classes, side):
        words.append(_operation(row))
        if row.layer.activation:
            words.append(row.layer.activation)
    return words


def _operation(row: Sized) -> str:
    match row.layer:
        case ConvolutionLayer(window=window, filters=filters, groups=groups):
            sides = window.padding, window.padding + window.overhang(row.seen[1])
            return convolution_words(filters, window.size, window.stride, groups, sides)
        case ResponseNormLayer(size=size, alpha=alpha, beta=beta, k=k):
            return norm_words(size, alpha * size, beta, k)
        case MaxPoolLayer(window=window):
            return pool_words(window.size, window.stride)
        case FullyConnectedLayer():
            return connected_words(row.made[0])
    return row.layer.kind.replace("_", " ")


def difference(foreign: Foreign, net: Network, side: int) -> str | None:
    """In a line, what keeps a file's tensors from being this net's; None where nothing does."""
    own = net.state()
    theirs = named(foreign, net)
    missing, extra = [n for n in own if n not in theirs], [n for n in theirs if n not in own]
    if missing:
        return f"lacks {missing[0]}" + (
            f"; of what it has, {_named_words(theirs, extra[0])} is not in the net" if extra else ""
        )
    if extra:
        return f"has {extra[0]}, and the net has no such tensor"
    for name, tensor in own.items():
        if tensor.shape != theirs[name].shape:
            turned = TURNED if _turned(theirs[name].shape, tensor.shape) else ""
            return f"{name} is {shape_words(theirs[name])}, the net's is {shape_words(tensor)}{turned}"
    if foreign.operations is None:
        return None
    stated, ours = foreign.operations, operations(net.table, net.classes, side)
    if not any("norm" in step or "pooling" in step for step in stated):  # weights alone: nothing to compare
        return None
    for index in range(max(len(stated), len(ours))):
        there, here = (steps[index] if index < len(steps) else "nothing more" for steps in (stated, ours))
        if there != here:
            return f"step {index + 1} is {there}, the net's is {here}"
    return None


TURNED = (
    " (it lies as TensorFlow and Keras have it; convolutions' weights need .permute(3, 2, 0, 1), "
    "fully connected ones .T)"
)


def _turned(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    """Whether a tensor lies as (height, width, inputs, outputs) or (inputs, outputs)."""
    if len(shape) != len(wanted) or len(shape) < 2 or shape == wanted:
        return False
    return [shape[-1], shape[-2], *shape[:-2]] == list(wanted)


def _named_words(tensors: Mapping[str, Tensor], name: str) -> str:
    return f"{name} ({shape_words(tensors[name])})"


def named(foreign: Foreign, net: Network) -> dict[str, Tensor]:
    """The file's tensors under the net's names.

    The last layer may have another name (``fc8_flickr``), and all may have where order and shapes leave no doubt.
    """
    own = net.state()
    if set(own) == set(foreign.tensors):
        return foreign.tensors
    layers, theirs = (
        list(dict.fromkeys(name.split(".")[0] for name in names)) for names in (net.tensors(), foreign.tensors)
    )
    if foreign.operations is not None and all(layer.isdigit() for layer in theirs):
        return _by_place(foreign, layers)
    if len(theirs) == len(layers) and theirs[:-1] == layers[:-1]:
        last = f"{theirs[-1]}."
        return {
            f"{layers[-1]}.{name.removeprefix(last)}" if name.startswith(last) else name: tensor
            for name, tensor in foreign.tensors.items()
        }
    return _matched(foreign, own) or foreign.tensors


def _by_place(foreign: Foreign, layers: Sequence[str]) -> dict[str, Tensor]:
    """Tensors that are named by their layer's number among those with weights."""
    tensors = {}
    for name, tensor in foreign.tensors.items():
        number, _, kind = name.partition(".")
        layer = layers[int(number)] if int(number) < len(layers) else f"a layer number {int(number) + 1} with weights"
        tensors[f"{layer}.{kind}" if int(number) < len(layers) else layer] = tensor
    return tensors


def _matched(foreign: Foreign, own: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """A port's tensors by order and shape, where that is certain: as many, and each layer's of the shapes of one."""
    theirs, ours = _by_layer(foreign.tensors), _by_layer(own)
    if theirs is None or ours is None or len(theirs) != len(ours):
        return None
    signatures = [[_signature(layer) for layer in layers.values()] for layers in (theirs, ours)]
    if foreign.ordered and signatures[0] == signatures[1]:
        pairs = dict(zip(theirs, ours))
    elif len(set(signatures[1])) == len(ours) and set(signatures[0]) == set(signatures[1]):
        by_shape = dict(zip(signatures[1], ours))
        pairs = {layer: by_shape[signature] for layer, signature in zip(theirs, signatures[0])}
    else:
        return None
    if any(layer in ours and other != layer for layer, other in pairs.items()):  # its names say otherwise
        return None
    return {f"{pairs[layer]}.{kind}": tensor for layer, kinds in theirs.items() for kind, tensor in kinds.items()}


def _signature(layer: Mapping[str, Tensor]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(sorted((kind, tuple(tensor.shape)) for kind, tensor in layer.items()))


def _by_layer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]] | None:
    """Tensors by layer and kind; None where two of a layer are of one kind. A plain list's: a bias ends a layer."""
    layers: dict[str, dict[str, Tensor]] = {}
    number = 0
    for name, tensor in tensors.items():
        layer, _, kind = re.sub("[_/]", ".", name).rpartition(".")
        layer = name[: len(layer)] if layer else f"layer {number}"
        if kind not in MOMENTS:
            kind = ("weight" if tensor.dim() > 1 else "bias") if tensor.dim() else "a number"
        if kind in layers.setdefault(layer, {}):
            return None
        layers[layer][kind] = tensor
        number += kind == "bias"
    return layers


MOMENTS = ("weight", "bias", "running_mean", "running_var")


def matched_words(foreign: Foreign, net: Network) -> str:
    """Which of the file's layers each layer of the net is, where the file's names were its own; else nothing."""
    theirs = named(foreign, net)
    if set(theirs) & set(foreign.tensors) or foreign.operations is not None:
        return ""
    names = {id(tensor): name for name, tensor in foreign.tensors.items()}
    pairs = [f"{name} is {names[id(tensor)]}" for name, tensor in theirs.items() if name.endswith("weight")]
    return f"its own names were matched by order and shape: {', '.join(pairs)}"


def shape_words(tensor: Tensor) -> str:
    """``96x3x11x11``."""
    return "x".join(map(str, tensor.shape)) or "a single number"
