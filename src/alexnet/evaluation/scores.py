"""What a net's answers are worth beside their errors, in numbers alone: precision, recall, F1, calibration."""

import dataclasses

import numpy as np

BINS = 15  # of confidence, as Guo and others take them


@dataclasses.dataclass(frozen=True, eq=False)
class ClassScores:
    """Precision, recall and F1 of each class, 0..1; NaN of a class that is neither among the images nor predicted.

    What has nothing to be divided by is 0, as in scikit-learn: precision of a class that was never predicted, recall
    of one without images.

    Attributes:
        precision: (classes,) float64, share of the images taken for a class that are of it.
        recall: (classes,) float64, share of a class's images that were taken for it.
        f1: (classes,) float64, their harmonic mean.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, predicted: np.ndarray, classes: int) -> "ClassScores":
        """From (n,) true classes, (n,) most probable ones, and the number of classes."""
        right = np.bincount(labels[labels == predicted], minlength=classes).astype(float)
        images, taken = (np.bincount(of, minlength=classes).astype(float) for of in (labels, predicted))
        absent = images + taken == 0

        def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
            divided = np.divide(part, whole, out=np.zeros(classes), where=whole > 0)
            return np.where(absent, np.nan, divided)

        return cls(ratio(right, taken), ratio(right, images), ratio(2 * right, images + taken))

    def macro(self) -> dict[str, float]:
        """Means over the classes that are among the images or predicted: ``precision``, ``recall``, ``f1``."""
        return {field.name: float(np.nanmean(getattr(self, field.name))) for field in dataclasses.fields(self)}


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """How often a net is right where it is so sure (Guo, Pleiss, Sun, Weinberger, ICML 2017).

    Attributes:
        confidence: (bins,) float64, mean probability of the predicted classes of a bin's images; NaN of an empty bin.
        accuracy: (bins,) float64, share of these images whose predicted class is the true one.
        counts: (bins,) int64, images.
        ece: expected calibration error: the mean of |accuracy - confidence| over all images, 0..1.
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray
    ece: float

    @classmethod
    def of(cls, confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> "Calibration":
        """Of bins of equal width, each without its lower end and with its upper one.

        Args:
            confidence: (n,) probabilities of the predicted classes.
            right: (n,) bool, whether these are the true ones.
            bins: how many.
        """
        sure = np.nan_to_num(confidence.astype(float))
        places = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
        counts = np.bincount(places, minlength=bins)
        sums = (np.bincount(places, weights, bins) for weights in (sure, right.astype(float)))
        with np.errstate(invalid="ignore"):
            mean, accuracy = (of / counts for of in sums)
        gap = np.nansum(counts * np.abs(accuracy - mean)) / max(1, counts.sum())
        return cls(mean, accuracy, counts, float(gap))
