"""Few numbers that stand for many: coordinates along principal components, and the length of what they leave out.

With ``h`` the coordinates and ``r`` that length, two images' squared Euclidean distance is
``|h1 - h2|^2 + |rest1 - rest2|^2``, and the second part lies between ``(r1 - r2)^2`` and ``(r1 + r2)^2``. The lower
bound makes an exact search fast. For an estimate, the rests of two different images are nearly at right angles, and
those of copies of one image nearly equal: the cosine of the coordinates, to a power, is taken as that of the rests.
"""

import dataclasses

import numpy as np
import torch

LIKENESS = 16  # power of the cosine; docs/search.md has what else was tried
SAMPLE = 10_000  # images that the components are fitted to
OVERSAMPLED = 8
BLOCK = 512  # images whose activations are in the processor's cache together


@dataclasses.dataclass(frozen=True)
class Projection:
    """Principal components.

    Attributes:
        mean: (d,) float32.
        components: (k, d) float32, orthonormal rows.
        kept: share of the sample's variance that lies along them.
    """

    mean: np.ndarray
    components: np.ndarray
    kept: float

    @property
    def width(self) -> int:
        """Numbers that it makes of an image, a multiple of eight, which faiss is fast with."""
        return -(-(len(self.components) + 1) // 8) * 8

    def __call__(self, activations: np.ndarray) -> np.ndarray:
        """(n, width) float32 of (n, d) activations: coordinates, zeros, the length of what they leave out."""
        numbers = np.zeros((len(activations), self.width), np.float32)
        for first in range(0, len(activations), BLOCK):
            centered = single(activations[first : first + BLOCK])
            centered -= self.mean
            some = numbers[first : first + BLOCK]
            heads = some[:, : len(self.components)]
            np.matmul(centered, self.components.T, out=heads)
            rest = np.einsum("ij,ij->i", centered, centered) - np.einsum("ij,ij->i", heads, heads)
            some[:, -1] = np.sqrt(np.maximum(rest, 0))
        return numbers


def single(rows: np.ndarray) -> np.ndarray:
    """float32 of float16: torch's conversion takes a fifth of NumPy's time."""
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy()).float().numpy()


def fit(activations: np.ndarray, numbers: int) -> Projection:
    """Principal components of (n, d) activations that leave an image so many numbers at most; the same each time."""
    sample = torch.from_numpy(single(activations))
    mean = sample.mean(0)
    sample = sample - mean
    most = min(numbers - 1, *sample.shape)
    with torch.random.fork_rng(devices=[]):  # the randomized method draws from torch's own generator
        torch.manual_seed(0)
        count = min(most + OVERSAMPLED, *sample.shape)
        _, _, components = torch.pca_lowrank(sample, count, center=False, niter=2)
    components = components[:, :most].T.contiguous()
    total = float(sample.square().sum())
    kept = float((sample @ components.T).square().sum()) / total if total > 0 else 1.0
    return Projection(mean.numpy(), components.numpy(), min(1.0, kept))


def spread_sample(count: int, most: int = SAMPLE) -> np.ndarray:
    """At most so many of ``count`` numbers from 0, at even distances."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, most)).astype(np.int64))


def estimated(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n,) float32 estimates of squared distances, 0 for equal ones.

    Args:
        query: (width,) float32, of a projection.
        rows: (n, width) float32.
    """
    apart = rows[:, :-1] - query[:-1]
    heads = np.einsum("ij,ij->i", apart, apart)
    lengths = np.einsum("ij,ij->i", rows[:, :-1], rows[:, :-1])
    return _with_rests(heads, lengths, rows[:, -1], float(query[:-1] @ query[:-1]), float(query[-1]))


def estimated_of_many(queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(m, n) float32 of (m, width) queries: as ``estimated``, but for rounding."""
    lengths = np.einsum("ij,ij->i", rows[:, :-1], rows[:, :-1])
    own = np.einsum("ij,ij->i", queries[:, :-1], queries[:, :-1])
    heads = np.maximum(0, own[:, None] + lengths - 2 * (queries[:, :-1] @ rows[:, :-1].T))
    return _with_rests(heads, lengths, rows[:, -1], own[:, None], queries[:, -1:])


def _with_rests(heads: np.ndarray, lengths: np.ndarray, rests: np.ndarray, own: object, own_rest: object) -> np.ndarray:
    both = np.sqrt(np.maximum(lengths * own, 1e-20))
    likeness = np.clip((lengths + own - heads) / (2 * both), 0, 1) ** LIKENESS
    return heads + (rests - own_rest) ** 2 + 2 * (1 - likeness) * rests * own_rest
