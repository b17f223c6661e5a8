"""The compiled path against the NumPy oracle in float64: every shape class, both ways, and what is not finite."""

import contextlib

import numpy as np
import pytest
import torch

from alexnet import Net, native
from alexnet.data.preprocessing import Preprocessing
from alexnet.native import Stage, Window
from alexnet.nets.fusion import plan
from alexnet.nets.inference import for_inference
from alexnet.nets.kernels import few_rows_native, within_map_norm_native
from alexnet.nets.kernels.response_norm_torch import response_norm
from alexnet.nets.kernels.stage_native import run_stage
from alexnet.nets.layers import Draw, FullyConnected, Int8FullyConnected, LocallyConnected
from alexnet.nets.table_file import parse_table
from tests.conftest import SMALL_NET
from tests.oracle import nets

pytestmark = pytest.mark.skipif(not native.available(), reason=native.status().words)

STAGES = {
    "paper": Stage(True, (5, 2, 2.0, 1e-4), (3, 2)),
    "source": Stage(False, (5, 2, 2.0, 1e-4 / 5), (3, 2), True),
    "relu and pool": Stage(True, None, (3, 2)),
    "pool and relu": Stage(False, None, (3, 2), True),
    "pool alone": Stage(False, None, (2, 2)),
    "norm alone": Stage(False, (5, 1, 1.0, 2e-5)),
    "relu and norm of nine": Stage(True, (9, 1, 1.0, 1e-3)),
    "even window": Stage(False, (4, 2, 1.0, 1e-3), (3, 1)),
    "relu and average": Stage(True, None, (3, 2), average=True),
    "norm, average and relu": Stage(False, (5, 2, 2.0, 1e-4), (3, 1), True, True),
}
SHAPES = [(2, 96, 55, 55), (1, 16, 13, 13), (3, 10, 6, 6), (2, 4, 3, 3), (1, 2, 4, 4)]


def expected(x: np.ndarray, stage: Stage):
    """By the oracle's steps: outputs, and what turns their gradient into the input's."""
    backs = []
    steps = [nets.relu] if stage.relu_before else []
    if stage.norm:
        size, towers, k, alpha = stage.norm
        steps.append(nets.norm(size, k, alpha, towers=towers))
    if stage.pool:
        steps.append(nets.pool("average" if stage.average else "max", *stage.pool))
    if stage.relu_after:
        steps.append(nets.relu)
    for step in steps:
        x, back = step(x)
        backs.append(back)

    def backward(gradient):
        for back in reversed(backs):
            (gradient,) = back(gradient)
        return gradient

    return x, backward


def relative(found: torch.Tensor, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found.detach().double().numpy() - wanted) / max(np.linalg.norm(wanted), 1e-30))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", STAGES)
def test_both_ways_are_the_oracles(name, shape):
    stage, rng = STAGES[name], np.random.default_rng(0)
    x = np.float32(rng.normal(0, 20, shape)).astype(np.float64)
    y, backward = expected(x, stage)
    gradient = rng.normal(0, 1, y.shape)
    given = torch.from_numpy(x).float().requires_grad_()
    found = run_stage(given, stage)
    found.backward(torch.from_numpy(gradient).float())
    assert given.grad is not None and found.is_contiguous(memory_format=torch.channels_last)
    assert relative(found, y) < 1e-6 and relative(given.grad, backward(gradient)) < 1e-5
    assert torch.equal(run_stage(given.detach(), stage), found.detach())  # as without gradients


@pytest.mark.parametrize("name", STAGES)
def test_bf16_differs_by_the_last_rounding_alone(name):
    stage, rng = STAGES[name], np.random.default_rng(1)
    x = torch.from_numpy(rng.normal(0, 20, (2, 16, 13, 15))).to(torch.bfloat16)
    gradient = None
    results = []
    for dtype in (torch.bfloat16, torch.float32):
        given = x.to(dtype, copy=True).requires_grad_()
        y = run_stage(given, stage)
        gradient = (
            torch.from_numpy(rng.normal(0, 1, tuple(y.shape))).to(torch.bfloat16) if gradient is None else gradient
        )
        y.backward(gradient.to(dtype))
        assert given.grad is not None and y.dtype == given.grad.dtype == dtype
        results.append((y.detach(), given.grad))
    for low, high in zip(*results):
        assert torch.equal(low, high.to(torch.bfloat16)) or relative(low, high.double().numpy()) < 2e-3


