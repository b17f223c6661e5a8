"""The weights of an ensemble: what each run's soft-max outputs are multiplied by before they are added."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError
from alexnet.evaluation.classifier import AnyRun
from alexnet.evaluation.errors import top_k_errors
from alexnet.evaluation.outputs import Progress, opened_runs, outputs


def normalized_weights(weights: Sequence[float] | None, runs: int) -> list[float]:
    """Weights divided by their sum; equal ones where none are given.

    Raises:
        UsageError: not one per run, negative, or all 0.
    """
    if weights is None:
        return [1 / runs] * runs
    if not isinstance(weights, Sequence) or not all(isinstance(weight, int | float) for weight in weights):
        raise UsageError(f"--ensemble-weights {weights!r}: give a list of numbers, one per run")
    if len(weights) != runs:
        raise UsageError(f"--ensemble-weights: {len(weights)} given for {runs} runs; give one per run")
    if not all(0 <= weight < math.inf for weight in weights) or not 0 < sum(weights) < math.inf:
        raise UsageError("--ensemble-weights: give numbers of at least 0 that are not all 0")
    return [weight / sum(weights) for weight in weights]


def tune_ensemble_weights(
    runs: Sequence[AnyRun],
    dataset: Dataset,
    split: str,
    *,
    views: int = 1,
    precision: str | None = None,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[float]:
    """The weights that ``best_weights`` finds on a split; other arguments as for ``evaluate``.

    Errors are then to be measured on another split: on this one they come out too low.
    """
    classifiers, rows = opened_runs(runs, precision), dataset.rows(split)
    parts = [several for _, several in outputs(classifiers, dataset, rows, views, workers, progress)]
    return best_weights([torch.cat(several) for several in zip(*parts)], torch.from_numpy(dataset.labels[rows]))


def best_weights(probabilities: Sequence[Tensor], labels: Tensor) -> list[float]:
    """Weights that lower the top-5 error, as the source's ``avg-valid.py`` searches them.

    Coordinate search over 0 to 1 in steps of 0.05 from 0.5, at most five passes; not normalized.

    Args:
        probabilities: for each run (n, classes) soft-max outputs.
        labels: (n,) true classes.
    """
    weights = [0.5] * len(probabilities)

    def error(candidate: list[float]) -> float:
        mixed = sum((w * p for w, p in zip(candidate, probabilities)), torch.zeros_like(probabilities[0]))
        return float(top_k_errors(mixed, labels, min(5, mixed.shape[1] - 1)).double().mean())

    best = error(weights)
    for _ in range(5):
        before = best
        for i in range(len(weights)):
            for value in (j / 20 for j in range(21)):
                candidate = [*weights[:i], value, *weights[i + 1 :]]
                if sum(candidate) > 0 and (candidate_error := error(candidate)) < best:
                    best, weights = candidate_error, candidate
        if best == before:
            break
    return weights
