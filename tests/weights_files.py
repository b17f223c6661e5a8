"""Files of weights as other programs write them, by hand: Caffe's two layouts, the ONNX zoo's graphs, torch's own."""

import tomllib

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from alexnet import Net

V1 = {
    "Data": 5,
    "Convolution": 4,
    "ReLU": 18,
    "LRN": 15,
    "Pooling": 17,
    "InnerProduct": 14,
    "Dropout": 6,
    "Softmax": 20,
}


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def number(place: int, value: int) -> bytes:
    """A protobuf integer."""
    return varint(place << 3) + varint(value)


def real(place: int, value: float) -> bytes:
    """A protobuf float."""
    return varint(place << 3 | 5) + np.float32(value).tobytes()


def blob(value: torch.Tensor, four: bool) -> bytes:
    """A BlobProto: its data, and its shape as a message of its own or, in old files, as four numbers."""
    array = value.detach().contiguous().numpy()
    if four:
        shape = [1] * (4 - array.ndim) + list(array.shape)
        head = b"".join(number(place + 1, n) for place, n in enumerate(shape))
    else:
        head = field(7, field(1, b"".join(varint(n) for n in array.shape)))
    return field(5, array.astype("<f4").tobytes()) + head


def caffe_layers(net: Net) -> list[tuple[str, str, bytes, list[torch.Tensor]]]:
    """Name, type, parameters' message and blobs of every layer of a training net, as Caffe snapshots have them."""
    found: list[tuple[str, str, bytes, list[torch.Tensor]]] = [("data", "Data", b"", [])]
    for name in net.names:
        keys, layer = tomllib.loads(net.table.text)["layers"][name], net.get_submodule(name)
        blobs = [layer.weight, layer.bias] if isinstance(layer, nn.Conv2d | nn.Linear) else []
        if keys["kind"] == "convolution":
            group = number(5, layer.groups) if layer.groups > 1 else b""
            pad = number(3, keys["padding"]) if "padding" in keys else b""
            stride = number(6, keys["stride"]) if "stride" in keys else b""
            message = number(1, keys["filters"]) + pad + number(4, keys["size"]) + group + stride
            found.append((name, "Convolution", message, blobs))
        elif keys["kind"] == "response_norm":
            found.append((name, "LRN", number(1, 5) + real(2, 1e-4) + real(3, 0.75), []))
        elif keys["kind"] == "max_pool":
            found.append((name, "Pooling", number(1, 0) + number(2, 3) + number(3, 2), []))
        else:
            found.append((name, "InnerProduct", number(1, layer.out_features), blobs))
        if "activation" in keys:
            found.append((f"relu of {name}", "ReLU", b"", []))
        if "dropout" in keys:
            found.append((f"drop of {name}", "Dropout", b"", []))
    return [*found, ("prob", "Softmax", b"", [])]


def caffemodel(net: Net, old: bool, last: str | None = None) -> bytes:
    """A snapshot with layers of the new kind (field 100) or of the old (field 2, types as numbers)."""
    parameters = {"Convolution": (106, 10), "InnerProduct": (117, 17), "LRN": (118, 18), "Pooling": (121, 19)}
    found = field(1, b"AlexNet")
    for name, kind, message, blobs in caffe_layers(net):
        name = last if last and name == net.names[-1] else name
        more = field(parameters[kind][old], message) if message else b""
        if old:
            content = field(4, name.encode()) + number(5, V1[kind])
            content += b"".join(field(6, blob(value, True)) for value in blobs) + more
            found += field(2, content)
        else:
            content = field(1, name.encode()) + field(2, kind.encode())
            content += b"".join(field(7, blob(value, False)) for value in blobs) + more
            found += field(100, content)
    return found


