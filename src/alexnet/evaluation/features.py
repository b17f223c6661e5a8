"""Activations of layers for image files."""

from collections.abc import Iterator, Sequence

import numpy as np

from alexnet.data.batches import Share
from alexnet.data.sources.pictures import Paths, find_pictures, some_of
from alexnet.errors import UsageError, check_threads
from alexnet.evaluation.classifier import BATCH, AnyRun, opened, stacked
from alexnet.evaluation.pictures import readable
from alexnet.ranks import current


def features(
    run: AnyRun,
    paths: Paths,
    layers: str | Sequence[str] = ("fc7",),
    *,
    precision: str | None = None,
    workers: int = 2,
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Activations of layers for image files (paper 6.1: fc7's 4096 numbers are an image's description).

    Args:
        run: opened, or its folder.
        paths: a file, folder or archive, or several.
        layers: names from the net's table, or one.
        precision: of products, as for ``load``; an opened run's own if not given.
        workers: threads that decode.

    Returns:
        The names of the images that could be read, and for each layer (n, ...) float32. Under torchrun each process
        computes a part of the images, and the first one has all; the others have nothing.

    Raises:
        UsageError: no such layer, or not one readable image.
    """
    check_threads("--workers", workers)
    classifier, layers = opened(run, precision), [layers] if isinstance(layers, str) else list(layers)
    kept: list[str] = []
    parts: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    ranks, pictures = current(), find_pictures(paths)
    if ranks.size > 1:
        count = sum(len(source.members) for source in pictures)
        pictures = some_of(pictures, Share(ranks.rank, ranks.size).of(range(count)))
    for names, squares in _batches(readable(pictures, classifier.preprocessing, workers)):
        for layer, outputs in classifier.activations(stacked(squares), layers).items():
            parts[layer].append(outputs.cpu().numpy())
        kept += names
    if not any(ranks.any([bool(kept)])):
        raise UsageError("not one of the images could be read")
    several = ranks.to_first((kept, parts))
    names = [name for kept, _ in several for name in kept]
    stacked_parts = {layer: [part for _, parts in several for part in parts[layer]] for layer in layers}
    return names, {layer: np.concatenate(parts) for layer, parts in stacked_parts.items() if parts}


def _batches(pairs: Iterator[tuple[str, np.ndarray]]) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Names and images, as many at a time as the net sees at once."""
    names: list[str] = []
    squares: list[np.ndarray] = []
    for name, square in pairs:
        names.append(name)
        squares.append(square)
        if len(names) == BATCH:
            yield names, squares
            names, squares = [], []
    if names:
        yield names, squares
