"""The source's update rule and the schedules, worked by hand."""

import contextlib
import itertools
import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from alexnet import Net, Recipe, UsageError, native
from alexnet.nets.inference import for_inference
from alexnet.nets.layers import Draw
from alexnet.nets.precision import keep_copies
from alexnet.training.optimizer import Momentum
from alexnet.training.recipes import named
from alexnet.training.schedule import Plateau


def lr_at(recipe: Recipe, step: int, steps_per_epoch: int, validation: Sequence[float] = ()) -> float:
    """The learning rate of a recipe's step."""
    return recipe.settled(100, "float32", 224, "paper").learning_rates(steps_per_epoch).lr(step, validation)


def test_five_updates_by_hand_with_a_changing_rate():
    """``v <- 0.9 v - rate (g + 0.0005 w); w <- w + v``: the velocity keeps the old rate's share."""
    weight = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    bias = torch.nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = Momentum({"a.weight": weight, "a.bias": bias})
    plain = torch.nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    sgd = torch.optim.SGD([plain], lr=1, momentum=0.9, weight_decay=0.0005)
    w, v, b, u = 1.0, 0.0, 2.0, 0.0
    for step, (rate, gradient) in enumerate([(0.1, 1.0), (0.1, -2.0), (0.01, 3.0), (0.01, 0.5), (0.2, 1.0)]):
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        bias.grad = torch.tensor([gradient], dtype=torch.float64)
        plain.grad = weight.grad.clone()
        optimizer.set_lr(dict.fromkeys(optimizer.tensors, rate))
        optimizer.step()
        sgd.param_groups[0]["lr"] = rate
        sgd.step()
        v = 0.9 * v - rate * (gradient + 0.0005 * w)
        w = w + v
        u = 0.9 * u - rate * gradient  # no decay on biases
        b = b + u
        assert float(weight.detach()) == pytest.approx(w, rel=1e-12)
        assert float(bias.detach()) == pytest.approx(b, rel=1e-12)
        assert (abs(float(plain.detach()) - w) < 1e-12) == (step < 2)  # torch's rule differs once the rate changes


def test_a_rate_of_zero_freezes():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = Momentum({"a.weight": weight}, lr=0.1)
    weight.grad = torch.ones(3)
    optimizer.step()
    before = weight.detach().clone()
    optimizer.set_lr({"a.weight": 0.0})
    optimizer.step()
    assert torch.equal(weight, before) and (optimizer.velocities["a.weight"] != 0).all()


def test_large_tensors_are_updated_whole():
    weight = torch.nn.Parameter(torch.randn(3, 5, 400, 401).to(memory_format=torch.channels_last))
    start = weight.detach().clone()
    weight.grad = torch.randn(3, 5, 400, 401)
    Momentum({"a.weight": weight}, lr=0.5, weight_decay=0.1).step()
    torch.testing.assert_close(weight.detach(), start - 0.5 * (weight.grad + 0.1 * start))


