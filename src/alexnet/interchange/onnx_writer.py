"""ONNX, both ways: the model zoo's nets and other exporters' in, every net of ours out, its norms as ``LRN``."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from alexnet.errors import Failure, WrongUse
from alexnet.interchange.foreign import Foreign, connected_words, convolution_words, norm_words, pool_words
from alexnet.interchange.protobuf import Fields, check_fields
from alexnet.nets.layers import (
    Dropout,
    FullyConnected,
    Int8FullyConnected,
    LocallyConnected,
    ResponseNorm,
    WithinMapNorm,
)
from alexnet.nets.network import Network
from alexnet.nets.table import Layer, Sized, WindowLayer

OPSET, IR_VERSION = 17, 9
KEY = "alexnet"  # of what our own exporter writes into a file's metadata
SILENT = ("Dropout", "Identity", "Reshape", "Flatten", "Softmax", "Constant")  # at test they change no number
MOST_SIDE = 1 << 14  # of an input, pixels
MEAN, CROP = "preparation.mean_image", ("crop.from", "crop.to")  # initialisers of our exporter's
ATTRIBUTE: Fields = {}
NODE: Fields = {5: ATTRIBUTE}
VALUE: Fields = {2: {1: {2: {1: {}}}}}  # its type, the tensor's, its shape, a side
GRAPH: Fields = {1: NODE, 11: VALUE, 12: VALUE, 13: VALUE, 14: {2: {}}}
ATTRIBUTE |= {6: GRAPH, 11: GRAPH}
MESSAGES: Fields = {7: GRAPH, 8: {}, 14: {}, 20: {1: GRAPH, 2: GRAPH}, 25: {7: NODE}}  # of a model (onnx.proto)
OURS = ("weight", "bias", "running_mean", "running_var")  # endings of our exporter's names of a net's tensors


def onnx_library() -> Any:
    """The ``onnx`` package. Raises ``WrongUse`` where it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise WrongUse("ONNX files need two packages more: pip install 'alexnet[onnx]'") from error
    return onnx


def read_onnx(path: str | os.PathLike) -> Foreign:
    """The weights of an ONNX file: those of its convolutions and ``Gemm``s in order, and what lies between them.

    Raises:
        Failure: damaged, or its tensors lie in other files.
        WrongUse: quantised, or with operators that no net here has.
    """
    onnx = onnx_library()
    from google.protobuf.message import DecodeError

    try:
        content = Path(path).read_bytes()
        check_fields(content, MESSAGES, path)
        model = onnx.load_model_from_string(content)
        if not model.graph.node:
            raise Failure(f"{path}: holds no graph; it is no ONNX file, or damaged")
        return _Reader(onnx, model, os.fspath(path)).read()
    except (DecodeError, RecursionError) as error:
        raise Failure(f"{path}: not readable as ONNX: damaged or cut off; fetch it again") from error
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # of attributes, shapes, types
        raise Failure(f"{path}: a graph that is damaged, or none of a net ({error or type(error).__name__})") from error