def test_not_finite_spoils_its_window_alone():
    x = torch.randn(2, 8, 9, 9)
    x[0, 3, 4, 4], x[1, 0, 0, 0] = float("nan"), float("inf")
    y = run_stage(x, STAGES["paper"])
    assert torch.isnan(y[0, :, 1:3, 1:3]).any() and not torch.isfinite(y[1, 0, 0, 0])
    clean = y.clone()
    clean[0, :, 1:3, 1:3], clean[1, :, 0, 0] = 0, 0
    assert torch.isfinite(clean).all()
    given = torch.full((1, 4, 4, 4), float("nan"), requires_grad=True)
    run_stage(given, STAGES["paper"]).sum().backward()
    assert given.grad is not None and torch.isnan(given.grad).any()


@pytest.mark.parametrize("name", ["paper", "source", "norm alone"])
@pytest.mark.parametrize("images", [1, 2])
def test_rows_of_few_images_are_shared_out_and_the_same_to_the_bit(name, images):
    """More threads than images; as many threads as rows, and more."""
    x = torch.from_numpy(np.random.default_rng(2).normal(0, 20, (images, 8, 15, 11))).float()
    threads, outputs = torch.get_num_threads(), []
    for count in (1, 2, 3, 7, 20):
        torch.set_num_threads(count)
        try:
            y, places = native.stage_forward(x.contiguous(memory_format=torch.channels_last), STAGES[name], True)
        finally:
            torch.set_num_threads(threads)
        outputs.append((y, torch.zeros(0) if places is None else places))
    assert all(torch.equal(a, b) for other in outputs[1:] for a, b in zip(outputs[0], other))


WITHIN = {
    "small": (3, 1.0, 1e-3),
    "wide": (5, 2.0, 1e-2),
    "wider than the maps": (15, 1.0, 1e-4),
    "alone": (1, 1.0, 0.1),
}


@pytest.mark.parametrize("shape", SHAPES[1:])
@pytest.mark.parametrize("name", WITHIN)
def test_the_norm_within_maps_is_the_oracles_both_ways(name, shape):
    rng, (size, k, alpha) = np.random.default_rng(0), WITHIN[name]
    x, gradient = np.float32(rng.normal(0, 20, shape)).astype(np.float64), rng.normal(0, 1, shape)
    y, backward = nets.within(size, k, alpha)(x)
    given = torch.from_numpy(x).float().requires_grad_()
    found = within_map_norm_native.within_map_norm(given, size=size, k=k, alpha=alpha)
    found.backward(torch.from_numpy(gradient).float())
    assert given.grad is not None and found.is_contiguous(memory_format=torch.channels_last)
    assert relative(found, y) < 1e-6 and relative(given.grad, backward(gradient)[0]) < 1e-5
    low, high = given.detach().bfloat16().requires_grad_(), given.detach().bfloat16().float().requires_grad_()
    above = torch.from_numpy(gradient).bfloat16()
    for values in (low, high):
        y = within_map_norm_native.within_map_norm(values, size=size, k=k, alpha=alpha)
        y.backward(above.to(values.dtype))
    assert low.grad is not None and high.grad is not None and low.grad.dtype == torch.bfloat16
    assert torch.equal(low.grad, high.grad.bfloat16()) or relative(low.grad, high.grad.double().numpy()) < 2e-3


def test_the_norm_within_maps_does_not_depend_on_threads_or_layout():
    threads, outputs = torch.get_num_threads(), []
    x = torch.from_numpy(np.random.default_rng(2).normal(0, 20, (3, 8, 30, 11))).float()[:, :, ::2]
    for count in (1, 2, 3, 7, 50):
        torch.set_num_threads(count)
        given = x.clone(memory_format=torch.contiguous_format if count == 2 else torch.channels_last).requires_grad_()
        try:
            y = within_map_norm_native.within_map_norm(given, size=5, k=1.0, alpha=1e-2)
            y.square().sum().backward()
        finally:
            torch.set_num_threads(threads)
        outputs.append((y.detach(), given.grad))
    assert all(torch.equal(a, b) for other in outputs[1:] for a, b in zip(outputs[0], other))
    assert within_map_norm_native.within_map_norm(x[:0], size=5, k=1.0, alpha=1.0).shape == (0, 8, 15, 11)


