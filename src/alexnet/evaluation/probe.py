"""How much a linear classifier finds in a layer's activations (Alain and Bengio, arXiv:1610.01644)."""

import dataclasses
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from alexnet.data.batches import whole_images
from alexnet.data.dataset import Dataset
from alexnet.errors import UsageError, check_threads
from alexnet.evaluation.classifier import BATCH, AnyRun, Classifier, opened
from alexnet.evaluation.errors import Errors, summary
from alexnet.evaluation.outputs import check_size

MOST_INPUTS = 9216  # of maps: pooled to so many numbers at most, as many as pool5 has (Zhang, Isola, Efros, ECCV 2016)
DECAYS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of the mean loss, that are tried
HELD_OUT = 5  # every fifth training image, on which the decay is chosen
STEPS = 400  # of the solver, at most


@dataclasses.dataclass(frozen=True)
class Probe:
    """What a linear classifier on one layer reached.

    Attributes:
        layer: its name.
        inputs: numbers per image, after pooling.
        decay: of its weights, chosen on a fifth of the training images.
        errors: on the split.
    """

    layer: str
    inputs: int
    decay: float
    errors: Errors


def probe(
    run: AnyRun,
    dataset: Dataset | str | os.PathLike,
    layers: str | Sequence[str],
    *,
    split: str = "val",
    precision: str = "float32",
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> list[Probe]:
    """Fits a multinomial logistic regression to each layer's activations on the training images, and measures it.

    Activations are of the center view, each number divided by its deviation. Maps are averaged over a
    grid that leaves 9,216 numbers at most. The solver is scikit-learn's (L-BFGS).

    Args:
        run: opened, or its folder.
        dataset: with training images, opened, or its path; its classes may be others than the run's.
        layers: of the net's table, or one.
        split: to measure on.
        precision: of the products that give the activations, as for ``load``.
        workers: threads that decode.
        progress: called with images done and images in all.

    Raises:
        UsageError: no such layer or split, too few training images, or scikit-learn is missing.
    """
    try:
        import sklearn.linear_model  # noqa: F401  (before the activations are computed, not after)
    except ImportError as error:
        raise UsageError("--probe needs scikit-learn: pip install 'alexnet[probe]'") from error
    check_threads("--workers", workers)
    classifier, layers = opened(run, precision), [layers] if isinstance(layers, str) else list(layers)
    dataset = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
    check_size(classifier, dataset)
    splits = list(dict.fromkeys(("train", split)))
    labels = {each: dataset.labels[dataset.rows(each)] for each in splits}
    _check_folds(labels["train"], dataset.path)
    total, done = sum(len(dataset.rows(each)) for each in splits), 0
    seen: dict[str, dict[str, np.ndarray]] = {}
    for each in splits:
        parts: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        for activations in _activations(classifier, dataset, each, layers, workers):
            for layer, tensor in activations.items():
                parts[layer].append(tensor)
            done += len(next(iter(activations.values())))
            if progress:
                progress(done, total)
        seen[each] = {layer: torch.cat(tensors).numpy() for layer, tensors in parts.items()}
    found = []
    for layer in layers:
        decay, scaler, model = _fitted(seen["train"][layer], labels["train"])
        shown = seen[split][layer]
        probability = np.zeros((len(shown), len(dataset.classes)), np.float32)
        probability[:, model.classes_] = model.predict_proba(scaler.transform(shown))
        measured = summary(torch.from_numpy(probability), torch.from_numpy(labels[split]), 1)
        found.append(Probe(layer, shown.shape[1], decay, measured))
    return found


def _held_out(count: int) -> np.ndarray:
    """(count,) bool: every fifth image, on which the decay is chosen."""
    return np.arange(count) % HELD_OUT == HELD_OUT - 1


def _check_folds(labels: np.ndarray, path: str) -> None:
    """Raises ``UsageError`` unless there is something to fit on, and something to choose the decay on."""
    held = _held_out(len(labels))
    if len(np.unique(labels)) < 2:
        raise UsageError(f"{path}: --probe needs training images of two classes at least")
    if not held.any() or len(np.unique(labels[~held])) < 2:
        raise UsageError(
            f"{path}: --probe fits a classifier on four of five training images and chooses its decay on the fifth; "
            f"{len(labels):,} images are too few, or all but the fifths are of one class. Prepare a dataset of more"
        )


def _fitted(x: np.ndarray, labels: np.ndarray) -> tuple[float, Any, Any]:
    """The decay that a held-out fifth chose, the scaler, and the classifier of (n, numbers) activations."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    x = np.asarray(scaler.transform(x))

    def fit(decay: float, rows: np.ndarray) -> LogisticRegression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stopped early is good enough
            return LogisticRegression(C=1 / (decay * rows.sum()), max_iter=STEPS).fit(x[rows], labels[rows])

    held = _held_out(len(labels))
    errors = [1 - fit(decay, ~held).score(x[held], labels[held]) for decay in DECAYS]
    decay = DECAYS[int(np.argmin(errors))]
    return decay, scaler, fit(decay, np.full(len(labels), True))


def _activations(
    classifier: Classifier, dataset: Dataset, split: str, layers: Sequence[str], workers: int
) -> Iterator[dict[str, Tensor]]:
    """For each batch (n, numbers) float32 of each layer, on the CPU."""
    for batch in whole_images(dataset, split, BATCH, workers):
        activations = classifier.activations(batch.images, layers)
        yield {layer: _pooled(tensor).cpu() for layer, tensor in activations.items()}


def _pooled(maps: Tensor) -> Tensor:
    """(N, numbers): maps averaged over a grid so that ``MOST_INPUTS`` numbers are left at most."""
    if maps.dim() == 2:
        return maps
    side = min(maps.shape[-1], max(1, int((MOST_INPUTS / maps.shape[1]) ** 0.5)))
    return F.adaptive_avg_pool2d(maps, side).flatten(1)
