"""Whether one net errs less than another on the same images, in numbers alone."""

import dataclasses
import math

import numpy as np

from alexnet.evaluation.errors import wilson


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference in top-1 error of two nets, measured on the same images.

    Attributes:
        images: how many.
        difference: error of the second minus error of the first, -1..1.
        interval: its 95% interval by Newcombe's method 10: Wilson score intervals of both errors, joined with the
            correlation of the pairs (Statistics in Medicine 17, 1998, 2635-2650).
        only_first_wrong, only_second_wrong: images that one of them alone takes for another class.
        p_value: of McNemar's exact test (Psychometrika 12, 1947): how likely so unequal counts of these are, if both
            nets err alike.
    """

    images: int
    difference: float
    interval: tuple[float, float]
    only_first_wrong: int
    only_second_wrong: int
    p_value: float

    @classmethod
    def of(cls, first: np.ndarray, second: np.ndarray) -> "Difference":
        """From (n,) bool each: whether an image's most probable class is wrong, by the first net and by the second."""
        images = len(first)
        only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
        both = int((first & second).sum())
        interval = newcombe(both, only_second, only_first, images - both - only_first - only_second)
        difference = (only_second - only_first) / max(1, images)
        return cls(images, difference, interval, only_first, only_second, mcnemar(only_first, only_second))


def mcnemar(one: int, other: int) -> float:
    """McNemar's exact test: the two-sided binomial probability of counts as unequal as these, or more, at even odds."""
    total, fewer = one + other, min(one, other)
    logs = [math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(math.exp(log - total * math.log(2)) for log in logs))


def newcombe(both: int, first: int, second: int, neither: int) -> tuple[float, float]:
    """95% interval of the difference of two shares of the same trials (Newcombe 1998, method 10).

    Args:
        both, first, second, neither: trials that count for both shares, for the first or the second alone, for none.
            The difference is the first share minus the second.
    """
    total = both + first + second + neither
    if not total:
        return -1.0, 1.0
    one, other = (both + first) / total, (both + second) / total
    (low, high), (other_low, other_high) = wilson(one, total), wilson(other, total)
    sizes = (both + first) * (second + neither) * (both + second) * (first + neither)
    excess = both * neither - first * second
    if excess > 0:
        excess = max(excess - total / 2, 0)
    correlation = excess / math.sqrt(sizes) if sizes else 0.0

    def reach(down: float, up: float) -> float:
        return math.sqrt(max(0.0, down * down - 2 * correlation * down * up + up * up))

    difference = one - other
    low, high = difference - reach(one - low, other_high - other), difference + reach(high - one, other - other_low)
    return max(-1.0, low), min(1.0, high)
