"""The paper's net against the paper's numbers and an independent computation."""

import numpy as np
import pytest
import torch
from torch import nn

from alexnet import Net, UsageError
from alexnet.data.preprocessing import views
from alexnet.nets.costs import costs
from alexnet.nets.layers import Draw, Dropout
from alexnet.nets.table_file import TAKEN, load_table, parse_table
from tests.conftest import SMALL_NET
from tests.oracle import layers as oracle


@pytest.fixture(scope="module")
def net() -> Net:
    return Net("paper", 1000, seed=3, init="he").eval()


def test_sizes_and_parameters_are_the_papers():
    rows = {row.name: row for row in costs(load_table("paper"), 1000)}
    # paper 3.5 and Figure 2: 253,440 (=290,400 by 55x55x96), 186,624, 64,896, 64,896, 43,264, 4096, 4096, 1000
    assert rows["conv1"].output == (96, 55, 55)
    assert rows["conv2"].output == (256, 27, 27) and np.prod(rows["conv2"].output) == 186_624
    assert np.prod(rows["conv3"].output) == 64_896 == np.prod(rows["conv4"].output)
    assert np.prod(rows["conv5"].output) == 43_264
    assert rows["pool5"].output == (256, 6, 6)
    # filters as the paper gives them: 11x11x3, 5x5x48, 3x3x256, 3x3x192, 3x3x192
    expected = {
        "conv1": 96 * 11 * 11 * 3 + 96,
        "conv2": 256 * 5 * 5 * 48 + 256,
        "conv3": 384 * 3 * 3 * 256 + 384,
        "conv4": 384 * 3 * 3 * 192 + 384,
        "conv5": 256 * 3 * 3 * 192 + 256,
        "fc6": 9216 * 4096 + 4096,
        "fc7": 4096 * 4096 + 4096,
        "fc8": 4096 * 1000 + 1000,
    }
    assert {name: row.parameters for name, row in rows.items() if row.parameters} == expected
    assert sum(row.parameters for row in rows.values()) == 60_965_224
    assert sum(p.numel() for p in Net.empty("paper", 1000).parameters()) == 60_965_224


def test_whole_net_is_the_oracles_in_float64(net):
    wide = Net.empty("paper", 1000).double().eval()
    wide.load_state_dict({name: value.double() for name, value in net.state_dict().items()})
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 224, 224))
    parameters = {name: value.detach().numpy() for name, value in wide.tensors().items()}
    expected = oracle.alexnet(images, parameters)
    with torch.no_grad():
        found = wide(torch.from_numpy(images)).numpy()
        single = net(torch.from_numpy(images).float()).numpy()
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    np.testing.assert_allclose(single, expected, atol=1e-4 * np.abs(expected).max())


def test_takes_227_and_224_and_refuses_others(net):
    images = torch.randn(1, 3, 224, 224)
    padded = torch.zeros(1, 3, 227, 227)
    padded[:, :, :224, :224] = images
    with torch.no_grad():
        torch.testing.assert_close(net(images), net(padded))
        with pytest.raises(ValueError, match="another size"):
            net(torch.randn(1, 3, 256, 256))


