"""What in an image a class's score depends on: gradient, SmoothGrad, Grad-CAM, of a plain copy of a net.

Each is the formula of its paper in torch; the tests hold them against captum's, which takes a second to import and
draws SmoothGrad's noise from a generator that others share.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet import machine, randomness
from alexnet.inside.plain import up_to

COPIES = 8  # of an image, with noise, for SmoothGrad
SPREAD = 0.15  # standard deviation of that noise, as a share of the image's range


@machine.as_imported()
def gradient(row: nn.Sequential, images: Tensor, index: int) -> Tensor:
    """The gradient of a class's score before the soft-max (Simonyan et al., arXiv:1312.6034), signed.

    Args:
        row: a plain copy of a net.
        images: (N, 3, height, width) float, as the net sees them.
        index: of the class.

    Returns:
        (N, 3, height, width) of the same type: by how much the score grows with each number.
    """
    images = images.detach().requires_grad_()
    return torch.autograd.grad(row(images)[:, index].sum(), images)[0]


def smooth_gradient(
    row: nn.Sequential, image: Tensor, index: int, *, copies: int = COPIES, spread: float = SPREAD, seed: int = 0
) -> Tensor:
    """SmoothGrad: the mean of the gradients of noisy copies of an image (Smilkov et al., arXiv:1706.03825).

    Args:
        row, index: as for ``gradient``.
        image: (1, 3, height, width) float.
        copies: how many.
        spread: standard deviation of the normal noise, as a share of largest minus smallest number of the image.
        seed: of the noise, which is a function of it and the copy's number.

    Returns:
        (1, 3, height, width).
    """
    return gradient(row, noisy(image, copies, spread, seed), index).mean(0, keepdim=True)


def noisy(image: Tensor, copies: int, spread: float, seed: int) -> Tensor:
    """(copies, 3, height, width): copies of an image with noise, as ``smooth_gradient`` takes them."""
    ids = torch.arange(copies, device=image.device)
    noise = randomness.normal(seed, "SmoothGrad", 0, ids, image.numel()).view(copies, *image.shape[1:])
    return image + noise.to(image.dtype) * (spread * (image.max() - image.min()))


@machine.as_imported()
def grad_cam(row: nn.Sequential, layer: str, image: Tensor, index: int) -> Tensor:
    """Grad-CAM: maps of a layer, each times the mean of its gradient, summed; below 0 is 0 (arXiv:1610.02391).

    Args:
        row, index: as for ``gradient``.
        layer: whose outputs are maps.
        image: (1, 3, height, width) float.

    Returns:
        (rows, columns) of the layer's maps.
    """
    start = up_to(row, layer)
    with torch.no_grad():
        maps = start(image)
    maps.requires_grad_()
    slopes = torch.autograd.grad(row[len(start) :](maps)[0, index], maps)[0]
    return F.relu((slopes.mean((2, 3), keepdim=True) * maps.detach()).sum(1))[0]
