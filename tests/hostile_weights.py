# ruff: noqa: E501  (a table of cases, a line each)
"""Files of weights that are broken or mean harm, and what `alexnet import` says of each.

python -m tests.hostile_weights >docs/raw/hostile-weights.json
"""

import contextlib
import io
import json
import os
import pickle
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import safetensors.torch
import torch

from alexnet import Net, cli
from alexnet.nets.formats.torch_file import torchvision_names
from tests.weights_files import blob, caffemodel, field, number, zoo_onnx

TABLE = """
title = "a small net of Caffe's kind"
input = [3, 63, 63]

[layers.conv1]
kind = "convolution"
filters = 6
size = 11
stride = 4
activation = "relu"

[layers.norm1]
kind = "response_norm"
size = 5
k = 1.0
alpha = 1e-4
alpha_divided = true
beta = 0.75

[layers.pool1]
kind = "max_pool"
size = 3
stride = 2

[layers.fc2]
kind = "fully_connected"
units = 8
activation = "relu"

[layers.fc3]
kind = "fully_connected"
units = "classes"
"""


NORM = TABLE.partition("[layers.norm1]\n")[2].partition("\n\n")[0] + "\n"  # the norm's lines


class Harm:
    """Unpickled, it would make a file."""

    def __init__(self, place: Path):
        self.place = place

    def __reduce__(self):
        return os.system, (f"touch {self.place}",)


def small(folder: Path) -> Net:
    (folder / "small.toml").write_text(TABLE)
    net = Net(str(folder / "small.toml"), 5)
    net.initialise(0, "he")
    return net


