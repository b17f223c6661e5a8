"""Which parts of an image a class's probability needs: a gray window moves over it (Zeiler and Fergus, 2014)."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from alexnet.evaluation.classifier import BATCH, Classifier

PARTS = 7  # of an image's side, one of which a window covers: 32 of 224 pixels


@dataclasses.dataclass(frozen=True)
class Occlusion:
    """What becomes of a class's probability where a window hides a part of the image.

    Attributes:
        probability: of the class on the whole image.
        losses: (n, n) float32, that minus its probability with the window at each position; below 0 where it grows.
        window: the window's side, pixels of what the net sees.
        step: pixels between positions.
        starts: where the windows of a row begin, pixels; as many for the columns.
    """

    probability: float
    losses: np.ndarray
    window: int
    step: int
    starts: list[int]

    def painted(self, losses: np.ndarray, side: int, every: int = 1) -> np.ndarray:
        """(side, side) float32: each loss around the middle of its window; 0 near the edges, where no middle comes.

        Args:
            losses: these or another net's.
            side: of what the net sees, pixels.
            every: of the positions, one is in ``losses``.
        """
        painted = np.zeros((side, side), np.float32)
        inset = (self.window - self.step * every) // 2
        spans = [slice(max(0, start + inset), start + inset + self.step * every) for start in self.starts[::every]]
        for row, rows in enumerate(spans):
            for column, columns in enumerate(spans):
                painted[rows, columns] = losses[row, column]
        return painted


def positions(side: int) -> tuple[int, int, list[int]]:
    """The window, the step (three quarters) and where windows begin on an image's side; the last ends at its edge."""
    window = max(1, side // PARTS)
    step = max(1, window * 3 // 4)
    starts = list(range(0, side - window, step))
    return window, step, [*starts, side - window]


def occlusion(classifier: Classifier, square: np.ndarray, index: int, every: int = 1) -> Occlusion:
    """The loss of a class's probability for each position of a window, by the net's form for inference.

    Under the window lies the mean image, which the net sees as 0.

    Args:
        classifier: of the net.
        square: (size, size, 3) uint8, as the run stores images.
        index: of the class.
        every: positions of a row, and rows, of which one is taken; 1: all.
    """
    preprocessing = classifier.preprocessing
    window, step, starts = positions(preprocessing.crop)
    starts = starts[::every]
    edge = (preprocessing.size - preprocessing.crop) // 2
    mean = preprocessing.mean_image.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
    places = [(edge + top, edge + left) for top in starts for left in starts]
    whole = _probabilities(classifier, square[None].copy(), index)
    parts: list[Tensor] = []
    for start in range(0, len(places), BATCH):
        several = places[start : start + BATCH]
        hidden = np.repeat(square[None], len(several), 0)
        for image, (top, left) in zip(hidden, several):
            area = slice(top, top + window), slice(left, left + window)
            image[area] = mean[area]
        parts.append(whole - _probabilities(classifier, hidden, index))
    losses = torch.cat(parts).view(len(starts), len(starts)).numpy()
    return Occlusion(float(whole), losses, window, step, starts)


def _probabilities(classifier: Classifier, squares: np.ndarray, index: int) -> Tensor:
    """(N,) float32 of one class, of (N, size, size, 3) uint8."""
    return classifier.probabilities(torch.from_numpy(squares).permute(0, 3, 1, 2))[:, index].cpu()
