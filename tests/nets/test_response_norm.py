"""The fast response norm against the formula, forward and backward."""

import numpy as np
import pytest
import torch

from alexnet.nets.kernels.response_norm_torch import response_norm
from tests.oracle import layers as oracle

SHAPES = [(2, 96, 55, 55, 2), (2, 256, 27, 27, 2), (3, 10, 4, 5, 1), (1, 4, 1, 1, 2), (1, 6, 3, 3, 6)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("constants", [(5, 2.0, 1e-4, 0.75), (5, 1.0, 0.3, 0.75), (4, 2.0, 0.1, 0.5)])
def test_forward_and_backward_in_float64(shape, constants):
    *shape, towers = shape
    size, k, alpha, beta = constants
    random = np.random.default_rng(1)
    x, gradient = random.normal(0, 3, shape), random.normal(0, 1, shape)
    tensor = torch.from_numpy(x).requires_grad_()
    y = response_norm(tensor, size=size, towers=towers, k=k, alpha=alpha, beta=beta)
    y.backward(torch.from_numpy(gradient))
    expected = oracle.response_norm(x, size, k, alpha, beta, towers)
    back = oracle.response_norm_gradient(x, gradient, size, k, alpha, beta, towers)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(tensor.grad.numpy(), back, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_lower_precision_stays_near(dtype, bound):
    random = np.random.default_rng(2)
    x = random.gamma(1, 20, (2, 96, 13, 13))
    gradient = random.normal(0, 1, x.shape)
    tensor = torch.from_numpy(x).to(dtype).to(memory_format=torch.channels_last).requires_grad_()
    y = response_norm(tensor, size=5, towers=2)
    y.backward(torch.from_numpy(gradient).to(dtype))
    exact = tensor.detach().double().numpy()
    expected = oracle.response_norm(exact, towers=2)
    back = oracle.response_norm_gradient(exact, torch.from_numpy(gradient).to(dtype).double().numpy(), towers=2)
    assert y.dtype == tensor.grad.dtype == dtype
    assert np.linalg.norm(y.detach().double().numpy() - expected) < bound * np.linalg.norm(expected)
    assert np.linalg.norm(tensor.grad.double().numpy() - back) < bound * np.linalg.norm(back)


def test_one_pixel_by_hand():
    """Five maps 1, 2, 3, 4, 5 with k 1, alpha 1, beta 1: map 0 sees 1+4+9, map 2 all of them."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).double().view(1, 5, 1, 1)
    y = response_norm(x, size=5, k=1.0, alpha=1.0, beta=1.0).flatten().tolist()
    assert y == pytest.approx([1 / 15, 2 / 31, 3 / 56, 4 / 55, 5 / 51], rel=1e-12)


def test_not_finite_stays_in_its_pixel_and_empty_is_empty():
    x = torch.ones(2, 8, 3, 3)
    x[1, 4, 1, 1] = float("nan")
    y = response_norm(x, size=5, towers=2)
    assert torch.isnan(y[1, 4:7, 1, 1]).all()
    y[1, :, 1, 1] = 0
    assert torch.isfinite(y).all()
    assert response_norm(torch.empty(0, 8, 3, 3), size=5).shape == (0, 8, 3, 3)
    with pytest.raises(ValueError, match="towers"):
        response_norm(x, size=5, towers=3)
