"""Muon's update, worked by hand through the singular values; what it leaves to ``Momentum``; a training with it."""

import numpy as np
import pytest
import torch

from alexnet import Momentum, Muon, Net, Recipe, UsageError, load, train
from alexnet.nets.precision import keep_copies
from alexnet.nets.table_file import load_table
from alexnet.training.muon import ITERATIONS, QUINTIC, orthogonal
from alexnet.training.parallel.choice import candidates
from alexnet.training.parallel.layout import choose_layout


def by_singular_values(matrix: np.ndarray) -> np.ndarray:
    """What the iterations make of a matrix: Jordan's quintic, on each singular value by itself."""
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    values = values / np.sqrt((values**2).sum())
    for _ in range(ITERATIONS):
        values = sum(factor * values**power for factor, power in zip(QUINTIC, (1, 3, 5)))
    return left * values @ right


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (5, 5), (1, 7)])
def test_the_polynomial_of_the_singular_values(shape):
    matrices = drawn(3, *shape)
    made = orthogonal(matrices)
    for one, matrix in zip(made, matrices):
        np.testing.assert_allclose(one, by_singular_values(matrix.numpy()), atol=1e-9)
    singular = torch.linalg.svdvals(made)
    assert singular.min() > 0.6 and singular.max() < 1.25
    in_float32 = orthogonal(matrices.float()).double()
    assert (in_float32 - made).abs().max() < 1e-4


def test_a_gradient_of_zero_moves_nothing():
    assert not orthogonal(torch.zeros(2, 3, 4)).any()


def test_two_updates_by_hand():
    """Velocity, the look ahead, the decay that is no part of the velocity, and the factor of tall matrices."""
    weight, last = torch.nn.Parameter(drawn(6, 1, 2, 2)), torch.nn.Parameter(drawn(3, 6, seed=1))
    bias = torch.nn.Parameter(drawn(6, seed=2))
    optimizer = Muon({"a.weight": weight, "a.bias": bias, "b.weight": last}, lr=0.1, momentum=0.8, weight_decay=0.01)
    assert set(optimizer.groups) == {"a.weight"}
    other = Momentum({"a.bias": bias.detach().clone(), "b.weight": last.detach().clone()}, 0.1, 0.8, 0.01)
    w, v = weight.detach().numpy().reshape(6, 4).copy(), np.zeros((6, 4))
    for step in range(2):
        gradient = drawn(6, 4, seed=10 + step)
        weight.grad, last.grad, bias.grad = (
            gradient.view(6, 1, 2, 2),
            drawn(3, 6, seed=20 + step),
            drawn(6, seed=30 + step),
        )
        other.tensors["a.bias"].grad, other.tensors["b.weight"].grad = bias.grad.clone(), last.grad.clone()
        optimizer.step()
        other.step()
        v = 0.8 * v + gradient.numpy()
        w = (1 - 0.1 * 0.01) * w - 0.1 * np.sqrt(6 / 4) * by_singular_values(gradient.numpy() + 0.8 * v)
        np.testing.assert_allclose(weight.detach().view(6, 4), w, atol=1e-9)
    assert torch.equal(bias.detach(), other.tensors["a.bias"]) and torch.equal(last.detach(), other.tensors["b.weight"])


def test_a_convolution_that_is_added_later_moves_as_those_before():
    first, later = torch.nn.Parameter(drawn(6, 1, 2, 2)), torch.nn.Parameter(drawn(6, 1, 2, 2))
    optimizer = Muon({"a.weight": first}, lr=0.1)
    optimizer.add_param_group({"params": [later], "name": "b.weight"})
    first.grad = later.grad = drawn(6, 1, 2, 2, seed=1)
    optimizer.step()
    assert torch.equal(first, later) and not torch.equal(first, drawn(6, 1, 2, 2))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("maps", [1, 3])
def test_each_group_is_a_matrix(maps, layout):
    weight = torch.nn.Parameter(drawn(12, maps, 2, 2).to(memory_format=layout))
    optimizer = Muon({"conv.weight": weight}, lr=1.0, momentum=0.0, weight_decay=0.0, groups={"conv.weight": 2})
    weight.grad, before = drawn(12, maps, 2, 2, seed=2), weight.detach().clone()
    optimizer.step()
    for half in (slice(0, 6), slice(6, 12)):
        step = (before - weight.detach())[half].reshape(6, -1)
        own = by_singular_values(weight.grad[half].reshape(6, -1).numpy())
        np.testing.assert_allclose(step, own * max(1, 6 / own.shape[1]) ** 0.5, atol=1e-9)


@pytest.mark.parametrize("as_a_net_keeps_it", [False, True])
@pytest.mark.parametrize("filters", [5, 9])
def test_each_place_of_a_locally_connected_layer_is_a_matrix(filters, as_a_net_keeps_it):
    """With a fifth of the rate, also in the decay; filters of 3 maps and 2x1 windows, at 2x4 places."""
    start = drawn(filters, 3, 2, 1, 2, 4)
    if as_a_net_keeps_it:  # places first, filters last
        start = start.permute(4, 5, 2, 3, 1, 0).contiguous().permute(5, 4, 2, 3, 0, 1)
    weight = torch.nn.Parameter(start.clone(memory_format=torch.preserve_format))
    optimizer = Muon({"local.weight": weight}, lr=1.0, momentum=0.5, weight_decay=0.25)
    expected, velocity = start.numpy().copy(), np.zeros(start.shape)
    for step in range(2):
        weight.grad = drawn(filters, 3, 2, 1, 2, 4, seed=2 + step)
        optimizer.step()
        velocity = 0.5 * velocity + weight.grad.numpy()
        ahead = weight.grad.numpy() + 0.5 * velocity
        for row, column in np.ndindex(2, 4):
            matrix = ahead[..., row, column].transpose(0, 2, 3, 1).reshape(filters, 6)
            moved = by_singular_values(matrix).reshape(filters, 2, 1, 3).transpose(0, 3, 1, 2)
            moved = moved * max(1, filters / 6) ** 0.5
            expected[..., row, column] = (1 - 0.2 * 0.25) * expected[..., row, column] - 0.2 * moved
    np.testing.assert_allclose(weight.detach().numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["paper", "cifar-13"])
