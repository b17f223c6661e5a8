"""Errors from probabilities, in numbers alone: top-1 and top-5 with ties, and their intervals."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where tensors are joined: errors that were measured are said without torch
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Errors:
    """Errors measured on a split.

    Attributes:
        images: how many.
        views: 1, 9 or 10.
        top1_error, top5_error: shares, 0..1; ties count fractionally, as in the source.
        top1_interval, top5_interval: 95% Wilson score intervals.
        loss: mean of -log of the true class's probability, nats.
    """

    images: int
    views: int
    top1_error: float
    top1_interval: tuple[float, float]
    top5_error: float
    top5_interval: tuple[float, float]
    loss: float


def described(errors: Errors | Mapping[str, Any], classes: int) -> dict[str, Any]:
    """Errors as JSON has them: the top-5 error of at most five classes, which is always 0, is None."""
    content = dataclasses.asdict(errors) if isinstance(errors, Errors) else dict(errors)
    return content if classes > 5 else {**content, "top5_error": None, "top5_interval": None}


def wilson(share: float, count: int) -> tuple[float, float]:
    """95% Wilson score interval of a share seen in ``count`` trials."""
    if count == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return 0.0 if share == 0 else center - half, 1.0 if share == 1 else center + half


def top_k_errors(scores: "Tensor", labels: "Tensor", k: int) -> "Tensor":
    """How wrong each image's first ``k`` classes are: 0 or 1, or a fraction where classes tie.

    If the right class ties with others for the last places, it counts by the chance of being among them.

    Args:
        scores: (N, classes); anything that grows with the probability. A NaN counts as an error.
        labels: (N,) int64.

    Returns:
        (N,) float32.
    """
    import torch

    own = scores.gather(1, labels[:, None])
    above = (scores > own).sum(1)
    level = (scores == own).sum(1)
    right = ((k - above).float() / level.clamp(min=1).float()).clamp(0, 1)
    return torch.where(torch.isnan(scores).any(1), 1.0, 1 - right)


@dataclasses.dataclass(frozen=True)
class Judged:
    """Images held against their right classes: all that errors are computed from, whatever the number of classes.

    Attributes:
        labels: (n,) right classes.
        wrong1, wrong5: (n,) float32, see ``top_k_errors``.
        own: (n,) float32, probability of the right class.
        predicted: (n,) most probable class.
        confidence: (n,) float32, its probability.
    """

    labels: "Tensor"
    wrong1: "Tensor"
    wrong5: "Tensor"
    own: "Tensor"
    predicted: "Tensor"
    confidence: "Tensor"

    @classmethod
    def of(cls, probability: "Tensor", labels: "Tensor") -> "Judged":
        """From (n, classes) probabilities and (n,) right classes."""
        wrong1, wrong5 = (top_k_errors(probability, labels, k) for k in (1, 5))
        own, predicted = probability.gather(1, labels[:, None])[:, 0], probability.argmax(1)
        return cls(labels, wrong1, wrong5, own, predicted, probability.gather(1, predicted[:, None])[:, 0])

    @classmethod
    def joined(cls, parts: Sequence["Judged"]) -> "Judged":
        """Of all images of several batches."""
        import torch

        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def errors(self, views: int) -> Errors:
        """Over all images; ``views`` says of how many the probabilities are."""
        images = len(self.labels)
        top1, top5 = (float(wrong.double().mean()) for wrong in (self.wrong1, self.wrong5))
        loss = float(-self.own.double().clamp(min=1e-45).log().mean())
        return Errors(images, views, top1, wilson(top1, images), top5, wilson(top5, images), loss)


def summary(probability: "Tensor", labels: "Tensor", count: int) -> Errors:
    """Errors from (n, classes) probabilities and (n,) right classes; ``count`` says of how many views they are."""
    return Judged.of(probability, labels).errors(count)
