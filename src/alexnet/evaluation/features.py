"""Activations of layers for images, all in memory."""

from collections.abc import Sequence

import numpy as np

from alexnet.data.batches import Share
from alexnet.data.dataset import Dataset
from alexnet.data.sources.pictures import Paths
from alexnet.errors import UsageError, check_threads
from alexnet.evaluation.activations import activations
from alexnet.evaluation.classifier import AnyRun, opened
from alexnet.evaluation.stimuli import as_in_training, stimuli_of
from alexnet.nets.layer_names import canonical
from alexnet.ranks import current


def features(
    run: AnyRun,
    paths: Paths | Dataset,
    layers: str | Sequence[str] = ("fc7",),
    *,
    views: int = 1,
    precision: str | None = None,
    workers: int = 2,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Activations of layers for images (paper 6.1: fc7's 4096 numbers are an image's description).

    Args:
        run: opened, or its folder.
        paths: a file, folder or archive, or several; a CSV of paths; or a dataset.
        layers: of the net's table, or one, by any name that ``alexnet features`` takes.
        views: 1, 9 or 10 (paper 4.1), over which they are averaged.
        precision: of products, as for ``load``; an opened run's own if not given.
        workers: threads that decode.

    Returns:
        The names of the images that could be read, and for each layer (n, ...) float32. Under torchrun each process
        computes a part of the images, and the first one has all; the others have nothing.

    Raises:
        UsageError: no such layer, or not one readable image.
    """
    check_threads("--workers", workers)
    classifier = opened(run, precision)
    wanted = [layers] if isinstance(layers, str) else list(layers)
    stimuli, ranks = stimuli_of(paths, as_in_training(classifier.preprocessing)), current()
    if ranks.size > 1:
        stimuli = stimuli.shared(Share(ranks.rank, ranks.size))
    kept: list[str] = []
    own = {name: canonical(classifier.net.table, name)[0] for name in wanted}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in wanted}
    for batch in activations(classifier, stimuli, list(own.values()), views=views, workers=workers):
        kept += batch.names
        for name in wanted if batch.names else ():
            parts[name].append(batch.layers[own[name]])
    if not any(ranks.any([bool(kept)])):
        raise UsageError("not one of the images could be read")
    several = ranks.to_first((kept, parts))
    names = [name for kept, _ in several for name in kept]
    stacked_parts = {name: [part for _, parts in several for part in parts[name]] for name in wanted}
    return names, {name: np.concatenate(parts) for name, parts in stacked_parts.items() if parts}
