"""What must hold whatever the numbers: mirrors, permutations, uniform crops, independence of the batch."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet import Net, prepare
from alexnet.data.batches import Batches
from alexnet.native import Window
from alexnet.nets.kernels.response_norm_torch import response_norm
from alexnet.nets.kernels.within_map_norm_torch import within_map_norm
from alexnet.nets.layers import LocallyConnected
from alexnet.nets.table_file import parse_table
from tests.conftest import SMALL_NET

shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 11), st.integers(1, 11))
seeds = st.integers(0, 2**31)


def tensor(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, 20, shape))


@settings(max_examples=40, deadline=None)
@given(shapes, seeds, st.sampled_from([1, 3, 5]))
def test_norms_commute_with_mirrors(shape, seed, size):
    x = tensor(shape, seed)
    for norm in (lambda t: response_norm(t, size=size), lambda t: within_map_norm(t, size=size)):
        torch.testing.assert_close(norm(x.flip(3)), norm(x).flip(3), rtol=1e-12, atol=1e-12)
    across = response_norm(x.flip(1), size=size)
    torch.testing.assert_close(across, response_norm(x, size=size).flip(1), rtol=1e-12, atol=1e-12)


@settings(max_examples=10, deadline=None)
@given(shapes, seeds, st.sampled_from([1, 3, 5]))
def test_gradients_of_the_norms_are_numerical_ones(shape, seed, size):
    x = tensor(shape, seed).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: response_norm(t, size=size, alpha=0.01), x, atol=1e-6)
    assert torch.autograd.gradcheck(lambda t: within_map_norm(t, size=size, alpha=0.01), x, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(seeds, st.sampled_from([(1, 0), (3, 1), (3, 0)]), st.integers(1, 4), st.integers(3, 7))
def test_a_locally_connected_layer_with_equal_filters_is_a_convolution(seed, window, maps, side):
    size, padding = window
    layer = LocallyConnected((maps, side, side), 5, Window(size, 1, padding)).double()
    shared, bias = tensor((5, maps, size, size), seed), tensor((5,), seed + 1)
    layer.weight.data = shared[..., None, None].expand(layer.weight.shape).contiguous()
    layer.bias.data = bias[:, None, None].expand(layer.bias.shape).contiguous()
    x = tensor((2, maps, side, side), seed + 2)
    expected = torch.nn.functional.conv2d(x, shared, bias, padding=padding)
    torch.testing.assert_close(layer(x).detach(), expected, rtol=1e-10, atol=1e-8)
    assert torch.autograd.gradcheck(layer, x[:1].requires_grad_(), atol=1e-5)


def small(classes: int = 6) -> Net:
    net = Net(parse_table(SMALL_NET, "small"), classes, seed=4, init="he").double()
    return net.eval()


@settings(max_examples=15, deadline=None)
@given(seeds, st.permutations(range(6)))
def test_permuted_classes_permute_the_scores(seed, order):
    net, other = small(), small()
    for name in ("fc4.weight", "fc4.bias"):
        other.tensors()[name].data = net.tensors()[name].data[list(order)]
    x = tensor((2, 3, 48, 48), seed)
    torch.testing.assert_close(other(x), net(x)[:, list(order)], rtol=1e-12, atol=1e-10)


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_a_mirrored_image_with_mirrored_filters_mirrors_the_maps(seed):
    """The first layer alone: 49 pixels, so that nothing hangs over one side only."""
    net, other = small(), small()
    other.tensors()["conv1.weight"].data = net.tensors()["conv1.weight"].data.flip(3)
    x = tensor((1, 3, 49, 49), seed)
    first = net.pool1(net.norm1(net.conv1(x)))
    second = other.pool1(other.norm1(other.conv1(x.flip(3))))
    torch.testing.assert_close(second, first.flip(3), rtol=1e-10, atol=1e-10)


@settings(max_examples=10, deadline=None)
@given(seeds, st.integers(1, 5))
def test_scores_do_not_depend_on_what_else_is_in_the_batch(seed, count):
    net = small()
    x = tensor((count + 2, 3, 48, 48), seed)
    torch.testing.assert_close(net(x)[:count], net(x[:count]), rtol=1e-12, atol=1e-12)


def test_crops_cover_all_places_uniformly_and_mirror_every_second(tmp_path):
    """33 x 33 places, as 224 in 256 has: images whose pixels say where they are; chi-square over 60,000 crops."""
    y, x = np.mgrid[:64, :64].astype(np.uint8)
    image = Image.fromarray(np.stack([y, x, np.zeros_like(x)], -1))
    for name in ("a", "b"):
        (tmp_path / "source" / name).mkdir(parents=True)
        for number in range(30):
            image.save(tmp_path / "source" / name / f"{number}.png")
    dataset = prepare(tmp_path / "source", tmp_path / "store", size=64, format="raw", val_fraction=0)
    batches = Batches(dataset, "train", 60, seed=7, crop=32)
    assert dataset.size - batches.crop + 1 == 256 - 224 + 1 == 33
    crops = torch.cat([batches.load(step).images[:, :2, 0, [0, -1]] for step in range(1000)]).long()
    top, left, mirrored = crops[:, 0, 0], crops[:, 1].amin(1), crops[:, 1, 0] > crops[:, 1, 1]
    counts = torch.bincount(top * 33 + left, minlength=33 * 33).double()
    expected = len(crops) / 33**2
    chi2, degrees = float(((counts - expected) ** 2 / expected).sum()), 33**2 - 1
    assert len(counts) == 33**2 and abs(chi2 - degrees) < 4 * np.sqrt(2 * degrees)
    assert abs(float(mirrored.double().mean()) - 0.5) < 4 * 0.5 / np.sqrt(len(crops))