def state(folder: Path, **change: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """The small net's tensors, some changed, some (None) left out; ``conv1__weight`` is ``conv1.weight``."""
    found = {name: tensor.detach().contiguous() for name, tensor in small(folder).tensors().items()}
    found |= {name.replace("__", "."): tensor for name, tensor in change.items() if tensor is not None}
    return {name: tensor for name, tensor in found.items() if change.get(name.replace(".", "__"), tensor) is not None}


def torch_bytes(value: object, legacy: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def plain_onnx(folder: Path, **options: bool) -> bytes:
    return zoo_onnx(small(folder), 63, **options).SerializeToString()


def external_onnx(folder: Path) -> bytes:
    """Weights that would be read from a file elsewhere on the disk."""
    model = zoo_onnx(small(folder), 63)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    return model.SerializeToString()


def lying_onnx(folder: Path) -> bytes:
    """A shape of far more numbers than there are."""
    model = zoo_onnx(small(folder), 63)
    model.graph.initializer[0].dims[0] = 1 << 40
    return model.SerializeToString()


def foreign_operator(folder: Path) -> bytes:
    model = zoo_onnx(small(folder), 63)
    model.graph.node[1].op_type = "Sigmoid"
    return model.SerializeToString()


def bomb() -> bytes:
    """A zip of a gigabyte of zeros where torch's pickle should be."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("archive/data.pkl", "w") as file:
        for _ in range(1 << 6):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def lying_blob(net: Net) -> bytes:
    """A Caffe layer whose blob says another shape than it has numbers."""
    content = field(1, b"conv1") + field(2, b"Convolution") + field(7, number(1, 1 << 30) + number(2, 1 << 30)
                                                                   + number(3, 1) + number(4, 1))  # fmt: skip
    assert net
    return field(100, content)


def header(length: int, text: bytes = b"{}") -> bytes:
    return struct.pack("<Q", length) + text


Case = tuple[str, Callable[[Path], bytes], str]  # file, its bytes, and a part of what must be said
NAN = torch.full((6, 3, 11, 11), float("nan"))
CASES: dict[str, Case] = {
    "a pickle that runs a command, zip": (
        "a.pth", lambda f: torch_bytes({"conv1.weight": Harm(f / "harm")}), "nothing of it was executed"),
    "a pickle that runs a command, the older kind": (
        "a.pth", lambda f: torch_bytes({"conv1.weight": Harm(f / "harm")}, True), "nothing of it was executed"),
    "a bare pickle that runs a command": ("a.pth", lambda f: pickle.dumps(Harm(f / "harm"), 2), "nothing of it was executed"),
    "a bare pickle of protocol 5 under another ending": ("a.bin", lambda f: pickle.dumps(Harm(f / "harm"), 5), "neither torch's"),
    "a whole module, pickled": ("a.pth", lambda f: torch_bytes(small(f)), "Ask its maker for a state dict"),
    "a pickled list": ("a.pth", lambda f: torch_bytes([1, 2]), "holds no state dict"),
    "a state dict of numbers": ("a.pth", lambda f: torch_bytes({"epoch": 1}), "holds no state dict"),
    "a trillion numbers, of which one is there": (
        "a.pth", lambda f: torch_bytes({"fc3.weight": torch.zeros(1).expand(1 << 40, 8)}), "claims more numbers"),
    "half a torch file, zip": ("a.pth", lambda f: half(torch_bytes(state(f))), "not readable as a torch file"),
    "half a torch file, the older kind": ("a.pth", lambda f: half(torch_bytes(state(f), True)), "not readable as a torch file"),
    "a zip bomb": ("a.pth", lambda f: bomb(), "not readable as a torch file"),
    "a torch file that is text": ("a.pth", lambda f: b"<html>404</html>", "neither a zip nor a pickle"),
    "an empty file": ("a.pth", lambda f: b"", "empty; fetch it again"),
    "half a safetensors file": ("a.safetensors", lambda f: half(safetensors.torch.save(state(f))), "not readable as safetensors"),
    "a safetensors header of exabytes": ("a.safetensors", lambda f: header(1 << 60), "not readable as safetensors"),
    "a safetensors header that is no JSON": ("a.safetensors", lambda f: header(8, b"{{{{{{{{"), "not readable as safetensors"),
    "a tensor too few": ("a.safetensors", lambda f: safetensors.torch.save(state(f, fc2__bias=None)), "lacks fc2.bias"),
    "a tensor too many": (
        "a.safetensors", lambda f: safetensors.torch.save(state(f, conv9__weight=torch.ones(2))), "has conv9.weight"),
    "a wrong shape": (
        "a.safetensors", lambda f: safetensors.torch.save(state(f, fc2__weight=torch.ones(8, 7))), "fc2.weight is 8x7"),
    "weights that are no numbers": ("a.safetensors", lambda f: safetensors.torch.save(state(f, conv1__weight=NAN)), "not finite"),
    "torchvision's weights for another net": (
        "a.pth", lambda f: torch_bytes(torchvision_names(dict(Net("torchvision", 5).tensors()))), "these are not weights of small"),
    "half a caffemodel": ("a.caffemodel", lambda f: half(caffemodel(small(f), False)), "damaged or cut off"),
    "half a caffemodel, V1": ("a.caffemodel", lambda f: half(caffemodel(small(f), True)), "damaged or cut off"),
    "a caffemodel of random bytes": (
        "a.caffemodel", lambda f: np.random.default_rng(0).bytes(1000), "not readable as Caffe's"),
    "a caffemodel whose blob lies of its shape": ("a.caffemodel", lambda f: lying_blob(small(f)), "0 numbers for the shape"),
    "a caffemodel with a layer of another kind": (
        "a.caffemodel", lambda f: field(100, field(1, b"slice") + field(2, b"Slice")), "which no net here has"),
    "Caffe's first format": ("a.caffemodel", lambda f: field(2, field(1, field(1, b""))), "upgrade_net_proto_binary"),
    "a mean image as weights": ("a.binaryproto", lambda f: blob(torch.ones(1, 3, 8, 8), True), "--mean"),
    "half an ONNX file": ("a.onnx", lambda f: half(plain_onnx(f)), "damaged or cut off"),
    "an ONNX file of random bytes": ("a.onnx", lambda f: np.random.default_rng(1).bytes(1000), "not readable as ONNX"),
    "an ONNX file whose weights lie elsewhere": ("a.onnx", external_onnx, "lies in another file"),
    "an ONNX file that lies of a shape": ("a.onnx", lying_onnx, "is damaged"),
    "a quantised ONNX file": ("a.onnx", lambda f: plain_onnx(f, quantised=True), "a quantised model"),
    "an ONNX file with another operator": ("a.onnx", foreign_operator, "operator Sigmoid"),
    "pooling before the norm, for a net with the norm first": (
        "a.caffemodel", lambda f: caffemodel(Net("caffenet", 5), False), "these are not weights of small"),
    "a picture": ("a.png", lambda f: b"\x89PNG\r\n\x1a\n" + bytes(100), "neither torch's"),
}  # fmt: skip


def said(name: str, folder: Path) -> tuple[int, str]:
    """Exit status and what was said of a case, in a folder of its own."""
    file, content, _ = CASES[name]
    (folder / file).write_bytes(content(folder))
    small(folder)
    (folder / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    told = io.StringIO()
    options = ["--net", str(folder / "small.toml"), "--preparation", "caffe", "--classes", str(folder / "classes.txt")]
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        status = cli.main(["import", str(folder / file), str(folder / "run"), *options])
    return status, told.getvalue()


def main() -> None:
    found = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as place:
            status, text = said(name, Path(place))
            found[name] = {
                "exit": status,
                "said": text.strip().replace(place + "/", ""),
                "ran": Path(place, "harm").exists(),
            }
    json.dump(found, sys.stdout, indent=1, ensure_ascii=False)


if __name__ == "__main__":
    main()
