"""Answers of an index to image files, and the pictures of them."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
import torch

from alexnet.data import codec
from alexnet.data.sources.pictures import Paths, find_pictures
from alexnet.data.sources.tree import read_image_file
from alexnet.errors import AlexNetError, check_number
from alexnet.evaluation.activations import activations
from alexnet.evaluation.classifier import AnyRun
from alexnet.evaluation.stimuli import FileStimuli, Fitted, as_in_training
from alexnet.search.coded import CodeNeighbor
from alexnet.search.images import Names
from alexnet.search.index import MOST, Index, Neighbor, classifier_of
from alexnet.search.manifest import read_manifest
from alexnet.search.pieces import half
from alexnet.search.source import Source

N = TypeVar("N", bound=Neighbor | CodeNeighbor)
MOST_DRAWN = 20  # pictures that a sheet has answers to
SIDE = 160  # pixels of a picture that is drawn


@dataclasses.dataclass(frozen=True)
class Answer:
    """What an index has that is similar to a picture.

    Attributes:
        image: the picture's path.
        neighbors: nearest first; empty where the picture is bad.
        problem: why there are none, or None.
    """

    image: str
    neighbors: list[Neighbor]
    problem: str | None = None


@dataclasses.dataclass(frozen=True)
class Answers:
    """Answers to pictures, in their order.

    Attributes:
        index: that gave them.
        answers: to the pictures.
        squares: (side, side, 3) uint8 of the first ones that could be read.
    """

    index: Index
    answers: list[Answer]
    squares: list[np.ndarray]


def answers(
    index: str | os.PathLike,
    images: Paths,
    *,
    run: AnyRun | None = None,
    count: int = 10,
    exhaustive: bool = False,
    flip: bool = True,
    device: torch.device | str = "cpu",
    note: Callable[[str], None] | None = None,
) -> Answers:
    """The images of an index that are most similar to pictures: the nearest by Euclidean distance (paper 6.1).

    Args:
        index: its folder.
        images: a file, folder or archive, or several.
        run: that the index was made with, if it is not where it was.
        count: of similar images, at most as many as the index has.
        exhaustive: look at every image where the index is approximate.
        flip: search for each picture's mirror image, too; the distance of an image is the lesser one.
        device: where the net runs.
        note: called with a line on what is left out of a folder or archive.

    Raises:
        UsageError: no such index or images; another run than the index was made with.
        AlexNetError: the index is damaged.
    """
    check_number("--count", count, 1, MOST)
    pictures = find_pictures(images, note)
    content = read_manifest(index)
    classifier = classifier_of(index, content, run, device)
    opened, layer = Index(index), content["bound"]["layer"]
    squares: list[np.ndarray] = []
    fit = as_in_training(classifier.preprocessing)
    several: list[FileStimuli] = [_Kept(pictures, fit, squares)]
    if flip:
        several.append(FileStimuli(pictures, lambda content: _flipped(fit(content))))
    answered: list[list[Answer]] = []
    for stimuli in several:
        answered.append([])
        for batch in activations(classifier, stimuli, layer):
            answered[-1] += [Answer(name, [], reason) for name, reason in batch.bad]
            rows = half(batch.layers[layer], layer) if batch.names else ()
            answered[-1] += [
                Answer(name, opened.search(row, count, exhaustive)) for name, row in zip(batch.names, rows)
            ]
    joined = [
        dataclasses.replace(own[0], neighbors=nearer([answer.neighbors for answer in own], count))
        for own in zip(*answered)
    ]
    return Answers(opened, joined, squares)


def _flipped(fitted: Fitted) -> Fitted:
    return Fitted(np.ascontiguousarray(fitted.pixels[:, ::-1]), f"{fitted.done}, flipped")


def nearer(several: Sequence[Sequence[N]], count: int, far: Callable[[N], Any] = attrgetter("distance")) -> list[N]:
    """Of the neighbors of a picture and of its mirror image, each image once, where it is less ``far``."""
    nearest: dict[int, N] = {}
    for neighbor in sorted((n for neighbors in several for n in neighbors), key=far):
        nearest.setdefault(neighbor.place, neighbor)
    return list(nearest.values())[:count]


class _Kept(FileStimuli):
    """Image files of which the first ones are kept as the net's preprocessing makes them."""

    def __init__(self, pictures: Sequence, fit: Callable, squares: list[np.ndarray]):
        super().__init__(pictures, fit)
        self._squares = squares

    def batches(self, size: int, workers: int) -> Iterator:
        for batch in super().batches(size, workers):
            wanted = batch.images[: MOST_DRAWN - len(self._squares)] if batch.names else ()
            self._squares += [image.permute(1, 2, 0).numpy() for image in wanted]
            yield batch


def pictures_of(
    names: Names, places: Sequence[int], size: int = SIDE, resize: str = codec.SHORTER_SIDE
) -> list[np.ndarray | None]:
    """Images of an index as squares.

    Args:
        names: of the index.
        places: in its table.
        size, resize: as for ``codec.decode_square``.

    Returns:
        (size, size, 3) uint8 of each; None where one is not there any more, or damaged.
    """
    pictures: list[np.ndarray | None] = [None] * len(places)
    archives: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        if os.path.isfile(names.path(place)):
            pictures[number] = _square(lambda place=place: read_image_file(names.path(place)), size, resize)
        else:
            archives.setdefault(names.source(place), []).append(number)
    for path, numbers in archives.items():
        for number, content in _inside(path, [names.inner(places[number]) for number in numbers], numbers):
            pictures[number] = _square(lambda content=content: content, size, resize)
    return pictures


def _inside(path: str, inner: Sequence[str], numbers: Sequence[int]) -> Iterator[tuple[int, object]]:
    """The contents of images of an archive or a dataset, those that are there."""
    try:
        tree = Source(path).tree
    except AlexNetError:
        return
    members = {name: member for member, name in enumerate(tree.names)}
    wanted: dict[int, list[int]] = {}
    for name, number in zip(inner, numbers):
        if name in members:
            wanted.setdefault(members[name], []).append(number)
    for member, content in tree.stream(sorted(wanted)):
        for number in wanted[member]:
            yield number, content


def _square(read: Callable[[], object], size: int, resize: str) -> np.ndarray | None:
    try:
        content = read()
        return np.asarray(codec.decode_square(content, size, resize))  # pyright: ignore[reportArgumentType]
    except (codec.BadImage, OSError, TypeError):
        return None