def test_a_window_much_larger_than_one_row_of_maps_takes_no_more_memory():
    x = torch.from_numpy(np.random.default_rng(4).normal(0, 1, (1, 1, 1, 60000))).float().requires_grad_()
    y = within_map_norm_native.within_map_norm(x, size=120001, k=1.0, alpha=1e-3)
    y.sum().backward()
    expected = x.detach() * (1 + 1e-3 * x.detach().double().square().sum()).float() ** -0.75
    torch.testing.assert_close(y.detach(), expected, rtol=1e-4, atol=1e-6)
    assert x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize("maps", [3, 16])
def test_sums_beyond_float32_give_zero_on_any_processor(maps):
    x = torch.full((1, maps, 3, 3), 1e20)
    y = within_map_norm_native.within_map_norm(x, size=3, k=1.0, alpha=1e-2)
    assert torch.isfinite(y).all() and (y < 1e-3 * x).all()


def test_the_norm_within_maps_takes_no_other_exponent_and_keeps_what_is_not_finite_in_its_windows():
    x = torch.randn(2, 4, 9, 9)
    assert within_map_norm_native.runs(x, 0.75) and not within_map_norm_native.runs(x, 0.5)
    assert not within_map_norm_native.runs(x.double(), 0.75)
    x[1, 2, 4, 4] = float("nan")
    y = within_map_norm_native.within_map_norm(x, size=3, k=1.0, alpha=0.1)
    assert torch.isnan(y[1, 2, 3:6, 3:6]).all()
    y[1, 2, 3:6, 3:6] = 0
    assert torch.isfinite(y).all()


@pytest.mark.parametrize(("size", "padding"), [(3, 1), (5, 2), (1, 0), (3, 0), (3, 2)])
def test_a_locally_connected_layer_is_the_oracles_both_ways(size, padding):
    rng, shape = np.random.default_rng(0), (3, 5, 7, 6)
    x, layer = rng.normal(0, 1, shape), LocallyConnected(shape[1:], 4, Window(size, 1, padding))
    weight, bias = rng.normal(0, 1, tuple(layer.weight.shape)), rng.normal(0, 1, tuple(layer.bias.shape))
    y, backward = nets.local(size, padding)(x, weight, bias)
    gradient = rng.normal(0, 1, y.shape)
    expected = [y, *backward(gradient)]
    for dtype, limit in ((torch.float32, 1e-6), (torch.bfloat16, 8e-3)):
        own = LocallyConnected(shape[1:], 4, Window(size, 1, padding)).to(dtype)
        with torch.no_grad():
            own.weight.copy_(torch.from_numpy(weight))
            own.bias.copy_(torch.from_numpy(bias))
        given = torch.from_numpy(x).to(dtype).requires_grad_()
        out = own(given)
        out.backward(torch.from_numpy(gradient).to(dtype))
        for ours, wanted in zip((out, given.grad, own.weight.grad, own.bias.grad), expected, strict=True):
            assert ours is not None and ours.dtype == dtype and relative(ours, wanted) < limit


def test_windows_at_a_stride_there_and_back_do_not_depend_on_threads():
    """Each number comes once for each window that has it; what no window has gets nothing."""
    x = torch.from_numpy(np.random.default_rng(3).normal(0, 1, (2, 3, 9, 8))).float()
    x, window, threads, outputs = x.contiguous(memory_format=torch.channels_last), Window(2, 3, 1), 0, []
    counts = torch.zeros(1, 1, 9, 8)
    for row in range(-1, 9, 3):
        for column in range(-1, 8, 3):
            counts[..., max(row, 0) : row + 2, max(column, 0) : column + 2] += 1
    threads = torch.get_num_threads()
    for count in (1, 2, 3, 50):
        torch.set_num_threads(count)
        try:
            outputs.append(native.windows_scatter(native.windows_gather(x, window), x.shape, window))
        finally:
            torch.set_num_threads(threads)
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])
    assert torch.equal(outputs[0], x * counts) and set(counts.unique().tolist()) == {0.0, 1.0}


