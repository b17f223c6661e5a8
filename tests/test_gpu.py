"""What a CUDA device must give: the CPU's masks and pixels, the norm's numbers, a training that resumes."""

import json

import numpy as np
import pytest
import torch

from alexnet import Net, Recipe, load, randomness, train
from alexnet.data.preprocessing import Preprocessing
from alexnet.diagnostics.bench import bench
from alexnet.nets.kernels import response_norm_triton
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
    x = torch.from_numpy(random.normal(0, 3, (4, 96, 13, 13))).to(dtype).to(cuda).requires_grad_()
    gradient = torch.from_numpy(random.normal(0, 1, (4, 96, 13, 13))).to(dtype).to(cuda)
    assert response_norm_triton.runs(x)
    y = response_norm_triton.response_norm(x, size=5, towers=2, k=2.0, alpha=1e-3, beta=0.75)
    y.backward(gradient)
    given = x.detach().double().cpu().numpy(), gradient.double().cpu().numpy()
    near = 1e-4 if dtype == torch.float32 else 1e-2
    for found, expected in (
        (y.detach(), oracle.response_norm(given[0], alpha=1e-3, towers=2)),
        (x.grad, oracle.response_norm_gradient(*given, alpha=1e-3, towers=2)),
    ):
        wrong = np.linalg.norm(found.double().cpu().numpy() - expected) / np.linalg.norm(expected)
        assert found.is_contiguous(memory_format=torch.channels_last) and wrong < near


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


@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_trains(cuda, dataset, net_file, tmp_path, precision):
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=10, precision=precision)
    outcome = train(dataset, tmp_path / "run", recipe, device="cuda", show=False)
    assert outcome.errors and outcome.errors.top1_error < 0.4 and find_checkpoint(tmp_path / "run")
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").open()]
    assert losses[-1] < losses[0]


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


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_step_does_not_wait_for_the_device(cuda, dataset, net_file, tmp_path, monkeypatch, precision):
    """Color noise, masks, accumulated parts: whatever would have the host wait for the GPU is an error."""
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
    recipe = Recipe(net=net_file, crop_size=48, batch_size=8, epochs=2, grad_accumulation=2, precision=precision)
    assert train(dataset, tmp_path / "run", recipe, device="cuda", show=False).steps == 12


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