def zoo_onnx(net: Net, side: int, quantized: bool = False) -> onnx.ModelProto:
    """A graph as the ONNX zoo's bvlcalexnet and caffenet are: Caffe2's names, a batch of one, soft-max at the end."""
    nodes, tensors, last, flat = [], [], "data_0", False
    images = helper.make_tensor_value_info("data_0", TensorProto.FLOAT, [1, 3, side, side])
    for name in net.names:
        keys, layer = tomllib.loads(net.table.text)["layers"][name], net.get_submodule(name)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            for kind, value in (("w", layer.weight), ("b", layer.bias)):
                array = value.detach().contiguous().numpy()
                array = array.astype(np.int8) if quantized and kind == "w" else array
                tensors.append(numpy_helper.from_array(array, f"{name}_{kind}_0"))
        inputs, out = [last, f"{name}_w_0", f"{name}_b_0"], f"{name}_1"
        if keys["kind"] == "convolution":
            pads = [keys.get("padding", 0)] * 4
            told = {
                "kernel_shape": [keys["size"]] * 2,
                "strides": list(layer.stride),
                "pads": pads,
                "group": layer.groups,
            }
            nodes.append(helper.make_node("Conv", inputs, [out], **told))
            side = 1 + (side + 2 * pads[0] - keys["size"]) // layer.stride[0]
        elif keys["kind"] == "response_norm":
            nodes.append(helper.make_node("LRN", [last], [out], size=5, alpha=1e-4, beta=0.75, bias=1.0))
        elif keys["kind"] == "max_pool":
            over = -(side - 3) % 2  # Caffe rounds up
            told = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, over, over]}
            nodes.append(helper.make_node("MaxPool", [last], [out], **told))
            side = 1 + (side + over - 3) // 2
        else:
            if not flat:
                tensors.append(numpy_helper.from_array(np.array([1, layer.in_features], np.int64), "OC2_DUMMY_1"))
                nodes.append(helper.make_node("Reshape", [last, "OC2_DUMMY_1"], ["OC2_DUMMY_0"]))
                inputs[0], flat = "OC2_DUMMY_0", True
            nodes.append(helper.make_node("Gemm", inputs, [out], transB=1))
        last = out
        if "activation" in keys:
            nodes.append(helper.make_node("Relu", [last], [f"{name}_2"]))
            last = f"{name}_2"
        if "dropout" in keys:
            nodes.append(helper.make_node("Dropout", [last], [f"{name}_3", f"_{name}_mask_1"]))
            last = f"{name}_3"
    nodes.append(helper.make_node("Softmax", [last], ["prob_1"], axis=1))
    values = [helper.make_tensor_value_info(each.name, each.data_type, each.dims) for each in tensors]
    prob = helper.make_tensor_value_info("prob_1", TensorProto.FLOAT, [1, net.classes])
    graph = helper.make_graph(nodes, "AlexNet", [images, *values], [prob], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)


def prototxt(norm_first: bool) -> str:
    """The layers of BVLC's published deploy.prototxt of bvlc_alexnet, or of the reference CaffeNet."""
    layers: list[str] = []
    top = "data"

    def add(name: str, kind: str, more: str, in_place: bool = False) -> None:
        nonlocal top
        out = top if in_place else name
        layers.append(f'layer {{ name: "{name}" type: "{kind}" bottom: "{top}" top: "{out}" {more} }}')
        top = out

    def convolution(number: int, more: str) -> None:
        add(f"conv{number}", "Convolution", f"convolution_param {{ {more} }}")
        add(f"relu{number}", "ReLU", "", in_place=True)

    def norm_and_pool(number: int) -> None:
        steps = [
            (f"norm{number}", "LRN", "lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 }"),
            (f"pool{number}", "Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }"),
        ]
        for step in steps if norm_first else steps[::-1]:
            add(*step)

    convolution(1, "num_output: 96 kernel_size: 11 stride: 4")
    norm_and_pool(1)
    convolution(2, "num_output: 256 pad: 2 kernel_size: 5 group: 2")
    norm_and_pool(2)
    convolution(3, "num_output: 384 pad: 1 kernel_size: 3")
    convolution(4, "num_output: 384 pad: 1 kernel_size: 3 group: 2")
    convolution(5, "num_output: 256 pad: 1 kernel_size: 3 group: 2")
    add("pool5", "Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }")
    for name in ("fc6", "fc7"):
        add(name, "InnerProduct", "inner_product_param { num_output: 4096 }")
        add(f"relu{name[2]}", "ReLU", "", in_place=True)
        add(f"drop{name[2]}", "Dropout", "dropout_param { dropout_ratio: 0.5 }", in_place=True)
    add("fc8", "InnerProduct", "inner_product_param { num_output: 1000 }")
    shape = "shape: { dim: 2 dim: 3 dim: 227 dim: 227 }"
    head = f'name: "net"\nlayer {{ name: "data" type: "Input" top: "data" input_param {{ {shape} }} }}'
    return "\n".join([head, *layers]) + "\n"


def torchvisions_layers() -> nn.Module:
    """Its alexnet in torch's own layers, under torchvision's names."""
    net = nn.Module()
    net.features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    )
    net.classifier = nn.Sequential(
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, 1000),
    )
    return net.eval()


def in_opencv(net: Net, norm_first: bool, old: bool = False) -> cv2.dnn.Net:
    """Caffe's files of a net with norms before pooling or after it, as OpenCV reads them."""
    text = prototxt(norm_first).replace("num_output: 1000", f"num_output: {net.classes}")
    files = (text.encode(), caffemodel(net, old))
    return cv2.dnn.readNetFromCaffe(*(np.frombuffer(file, np.uint8) for file in files))
