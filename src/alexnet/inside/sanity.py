"""A sanity check of attribution maps: a net of the same layers that has learned nothing (Adebayo et al., 2018).

A map that looks alike for such a net says nothing about what the trained one has learned (arXiv:1810.03292).
"""

import dataclasses

import numpy as np
import torch

from alexnet import randomness
from alexnet.nets.layers import Convolution, FullyConnected, LocallyConnected
from alexnet.nets.network import Network, fan_in
from alexnet.runs.run import Run

DRAWN = 1 << 18  # numbers that are drawn for a layer; each unit's weights begin at a random place in them


def randomized(run: Run, seed: int = 0) -> Run:
    """A run whose weights are all random: N(0, 2 / inputs), so that scores spread (He et al., ICCV 2015); biases 0.

    To draw each of 60 million weights takes seconds, so a layer's units share drawn numbers: each takes as many as it
    has inputs, from a random place on.

    Args:
        run: whose net's layers are taken; unchanged.
        seed: of the weights.
    """
    net = Network.empty(run.net.table, run.net.classes).eval()
    with torch.no_grad():
        for name, layer in net.named_children():
            if not isinstance(layer, Convolution | FullyConnected | LocallyConnected):
                continue
            inputs, purpose = fan_in(layer), f"randomized/{name}"
            units = layer.weight.numel() // inputs
            numbers = randomness.normal_tensor(seed, purpose, (DRAWN + inputs,)).mul_((2 / inputs) ** 0.5)
            starts = randomness.integers(seed, f"{purpose}/start", 0, torch.arange(units), [DRAWN])[:, 0]
            rows = numbers.unfold(0, inputs, 1)[starts]
            if isinstance(layer, LocallyConnected):  # units are filters at places, which come last
                filters, rest = layer.weight.shape[0], layer.weight.shape[1:]
                layer.weight.copy_(rows.view(filters, *rest[3:], *rest[:3]).permute(0, 3, 4, 5, 1, 2))
            else:
                layer.weight.copy_(rows.view(layer.weight.shape))
            assert layer.bias is not None
            layer.bias.zero_()
    return dataclasses.replace(run, net=net)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Spearman's rank correlation of two maps of one shape, -1..1; equal values share their mean rank.

    None where one of them is the same everywhere: it has no order that could be alike.
    """
    ranks = [_ranks(values) for values in (first, second)]
    deviations = [values - values.mean() for values in ranks]
    size = float(np.sqrt((deviations[0] ** 2).sum() * (deviations[1] ** 2).sum()))
    return float((deviations[0] * deviations[1]).sum()) / size if size else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """(n,) float64, the mean rank of each of the values."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[places.ravel()]
