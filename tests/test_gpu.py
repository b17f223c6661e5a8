"""What a CUDA device must give: the CPU's masks and pixels, the norm's numbers, a training that resumes."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet import Muon, Net, Recipe, load, randomness, train
from alexnet.data.preprocessing import Preprocessing
from alexnet.diagnostics.bench import bench
from alexnet.native import Window
from alexnet.native.cuda import momentum_step
from alexnet.nets.kernels import convolution_cuda, max_pool_cuda, response_norm_cuda
from alexnet.nets.kernels.response_norm_torch import response_norm
from alexnet.runs.checkpoint import find_checkpoint
from alexnet.training.step import Step
from tests.oracle import layers as oracle
from tests.ranks.test_launch import losses
from tests.ranks.test_launch import train as train_apart

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cuda() -> torch.device:
    assert torch.cuda.is_available(), "no CUDA device here; `make test` leaves these tests out"
    return torch.device("cuda")


def test_random_numbers_are_the_cpus(cuda):
    rows = torch.tensor([3, 70_000, 2**31 + 5])
    on_cpu = randomness.keep_mask(1, "fc6", 9, rows, 4096, 0.5)
    assert torch.equal(randomness.keep_mask(1, "fc6", 9, rows.to(cuda), 4096, 0.5).cpu(), on_cpu)
    odd = randomness.keep_mask(2**32 - 1, "fc7", 2**31 + 1, rows, 13, 0.3)
    assert torch.equal(randomness.keep_mask(2**32 - 1, "fc7", 2**31 + 1, rows.to(cuda), 13, 0.3).cpu(), odd)
    assert torch.equal(randomness.normal(1, "a", 2, rows.to(cuda), 3).cpu(), randomness.normal(1, "a", 2, rows, 3))


def test_prepared_pixels_are_the_cpus(cuda, dataset):
    crops = torch.randint(0, 256, (5, 3, 48, 48), dtype=torch.uint8)
    preprocessing = Preprocessing.of(dataset, 48, "standardized", 0.1)
    noise = preprocessing.color_noise(0, 1, torch.arange(5))
    found = preprocessing.to(cuda).apply(crops.to(cuda), torch.float32, noise.to(cuda))
    torch.testing.assert_close(found.cpu(), preprocessing.apply(crops, torch.float32, noise))


def test_response_norm(cuda):
    random = np.random.default_rng(0)
    x, gradient = random.normal(0, 3, (4, 96, 13, 13)), random.normal(0, 1, (4, 96, 13, 13))
    tensor = torch.from_numpy(x).float().to(cuda).requires_grad_()
    y = response_norm(tensor, size=5, towers=2)
    y.backward(torch.from_numpy(gradient).float().to(cuda))
    np.testing.assert_allclose(y.detach().cpu().numpy(), oracle.response_norm(x, towers=2), rtol=1e-3, atol=1e-4)
    back = oracle.response_norm_gradient(x, gradient, towers=2)
    np.testing.assert_allclose(tensor.grad.cpu().numpy(), back, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norm_kernels_are_the_oracles(cuda, dtype):
    """What ``test_response_norm_triton.py`` has Triton interpret, compiled."""
    random = np.random.default_rng(0)
    x = torch.from_numpy(random.normal(0, 3, (4, 96, 13, 13))).to(cuda, dtype, memory_format=torch.channels_last)
    x.requires_grad_()
    gradient = torch.from_numpy(random.normal(0, 1, (4, 96, 13, 13))).to(dtype).to(cuda)
    assert response_norm_cuda.runs(x, 5)
    y = response_norm_cuda.response_norm(x, size=5, towers=2, k=2.0, alpha=1e-3, beta=0.75)
    y.backward(gradient)
    given = x.detach().double().cpu().numpy(), gradient.double().cpu().numpy()
    near = 1e-4 if dtype == torch.float32 else 1e-2
    for found, expected in (
        (y.detach(), oracle.response_norm(given[0], alpha=1e-3, towers=2)),
        (x.grad, oracle.response_norm_gradient(*given, alpha=1e-3, towers=2)),
    ):
        wrong = np.linalg.norm(found.double().cpu().numpy() - expected) / np.linalg.norm(expected)
        assert found.is_contiguous(memory_format=torch.channels_last) and wrong < near


@pytest.mark.parametrize(("size", "stride", "side"), [(3, 2, 13), (3, 2, 55), (2, 2, 7), (3, 3, 8), (3, 1, 9)])
def test_pooling_is_torchs(cuda, size, stride, side):
    x = torch.randint(-3, 4, (3, 24, side, side), device=cuda).bfloat16()  # with ties
    x = x.contiguous(memory_format=torch.channels_last)
    ours, theirs = x.clone().requires_grad_(), x.float().requires_grad_()
    window = Window(size, stride, round_up=True)
    assert max_pool_cuda.runs(x, window)
    y = max_pool_cuda.max_pool(ours, window)
    expected = F.max_pool2d(theirs, size, stride, ceil_mode=True)
    gradient = torch.randn_like(y)
    y.backward(gradient)
    expected.backward(gradient.float())
    assert torch.equal(y.float(), expected)
    torch.testing.assert_close(ours.grad.float(), theirs.grad, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize(("side", "size", "stride", "padding"), [(227, 11, 4, 0), (226, 11, 4, 2), (33, 5, 2, 0)])
def test_convolution_of_few_maps_is_torchs(cuda, side, size, stride, padding):
    x = torch.randn(2, 3, side, side, device=cuda, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(96, 3, size, size, device=cuda, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(96, device=cuda, dtype=torch.float64)
    window = Window(size, stride, padding)
    assert convolution_cuda.runs(x, window, 1)
    ours = convolution_cuda.convolution(x, weight, bias, window)
    theirs = F.conv2d(x, weight, bias, stride, padding)
    torch.testing.assert_close(ours, theirs)
    gradient = torch.randn_like(ours)
    for found, expected in zip(*(torch.autograd.grad(y, (x, weight), gradient) for y in (ours, theirs))):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("low", [torch.bfloat16, None])
def test_the_update_is_the_cpus(cuda, low):
    tensors = [torch.randn(1000, 33) for _ in range(3)]
    weight, velocity, gradient = (tensor.to(cuda) for tensor in tensors)
    copy = None if low is None else weight.to(low)
    given = gradient if low is None else gradient.to(low)
    momentum_step(weight, velocity, given, copy, 0.9, 0.01, 5e-4)
    v = 0.9 * tensors[1].double() - 0.01 * (given.cpu().double() + 5e-4 * tensors[0].double())
    torch.testing.assert_close(velocity.cpu().double(), v, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weight.cpu().double(), tensors[0].double() + v, rtol=1e-5, atol=1e-6)
    assert copy is None or torch.equal(copy, weight.to(copy.dtype))


def test_muons_step_is_the_cpus(cuda):
    start = {"conv": torch.randn(64, 32, 5, 5), "local": torch.randn(8, 4, 3, 3, 6, 6), "conv.bias": torch.randn(64)}
    gradients = [{name: torch.randn_like(tensor) for name, tensor in start.items()} for _ in range(2)]
    after = []
    for device in (cuda, torch.device("cpu")):
        tensors = {name: tensor.clone().to(device).requires_grad_() for name, tensor in start.items()}
        muon = Muon(tensors, lr=0.1, groups={"conv": 2})
        for step in range(2):
            for name, tensor in tensors.items():
                tensor.grad = gradients[step][name].to(device)
            muon.step()
        after.append({name: tensor.detach().cpu() - start[name] for name, tensor in tensors.items()})
    for name, expected in after[1].items():
        assert (after[0][name] - expected).norm() < 1e-2 * expected.norm(), name  # TF32 products


@pytest.mark.parametrize("name", ["cifar-quick", "cifar-18", "cifar-13", "cifar-11"])
def test_cifar_nets_near_the_cpus(cuda, name, monkeypatch):
    """Gradients through locally connected layers, norms within and across maps, average pools.

    Products of TF32 would move some units across 0, and the first layer's gradient by 4%.
    """
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(backend, "allow_tf32", False)
    images, loss = torch.randn(4, 3, 32, 32), torch.randn(4, 10)
    images = images[:, :, :24, :24] if name in ("cifar-13", "cifar-11") else images
    gradients = []
    for device in (cuda, torch.device("cpu")):
        net = Net(name, 10)
        net.initialize(0, "he")
        net.to(device)
        (net(images.to(device)) * loss.to(device)).sum().backward()
        gradients.append({key: tensor.grad.cpu() for key, tensor in net.named_parameters() if tensor.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) >= 8
    for key, expected in gradients[1].items():
        assert (gradients[0][key] - expected).norm() < 0.01 * expected.norm(), key


def test_a_step_is_faster_than_the_plain_ports(cuda):
    found = bench(rounds=3, device="cuda")
    print(found.ratios)
    assert found.ratios["training step, ours to plain port"] > 1.5
    assert found.ratios["inference, ours to plain port"] > 1.5


def test_whole_net_near_the_cpus(cuda):
    net = Net("paper", 10)
    net.initialize(0, "he")
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = net.eval()(images)
        found = net.to(cuda)(images.to(cuda)).cpu()
    assert (found - expected).norm() < 1e-2 * expected.norm()  # TF32 products


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        ("float32", {}),
        ("bf16", {}),
        ("fp16", {}),
        ("float32", {"optimizer": "muon", "learning_rate": 0.02}),
        ("bf16", {"optimizer": "muon", "learning_rate": 0.02}),
    ],
)
def test_trains(cuda, dataset, net_file, tmp_path, precision, changes):
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=10, precision=precision, **changes)
    outcome = train(dataset, tmp_path / "run", recipe, device="cuda", show=False)
    assert outcome.errors and outcome.errors.top1_error < 0.4 and find_checkpoint(tmp_path / "run")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_training_repeats_itself(cuda, dataset, net_file, tmp_path, precision):
    """No kernel adds in an order that changes: the journals are the same, bit by bit."""
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=3, precision=precision)
    for name in ("one", "other"):
        train(dataset, tmp_path / name, recipe, device="cuda", show=False)
    one, other = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("one", "other"))
    assert one == other


def test_fine_tuning_from_frozen_layers(cuda, dataset, net_file, tmp_path):
    """What the frozen layers give is computed there, kept here, and the weights of these layers keep every bit."""
    train(
        dataset, tmp_path / "old", Recipe(net=net_file, crop_size=48, batch_size=8, epochs=2), device="cuda", show=False
    )
    recipe = Recipe(batch_size=8, epochs=3, freeze="conv2")
    outcome = train(dataset, tmp_path / "new", recipe, device="cuda", start_from=tmp_path / "old", show=False)
    old, new = (load(tmp_path / name).net.state() for name in ("old", "new"))
    assert all(torch.equal(new[name], old[name]) for name in old if name.startswith("conv"))
    assert not torch.equal(new["fc3.weight"], old["fc3.weight"]) and outcome.errors is not None


@pytest.mark.parametrize(("precision", "optimizer"), [("float32", "momentum"), ("bf16", "momentum"), ("bf16", "muon")])
def test_a_step_does_not_wait_for_the_device(cuda, dataset, net_file, tmp_path, monkeypatch, precision, optimizer):
    """Color noise, masks, accumulated parts: whatever would have the host wait for the GPU is an error.

    One epoch, since what is saved after one is copied while the next one trains, and that copy waits.
    """
    real = Step.__call__

    def step(self, batch, number):
        if number == 0:  # libraries are loaded, kernels compiled
            return real(self, batch, number)
        torch.cuda.set_sync_debug_mode("error")
        try:
            return real(self, batch, number)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(Step, "__call__", step)
    recipe = Recipe(
        net=net_file,
        crop_size=48,
        batch_size=8,
        epochs=1,
        grad_accumulation=2,
        precision=precision,
        optimizer=optimizer,
    )
    assert train(dataset, tmp_path / "run", recipe, device="cuda", show=False).steps == 6


@pytest.mark.parametrize("layout", ["data", "towers", "hybrid", "sharded"])
def test_two_gpus_train_as_one(cuda, dataset, net_file, tmp_path, layout):
    """By NCCL; with one GPU, one process is all there is."""
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    options = ("--precision", "float32")
    alone = train_apart(dataset, tmp_path / "alone", net_file, *options)
    both = train_apart(dataset, tmp_path / "both", net_file, "--devices", "all", "--parallel", layout, *options)
    assert alone.returncode == both.returncode == 0, alone.stderr + both.stderr
    assert losses(tmp_path / "both") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
