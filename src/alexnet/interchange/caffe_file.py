"""Caffe's files: ``.caffemodel`` (layers of the old kind and the new) and ``.binaryproto`` (a mean image).

Only the fields that matter are declared (numbers as in BVLC's ``caffe.proto``); protobuf skips the others.
"""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alexnet.errors import AlexNetError, UsageError
from alexnet.interchange.foreign import Foreign, connected_words, convolution_words, norm_words, pool_words
from alexnet.interchange.protobuf import check_fields

KINDS_V1 = {4: "Convolution", 6: "Dropout", 14: "InnerProduct", 15: "LRN", 17: "Pooling", 18: "ReLU"}
V1_SILENT = (1, 5, 9, 12, 20, 21, 22, 29, 32)  # data, accuracy, soft-max with and without loss, split, dummies
SILENT = ("Data", "ImageData", "HDF5Data", "DummyData", "Input", "Accuracy", "Softmax", "SoftmaxWithLoss", "Split")

# message: fields as (number, name, type, repeated); a type that is a message's name is that message
MESSAGES: dict[str, list[tuple[int, str, str, bool]]] = {
    "BlobShape": [(1, "dim", "int64", True)],
    "BlobProto": [
        (7, "shape", "BlobShape", False),
        (5, "data", "float", True),
        (8, "double_data", "double", True),
        (1, "num", "int64", False),
        (2, "channels", "int64", False),
        (3, "height", "int64", False),
        (4, "width", "int64", False),
    ],
    "Convolution": [
        (1, "num_output", "uint32", False),
        (3, "pad", "uint32", True),
        (4, "kernel_size", "uint32", True),
        (5, "group", "uint32", False),
        (6, "stride", "uint32", True),
    ],
    "InnerProduct": [(1, "num_output", "uint32", False)],
    "LRN": [
        (1, "local_size", "uint32", False),
        (2, "alpha", "float", False),
        (3, "beta", "float", False),
        (4, "norm_region", "int32", False),
        (5, "k", "float", False),
    ],
    "Pooling": [(1, "pool", "int32", False), (2, "kernel_size", "uint32", False), (3, "stride", "uint32", False)],
    "Layer": [
        (1, "name", "string", False),
        (2, "type", "string", False),
        (7, "blobs", "BlobProto", True),
        (106, "convolution_param", "Convolution", False),
        (117, "inner_product_param", "InnerProduct", False),
        (118, "lrn_param", "LRN", False),
        (121, "pooling_param", "Pooling", False),
    ],
    "V1Layer": [
        (1, "layer", "bytes", False),  # layers of the oldest kind, which are refused
        (4, "name", "string", False),
        (5, "type", "int32", False),
        (6, "blobs", "BlobProto", True),
        (10, "convolution_param", "Convolution", False),
        (17, "inner_product_param", "InnerProduct", False),
        (18, "lrn_param", "LRN", False),
        (19, "pooling_param", "Pooling", False),
    ],
    "Net": [(1, "name", "string", False), (100, "layer", "Layer", True), (2, "layers", "V1Layer", True)],
}
PACKED = ("dim", "data", "double_data")


@functools.cache
def messages() -> Any:
    """The message classes by name. Raises ``UsageError`` where protobuf is missing."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise UsageError("reading Caffe's files needs protobuf: pip install 'alexnet[caffe]'") from error
    file = descriptor_pb2.FileDescriptorProto(name="alexnet/caffe.proto", package="alexnet.caffe", syntax="proto2")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, repeated in fields:
            declared = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind in MESSAGES:
                declared.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                declared.type_name = f".alexnet.caffe.{kind}"
            else:
                declared.type = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{kind.upper()}")
            if field in PACKED:
                declared.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"alexnet.caffe.{name}")) for name in MESSAGES
    }


def _parse(path: str | os.PathLike, message: str) -> Any:
    parsed = messages()[message]()
    from google.protobuf.message import DecodeError

    try:
        content = Path(path).read_bytes()
        if message == "Net":
            check_fields(content, {100: {}, 2: {}}, path)
        parsed.ParseFromString(content)
    except (DecodeError, RecursionError) as error:
        raise AlexNetError(
            f"{path}: not readable as Caffe's ({message}): damaged or cut off; fetch it again"
        ) from error
    return parsed


def _array(blob: Any, where: str) -> Tensor:
    """A blob's numbers in its shape, float32; a shape of four numbers may have leading ones."""
    values = np.array(blob.data if len(blob.data) else blob.double_data, np.float32)
    shape = list(blob.shape.dim) if blob.HasField("shape") else [blob.num, blob.channels, blob.height, blob.width]
    if min(shape, default=0) < 0 or int(np.prod(np.array(shape, object))) != len(values):
        raise AlexNetError(f"{where}: {len(values):,} numbers for the shape {shape}; damaged, fetch it again")
    return torch.from_numpy(values.reshape(shape))


