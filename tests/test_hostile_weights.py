"""Broken files and files that mean harm: one clear line, nothing written, nothing executed."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from alexnet import Net, cli, load
from alexnet.interchange import caffe_file
from tests.hostile_weights import CASES, NORM, TABLE, Harm, said, small, state, zeros
from tests.weights_files import caffemodel


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_a_line(name, tmp_path):
    status, text = said(name, tmp_path)
    assert status in (1, 2) and text.startswith("error: ") and text.count("\n") == 1, text
    assert CASES[name][2] in text and CASES[name][0] in text, text
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {CASES[name][0], "small.toml", "classes.txt"}  # no run, no half of one, and no harm done


def test_the_harm_is_real(tmp_path):
    """The pickle does what it says where somebody trusts it."""
    torch.save({"conv1.weight": Harm(tmp_path / "harm")}, tmp_path / "a.pth")
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert (tmp_path / "harm").exists()


def test_the_same_small_net_whole_is_taken(tmp_path, alexnet):
    """So that each case above is refused for its own reason."""
    save_file(state(tmp_path), tmp_path / "a.safetensors")
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(small(tmp_path), True))
    options = ["--net", tmp_path / "small.toml", "--preprocessing", "caffe", "--classes", tmp_path / "classes.txt"]
    for file in ("a.safetensors", "a.caffemodel"):
        status, _, err = alexnet("import", tmp_path / file, tmp_path / f"run-{file}", *options)
        assert status == 0, err


def test_the_moments_of_batch_norms_come_along(tmp_path, alexnet):
    (tmp_path / "normed.toml").write_text(TABLE.replace(NORM, 'kind = "batch_norm"\n'))
    net = Net(str(tmp_path / "normed.toml"), 5, init="he")
    net.state()["norm1.running_mean"].fill_(3.0)
    save_file({name: tensor.detach().contiguous() for name, tensor in net.state().items()}, tmp_path / "a.safetensors")
    (tmp_path / "classes.txt").write_text("a\nb\nc\nd\ne\n")
    options = [
        "--net",
        tmp_path / "normed.toml",
        "--preprocessing",
        "torchvision",
        "--classes",
        tmp_path / "classes.txt",
    ]
    status, _, err = alexnet("import", tmp_path / "a.safetensors", tmp_path / "run", *options)
    assert status == 0, err
    found = load(tmp_path / "run").net.state()
    assert all(torch.equal(found[name], tensor) for name, tensor in net.state().items())


@pytest.mark.parametrize(("given", "wanted"), [("caffe", "caffenet"), ("caffenet", "caffe")])
def test_another_order_of_the_same_layers_is_another_net(given, wanted, tmp_path, capsys):
    """Their tensors have the same names and shapes: only the file's layers tell them apart."""
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(zeros(given, 1000), False))
    assert cli.main(["import", str(tmp_path / "a.caffemodel"), str(tmp_path / "run"), "--net", wanted]) == 2
    assert f"give --net {given}" in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_same_shapes_and_nothing_said_of_layers(tmp_path, alexnet):
    save_file({name: tensor.detach().contiguous() for name, tensor in Net.empty("caffe", 1000).tensors().items()},
              tmp_path / "a.safetensors")  # fmt: skip
    status, _, err = alexnet("import", tmp_path / "a.safetensors", tmp_path / "run")
    assert status == 2 and "could be caffe, caffenet" in err and "give --net" in err


def test_classes_that_do_not_fit(tmp_path, alexnet):
    save_file(state(tmp_path), tmp_path / "a.safetensors")
    options = ["--net", tmp_path / "small.toml", "--preprocessing", "caffe"]
    status, _, err = alexnet("import", tmp_path / "a.safetensors", tmp_path / "run", *options)
    assert status == 2 and "5 classes, whose names are not in it; give --classes" in err
    for text, words in (("a\nb\n", "2 classes"), ("a\na\n", "comes twice"), ("", "is empty")):
        (tmp_path / "classes.txt").write_text(text)
        status, _, err = alexnet(
            "import", tmp_path / "a.safetensors", tmp_path / "run", *options, "--classes", tmp_path / "classes.txt"
        )
        assert status == 2 and words in err
    status, _, err = alexnet("import", tmp_path / "a.safetensors", tmp_path / "run", "--net", tmp_path / "small.toml")
    assert status == 2 and "give --preprocessing caffe or torchvision" in err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("module", "command", "extra"),
    [
        ("google.protobuf", ["import", "a.caffemodel", "run"], "caffe"),
        ("onnx", ["import", "a.onnx", "run"], "onnx"),
    ],
)
def test_a_package_that_is_missing_is_named(module, command, extra, tmp_path, alexnet, monkeypatch):
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(small(tmp_path), True))
    (tmp_path / "a.onnx").write_bytes(b"\x08\x07")
    caffe_file.messages.cache_clear()
    monkeypatch.setitem(sys.modules, module, None)
    status, _, err = alexnet(command[0], *(tmp_path / name for name in command[1:]))
    assert status == 2 and f"pip install 'alexnet[{extra}]'" in err and err.count("\n") == 1
    monkeypatch.undo()
    caffe_file.messages.cache_clear()
