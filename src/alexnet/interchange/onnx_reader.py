"""ONNX files in: those of the model zoo and of other exporters by their operators, ours by what lies beside them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.errors import AlexNetError, UsageError
from alexnet.interchange.foreign import Foreign, connected_words, convolution_words, norm_words, pool_words
from alexnet.interchange.onnx_writer import CROP, KEY, MEAN, onnx_library
from alexnet.interchange.protobuf import Fields, check_fields

SILENT = ("Dropout", "Identity", "Reshape", "Flatten", "Softmax", "Constant")  # at test they change no number
MOST_SIDE = 1 << 14  # of an input, pixels
ATTRIBUTE: Fields = {}
NODE: Fields = {5: ATTRIBUTE}
VALUE: Fields = {2: {1: {2: {1: {}}}}}  # its type, the tensor's, its shape, a side
GRAPH: Fields = {1: NODE, 11: VALUE, 12: VALUE, 13: VALUE, 14: {2: {}}}
ATTRIBUTE |= {6: GRAPH, 11: GRAPH}
MESSAGES: Fields = {7: GRAPH, 8: {}, 14: {}, 20: {1: GRAPH, 2: GRAPH}, 25: {7: NODE}}  # of a model (onnx.proto)
OURS = ("weight", "bias", "running_mean", "running_var")  # endings of our exporter's names of a net's tensors


def read_onnx(path: str | os.PathLike) -> Foreign:
    """The weights of an ONNX file: those of its convolutions and ``Gemm``s in order, and what lies between them.

    Raises:
        AlexNetError: damaged, or its tensors lie in other files.
        UsageError: quantized, or with operators that no net here has.
    """
    onnx = onnx_library()
    from google.protobuf.message import DecodeError

    try:
        content = Path(path).read_bytes()
        check_fields(content, MESSAGES, path)
        model = onnx.load_model_from_string(content)
        if not model.graph.node:
            raise AlexNetError(f"{path}: holds no graph; it is no ONNX file, or damaged")
        return _Reader(onnx, model, os.fspath(path)).read()
    except (DecodeError, RecursionError) as error:
        raise AlexNetError(f"{path}: not readable as ONNX: damaged or cut off; fetch it again") from error
    except UsageError:
        raise
    except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:  # of attributes, shapes, types
        raise AlexNetError(
            f"{path}: a graph that is damaged, or none of a net ({error or type(error).__name__})"
        ) from error


class _Reader:
    """One model on its way to ``Foreign``."""

    def __init__(self, onnx: Any, model: Any, path: str):
        self.onnx, self.model, self.path = onnx, model, path
        self.values = {item.name: item for item in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant":
                self.values.update((node.output[0], item.t) for item in node.attribute if item.name == "value")

    def read(self) -> Foreign:
        version = f"ONNX, opset {self.model.opset_import[0].version}"
        metadata = {item.key: item.value for item in self.model.metadata_props}
        if KEY in metadata:  # our own: by name, and the table is in it
            named = {name: self.tensor(name) for name in self.values if name.rpartition(".")[2] in OURS}
            mean = {"mean_image": self.tensor(MEAN)} if MEAN in self.values else {}
            return Foreign(version, named, side=self.own_side(), metadata={KEY: metadata[KEY], **mean})
        tensors: dict[str, Tensor] = {}
        operations: list[str] = []
        for node in self.model.graph.node:
            attributes = {item.name: self.onnx.helper.get_attribute_value(item) for item in node.attribute}
            if any(part in node.op_type for part in ("uantize", "QLinear", "Integer")):
                raise UsageError(f"{self.path}: operator {node.op_type}: a quantized model; import the one in float32")
            if node.op_type in ("Conv", "Gemm"):
                weight, bias, words = self.learned(node, attributes)
                number = len(tensors) // 2
                tensors |= {f"{number}.weight": weight, f"{number}.bias": bias}
                operations.append(words)
            elif node.op_type not in SILENT:
                operations += _operation(node.op_type, attributes, self.path)
        if not tensors:
            raise AlexNetError(f"{self.path}: no convolution and no Gemm in it; it is no net of this kind")
        return Foreign(version, tensors, operations, self.side())

    def tensor(self, name: str) -> Tensor:
        """A tensor of the file, float32. Raises ``UsageError`` where it has another type or is computed."""
        if name not in self.values:
            raise UsageError(
                f"{self.path}: {name} is computed in the graph; import a model whose weights are in it as such"
            )
        if self.values[name].data_location == self.onnx.TensorProto.EXTERNAL:
            raise AlexNetError(f"{self.path}: {name} lies in another file; save the model in one file")
        try:
            array = self.onnx.numpy_helper.to_array(self.values[name])
        except (ValueError, TypeError, MemoryError) as error:
            raise AlexNetError(f"{self.path}: {name} is damaged ({error}); fetch it again") from error
        if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
            raise UsageError(f"{self.path}: {name} is {array.dtype}: a quantized model; import the one in float32")
        return torch.from_numpy(array.astype(np.float32))

    def learned(self, node: Any, attributes: Mapping[str, Any]) -> tuple[Tensor, Tensor, str]:
        """Weights, biases and words of a convolution or a fully connected layer."""
        weight = self.tensor(node.input[1])
        bias = self.tensor(node.input[2]).flatten() if len(node.input) > 2 else torch.zeros(len(weight))
        usual = {"alpha": 1.0, "beta": 1.0, "transA": 0, "auto_pad": b"NOTSET", "dilations": [1, 1]}
        for key, value in usual.items():
            if attributes.get(key, value) != value:
                raise UsageError(
                    f"{self.path}: {node.op_type} {node.name}: {key} {attributes[key]}, which no net here has"
                )
        if node.op_type == "Gemm":
            weight = weight if attributes.get("transB", 0) else weight.t().contiguous()
            return weight, bias, connected_words(len(weight))
        _check_square(attributes, f"{self.path}: {node.op_type} {node.name}")
        pads, stride = attributes.get("pads", [0, 0, 0, 0]), attributes.get("strides", [1, 1])[0]
        words = convolution_words(
            len(weight), weight.shape[-1], stride, attributes.get("group", 1), (pads[0], pads[-1])
        )
        return weight, bias, words

    def own_side(self) -> int:
        """The side of the images that a net of our exporter's sees: of the crop in the graph, else of the input."""
        if MEAN in self.values:
            first, last = (int(self.whole(name).flatten()[0]) for name in CROP)
            return last - first
        return int(self.input_dims()[-1])

    def whole(self, name: str) -> np.ndarray:
        """An initializer of whole numbers."""
        return self.onnx.numpy_helper.to_array(self.values[name])

    def input_dims(self) -> list[int]:
        """The sides of the graph's first input; 0 where one may be any."""
        inputs = [item for item in self.model.graph.input if item.name not in self.values]
        return [item.dim_value for item in inputs[0].type.tensor_type.shape.dim] if inputs else []

    def side(self) -> int | None:
        """The side of the images that a graph sees; None where it does not say. Raises ``UsageError``."""
        dims = self.input_dims()
        if len(dims) != 4 or 0 in dims[1:]:
            return None
        if dims[1] != 3 or dims[2] != dims[3] or not 1 <= dims[2] <= MOST_SIDE:
            seen = "x".join(map(str, dims[1:]))
            raise UsageError(f"{self.path}: sees images of {seen}; a net here sees squares of 3 colors, 3xSIDExSIDE")
        return dims[2]


