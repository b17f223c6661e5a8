"""What a difference is worth: paired by image and by seed, with the least one that a plan can see.

Two trainings err on nearly the same images, so errors are compared image by image; and they differ by their seeds, so
seeds are drawn again, too (Bouthillier et al., 2021; docs/results.md).
"""

import base64
import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np

DRAWS = 4000  # of the bootstrap
SEED = 20121203  # of its draws
ONE_SIDED = 0.84  # standard errors below which one draw of a normal distribution in five lies
POWER = 1.96 + ONE_SIDED  # standard errors of a difference that a two-sided test at 5% sees four times in five


@dataclasses.dataclass(frozen=True)
class Difference:
    """How much more one arm errs than another, over several seeds; of two nets alone: ``evaluation.paired.Difference``.

    Attributes:
        mean: of the errors' differences, -1..1.
        interval: 95%, bootstrapped over images and seeds.
        better: share of the draws in which the first arm errs less.
        disagreement: share of images on which a pair of runs of the same seed differ.
        seeds, images: that both arms have.
        unpaired: seeds that one of them has alone, and that are left out.
    """

    mean: float
    interval: tuple[float, float]
    better: float
    disagreement: float
    seeds: int
    images: int
    unpaired: int = 0

    @property
    def seen(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


def packed(wrong: np.ndarray) -> str:
    """(n,) bool as text: eight images a byte, base64."""
    return base64.b64encode(np.packbits(wrong.astype(bool)).tobytes()).decode("ascii")


def unpacked(text: str, images: int) -> np.ndarray:
    """(images,) bool of a text that ``packed`` made. Raises ``ValueError`` where it is none."""
    bits = np.unpackbits(np.frombuffer(base64.b64decode(text, validate=True), np.uint8))
    if not 0 <= len(bits) - images < 8:
        raise ValueError(f"{len(bits)} bits for {images} images")
    return bits[:images].astype(bool)


def difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """The second arm's errors minus the first one's.

    Args:
        first, second: (seeds, images) bool, whether a run errs, or floats; the same seeds and images in both.
    """
    changes = second.astype(np.float64) - first.astype(np.float64)
    return _difference(changes.tobytes(), *changes.shape)


@functools.lru_cache(32)  # table and figure both show it
def _difference(content: bytes, seeds: int, images: int) -> Difference:
    """Of (seeds, images) float64, the errors' differences."""
    changes = np.frombuffer(content, np.float64).reshape(seeds, images)
    random = np.random.default_rng(SEED)
    draws = np.empty(DRAWS)
    for i in range(DRAWS):
        weights = np.bincount(random.integers(seeds, size=seeds), minlength=seeds) @ changes / seeds
        draws[i] = weights[random.integers(images, size=images)].mean()
    low, high = np.quantile(draws, (0.025, 0.975))
    return Difference(
        mean=float(changes.mean()),
        interval=(float(low), float(high)),
        better=float((draws > 0).mean()),
        disagreement=float(np.abs(changes).mean()),
        seeds=seeds,
        images=images,
    )


def least_difference(images: int, seeds: int, disagreement: float) -> float:
    """The least difference of errors that so many images and seeds see four times in five.

    Args:
        images, seeds: of each arm.
        disagreement: share of images on which a pair of runs differ; about 0.1 on CIFAR-10.
    """
    return POWER * math.sqrt(disagreement / (images * seeds))


def seeds_needed(images: int, effect: float, disagreement: float) -> int:
    """Seeds of each arm with which a difference is seen four times in five, images and seeds both counted as random.

    By Student's distribution over the seeds, so at least two.

    Args:
        images: that each arm is measured on.
        effect: the difference of errors, above 0, at most 1.
        disagreement: as for ``least_difference``.
    """
    seeds = 2
    while (student(seeds - 1) + ONE_SIDED) * math.sqrt(disagreement / (images * seeds)) > effect:
        seeds += 1
    return seeds


def ratio(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """The mean factor from the first to the second, seed by seed, and its 95% interval over the seeds.

    By the logarithms' mean and Student's distribution; the interval is NaN for one seed.
    """
    logs = np.log(np.asarray(second, np.float64) / np.asarray(first, np.float64))
    mean = float(logs.mean())
    if len(logs) < 2:
        return math.exp(mean), math.nan, math.nan
    half = student(len(logs) - 1) * float(logs.std(ddof=1)) / math.sqrt(len(logs))
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)


def student(freedom: int) -> float:
    """The 97.5% point of Student's distribution: by table to 12 degrees of freedom, then by its expansion."""
    points = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179)
    if freedom <= len(points):
        return points[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