def test_maps_that_do_not_divide_into_towers_are_refused_on_either_path():
    x = torch.ones(1, 5, 4, 4)
    with pytest.raises(ValueError, match="5 maps do not divide into 2 towers"):
        run_stage(x, Stage(norm=(5, 2, 2.0, 1e-4)))
    with pytest.raises(ValueError, match="5 maps do not divide into 2 towers"):
        response_norm(x, size=5, towers=2)


def test_empty_strided_and_threads():
    stage = STAGES["paper"]
    assert run_stage(torch.empty(0, 8, 9, 9), stage).shape == (0, 8, 4, 4)
    x = torch.randn(4, 8, 18, 10)
    strided = x[:, :, ::2]
    assert torch.equal(run_stage(strided, stage), run_stage(strided.contiguous(), stage))
    pooled = torch.nn.functional.max_pool2d(strided, 3, 2, ceil_mode=True)
    assert torch.equal(run_stage(strided, Stage(pool=(3, 2))), pooled)  # not square
    threads, found = torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        given = strided.clone().requires_grad_()
        y = run_stage(given, stage)
        y.square().sum().backward()
        found.append((y.detach(), given.grad))
    torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for each in found[1:] for a, b in zip(each, found[0]))


def late(*names: str) -> list:
    """Nets whose stages others have, too: make test-slow."""
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["source", "cifar-11", "cifar-18", *late("paper", "caffenet", "torchvision")])
def test_whole_nets_are_those_of_the_portable_path(name):
    """Scores and gradients in float32, the path switched off against on; the stages cover every pooling."""
    net = Net(name, 10, seed=1, init="he")
    steps = plan(tuple(net.table.layers.values()))
    assert sum(layer.kind in ("max_pool", "average_pool") for layer in net.table.layers.values()) == sum(
        step.stage is not None and step.stage.pool is not None for step in steps
    )
    side, worst = net.table.input[1], []
    for seed in range(3):
        images = torch.from_numpy(np.random.default_rng(seed).normal(0, 1, (2, 3, side, side))).float()
        results = []
        for compiled in (True, False):
            with contextlib.nullcontext() if compiled else native.portable():
                net.zero_grad()
                scores = net(images.to(memory_format=torch.channels_last), Draw(0, 1, torch.arange(2)))
                scores.square().sum().backward()
                results.append([scores.detach(), *(p.grad.clone() for p in net.parameters() if p.grad is not None)])
        worst.append(max(relative(ours, other.double().numpy()) for ours, other in zip(*results, strict=True)))
    assert sorted(worst)[1] < 2e-5  # one of the three may have a tie of a float32's last bit, which any path may break


def stages_of(net: Net) -> dict[str, tuple[Stage, int]]:
    """Each stage by its head, or its own first layer, and how many layers it does."""
    steps = [step for step in plan(tuple(net.table.layers.values())) if step.stage]
    return {step.layers[0].name: (step.stage, len(step.layers) - (step.head is not None)) for step in steps}


def covered(net: Net) -> list[list[str]]:
    """The names of the layers that each stage does."""
    return [[layer.name for layer in step.layers] for step in plan(tuple(net.table.layers.values())) if step.stage]