def test_towers_are_slices(net):
    """Swapping the towers' halves of every layer permutes the maps and leaves the scores."""
    swapped = Net.empty("paper", 1000).eval()
    parameters = {name: value.detach().clone() for name, value in net.tensors().items()}
    half = {name: len(value) // 2 for name, value in parameters.items()}
    for name, value in parameters.items():
        if not name.startswith("fc8"):
            value = value.roll(half[name], 0)
        layer, kind = name.split(".")
        if kind == "weight" and layer in ("conv3", "fc6", "fc7", "fc8"):  # see both towers
            value = value.roll(value.shape[1] // 2, 1)
        parameters[name] = value
    with torch.no_grad():
        for name, value in swapped.tensors().items():
            value.copy_(parameters[name])
        images = torch.randn(2, 3, 224, 224)
        torch.testing.assert_close(swapped(images), net(images), atol=1e-5, rtol=1e-4)
        maps, other = (n.activations(images, ["pool5"])["pool5"] for n in (net, swapped))
    torch.testing.assert_close(other, maps.roll(128, 1), atol=1e-5, rtol=1e-4)


def test_initialization_is_the_papers_and_keyed_by_name():
    net = Net("paper", 10)
    tensors = net.tensors()
    for name, value in tensors.items():
        layer, kind = name.split(".")
        if kind == "weight":
            assert abs(float(value.detach().std()) - 0.01) < 0.0003, name
        else:  # paper 5: ones in the second, fourth, fifth convolution and the fully connected hidden layers
            assert (value == (1.0 if layer in ("conv2", "conv4", "conv5", "fc6", "fc7") else 0.0)).all(), name
    wider = Net("paper", 20)
    assert torch.equal(wider.tensors()["fc6.weight"], tensors["fc6.weight"])
    small, other = (Net("cifar-quick", 10, seed=seed).tensors() for seed in (0, 1))
    assert not torch.equal(small["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize("name", ["cifar-11", "cifar-18", "source"])
def test_every_layer_before_and_after_its_activation_function(name):
    """On the compiled path, alone and all at once: one follows from the other."""
    net = Net(name, 10, init="he").eval()
    side = net.table.input[1]
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    names = [layer + end for layer in net.names for end in ("", ":before")]
    with torch.no_grad():
        every = net.activations(images, names)
        assert list(every) == names
        for layer, row in net.table.layers.items():
            alone = net.activations(images, [f"{layer}:before"])[f"{layer}:before"]
            torch.testing.assert_close(alone, every[f"{layer}:before"], rtol=1e-4, atol=1e-4)
            after = alone.relu() if row.activation == "relu" else alone
            after = after * (1 - row.dropout.rate) if row.dropout else after  # of outputs, at test: paper 4.2
            torch.testing.assert_close(net.activations(images, [layer])[layer], after, rtol=1e-4, atol=1e-4)


def test_activations_by_name(net):
    images = torch.randn(1, 3, 224, 224)
    found = net.activations(images, ["conv1", "fc7", "fc8"])
    assert found["conv1"].shape == (1, 96, 55, 55) and found["fc7"].shape == (1, 4096)
    assert (found["conv1"] >= 0).all()
    torch.testing.assert_close(found["fc8"], net(images))
    with pytest.raises(UsageError, match="conv9"):
        net.activations(images, ["conv9"])


def test_dropout_depends_on_row_not_on_batch():
    layer = Dropout(0.5, "fc6").train()
    x = torch.ones(6, 1000)
    rows = torch.arange(6)
    whole = layer(x, Draw(0, 9, rows))
    parts = torch.cat([layer(x[:2], Draw(0, 9, rows[:2])), layer(x[2:], Draw(0, 9, rows[2:]))])
    assert torch.equal(whole, parts)
    assert set(whole.unique().tolist()) == {0.0, 1.0}  # not rescaled in training
    assert abs(float(whole.mean()) - 0.5) < 0.03
    assert not torch.equal(whole, layer(x, Draw(0, 10, rows)))
    assert (layer.eval()(x) == 0.5).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("size = 5\nstride", "size = 0\nstride"), "layer conv1: size = 0"),
        (('sees = "own tower"', 'sees = "nothing"'), "layer conv2: sees"),
        (("filters = 16\nsize = 3", "filters = 15\nsize = 3"), "does not divide into 2 towers"),
        (("k = 2.0\n", ""), "layer norm1: k is missing"),
        (("dropout = 0.5", "dropout = 1.5"), "layer fc3: dropout"),
        (('units = "classes"', "units = 8"), "last layer"),
        (("padding = 1", "pading = 1"), "pading is not a key"),
        (("towers = 2", "towers = ="), "not TOML"),
    ],
)
def test_mistakes_in_a_table_are_named(change, said):
    assert change[0] in SMALL_NET
    with pytest.raises(UsageError, match="mine") as error:
        parse_table(SMALL_NET.replace(*change, 1), "mine.toml")
    assert said in str(error.value)


def test_ten_views_are_corners_center_and_mirrors():
    images = torch.randint(0, 256, (1, 3, 256, 256), dtype=torch.uint8)
    found = views(images, 224, 10)
    for view, (top, left) in zip(found[:5], [(0, 0), (0, 32), (32, 0), (32, 32), (16, 16)]):
        assert torch.equal(view, images[:, :, top : top + 224, left : left + 224])
    assert torch.equal(found[5:], found[:5].flip(-1))
    assert torch.equal(views(images, 224, 1)[0], found[4])


def test_every_name_that_torch_uses_is_no_layers():
    assert {name for name in dir(nn.ModuleDict()) if not name.startswith("_")} <= TAKEN


@pytest.mark.parametrize(
    "name", ["training", "keys", "conv.1", "forward", "layers", "_x", "1st", "", "convÄ", "conv 1"]
)
def test_names_that_no_layer_can_have(name):
    text = f'input = [3, 9, 9]\n[layers."{name}"]\nkind = "fully_connected"\nunits = "classes"\n'
    with pytest.raises(UsageError, match="give it a name of letters and digits"):
        parse_table(text, "t.toml")


@pytest.mark.parametrize("name", ["paper", "cifar-11"])
def test_an_empty_net_lies_in_memory_as_an_initialized_one(name):
    """Products take weights as they lie: those of a training, which begins with an empty net, are not copied."""
    own = Net(name, 10).tensors()
    for key, tensor in Net.empty(name, 10).tensors().items():
        assert tensor.stride() == own[key].stride() and tensor.dtype == torch.float32
    if name == "cifar-11":
        assert own["local3.weight"].stride() != own["local3.weight"].contiguous().stride()