def read_caffemodel(path: str | os.PathLike) -> Foreign:
    """The weights of a ``.caffemodel``, under its layers' names, colors as they lie in it (BGR).

    Raises:
        AlexNetError: damaged, or no net.
        UsageError: layers of the oldest kind, or of a kind that no AlexNet has.
    """
    net = _parse(path, "Net")
    old = [layer for layer in net.layers if not layer.HasField("layer")]
    if net.layers and not old:
        raise UsageError(
            f"{path}: layers of Caffe's first format (V0); Caffe's upgrade_net_proto_binary turns them to V1"
        )
    tensors: dict[str, Tensor] = {}
    operations: list[str] = []
    try:
        for layer in [*net.layer, *old]:
            _read_layer(layer, os.fspath(path), tensors, operations)
    except UnicodeDecodeError as error:
        raise AlexNetError(f"{path}: a layer's name is damaged; fetch it again") from error
    if not tensors:
        raise AlexNetError(f"{path}: holds no layer with weights; it is no .caffemodel, or damaged")
    return Foreign(f"Caffe, {'V1 layers' if old else 'layers'}", tensors, operations)


def _read_layer(layer: Any, path: str, tensors: dict[str, Tensor], operations: list[str]) -> None:
    """Adds a layer's tensors and its words."""
    kind = layer.type if isinstance(layer.type, str) else KINDS_V1.get(layer.type)
    if kind in SILENT or (kind is None and layer.type in V1_SILENT) or kind == "Dropout":
        return
    where = f"{path}: layer {layer.name}"
    if kind is None or kind not in KINDS_V1.values():
        raise UsageError(f"{where}: of type {layer.type}, which no net here has")
    operations += _operation(kind, layer, where)
    for name, blob in zip(("weight", "bias"), layer.blobs):
        value = _array(blob, where)
        keep = 4 if kind == "Convolution" and name == "weight" else 2 if name == "weight" else 1
        while value.dim() > keep and value.shape[0] == 1:
            value = value[0]
        tensors[f"{layer.name}.{name}"] = value


def _operation(kind: str, layer: Any, where: str) -> list[str]:
    if kind == "ReLU":
        return ["relu"]
    if kind == "Convolution":
        options = layer.convolution_param
        size, filters = next(iter(options.kernel_size), 0), options.num_output
        if layer.blobs and not (size and filters):  # weights alone
            return []
        pad, stride = next(iter(options.pad), 0), next(iter(options.stride), 1)
        return [convolution_words(filters, size, stride, options.group or 1, (pad, pad))]
    if kind == "InnerProduct":
        return [connected_words(layer.inner_product_param.num_output)]
    if kind == "LRN":
        options = layer.lrn_param
        if options.norm_region:
            raise UsageError(f"{where}: a response norm within maps, which no net of Caffe's here has")
        size, beta = options.local_size or 5, options.beta if options.HasField("beta") else 0.75
        return [norm_words(size, options.alpha if options.HasField("alpha") else 1.0, beta, options.k or 1.0)]
    options = layer.pooling_param
    if options.pool:
        raise UsageError(f"{where}: pools by another rule than the largest, which no net of Caffe's here does")
    return [pool_words(options.kernel_size, options.stride or 1)]


def read_mean(path: str | os.PathLike) -> Tensor:
    """The mean image of a ``.binaryproto``: (3, H, W) float32, BGR as it lies there. Raises ``AlexNetError``."""
    mean = _array(_parse(path, "BlobProto"), os.fspath(path))
    mean = mean[0] if mean.dim() == 4 and mean.shape[0] == 1 else mean
    if mean.dim() != 3 or mean.shape[0] != 3:
        raise AlexNetError(f"{path}: a mean of shape {tuple(mean.shape)}; expected three colors' images")
    return mean
