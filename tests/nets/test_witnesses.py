"""Second witnesses that nobody here wrote: ONNX Runtime, OpenCV reading Caffe's own format, torch's own layers."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from alexnet import Net
from alexnet.native import Window
from alexnet.nets.kernels.response_norm_torch import response_norm
from alexnet.nets.layers import Convolution
from tests.nets.test_nets import relative
from tests.weights_files import in_opencv, torchvisions_layers


def onnx_run(kind: str, inputs: dict[str, np.ndarray], **attributes) -> np.ndarray:
    """One ONNX operator in ONNX Runtime."""
    given = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, value.shape) for name, value in inputs.items()
    ]
    node = onnx.helper.make_node(kind, list(inputs), ["y"], **attributes)
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "one", given, [y]),
        opset_imports=[onnx.helper.make_opsetid("", 17)],
        ir_version=9,
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.mark.parametrize("maps", [96, 256, 7])
def test_onnx_runtimes_lrn(maps):
    x = np.random.default_rng(0).normal(0, 40, (2, maps, 9, 9)).astype(np.float32)
    expected = onnx_run("LRN", {"x": x}, size=5, alpha=5e-4, beta=0.75, bias=2.0)  # ONNX divides alpha by the size
    found = response_norm(torch.from_numpy(x), size=5, k=2.0, alpha=1e-4).numpy()
    assert relative(found, expected) < 1e-5


@pytest.mark.parametrize(("side", "up"), [(224, True), (227, False)])
def test_onnx_runtimes_convolution(side, up):
    """conv1: 224 rounded up is 224 padded by 3 at the far edges; conv2: two groups."""
    rng = np.random.default_rng(0)
    first = Convolution(3, 8, Window(11, 4, 0, up))
    second = Convolution(8, 16, Window(5, 1, 2), 2)
    for layer in (first, second):
        for value in layer.parameters():
            value.data = torch.from_numpy(rng.normal(0, 0.1, value.shape).astype(np.float32))
    x = rng.normal(0, 1, (2, 3, side, side)).astype(np.float32)

    def of(layer: Convolution, x: np.ndarray, pads: list[int]) -> np.ndarray:
        inputs = {"x": x, "w": layer.weight.detach().numpy(), "b": layer.bias.detach().numpy()}
        return onnx_run("Conv", inputs, strides=list(layer.stride), group=layer.groups, pads=pads)

    expected = of(second, of(first, x, [0, 0, 3, 3] if up else [0, 0, 0, 0]), [2, 2, 2, 2])
    found = second(first(torch.from_numpy(x))).detach().numpy()
    assert found.shape == expected.shape == (2, 16, 55, 55) and relative(found, expected) < 1e-5


@pytest.mark.parametrize("name", ["caffe", "caffenet"])
def test_opencv_reads_caffes_files_as_we_build_the_net(name):
    net = Net(name, 1000, seed=2, init="he").eval()
    for key, value in net.tensors().items():
        if key.endswith("bias"):
            value.data.uniform_(-1, 1)
    x = np.random.default_rng(0).normal(0, 60, (2, 3, 227, 227)).astype(np.float32)
    other = in_opencv(net, norm_first=name == "caffe")
    other.setInput(x)
    layers = ["norm1", "pool1", "norm2", "pool5", "fc8"]
    expected = dict(zip(layers, other.forward(layers)))
    with torch.no_grad():
        found = net.activations(torch.from_numpy(x), layers)
    for layer in layers:
        assert relative(found[layer].numpy(), expected[layer].reshape(found[layer].shape)) < 1e-4, layer
    # the witness is sharp: the other order of norm and pool is another net
    swapped = in_opencv(net, norm_first=name != "caffe")
    swapped.setInput(x)
    assert relative(found["fc8"].numpy(), swapped.forward("fc8")) > 1e-3


def test_torchs_own_layers_make_torchvisions_net():
    net = Net("torchvision", 1000).eval()
    own = torchvisions_layers()
    for value, given in zip(own.parameters(), net.tensors().values(), strict=True):
        value.data.copy_(given)
    x = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(net(x), own.classifier(own.features(x).flatten(1)), atol=1e-5, rtol=1e-4)


def test_torchs_response_norm_divides_alpha_by_the_size():
    x = torch.randn(2, 12, 5, 5, dtype=torch.float64) * 30
    expected = nn.functional.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)
    torch.testing.assert_close(response_norm(x, size=5), expected, rtol=1e-10, atol=1e-12)
