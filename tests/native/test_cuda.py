"""The CUDA kernels, interpreted by Triton on the CPU - the same lines that a GPU runs - and compiled for a GPU."""

import subprocess
import sys

import pytest
import torch

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Triton has wheels for Linux alone")
START = """
import numpy as np, torch
import torch.nn.functional as F
from alexnet import randomness
from alexnet.native import cuda
random = np.random.default_rng(0)
def laid(array, dtype):
    return torch.from_numpy(array).to(dtype).contiguous(memory_format=torch.channels_last)
"""
NORM = """
from tests.oracle import layers as oracle
for shape, towers, size in [((2, 96, 3, 3), 2, 5), ((1, 10, 2, 2), 1, 9), ((3, 8, 1, 5), 2, 4), ((0, 8, 2, 2), 1, 5),
                            ((1, 256, 2, 3), 1, 5), ((1, 256, 2, 2), 2, 5), ((2, 150, 2, 1), 1, 16)]:
    for dtype, near in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        x, gradient = laid(random.normal(0, 20, shape), dtype), laid(random.normal(0, 1, shape), dtype)
        y = cuda.norm(x, size, towers, 2.0, 1e-3, 0.75)
        back = cuda.norm_gradient(x, gradient, size, towers, 2.0, 1e-3, 0.75)
        if not x.numel():
            continue
        arrays = x.double().numpy(), gradient.double().numpy()
        for ours, expected in (
            (y, oracle.response_norm(arrays[0], size=size, towers=towers, alpha=1e-3)),
            (back, oracle.response_norm_gradient(*arrays, size=size, towers=towers, alpha=1e-3)),
        ):
            error = np.linalg.norm(ours.double().numpy() - expected) / np.linalg.norm(expected)
            assert ours.dtype == dtype and error < near, (shape, dtype, error)
"""
POOL = """
from alexnet.native import Window
for (n, c, h, w), size, stride in [((2, 24, 13, 13), 3, 2), ((1, 10, 6, 7), 2, 2), ((2, 32, 9, 9), 3, 1),
                                   ((1, 3, 8, 8), 3, 3), ((1, 8, 55, 27), 3, 2), ((1, 4, 7, 7), 2, 3)]:
    x = laid(random.integers(-3, 4, (n, c, h, w)), torch.float32).requires_grad_()  # with ties
    expected = F.max_pool2d(x, size, stride, ceil_mode=True)
    gradient = laid(random.normal(0, 1, expected.shape), torch.float32)
    expected.backward(gradient)
    window = Window(size, stride, round_up=True)
    y, where = cuda.max_pool(x.detach(), size, stride, (window.outputs(h), window.outputs(w)))
    assert torch.equal(y, expected)
    torch.testing.assert_close(cuda.max_pool_gradient(gradient, where, size, stride, (h, w)), x.grad)
"""
MASK = """
rows = torch.tensor([3, 70_000, 2**31 + 5])
for seed, units, step, rate in [(1, 4096, 9, 0.5), (2**32 - 1, 13, 2**31 + 1, 0.3), (0, 64, 0, 0.0)]:
    key, counter = randomness._purpose("dropout/fc6")
    ours = cuda.keep_mask(rows, units, round(rate * 65536), step, (seed, key), counter)
    assert torch.equal(ours, randomness.keep_mask(seed, "fc6", step, rows, units, rate))
"""
UPDATE = """
for count in (1, 1023, 5000):
    w, v, g = (torch.from_numpy(random.normal(0, 1, count)).float() for _ in range(3))
    velocity = 0.9 * v.double() - 0.01 * (g.double() + 5e-4 * w.double())
    weight = w.double() + velocity
    cuda.momentum_step(w, v, g, None, 0.9, 0.01, 5e-4)
    torch.testing.assert_close(v.double(), velocity, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(w.double(), weight, rtol=1e-5, atol=1e-6)
"""
COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
def compiled(kernel, types, **constants):
    names = kernel.arg_names
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    fixed = {(names.index(name),): value for name, value in constants.items()}
    result = triton.compile(ASTSource(kernel, signature, constexprs=fixed), target=GPUTarget("cuda", CAPABILITY, 32))
    assert len(result.asm["cubin"]) > 1000 and result.metadata.shared <= 48 << 10, kernel.__name__
floats = dict.fromkeys(("k", "alpha", "beta", "momentum", "rate", "decay"), "fp32")
sizes = dict.fromkeys(("rows", "pixels", "count", "units", "blocks", "least", "step"), "i32")
low = dict.fromkeys(("x", "y", "gradient", "out", "low"), "*bf16")
types = {**floats, **sizes, **low, "where": "*u8", "w": "*fp32", "v": "*fp32"}
for channels in (48, 128, 256):
    gives, sees, before = cuda._tile(channels)
    shape = dict(channels=channels, gives=gives, sees=sees, before=before, size=5, terms=2, block=cuda.NORM_ROWS)
    compiled(cuda.norm_forward, types, **shape)
    compiled(cuda.norm_backward, types, **shape)
window = dict(maps=96, height=55, width=55, out_height=27, out_width=27, size=3, stride=2, block=32, wide=32)
compiled(cuda.pool_forward, types, **window)
compiled(cuda.pool_backward, types, **window)
compiled(cuda.update, types, keeps=True, block=cuda.FLAT)
words = dict.fromkeys(("key0", "key1", "counter3"), "i64")
compiled(cuda.philox_mask, {**types, **words, "ids": "*i64", "out": "*i8"}, block=256)
"""


def run(code: str, **environment: str) -> None:
    """In a process of its own: Triton decides at its import whether it interprets."""
    result = subprocess.run(
        [sys.executable, "-c", START + code],
        env={"PATH": "/usr/bin:/bin", "HOME": "/tmp", **environment},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-2000:]


@LINUX
@pytest.mark.parametrize("code", [NORM, POOL, MASK, UPDATE], ids=["norm", "pool", "mask", "update"])
def test_kernels_are_right_where_triton_interprets_them(code):
    run(code, TRITON_INTERPRET="1")


def test_without_what_triton_needs_torchs_kernels_run(monkeypatch):
    from alexnet import native
    from alexnet.native import cuda

    def fails(*_):
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.")

    monkeypatch.setattr(cuda, "keep_mask", fails)
    monkeypatch.setattr(cuda, "triton", object())
    cuda.usable.cache_clear()
    try:
        assert not cuda.usable() and native.kernels(torch.device("cuda")) == "torch's"
    finally:
        cuda.usable.cache_clear()


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_for_a_gpu(tmp_path, capability):
    """For A100 and H100, with shared memory that any of today's has."""
    run(COMPILED.replace("CAPABILITY", str(capability)), TRITON_CACHE_DIR=str(tmp_path))
