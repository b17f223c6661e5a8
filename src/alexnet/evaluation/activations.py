"""Activations of layers, batch by batch in the order of the images, in bounded memory.

All that uses activations stands on ``activations``: features files, search, the Python function ``features``.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import corners
from alexnet.data.sources.pictures import Paths
from alexnet.errors import check_threads
from alexnet.evaluation.classifier import AnyRun, Classifier, check_views, opened
from alexnet.evaluation.stimuli import Stimuli, as_in_training, stimuli_of
from alexnet.nets.fusion import BEFORE
from alexnet.nets.layer_names import canonical

Pool = Literal["mean", "max"]
MOST_VIEWS = 64  # that the net sees at once: half of what `evaluate` takes, as fast, and 250 MB less
KEPT_BYTES = 1 << 27  # of a batch's activations; batches are smaller where layers are many


class Activations(NamedTuple):
    """Of images that follow each other.

    Attributes:
        names: of the images.
        labels: (n,) int64, indices of the stimuli's classes, -1: none; None where no image has one.
        layers: (n, ...) float32 of each layer, contiguous.
        done: what was done to each image, for people.
        bad: names of images among these that cannot be read, and why.
        rows: (n,) int64, how many images of the source come before each, those that cannot be read included.
        bad_rows: the same of those that cannot be read.
    """

    names: list[str]
    labels: np.ndarray | None
    layers: dict[str, np.ndarray]
    done: list[str]
    bad: list[tuple[str, str]]
    rows: np.ndarray
    bad_rows: list[int]


def activations(
    run: AnyRun,
    source: Stimuli | Dataset | Paths,
    layers: str | Sequence[str] = ("fc7",),
    *,
    split: str | None = None,
    views: int = 1,
    pool: Pool | None = None,
    dropout_factor: bool = True,
    precision: str | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Activations]:
    """Activations of layers for images in their order, batch by batch; no more than a few batches are in memory.

    The net runs in its form for inference, no further than to the last layer.

    Args:
        run: opened, or its folder.
        source: as for ``stimuli_of``: a dataset, files, folders, archives, a CSV of paths, or ``Stimuli``.
        layers: names as ``canonical`` takes them, or one. ``conv5:before`` is before the activation function.
        split: of a dataset; not given, ``val``.
        views: 1, the center; 10 or 9 (paper 4.1), over which activations are averaged.
        pool: of maps, the mean or the largest over positions, in each view.
        dropout_factor: with dropout's factor at test, which the paper has (4.2); False: divided by it.
        precision: of products, as for ``load``; an opened run's own if not given.
        workers: threads that decode.
        progress: called with images done (bad ones included) and images in all.

    Returns:
        Batches as they are asked for. Those of the same source, layers and views have the same images.

    Raises:
        UsageError: at once: no such run, source, layer or split.
    """
    check_threads("--workers", workers)
    check_views(views)
    classifier = opened(run, precision)
    names = canonical(classifier.net.table, layers)
    stimuli = stimuli_of(source, as_in_training(classifier.preprocessing), split)
    size = batch_size(classifier, names, views)

    def batches() -> Iterator[Activations]:
        done = 0
        for batch in stimuli.batches(size, workers):
            arrays: dict[str, np.ndarray] = {}
            if batch.names:
                tensors = classifier.activations(batch.images, names, views, pool, dropout_factor)
                arrays = {name: np.ascontiguousarray(tensor.cpu().numpy()) for name, tensor in tensors.items()}
            done += len(batch.names) + len(batch.bad)
            seen = crop_words(batch.images.shape[-1], classifier.preprocessing.crop, views)
            how = [f"{before}, {seen}" if seen else before for before in batch.done]
            yield Activations(batch.names, batch.labels, arrays, how, batch.bad, batch.rows, batch.bad_rows)
            if progress:
                progress(done, stimuli.count)

    return batches()


def crop_words(side: int, crop: int, views: int) -> str:
    """Which pixels of an image the net sees, for people; nothing where it sees all of them.

    Args:
        side: of the image, pixels.
        crop: side of what the net sees.
        views: 1, 9 or 10.
    """
    if views == 1 and side == crop:
        return ""
    if views == 1:
        ((top, left, _),) = corners(side, crop, views)
        return f"center {crop}x{crop} (rows {top} to {top + crop - 1}, columns {left} to {left + crop - 1})"
    which = "corners and center, and their flips" if views == 10 else "a 3x3 grid"
    return f"mean of {views} views of {crop}x{crop} ({which})"


def shapes(run: Classifier, layers: Sequence[str], pool: Pool | None = None) -> dict[str, tuple[int, ...]]:
    """The shape of one image's activations: (maps, height, width), (units,), or (maps,) where they are pooled.

    Args:
        run: whose.
        layers: canonical names.
        pool: as for ``activations``.
    """
    rows = run.net.table.sized(len(run.classes), run.preprocessing.crop)
    made = {row.layer.name: row.made for row in rows}
    whole = {layer: made[layer.removesuffix(BEFORE)] for layer in layers}
    return {layer: shape[:1] if pool else shape for layer, shape in whole.items()}


def batch_size(run: Classifier, layers: Sequence[str], views: int = 1) -> int:
    """Images that the net sees at once; fewer where views or layers are many."""
    numbers = sum(map(math.prod, shapes(run, layers).values()))
    return max(1, min(MOST_VIEWS // views, KEPT_BYTES // (4 * numbers * views)))
