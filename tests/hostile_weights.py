# ruff: noqa: E501  (a table of cases, a line each)
"""Files of weights that are broken or mean harm, and what `alexnet import` says of each.

python -m tests.hostile_weights >docs/raw/hostile-weights.json
"""

import contextlib
import gzip
import io
import json
import os
import pickle
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import safetensors.torch
import torch

from alexnet import Net, cli
from alexnet.interchange.torch_file import torchvision_names
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
    return Net(str(folder / "small.toml"), 5, init="he")


def zeros(name: str, classes: int) -> Net:
    """A net of zeros, which needs no drawing."""
    net = Net.empty(name, classes)
    for tensor in net.state().values():
        tensor.data.zero_()
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


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def with_member(data: bytes, ending: str, change: Callable[[bytes], bytes]) -> bytes:
    """A zip with one of its members changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return zipped({name: change(data) if name.endswith("/" + ending) else data for name, data in members.items()})


def tarred(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def numpy_bytes(save: Callable) -> bytes:
    buffer = io.BytesIO()
    save(buffer, np.ones((3, 3), np.float32))
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def turned(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """(height, width, inputs, outputs) and (inputs, outputs)."""
    orders = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}
    return {name: tensor.permute(orders[tensor.dim()]).contiguous() for name, tensor in tensors.items()}


def oblong(folder: Path) -> bytes:
    model = zoo_onnx(small(folder), 63)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 64
    return model.SerializeToString()


def uneven(folder: Path) -> bytes:
    model = zoo_onnx(small(folder), 63)
    strides = next(each for each in model.graph.node[0].attribute if each.name == "strides")
    strides.ints[1] = 2
    return model.SerializeToString()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32\nsize 12345\n"
ZEROS = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
COPIES = (  # a text of 700 kB, encoded ten thousand times
    b"\x80\x02c_codecs\nencode\nq\x00X" + struct.pack("<I", 700_000) + b"a" * 700_000
    + b"q\x01X\x06\0\0\0utf-16q\x020" + b"0h\x00h\x01h\x02\x86R" * 10_000 + b"."
)  # fmt: skip
Case = tuple[str, Callable[[Path], bytes], str]  # file, its bytes, and a part of what must be said
NAN = torch.full((6, 3, 11, 11), float("nan"))
CASES: dict[str, Case] = {
    "a pickle that runs a command, zip": (
        "a.pth", lambda f: torch_bytes({"conv1.weight": Harm(f / "harm")}), "nothing of it was executed"),
    "a pickle that runs a command, the older kind": (
        "a.pth", lambda f: torch_bytes({"conv1.weight": Harm(f / "harm")}, True), "nothing of it was executed"),
    "a bare pickle that runs a command": ("a.pth", lambda f: pickle.dumps(Harm(f / "harm"), 2), "nothing of it was executed"),
    "a bare pickle of protocol 5 under another ending": ("a.bin", lambda f: pickle.dumps(Harm(f / "harm"), 5), "a pickle that torch.save did not write"),
    "a whole module, pickled": ("a.pth", lambda f: torch_bytes(small(f)), "Ask its maker for a state dict"),
    "a pickled list": ("a.pth", lambda f: torch_bytes([1, 2]), "holds no state dict"),
    "a state dict of numbers": ("a.pth", lambda f: torch_bytes({"epoch": 1}), "holds no state dict"),
    "a trillion numbers, of which one is there": (
        "a.pth", lambda f: torch_bytes({"fc3.weight": torch.zeros(1).expand(1 << 40, 8)}), "claims more numbers"),
    "half a torch file, zip": ("a.pth", lambda f: half(torch_bytes(state(f))), "not readable as a torch file"),
    "half a torch file, the older kind": ("a.pth", lambda f: half(torch_bytes(state(f), True)), "not readable as a torch file"),
    "a zip bomb": ("a.pth", lambda f: bomb(), "its parts are compressed"),
    "a zip of twenty thousand files": ("a.pth", lambda f: zipped({f"{i:050}": b"" for i in range(20_000)}), "very many files"),
    "a zip whose numbers are cut": ("a.pth", lambda f: with_member(torch_bytes(state(f)), "data/0", lambda data: data[:4]), "claims more numbers"),
    "a zip whose pickle fills the memory": (
        "a.pth", lambda f: with_member(torch_bytes(state(f)), "data.pkl", lambda data: b"\x80\x02" + b"]" * (1 << 21) + b"."),
        "besides its numbers"),
    "an older pickle that fills the memory": (
        "a.pth", lambda f: (data := torch_bytes(state(f), True))[: data.index(b".") + 1] + b"\x80\x02" + b"]" * (1 << 21),
        "besides its numbers"),
    "a pickle that asks for two gigabytes of zeros": (
        "a.pth", lambda f: with_member(torch_bytes(state(f)), "data.pkl", lambda data: ZEROS), "it asks for bytearray"),
    "a pickle whose calls copy and copy": (
        "a.pth", lambda f: with_member(torch_bytes(state(f)), "data.pkl", lambda data: COPIES), "besides its numbers"),
    "lists in lists without end": (
        "a.pth", lambda f: with_member(torch_bytes(state(f)), "data.pkl", lambda data: b"\x80\x02" + b"]" * 9999 + b"a" * 9998 + b"."),
        "holds no state dict"),
    "a list that is in itself": (
        "a.pth", lambda f: with_member(torch_bytes(state(f)), "data.pkl", lambda data: b"\x80\x02]q\x00h\x00a."), "holds no state dict"),
    "an optimizer's state": (
        "a.pth", lambda f: torch_bytes({"state": {0: {"exp_avg": torch.ones(6, 3, 11, 11)}}, "param_groups": [{"lr": 0.1}]}),
        "an optimizer's state"),
    "an optimizer's state by the layers' names": ("a.pth", lambda f: torch_bytes({"optimizer": state(f)}), "an optimizer's state"),
    "the weights of two nets": (
        "a.pth", lambda f: torch_bytes({"generator": state(f), "critic": {k: v + 1 for k, v in state(f).items()}}),
        "several nets: generator, critic"),
    "weights on meta": ("a.pth", lambda f: torch_bytes({k: v.to("meta") for k, v in state(f).items()}), "has a shape and no numbers"),
    "sparse weights": ("a.pth", lambda f: torch_bytes({k: v.to_sparse() for k, v in state(f).items()}), "is sparse"),
    "complex weights": ("a.pth", lambda f: torch_bytes({k: v + 0j for k, v in state(f).items()}), "is complex64"),
    "weights in int8": ("a.pth", lambda f: torch_bytes({k: v.to(torch.int8) for k, v in state(f).items()}), "conv1.weight is int8"),
    "weights in eight bits": ("a.pth", lambda f: torch_bytes({k: v.to(torch.float8_e5m2) for k, v in state(f).items()}), "is float8_e5m2"),
    "an empty tensor": ("a.pth", lambda f: torch_bytes(state(f, fc3__bias=torch.ones(0))), "fc3.bias is 0, the net's is 5"),
    "a number in place of a tensor": ("a.pth", lambda f: torch_bytes(state(f, fc3__bias=torch.tensor(1.0))), "is a single number"),
    "doubles that are too large": (
        "a.pth", lambda f: torch_bytes(state(f, fc3__bias=torch.full((5,), 1e300, dtype=torch.float64))), "not finite in float32"),
    "weights as Keras has them": ("a.safetensors", lambda f: safetensors.torch.save(turned(state(f))), "as TensorFlow and Keras have it"),
    "weights without an end": ("a.pth", lambda f: torch_bytes({"body.x": torch.ones(3, 3)}), "body.x (3x3) is not in the net"),
    "an empty file": ("a.pth", lambda f: b"", "is empty"),
    "a file of zeros": ("a.safetensors", lambda f: bytes(5000), "zeros from its first byte on"),
    "a pointer of Git LFS": ("a.safetensors", lambda f: LFS, "git lfs pull"),
    "a pointer of Git LFS, as torch's": ("a.pth", lambda f: LFS, "git lfs pull"),
    "a page of the web": ("a.pth", lambda f: b"\n<!DOCTYPE html>\n<html lang='en'>404</html>", "a web page (HTML)"),
    "a page of the web, with a BOM": ("a.onnx", lambda f: b"\xef\xbb\xbf<html>404</html>", "a web page (HTML)"),
    "a server's answer": (
        "a.caffemodel", lambda f: b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code></Error>", "answer (AccessDenied)"),
    "an answer in JSON": ("a.safetensors", lambda f: b'{"error": "Repository not found"}', "is JSON"),
    "the list of parts": ("a.safetensors", lambda f: b'{"metadata": {}, "weight_map": {"a": "b"}}', "index of weights in several files"),
    "other text": ("a.pth", lambda f: b"Not Found\n", "is text"),
    "a net's table in place of its weights": ("a.toml", lambda f: TABLE.encode(), "is a net's table"),
    "TorchScript": ("a.pt", lambda f: scripted(), "is TorchScript"),
    "an exported program": ("a.pt2", lambda f: zipped({"m/archive_format": b"pt2", "m/data/weights/weight_0": b"0"}), "torch.export"),
    "NumPy's arrays": ("a.npz", lambda f: numpy_bytes(np.savez), "NumPy's arrays (.npz)"),
    "NumPy's arrays under another ending": ("a.pth", lambda f: numpy_bytes(np.savez_compressed), "NumPy's arrays (.npz)"),
    "NumPy's array": ("a.npy", lambda f: numpy_bytes(np.save), "NumPy's array (.npy)"),
    "a pickle of arrays": ("a.pkl", lambda f: pickle.dumps({"conv1": np.ones(3)}), "a pickle that torch.save did not write"),
    "HDF5": ("a.h5", lambda f: b"\x89HDF\r\n\x1a\n" + bytes(100), "is HDF5"),
    "a Keras model": ("a.keras", lambda f: zipped({"config.json": b"{}", "model.weights.h5": b""}), "a Keras model"),
    "a graph of TensorFlow": ("a.pb", lambda f: b"\x08\x01\x12\x9a\x0b" + bytes(range(256)), "a graph of TensorFlow"),
    "TensorFlow Lite": ("a.tflite", lambda f: b"\x1c\0\0\0TFL3" + bytes(100), "TensorFlow Lite"),
    "a part of TensorFlow's checkpoint": (
        "a.ckpt.data-00000-of-00001", lambda f: np.random.default_rng(3).bytes(500), "a part of TensorFlow's checkpoint"),
    "gzip": ("a.pth.gz", lambda f: gzip.compress(torch_bytes(state(f))), "compressed by gzip"),
    "a tar": ("a.pth.tar", lambda f: tarred({"a.pth": torch_bytes(state(f))}), "a tar archive"),
    "a zip of weights": ("a.zip", lambda f: zipped({"weights/a.pth": torch_bytes(state(f))}), "a zip archive of weights/a.pth"),
    "an empty zip": ("a.pth", lambda f: zipped({}), "a zip archive of nothing"),
    "MATLAB": ("a.mat", lambda f: b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(100), "a MATLAB file"),
    "GGUF": ("a.gguf", lambda f: b"GGUF\x03" + bytes(100), "GGUF"),
    "an ONNX file of very many empty nodes": ("a.onnx", lambda f: field(7, field(1, b"") * 300_000), "more than 262,144 fields"),
    "a caffemodel of very many empty layers": ("a.caffemodel", lambda f: field(100, b"") * 300_000, "more than 262,144 fields"),
    "an ONNX file of an oblong": ("a.onnx", oblong, "sees images of 3x63x64"),
    "an ONNX file of other strides each way": ("a.onnx", uneven, "strides [4, 2]: not the same both ways"),
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
        "a.pth", lambda f: torch_bytes(torchvision_names(dict(Net.empty("torchvision", 5).tensors()))), "these are not weights of small"),
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
    "a quantized ONNX file": ("a.onnx", lambda f: plain_onnx(f, quantized=True), "a quantized model"),
    "an ONNX file with another operator": ("a.onnx", foreign_operator, "operator Sigmoid"),
    "pooling before the norm, for a net with the norm first": (
        "a.caffemodel", lambda f: caffemodel(zeros("caffenet", 5), False), "these are not weights of small"),
    "an ONNX file of images of another side": ("a.onnx", lambda f: zoo_onnx(small(f), 83).SerializeToString(), "takes images of 63 pixels, not of 83"),
    "a picture": ("a.png", lambda f: b"\x89PNG\r\n\x1a\n" + bytes(100), "is an image"),
    "bytes that nobody knows": ("a.weights", lambda f: np.random.default_rng(2).bytes(100), "neither torch's"),
}  # fmt: skip


def said(name: str, folder: Path) -> tuple[int, str]:
    """Exit status and what was said of a case, in a folder of its own."""
    file, content, _ = CASES[name]
    (folder / file).write_bytes(content(folder))
    small(folder)
    (folder / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    told = io.StringIO()
    options = [
        "--net",
        str(folder / "small.toml"),
        "--preprocessing",
        "caffe",
        "--classes",
        str(folder / "classes.txt"),
    ]
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