def test_what_the_stages_cannot_do_is_left_to_torch():
    """A pooling window of more places than a byte counts, a stride beyond the window, another beta."""
    table = SMALL_NET.replace("beta = 0.75", "beta = 0.5").replace("size = 3\nstride = 2", "size = 17\nstride = 1", 1)
    net = Net(parse_table(table, "wide"), 3, init="he")
    assert stages_of(net) == {"conv2": (Stage(True, pool=(3, 2)), 1)}
    assert torch.isfinite(net(torch.randn(2, 3, 48, 48), Draw(0, 0, torch.arange(2)))).all()
    apart = SMALL_NET.replace("size = 3\nstride = 2", "size = 2\nstride = 3", 1)
    assert not any("pool1" in taken for taken in covered(Net(parse_table(apart, "apart"), 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_are_prepared_as_on_the_portable_path(dataset, dtype):
    """Mean, noise, divisor and scale, with and without noise; an empty batch; crops that lie in memory otherwise."""
    preprocessing = Preprocessing.of(dataset, 48, "standardized", 0.1)
    crops = torch.randint(0, 256, (5, 48, 48, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    noise = preprocessing.color_noise(0, 0, torch.arange(5))
    for given, shift in ((crops, noise), (crops, None), (crops[:0], None), (crops.contiguous(), noise)):
        found = preprocessing.apply(given, dtype, shift, 1.1)
        with native.portable():
            portable = preprocessing.apply(given, dtype, shift, 1.1)
        assert found.stride() == portable.stride() and found.dtype == dtype
        torch.testing.assert_close(found, portable, atol=1e-6, rtol=2e-7 if dtype == torch.float32 else 1e-2)


@pytest.mark.parametrize("name", ["paper", "cifar-11", *late("caffe", "torchvision")])
def test_the_form_for_inference_gives_the_same_scores(name):
    """A factor of one half is exact, so in float32 to the last bit; in bf16 as autocast rounds the weights."""
    net = Net(name, 10, seed=1, init="he")
    kept = {key: value.clone() for key, value in net.state().items()}
    side = net.table.input[1]
    images = torch.randn(3, 3, side, side).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = net.eval()(images)
        assert torch.equal(for_inference(net, torch.float32)(images), expected)
        with torch.autocast("cpu", torch.bfloat16):
            low, ready = net(images.bfloat16()), for_inference(net, torch.bfloat16)(images.bfloat16())
    assert relative(ready.float(), low.float().double().numpy()) < 1e-2
    assert all(torch.equal(value, net.state()[key]) for key, value in kept.items())
    assert for_inference(net, torch.bfloat16).conv1.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("rows", [1, 3, 4])
@pytest.mark.parametrize(("units", "inputs"), [(1000, 4096), (7, 9216), (3, 5), (65, 191)])
@pytest.mark.parametrize("narrow", [False, True])
def test_few_rows_are_products_in_float64(rows, units, inputs, narrow):
    generator = np.random.default_rng(0)
    layer = FullyConnected(inputs, units)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(generator.normal(0, 1, (units, inputs))))
        layer.bias.copy_(torch.from_numpy(generator.normal(0, 1, units)))
        x = torch.from_numpy(generator.normal(0, 1, (rows, inputs))).bfloat16()
        ready = Int8FullyConnected(layer) if narrow else layer.to(torch.bfloat16)
        assert few_rows_native.runs(x, ready.weight)
        found = ready(x)
    weight = ready.weight.detach().double().numpy() * (ready.scale.double().numpy()[:, None] if narrow else 1)
    expected = x.double().numpy() @ weight.T + ready.bias.detach().double().numpy()
    assert found.dtype == torch.bfloat16 and relative(found, expected) < 3e-3  # of the result's rounding to bf16
    with torch.no_grad():
        many = ready(x.repeat(3, 1))  # the way of larger batches
    assert relative(many[:rows], expected) < 5e-3
    assert not few_rows_native.runs(x.repeat(5, 1), ready.weight) and not few_rows_native.runs(x.float(), ready.weight)


def test_int8_rounds_each_units_weights_to_a_127th_of_the_largest():
    layer = FullyConnected(50, 4)
    with torch.no_grad():
        layer.weight.copy_(
            torch.from_numpy(np.random.default_rng(1).normal(0, 1, (4, 50))) * torch.tensor([[1], [10], [0], [0.1]])
        )
        layer.bias.zero_()
    narrow = Int8FullyConnected(layer)
    step = layer.weight.detach().abs().amax(1, keepdim=True) / 127
    wrong = (narrow.weight * narrow.scale[:, None] - layer.weight.detach()).abs()
    assert narrow.weight.dtype == torch.int8 and (wrong <= step * 0.5001).all()


@pytest.mark.parametrize("name", ["paper", "cifar-18"])
def test_int8_changes_scores_little(name):
    net = Net(name, 10, seed=1, init="he")
    side = net.table.input[1]
    images = torch.randn(6, 3, side, side).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = net.eval()(images)
        found = for_inference(net, torch.float32, int8=True)(images)
    assert 0 < relative(found, expected.double().numpy()) < 2e-2
    assert any(
        layer.weight.dtype == torch.int8
        for layer in for_inference(net, torch.float32, int8=True).children()
        if hasattr(layer, "weight")
    )