class _Reader:
    """One model on its way to ``Foreign``."""

    def __init__(self, onnx: Any, model: Any, path: str):
        self.onnx, self.model, self.path = onnx, model, path
        self.values = {each.name: each for each in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.values.update((node.output[0], each.t) for each in node.attribute if each.name == "value")

    def read(self) -> Foreign:
        version = f"ONNX, opset {self.model.opset_import[0].version}"
        metadata = {each.key: each.value for each in self.model.metadata_props}
        if KEY in metadata:  # our own: by name, and the table is in it
            named = {name: self.tensor(name) for name in self.values if name.rpartition(".")[2] in OURS}
            mean = {"mean_image": self.tensor(MEAN)} if MEAN in self.values else {}
            return Foreign(version, named, side=self.own_side(), metadata={KEY: metadata[KEY], **mean})
        tensors: dict[str, Tensor] = {}
        operations: list[str] = []
        for node in self.model.graph.node:
            told = {each.name: self.onnx.helper.get_attribute_value(each) for each in node.attribute}
            if any(part in node.op_type for part in ("uantize", "QLinear", "Integer")):
                raise WrongUse(f"{self.path}: operator {node.op_type}: a quantised model; import the one in float32")
            if node.op_type in ("Conv", "Gemm"):
                weight, bias, words = self.learnt(node, told)
                place = len(tensors) // 2
                tensors |= {f"{place}.weight": weight, f"{place}.bias": bias}
                operations.append(words)
            elif node.op_type not in SILENT:
                operations += _operation(node.op_type, told, self.path)
        if not tensors:
            raise Failure(f"{self.path}: no convolution and no Gemm in it; it is no net of this kind")
        return Foreign(version, tensors, operations, self.side())

    def tensor(self, name: str) -> Tensor:
        """A tensor of the file, float32. Raises ``WrongUse`` where it has another type or is computed."""
        if name not in self.values:
            raise WrongUse(
                f"{self.path}: {name} is computed in the graph; import a model whose weights are in it as such"
            )
        if self.values[name].data_location == self.onnx.TensorProto.EXTERNAL:
            raise Failure(f"{self.path}: {name} lies in another file; save the model in one file")
        try:
            found = self.onnx.numpy_helper.to_array(self.values[name])
        except (ValueError, TypeError, MemoryError) as error:
            raise Failure(f"{self.path}: {name} is damaged ({error}); fetch it again") from error
        if found.dtype.kind != "f" and found.dtype.name != "bfloat16":
            raise WrongUse(f"{self.path}: {name} is {found.dtype}: a quantised model; import the one in float32")
        return torch.from_numpy(found.astype(np.float32))

    def learnt(self, node: Any, told: Mapping[str, Any]) -> tuple[Tensor, Tensor, str]:
        """Weights, biases and words of a convolution or a fully connected layer."""
        weight = self.tensor(node.input[1])
        bias = self.tensor(node.input[2]).flatten() if len(node.input) > 2 else torch.zeros(len(weight))
        usual = {"alpha": 1.0, "beta": 1.0, "transA": 0, "auto_pad": b"NOTSET", "dilations": [1, 1]}
        for key, value in usual.items():
            if told.get(key, value) != value:
                raise WrongUse(f"{self.path}: {node.op_type} {node.name}: {key} {told[key]}, which no net here has")
        if node.op_type == "Gemm":
            weight = weight if told.get("transB", 0) else weight.t().contiguous()
            return weight, bias, connected_words(len(weight))
        _check_square(told, f"{self.path}: {node.op_type} {node.name}")
        pads, stride = told.get("pads", [0, 0, 0, 0]), told.get("strides", [1, 1])[0]
        words = convolution_words(len(weight), weight.shape[-1], stride, told.get("group", 1), (pads[0], pads[-1]))
        return weight, bias, words

    def own_side(self) -> int:
        """The side of the images that a net of our exporter's sees: of the crop in the graph, else of the input."""
        if MEAN in self.values:
            first, last = (int(self.whole(name).flatten()[0]) for name in CROP)
            return last - first
        return int(self.input_dims()[-1])

    def whole(self, name: str) -> np.ndarray:
        """An initialiser of whole numbers."""
        return self.onnx.numpy_helper.to_array(self.values[name])

    def input_dims(self) -> list[int]:
        """The sides of the graph's first input; 0 where one may be any."""
        inputs = [each for each in self.model.graph.input if each.name not in self.values]
        return [each.dim_value for each in inputs[0].type.tensor_type.shape.dim] if inputs else []

    def side(self) -> int | None:
        """The side of the images that a graph sees; None where it does not say. Raises ``WrongUse``."""
        dims = self.input_dims()
        if len(dims) != 4 or 0 in dims[1:]:
            return None
        if dims[1] != 3 or dims[2] != dims[3] or not 1 <= dims[2] <= MOST_SIDE:
            seen = "x".join(map(str, dims[1:]))
            raise WrongUse(f"{self.path}: sees images of {seen}; a net here sees squares of 3 colours, 3xSIDExSIDE")
        return dims[2]


def _check_square(told: Mapping[str, Any], where: str) -> None:
    """Raises ``WrongUse`` where a window is another one up and down than to the sides."""
    pads = told.get("pads", [0, 0, 0, 0])
    for key, parts in (("kernel_shape", None), ("strides", None), ("pads", (pads[:2], pads[2:]))):
        for part in parts or [told.get(key, [1])]:
            if len(set(part)) > 1:
                raise WrongUse(f"{where}: {key} {list(told[key])}: not the same both ways, as in every net here")


def _operation(kind: str, told: Mapping[str, Any], path: str) -> list[str]:
    if kind == "Relu":
        return ["relu"]
    if kind == "Tanh":
        return ["tanh"]
    if kind == "LRN":
        return [norm_words(told["size"], told.get("alpha", 1e-4), told.get("beta", 0.75), told.get("bias", 1.0))]
    if kind == "MaxPool":
        _check_square(told, f"{path}: {kind}")
        pads = told.get("pads", [0, 0, 0, 0])
        if any(pads[:2]):
            raise WrongUse(f"{path}: a max pooling with padding before the first pixel, which no net here has")
        return [pool_words(told["kernel_shape"][0], told.get("strides", [1])[0])]
    if kind in ("AveragePool", "GlobalAveragePool") and set(told.get("kernel_shape", [0])) == {1}:
        return []  # torchvision's adaptive pooling to 6x6 at 224
    raise WrongUse(f"{path}: operator {kind}, which the nets that are read from ONNX do not have")


class Graph:
    """Nodes and initialisers as they come; each method appends and answers with the name of what it gives."""

    def __init__(self) -> None:
        self.onnx = onnx_library()
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def constant(self, name: str, value: Tensor | np.ndarray | Sequence[int] | float) -> str:
        """An initialiser."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous().numpy()
        array = (
            value
            if isinstance(value, np.ndarray)
            else np.array(value, np.int64 if isinstance(value, Sequence) else np.float32)
        )
        if not any(each.name == name for each in self.tensors):
            self.tensors.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """An operator of one output, which has its name."""
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name


def write_onnx(
    net: Network,
    side: int,
    metadata: Mapping[str, str],
    preparation: tuple[Tensor, Tensor] | None = None,
) -> bytes:
    """A net as an ONNX model with a batch of any size.

    Args:
        net: on the CPU, in float32; fully connected layers may be ``Int8FullyConnected`` (int8 in the file).
        side: of the images that the net sees, pixels.
        metadata: key and text.
        preparation: the mean image (3, size, size) and the scale of red, green and blue (3,). With them the input
            is ``images``, (N, size, size, 3) uint8 RGB, and the output ``probabilities``, (N, classes); without, the
            input is (N, 3, side, side) float32 as the run prepares images, and the output ``scores``.
    """
    graph = Graph()
    helper, proto = graph.onnx.helper, graph.onnx.TensorProto
    if preparation is None:
        given = helper.make_tensor_value_info("images", proto.FLOAT, ["N", net.table.input[0], side, side])
        last = "images"
    else:
        size = preparation[0].shape[-1]
        given = helper.make_tensor_value_info("images", proto.UINT8, ["N", size, size, 3])
        last = _prepared(graph, side, *preparation)
    for row in net.table.sized(net.classes, side):
        last = _layer(graph, net, row, last)
    output = "scores" if preparation is None else "probabilities"
    if preparation is None:
        graph.node("Identity", [last], output)
    else:
        graph.node("Softmax", [last], output, axis=1)
    result = helper.make_tensor_value_info(output, proto.FLOAT, ["N", net.classes])
    model = helper.make_model(
        helper.make_graph(graph.nodes, net.table.name, [given], [result], graph.tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="alexnet",
    )
    helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


def _prepared(graph: Graph, side: int, mean: Tensor, scale: Tensor) -> str:
    """Centre crop, minus the mean's, times the scale (2012 source: the mean's own centre crop)."""
    edge = (mean.shape[-1] - side) // 2
    ends = [edge + side] * 2
    crop = [graph.constant(CROP[0], [edge, edge]), graph.constant(CROP[1], ends)]
    seen = graph.node("Slice", ["images", *crop, graph.constant("rows and columns", [1, 2])], "images.crop")
    pixels = graph.node("Cast", [seen], "images.float", to=graph.onnx.TensorProto.FLOAT)
    pixels = graph.node("Transpose", [pixels], "images.planes", perm=[0, 3, 1, 2])
    whole = graph.constant(MEAN, mean)
    mean_name = graph.node("Slice", [whole, *crop, graph.constant("planes' rows and columns", [1, 2])], "mean.crop")
    less = graph.node("Sub", [pixels, mean_name], "images.less_mean")
    return graph.node(
        "Mul", [less, graph.constant("preparation.scale", scale.float().view(3, 1, 1))], "images.prepared"
    )


def _layer(graph: Graph, net: Network, row: Sized, last: str) -> str:
    """One layer of the table, its activation and dropout's factor at test (paper 4.2)."""
    name, dropout = row.layer.name, row.layer.dropout
    if dropout and dropout.of_inputs:
        last = _dropped(graph, net, name, last)
    last = _operator(graph, net.get_submodule(name), row, last)
    last = _activated(graph, row.layer, last)
    return _dropped(graph, net, name, last) if dropout and not dropout.of_inputs else last


