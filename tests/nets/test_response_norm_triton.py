"""The CUDA kernels against the NumPy oracle, interpreted by Triton on the CPU: the same lines that a GPU runs."""

import subprocess
import sys

import pytest

CODE = """
import sys
import numpy as np, torch
from alexnet.nets.kernels.response_norm_triton import response_norm
from tests.oracle import layers as oracle
random = np.random.default_rng(0)
for shape, towers, size in [((2, 96, 3, 3), 2, 5), ((1, 10, 2, 2), 1, 9), ((3, 8, 1, 5), 2, 4), ((0, 8, 2, 2), 1, 5)]:
    for dtype, near in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        x = torch.from_numpy(random.normal(0, 20, shape)).to(dtype).requires_grad_()
        gradient = torch.from_numpy(random.normal(0, 1, shape)).to(dtype)
        y = response_norm(x, size=size, towers=towers, k=2.0, alpha=1e-3, beta=0.75)
        y.backward(gradient)
        if not x.numel():
            continue
        given = x.detach().double().numpy(), gradient.double().numpy()
        wanted = oracle.response_norm(given[0], size=size, towers=towers, alpha=1e-3)
        back = oracle.response_norm_gradient(*given, size=size, towers=towers, alpha=1e-3)
        for found, expected in ((y.detach(), wanted), (x.grad, back)):
            error = np.linalg.norm(found.double().numpy() - expected) / np.linalg.norm(expected)
            assert found.dtype == dtype and error < near, (shape, dtype, error)
print("right")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Triton has wheels for Linux alone")
def test_both_kernels_are_the_oracles():
    found = subprocess.run(
        [sys.executable, "-c", CODE],
        env={"TRITON_INTERPRET": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == "right", found.stderr[-2000:]