def test_of_a_whole_net_with_its_copies(name):
    """All convolutions, in the layouts that a net keeps; copies of bf16 stay equal."""
    net = Net(name, classes=10)
    optimizer = Muon(net.named_parameters(), lr=0.01, groups=net.filters())
    weights = [key for key in net.tensors() if key.endswith("weight")]
    assert list(optimizer.groups) == [key for key in weights if key.startswith("conv")]
    assert [count for count in optimizer.groups.values() if count > 1] == ([2, 2, 2] if name == "paper" else [])
    copies = keep_copies(net, torch.bfloat16)
    optimizer.keep(copies)
    (first, *_, last) = [key for key in copies if key in weights]
    stepped = {first, last, *(key for key in weights if key.startswith("local"))}
    before = {key: net.tensors()[key].detach().clone() for key in stepped}
    for key in stepped:
        copies[key].grad = torch.randn_like(copies[key])
    optimizer.step()
    for key in stepped:
        assert not torch.equal(before[key], net.tensors()[key])
        assert torch.equal(copies[key], net.tensors()[key].bfloat16()) and copies[key].isfinite().all()


def test_a_training_learns_and_resumes_to_the_bit(dataset, net_file, tmp_path):
    recipe = Recipe(net=net_file, crop_size=48, batch_size=16, epochs=3, optimizer="muon", schedule="linear")
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tmp_path / "twice", recipe, show=False, keep_every=1, on_step=_stop_in_the_second_epoch)
    train(dataset, tmp_path / "twice", recipe, show=False, keep_every=1)
    train(dataset, tmp_path / "once", recipe, show=False)
    once, twice = (load(tmp_path / name).net.state() for name in ("once", "twice"))
    assert all(torch.equal(once[key], twice[key]) for key in once)
    metrics = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("once", "twice")]
    assert metrics[0] == metrics[1]


def _stop_in_the_second_epoch(report) -> None:
    if report.epoch > 1.2:
        raise KeyboardInterrupt


def test_ranks_that_have_a_part_of_a_convolution_are_refused():
    table = load_table("paper")
    with pytest.raises(UsageError, match=r"--parallel towers: .*--optimizer muon"):
        choose_layout("towers", 2, table, 10, 8, whole_filters=True)
    assert choose_layout("sharded", 2, table, 10, 8, whole_filters=True).name == "sharded"
    assert [layout.name for layout in candidates(2, table, 10, 8, whole_filters=True)] == ["data", "hybrid"]


def test_weights_of_low_precision_move_as_those_of_float32():
    steps = []
    for dtype in (torch.float32, torch.bfloat16):
        weight = torch.nn.Parameter(torch.zeros(4, 2, 3, 3, dtype=dtype))
        weight.grad = drawn(4, 2, 3, 3).bfloat16().to(dtype)
        Muon({"c.weight": weight}, lr=1.0).step()
        steps.append(weight.detach().float())
    torch.testing.assert_close(*steps, atol=0, rtol=0.02)


def test_groups_that_cannot_be_meant_are_refused():
    weight = torch.nn.Parameter(drawn(8, 2, 3, 3))
    for groups, said in (({"c.weight": 3}, "8 filters"), ({"c.weight": 0}, "c.weight"), ({"d.weight": 1}, "d.weight")):
        with pytest.raises(UsageError, match=f"Muon: groups: .*{said}"):
            Muon({"c.weight": weight}, groups=groups)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e18, 1e30])
def test_gradients_of_any_size_give_steps_of_one(scale):
    matrices = drawn(2, 8, 30)
    made = orthogonal((matrices * scale).float())
    assert (made.double() - orthogonal(matrices)).abs().max() < 1e-4


def test_a_decay_that_takes_all_of_a_convolutions_weights_in_a_step_is_refused():
    weights = {"conv1.weight": torch.ones(2, 1, 1, 1), "fc8.weight": torch.ones(2, 2)}
    with pytest.raises(UsageError, match=r"weight_decay 50 of conv1.weight: a step of lr 0.02 .* give less than 50"):
        Muon(weights, lr=0.02, weight_decay=50)
    Muon(weights, lr=0.02, weight_decay=49.9)
    Muon(weights, lr=0.02, weight_decays={"fc8.weight": 60.0})
    local = {"local3.weight": torch.ones(2, 1, 1, 1, 2, 2)}
    with pytest.raises(UsageError, match=r"of local3.weight: a step of lr 0.02, 0.2 of it .* give less than 250"):
        Muon(local, lr=0.02, weight_decay=250)
    Muon(local, lr=0.02, weight_decay=249)