def test_schedules():
    recipe = Recipe(epochs=10, learning_rate=1.0, warmup_epochs=1.0)
    rates = [lr_at(recipe, step, 10) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1.0 and rates[55] == pytest.approx(0.5) and rates[99] < 0.001
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    line = Recipe(epochs=10, learning_rate=1.0, warmup_epochs=1.0, schedule="linear")
    assert [lr_at(line, step, 10) for step in (0, 9, 10, 55, 99)] == pytest.approx([1 / 11, 10 / 11, 1, 0.5, 1 / 90])
    paper = Recipe(
        epochs=10, learning_rate=0.01, schedule="plateau", warmup_epochs=0, plateau_patience=2, plateau_drops=2
    )
    assert lr_at(paper, 0, 10) == 0.01
    assert lr_at(paper, 50, 10, [0.5, 0.4, 0.4, 0.41]) == pytest.approx(0.001)
    assert Plateau(2, 2).drops_after([0.5, 0.4, 0.4, 0.41, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]) == 2
    assert math.isclose(lr_at(Recipe(epochs=2, schedule="constant", warmup_epochs=0), 7, 10), 0.01)


def test_recipes_of_the_paper():
    paper = named("paper")
    assert (paper.batch_size, paper.momentum, paper.weight_decay, paper.learning_rate, paper.epochs) == (
        128,
        0.9,
        0.0005,
        0.01,
        90,
    )
    assert (paper.init, paper.input_scale, paper.schedule) == ("net", "raw", "plateau")
    with pytest.raises(UsageError, match="--momentum"):
        Recipe(momentum=1.5)


def test_small_data_get_more_epochs_and_smaller_batches():
    few, many = Recipe().settled(100, "float32", 224, "paper"), Recipe().settled(1_200_000, "bf16", 224, "paper")
    assert (few.epochs, few.batch_size, many.epochs, many.batch_size) == (200, 32, 24, 64)
    by_muon = [Recipe(optimizer="muon").settled(n, "float32", 224, "paper").epochs for n in (100, 5000, 1_200_000)]
    assert by_muon == [100, 16, 12]
    assert Recipe(optimizer="muon", epochs=3).settled(5000, "float32", 224, "paper").epochs == 3
    assert Recipe(epochs=3, batch_size=8).settled(100, "float32", 224, "paper").batch_size == 8


@pytest.mark.parametrize("kernels", ["compiled", "portable"])
@pytest.mark.parametrize("low", [None, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (1,), (4097,), (96, 3, 11, 11), (1200, 1100)])
def test_steps_against_numpy_in_float64(kernels, low, shape):
    """Both paths, with the gradient at the weights or at their bf16 copies, which stay the weights' rounding."""
    if kernels == "compiled" and not native.available():
        pytest.skip(native.status().words)
    generator = np.random.default_rng(0)

    def drawn() -> torch.Tensor:
        tensor = torch.from_numpy(generator.normal(0, 1, shape)).float().reshape(shape)
        return tensor.to(memory_format=torch.channels_last) if len(shape) == 4 else tensor

    weight = torch.nn.Parameter(drawn())
    optimizer = Momentum({"a.weight": weight})
    given = weight
    if low:
        given = weight.detach().to(low).requires_grad_()
        optimizer.keep({"a.weight": given})
    w, v = weight.detach().double().numpy(), np.zeros(shape)
    for rate in (0.1, 0.05, 0.0, 0.2):
        given.grad = drawn().to(given.dtype).contiguous()
        gradient = given.grad.double().numpy()
        with native.portable() if kernels == "portable" else contextlib.nullcontext():
            optimizer.set_lr({"a.weight": rate})
            optimizer.step()
        if rate:
            v = 0.9 * v - rate * (gradient + 0.0005 * w)
            w = w + v
        torch.testing.assert_close(weight.detach().double(), torch.as_tensor(w), rtol=1e-6, atol=1e-6)
        if low:
            assert torch.equal(given.detach(), weight.detach().to(low))
    optimizer.zero_grad()
    assert given.grad is None


def test_training_with_copies_is_bitwise_that_without():
    """Autocast's own casts, step by step, against copies that the optimizer keeps."""
    ends = []
    for kept in (False, True):
        net = Net("cifar-11", 10)
        net.initialize(0, "he")
        optimizer = Momentum(net.named_parameters() if not kept else net.tensors(), lr=0.001)
        if kept:
            optimizer.keep(keep_copies(net, torch.bfloat16))
            assert set(net.state()) == set(Net("cifar-11", 10).state())  # no checkpoint holds them
        for step in range(3):
            images = torch.from_numpy(np.random.default_rng(step).normal(0, 1, (4, 3, 24, 24))).bfloat16()
            with torch.autocast("cpu", torch.bfloat16):
                scores = net.train()(images, Draw(0, step, torch.arange(4)))
            scores.float().square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append([tensor.detach().clone() for tensor in net.tensors().values()])
        ready = for_inference(net, torch.bfloat16)
        assert all(getattr(layer, "_copy", None) is None for layer in ready.children())
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_it_does_not_load_torchs_compiler():
    """Which takes seconds, at the start of every training; torch's own optimizers do."""
    code = (
        "import sys, torch; from alexnet import Momentum; Momentum({'a.weight': torch.ones(2, requires_grad=True)}); "
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
