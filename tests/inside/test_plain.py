"""The plain copy of a net gives the net's scores, and tools that hook modules do on it what they say."""

from pathlib import Path

import pytest
import torch
from captum.attr import GuidedBackprop, Saliency

from alexnet.inside.plain import plain, up_to
from alexnet.nets.network import Network

NETS = ("cifar-quick", "cifar-18", "cifar-13", "cifar-11")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:captum")


def close(first: torch.Tensor, second: torch.Tensor) -> bool:
    return float((first - second).abs().max()) <= 1e-5 * float(second.abs().max())


def seen_by(net: Network, count: int = 2) -> torch.Tensor:
    return torch.randn(count, *net.table.input)


@pytest.mark.parametrize("name", NETS)
def test_scores_are_the_nets(name):
    net = Network(name, 10, init="he").eval()
    images = seen_by(net)
    with torch.no_grad():
        assert close(plain(net)(images), net(images))


def test_scores_of_the_papers_net_with_its_towers_norms_and_overhang(narrow):
    net = Network("paper", 10, init="he").eval()
    with torch.no_grad():
        assert close(plain(net)(seen_by(net)), net(seen_by(net))) is False  # other images
        images = 10 * seen_by(net)
        assert close(plain(net)(images), net(images))
        larger = torch.randn(1, 3, 227, 227)
        assert close(plain(net, 227)(larger), net(larger))


@pytest.mark.parametrize("rule", ["", 'dropout_of = "inputs"', 'dropout_scaled = "in training"'])
def test_every_layer_before_and_after_its_activation_function(net_file, tmp_path, rule):
    path = tmp_path / "other.toml"
    path.write_text(Path(net_file).read_text().replace("dropout = 0.5", f"dropout = 0.25\n{rule}"))
    net = Network(str(path), 3, init="he").eval()
    images, copy = seen_by(net), plain(net)
    with torch.no_grad():
        for layer in net.names:
            outputs = net.activations(images, [layer, f"{layer}:before"])
            assert close(up_to(copy, layer)(images), outputs[layer])
            assert close(up_to(copy, layer, before=True)(images), outputs[f"{layer}:before"])


def test_captum_guides_the_copy_and_silently_not_the_net(net_file):
    net = Network(net_file, 3, init="he").eval()
    images = seen_by(net)
    gradients = Saliency(net).attribute(images.requires_grad_(), target=1, abs=False)
    assert torch.equal(GuidedBackprop(net).attribute(images, target=1), gradients)  # it hooks nn.ReLU: we have none
    copy = plain(net)
    assert close(Saliency(copy).attribute(images, target=1, abs=False), gradients)
    guided = GuidedBackprop(copy).attribute(images, target=1)
    assert float((guided - gradients).abs().max()) > 0.1 * float(gradients.abs().max())
