"""Binary codes of activations: a bit a direction, compared by the number of bits in which they differ.

The paper ends section 6.1 with the thought of an auto-encoder that compresses fc7 to short binary codes; here it stands
beside random hyperplanes (Charikar, STOC 2002), the signs of principal components, and these after the rotation that
makes them most like their signs (ITQ: Gong and Lazebnik, CVPR 2011).
"""

import math
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.search.projection import Projection, fit, single

Encode = Callable[[np.ndarray], np.ndarray]  # (n, d) float16 activations -> (n, bits) bool
Kind = Literal["hyperplanes", "pca", "itq", "autoencoder"]
KINDS: tuple[Kind, ...] = get_args(Kind)
WORDS: dict[str, str] = {
    "hyperplanes": "random hyperplanes",
    "pca": "signs of principal components",
    "itq": "ITQ",
    "autoencoder": "auto-encoder",
}
Bits = Literal[32, 64, 128, 256, 512]
BITS: tuple[Bits, ...] = get_args(Bits)
BY_COMPONENTS = ("pca", "itq")  # those that give each principal component a bit
MOST_BITS, FITTED = 512, 5_000  # images of an index that codes are fitted to, at most
ROUNDS = 20  # of ITQ
EPOCHS, HIDDEN, BATCH, RATE = 20, 256, 128, 1e-3  # of the auto-encoder, which Adam trains
NOISE = 0.5  # standard deviation, that drives its code from the middle


def possible(kind: str, bits: int, most: int) -> bool:
    """Whether a kind has codes of so many bits where principal components are enough for ``most``."""
    return kind not in BY_COMPONENTS or bits <= most


class Coder:
    """What makes codes, fitted to a sample of activations.

    Args:
        sample: (n, d) float16; the codes do not know the images' labels.
        seed: of what is random.
    """

    def __init__(self, sample: np.ndarray, seed: int = 0):
        self._seed, self._projection = seed, fit(sample, MOST_BITS + 1)
        self._sample = self._coordinates(sample)

    @property
    def most_bits(self) -> int:
        """Of kinds that give each principal component a bit."""
        return self._sample.shape[1]

    def encoder(self, kind: str, bits: int) -> Encode:
        """What gives (n, bits) bool of (n, d) float16; ``kind`` is one of ``KINDS``."""
        if kind == "hyperplanes":
            return self._hyperplanes(bits)
        if kind == "autoencoder":
            net = _autoencoder(torch.from_numpy(self._sample), bits, self._seed)
            scale = _scale(torch.from_numpy(self._sample))
            return lambda rows: (_logits(net, torch.from_numpy(self._coordinates(rows)) / scale) > 0).numpy()
        if kind == "pca":
            return lambda rows: self._coordinates(rows)[:, :bits] > 0
        turn = _itq(self._sample[:, :bits], self._seed)
        return lambda rows: self._coordinates(rows)[:, :bits] @ turn > 0

    def _coordinates(self, rows: np.ndarray) -> np.ndarray:
        return self._projection(rows)[:, : len(self._projection.components)]

    def _hyperplanes(self, bits: int) -> Encode:
        projection: Projection = self._projection
        draw = np.random.default_rng(self._seed)
        planes = draw.standard_normal((len(projection.mean), bits), np.float32)
        return lambda rows: (single(rows) - projection.mean) @ planes > 0


def packed(bits: np.ndarray) -> np.ndarray:
    """(n, bits / 8) uint8 of (n, bits) bool."""
    return np.packbits(bits, axis=1)


def _itq(coordinates: np.ndarray, seed: int) -> np.ndarray:
    """(bits, bits) float32, the rotation after which coordinates are most like their signs."""
    drawn = np.random.default_rng(seed).standard_normal((coordinates.shape[1],) * 2)
    turn = np.linalg.qr(drawn)[0].astype(np.float32)
    for _ in range(ROUNDS):
        left, _, right = np.linalg.svd(coordinates.T @ np.sign(coordinates @ turn))
        turn = left @ right
    return turn


def _scale(coordinates: Tensor) -> float:
    return math.sqrt(float(coordinates.square().mean())) or 1.0


def _logits(net: nn.ModuleDict, rows: Tensor) -> Tensor:
    with torch.no_grad():
        return net["encoder"](rows)


def _autoencoder(coordinates: Tensor, bits: int, seed: int) -> nn.ModuleDict:
    """Trained to give (n, k) coordinates back from codes of so many bits (paper 6.1).

    A bit is the sign of its logit; the gradient passes it as if it were the tanh (the straight-through estimator).
    """
    with torch.random.fork_rng(devices=[]):  # torch's layers draw their weights from its own generator
        torch.manual_seed(seed)
        width = coordinates.shape[1]
        encoder = nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, bits))
        decoder = nn.Sequential(nn.Linear(bits, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, width))
        net = nn.ModuleDict({"encoder": encoder, "decoder": decoder})
        optimizer = torch.optim.Adam(net.parameters(), RATE)
        rows = coordinates / _scale(coordinates)
        for epoch in range(EPOCHS):
            for group in optimizer.param_groups:
                group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * epoch / EPOCHS))
            for places in torch.randperm(len(rows)).split(BATCH):
                logits = encoder(rows[places])
                soft = torch.tanh(logits + NOISE * torch.randn_like(logits))
                code = soft + (torch.sign(soft) - soft).detach()
                optimizer.zero_grad()
                F.mse_loss(decoder(code), rows[places]).backward()
                optimizer.step()
    return net
