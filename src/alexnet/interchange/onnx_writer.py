"""Every net of ours as an ONNX model, with or without what prepares its images; its norms as ``LRN``."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from alexnet.errors import UsageError
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

PRODUCER = "alexnet"
PRODUCED = b"\x12\x07" + PRODUCER.encode()  # as it lies near the beginning of a file
OPSET, IR_VERSION = 17, 9
KEY = "alexnet"  # of what our own exporter writes into a file's metadata
MEAN, CROP = "preparation.mean_image", ("crop.from", "crop.to")  # initializers of our exporter's


def onnx_library() -> Any:
    """The ``onnx`` package. Raises ``UsageError`` where it is missing."""
    try:
        import onnx
    except ImportError as error:
        raise UsageError("ONNX files need two packages more: pip install 'alexnet[onnx]'") from error
    return onnx


class Graph:
    """Nodes and initializers as they come; each method appends and answers with the name of what it gives."""

    def __init__(self) -> None:
        self.onnx = onnx_library()
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def constant(self, name: str, value: Tensor | np.ndarray | Sequence[int] | float) -> str:
        """An initializer."""
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous().numpy()
        array = (
            value
            if isinstance(value, np.ndarray)
            else np.array(value, np.int64 if isinstance(value, Sequence) else np.float32)
        )
        if not any(tensor.name == name for tensor in self.tensors):
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
    preprocessing: tuple[Tensor, Tensor] | None = None,
) -> bytes:
    """A net as an ONNX model with a batch of any size.

    Args:
        net: on the CPU, in float32; fully connected layers may be ``Int8FullyConnected`` (int8 in the file).
        side: of the images that the net sees, pixels.
        metadata: key and text.
        preprocessing: the mean image (3, size, size) and the scale of red, green and blue (3,). With them the input
            is ``images``, (N, size, size, 3) uint8 RGB, and the output ``probabilities``, (N, classes); without, the
            input is (N, 3, side, side) float32 as the run prepares images, and the output ``scores``.
    """
    graph = Graph()
    helper, proto = graph.onnx.helper, graph.onnx.TensorProto
    if preprocessing is None:
        images = helper.make_tensor_value_info("images", proto.FLOAT, ["N", net.table.input[0], side, side])
        last = "images"
    else:
        size = preprocessing[0].shape[-1]
        images = helper.make_tensor_value_info("images", proto.UINT8, ["N", size, size, 3])
        last = _prepared(graph, side, *preprocessing)
    for row in net.table.sized(net.classes, side):
        last = _layer(graph, net, row, last)
    output = "scores" if preprocessing is None else "probabilities"
    if preprocessing is None:
        graph.node("Identity", [last], output)
    else:
        graph.node("Softmax", [last], output, axis=1)
    result = helper.make_tensor_value_info(output, proto.FLOAT, ["N", net.classes])
    model = helper.make_model(
        helper.make_graph(graph.nodes, net.table.name, [images], [result], graph.tensors),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name=PRODUCER,
    )
    helper.set_model_props(model, dict(metadata))
    return model.SerializeToString()


def _prepared(graph: Graph, side: int, mean: Tensor, scale: Tensor) -> str:
    """Center crop, minus the mean's, times the scale (2012 source: the mean's own center crop)."""
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
    if activation == "sigmoid":
        return graph.node("Sigmoid", [last], f"{name}.sigmoid")
    if activation == "abs_tanh":
        return graph.node("Abs", [graph.node("Tanh", [last], f"{name}.tanh")], f"{name}.abs_tanh")
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
        raise UsageError(f"layer {name}: {type(module).__name__} has no form in ONNX here")
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
    attributes = {"size": layer.size, "alpha": layer.alpha * layer.size, "beta": layer.beta, "bias": layer.k}
    if layer.towers == 1:
        return graph.node("LRN", [last], name, **attributes)
    parts = [f"{name}.tower{i}" for i in range(layer.towers)]
    graph.nodes.append(graph.onnx.helper.make_node("Split", [last], parts, f"{name}.towers", axis=1))
    normed = [graph.node("LRN", [part], f"{part}.norm", **attributes) for part in parts]
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