def _activated(graph: Graph, layer: Layer, last: str) -> str:
    name, activation = layer.name, layer.activation
    if activation == "relu":
        return graph.node("Relu", [last], f"{name}.relu")
    if activation == "tanh":
        return graph.node("Tanh", [last], f"{name}.tanh")
    if activation == "gelu":  # x/2 (1 + erf(x/sqrt 2)); an operator of its own only since opset 20
        inner = graph.node("Mul", [last, graph.constant("1/sqrt 2", 1 / math.sqrt(2))], f"{name}.gelu.argument")
        inner = graph.node("Erf", [inner], f"{name}.gelu.erf")
        inner = graph.node("Add", [inner, graph.constant("1", 1.0)], f"{name}.gelu.more")
        half = graph.node("Mul", [last, graph.constant("1/2", 0.5)], f"{name}.gelu.half")
        return graph.node("Mul", [half, inner], f"{name}.gelu")
    return last


def _dropped(graph: Graph, net: Network, name: str, last: str) -> str:
    """What dropout does at test: nothing where it is inverted, else the factor of the units that stay."""
    dropout = net.dropouts[name]
    if not isinstance(dropout, Dropout) or dropout.inverted:
        return last
    return graph.node("Mul", [last, graph.constant(f"{name}.kept", 1 - dropout.rate)], f"{name}.dropout")