def _check_square(attributes: Mapping[str, Any], where: str) -> None:
    """Raises ``UsageError`` where a window is another one up and down than to the sides."""
    pads = attributes.get("pads", [0, 0, 0, 0])
    for key, parts in (("kernel_shape", None), ("strides", None), ("pads", (pads[:2], pads[2:]))):
        for part in parts or [attributes.get(key, [1])]:
            if len(set(part)) > 1:
                raise UsageError(
                    f"{where}: {key} {list(attributes[key])}: not the same both ways, as in every net here"
                )


def _operation(kind: str, attributes: Mapping[str, Any], path: str) -> list[str]:
    if kind == "Relu":
        return ["relu"]
    if kind == "Tanh":
        return ["tanh"]
    if kind == "LRN":
        alpha, beta, k = (attributes.get(key, usual) for key, usual in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
        return [norm_words(attributes["size"], alpha, beta, k)]
    if kind == "MaxPool":
        _check_square(attributes, f"{path}: {kind}")
        pads = attributes.get("pads", [0, 0, 0, 0])
        if any(pads[:2]):
            raise UsageError(f"{path}: a max pooling with padding before the first pixel, which no net here has")
        return [pool_words(attributes["kernel_shape"][0], attributes.get("strides", [1])[0])]
    if kind in ("AveragePool", "GlobalAveragePool") and set(attributes.get("kernel_shape", [0])) == {1}:
        return []  # torchvision's adaptive pooling to 6x6 at 224
    raise UsageError(f"{path}: operator {kind}, which the nets that are read from ONNX do not have")
