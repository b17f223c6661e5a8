"""An opened index: pictures in, the nearest images out."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from alexnet import files
from alexnet.errors import AlexNetError, UsageError, check_number
from alexnet.evaluation.classifier import AnyRun, Classifier, load, opened
from alexnet.progress import plural
from alexnet.search.approximate import Approximate
from alexnet.search.commit import read_cells, read_projection
from alexnet.search.exact import Exact
from alexnet.search.images import Names, read_names
from alexnet.search.manifest import (
    AGAIN,
    MANIFEST,
    Bound,
    Content,
    bound_of,
    check_bound,
    open_rows,
    read_arrays,
    read_manifest,
    read_part,
    read_whole,
)

MOST = 1000  # images of an answer
BLOCK = 4096  # images whose vectors are read together


@dataclasses.dataclass(frozen=True)
class Neighbor:
    """An image of an index that is near to a picture.

    Attributes:
        image: its path; within an archive the archive's with the name behind it.
        label: the folder that it lies in, or its class.
        distance: Euclidean, in the layer's activations; 0 is the same picture.
        relative: the same as a share of the median distance of two images of the index.
        place: in the index's table of images.
    """

    image: str
    label: str
    distance: float
    relative: float
    place: int


class Index:
    """An index, opened: all but its vectors is checked against checksums, and these when they are used.

    Args:
        folder: as ``alexnet index`` made it.

    Attributes:
        path: the folder.
        content: its manifest.
        names: of its images.

    Raises:
        UsageError: no index there, or faiss is missing.
        AlexNetError: a file of it is missing or damaged.
    """

    def __init__(self, folder: str | os.PathLike):
        self.path = os.fsdecode(folder)
        self.content, (self.names, self._searched) = read_whole(folder, _read)

    def __len__(self) -> int:
        return self.content["images"]

    def __repr__(self) -> str:
        return f"Index({self.path!r}: {len(self):,} images, {self.content['kind']}, {self.bound['layer']})"

    @property
    def words(self) -> str:
        """What its distances mean, and how it searches."""
        content, layer = self.content, self.bound["layer"]
        how = "exact search"
        if content["recall"] is not None:
            how = (
                f"approximate search: recall of the ten nearest {content['recall']:.1%}, measured on "
                f"{plural(content['recall_images'], 'image')} of the index"
            )
        median = f"; {content['typical']:.4g} is the median distance between two of the {plural(len(self), 'image')}"
        return f"distances are Euclidean in {layer}: 0 is the same picture{median if content['typical'] else ''}; {how}"

    @property
    def bound(self) -> Bound:
        """The run, layer and preprocessing that it was made with."""
        return self.content["bound"]

    def classifier(self, run: AnyRun | None = None, device: torch.device | str = "cpu") -> Classifier:
        """The run that the index was made with; as for ``classifier_of``."""
        return classifier_of(self.path, self.content, run, device)

    def search(self, activations: np.ndarray, count: int = 10, exhaustive: bool = False) -> list[Neighbor]:
        """The images that are nearest, nearest first.

        Args:
            activations: (d,) float16 of the index's layer, as ``pieces.half`` gives them.
            count: of images, at most as many as there are.
            exhaustive: look at every image, where the index is approximate.

        Raises:
            ValueError: another number of activations.
            AlexNetError: a vector is damaged.
        """
        check_number("--count", count, 1, MOST)
        if activations.shape != (self.bound["numbers"],) or activations.dtype != np.float16:
            raise ValueError(f"activations {activations.shape} {activations.dtype}: must be ({self.bound['numbers']},) "
                             "float16")  # fmt: skip
        searched = self._searched
        by = searched.exhaustive if exhaustive and isinstance(searched, Approximate) else searched.search
        rows, distances = by(activations, count)
        typical = self.content["typical"] or 1.0
        return [
            Neighbor(self.names.path(place), self.names.label(place), distance, distance / typical, place)
            for place, distance in zip(self.names.places(rows).tolist(), distances.tolist())
        ]

    @property
    def stored_numbers(self) -> int:
        """How many numbers it stores of an image: all activations, or coordinates along principal components."""
        exact = isinstance(self._searched, Exact)
        return self.bound["numbers"] if exact else self.content["width"]

    def as_stored(self, activations: np.ndarray) -> np.ndarray:
        """(numbers,) float16, what it would store of an image with (d,) float16 activations."""
        if isinstance(self._searched, Exact):
            return activations
        return self._searched.projected(activations)

    def stored(self, places: np.ndarray) -> np.ndarray:
        """(n, numbers) float16 of images by their places in its table. Raises ``AlexNetError`` where one is damaged."""
        return self._searched.rows.take(self.names.rows[places])[:, : self.stored_numbers]

    def all_stored(self) -> Iterator[np.ndarray]:
        """The same of all images, in stretches."""
        for start in range(0, len(self), BLOCK):
            yield self.stored(np.arange(start, min(len(self), start + BLOCK)))


def classifier_of(
    folder: str | os.PathLike, content: Content, run: AnyRun | None = None, device: torch.device | str = "cpu"
) -> Classifier:
    """The run that an index was made with, held against it before anything of the index is read.

    Args:
        folder: of the index.
        content: its manifest.
        run: where the run is now; where it was, if not given.
        device: where the net runs.

    Raises:
        UsageError: another run, or none there.
    """
    bound = content["bound"]
    if run is None:
        path = files.real(bound["run"])
        try:
            run = load(path, bound["step"], device, bound["precision"])
        except UsageError as error:
            raise UsageError(
                f"{folder}: was made with the run {path} (step {bound['step']:,}), which cannot be opened: {error}; "
                "give --run, where it is now"
            ) from error
    classifier = opened(run, bound["precision"])
    check_bound(folder, bound, bound_of(classifier, bound["layer"], bound["numbers"]))
    return classifier


def verify(folder: str | os.PathLike) -> dict[str, str | None]:
    """Each file of an index, and what is wrong with it, or None."""
    content = read_manifest(folder)
    problems: dict[str, str | None] = {MANIFEST: None}
    for name, part in content["parts"].items():
        try:
            if name == "vectors":
                for _ in open_rows(Path(folder), content).all():
                    pass
            else:
                read_part(Path(folder), content, name)
            problems[part["file"]] = None
        except FileNotFoundError:
            problems[part["file"]] = "missing"
        except AlexNetError as error:
            words = str(error).removeprefix(f"{Path(folder) / part['file']}: ")
            problems[part["file"]] = words.replace(f"{folder}{os.sep}", "")
    return problems


def _read(folder: Path, content: Content) -> tuple[Names, Exact | Approximate]:
    """What a search needs. Raises ``AlexNetError`` where files do not go together though each is as it was written."""
    try:
        rows, names = open_rows(folder, content), read_names(folder, content)
        projection = read_projection(folder, content)
        arrays = read_arrays(folder, content, "projection")
        _check(len(rows) == content["rows"] and rows.width == content["width"])
        _check(projection.components.shape[1:] == projection.mean.shape == (content["bound"]["numbers"],))
        if content["kind"] == "exact":
            heads = read_arrays(folder, content, "scan")["heads"]
            _check(heads.shape == (len(names), projection.width) and heads.dtype == np.float16)
            return names, Exact(rows, names.rows, projection, heads)
        _check(arrays["turn"].shape == (rows.width, rows.width) == (projection.width, projection.width))
        cells = read_cells(folder, content, arrays["turn"])
        _check(len(cells) == len(names))
    except UsageError:  # faiss is missing
        raise
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise AlexNetError(f"{folder}: its files do not go together ({error}); {AGAIN}") from error
    return names, Approximate(rows, projection, cells, content["probes"])


def _check(fits: bool) -> None:
    if not fits:
        raise ValueError("sizes")