def _operator(graph: Graph, module: nn.Module, row: Sized, last: str) -> str:
    """A layer without its activation."""
    name = row.layer.name
    if isinstance(module, FullyConnected | Int8FullyConnected):
        return _fully_connected(graph, name, module, graph.node("Flatten", [last], f"{name}.flat")
                                if len(row.seen) > 1 else last)  # fmt: skip
    if isinstance(module, ResponseNorm):
        return _response_norm(graph, name, module, last)
    if isinstance(module, WithinMapNorm):
        return _within_map_norm(graph, name, module, last)
    if isinstance(module, nn.BatchNorm2d):
        inputs = [graph.constant(f"{name}.{key}", getattr(module, key))
                  for key in ("weight", "bias", "running_mean", "running_var")]  # fmt: skip
        return graph.node("BatchNormalization", [last, *inputs], name, epsilon=module.eps)
    if isinstance(module, LocallyConnected):
        return _locally_connected(graph, name, module, last, row.made[1:])
    if not isinstance(row.layer, WindowLayer):
        raise WrongUse(f"layer {name}: {type(module).__name__} has no form in ONNX here")
    window = row.layer.window
    pads = [window.padding] * 2 + [window.padding + window.overhang(length) for length in row.seen[1:]]
    shape = {"kernel_shape": [window.size] * 2, "strides": [window.stride] * 2, "pads": pads}
    if isinstance(module, nn.MaxPool2d):
        return graph.node("MaxPool", [last], name, **shape)
    if isinstance(module, nn.AvgPool2d):  # divides by the part of the window that lies inside
        return graph.node("AveragePool", [last], name, count_include_pad=0, **shape)
    inputs = [graph.constant(f"{name}.{key}", value) for key, value in module.named_parameters()]
    return graph.node("Conv", [last, *inputs], name, group=getattr(module, "groups", 1), **shape)


def _fully_connected(graph: Graph, name: str, module: FullyConnected | Int8FullyConnected, last: str) -> str:
    weight = graph.constant(f"{name}.weight", module.weight)
    if isinstance(module, Int8FullyConnected):
        scale = graph.constant(f"{name}.scale", module.scale)
        weight = graph.node("DequantizeLinear", [weight, scale], f"{name}.weight.float", axis=0)
    bias = graph.constant(f"{name}.bias", module.bias)
    return graph.node("Gemm", [last, weight, bias], name, transB=1)


def _response_norm(graph: Graph, name: str, layer: ResponseNorm, last: str) -> str:
    """ONNX's LRN sees all maps: one for each tower, and it divides alpha by the size."""
    told = {"size": layer.size, "alpha": layer.alpha * layer.size, "beta": layer.beta, "bias": layer.k}
    if layer.towers == 1:
        return graph.node("LRN", [last], name, **told)
    parts = [f"{name}.tower{i}" for i in range(layer.towers)]
    graph.nodes.append(graph.onnx.helper.make_node("Split", [last], parts, f"{name}.towers", axis=1))
    normed = [graph.node("LRN", [part], f"{part}.norm", **told) for part in parts]
    return graph.node("Concat", normed, name, axis=1)


def _within_map_norm(graph: Graph, name: str, layer: WithinMapNorm, last: str) -> str:
    """x / (k + alpha sum of squares over the window) ** beta; pixels beyond the borders count as zero."""
    edge = layer.size // 2
    square = graph.node("Mul", [last, last], f"{name}.square")
    mean = graph.node("AveragePool", [square], f"{name}.mean", kernel_shape=[layer.size] * 2, pads=[edge] * 4,
                      count_include_pad=1)  # fmt: skip
    alpha = graph.constant(f"{name}.alpha", layer.alpha * layer.size**2)
    inner = graph.node("Mul", [mean, alpha], f"{name}.scaled")
    inner = graph.node("Add", [inner, graph.constant(f"{name}.k", layer.k)], f"{name}.inner")
    power = graph.node("Pow", [inner, graph.constant(f"{name}.beta", -layer.beta)], f"{name}.factor")
    return graph.node("Mul", [last, power], name)


def _locally_connected(graph: Graph, name: str, layer: LocallyConnected, last: str, out: Sequence[int]) -> str:
    """Windows cut out by slices; at each place one matrix product, of (N, window) and (window, filters)."""
    window = layer.window
    size, padding = window.size, window.padding
    if padding:
        pads = graph.constant(f"{name}.pads", [0, 0, padding, padding] * 2)
        last = graph.node("Pad", [last, pads], f"{name}.padded")
    parts = []
    for row, column in itertools.product(window.spans(out[0]), window.spans(out[1])):
        part = f"{name}.{row.start}.{column.start}"
        inputs = [
            graph.constant(f"{part}.from", [row.start, column.start]),
            graph.constant(f"{part}.to", [row.stop, column.stop]),
            graph.constant(f"{name}.axes", [2, 3]),
            graph.constant(f"{name}.steps", [window.stride] * 2),
        ]
        parts.append(graph.node("Slice", [last, *inputs], part))
    seen = graph.node("Concat", parts, f"{name}.windows", axis=1)  # (N, window maps, rows, columns)
    seen = graph.node("Transpose", [seen], f"{name}.places", perm=[2, 3, 0, 1])
    filters, maps = layer.weight.shape[:2]
    matrices = graph.node(
        "Transpose", [graph.constant(f"{name}.weight", layer.weight)], f"{name}.turned", perm=[4, 5, 2, 3, 1, 0]
    )
    shape = graph.constant(f"{name}.shape", [*out, size * size * maps, filters])
    matrices = graph.node("Reshape", [matrices, shape], f"{name}.matrices")
    product = graph.node("MatMul", [seen, matrices], f"{name}.product")
    product = graph.node("Transpose", [product], f"{name}.maps", perm=[2, 3, 0, 1])
    return graph.node("Add", [product, graph.constant(f"{name}.bias", layer.bias)], name)
