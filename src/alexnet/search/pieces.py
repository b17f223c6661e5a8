"""Activations that are computed for an index, by the thousand in files of their own: what was stopped goes on there."""

import dataclasses
import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.activations import activations
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.stimuli import FileStimuli, as_in_training
from alexnet.progress import size_text
from alexnet.search.checksums import checksum
from alexnet.search.images import HASH
from alexnet.search.source import Source

IMAGES = 1024  # a file, about
PIECE = "piece-{:06d}.safetensors"


@dataclasses.dataclass(frozen=True)
class Piece:
    """A file of activations.

    Attributes:
        path: of the file.
        members: of its images, the places in the source; -1 where the image is not wanted any more.
        stamps, hashes: as ``Images`` has them.
    """

    path: Path
    members: np.ndarray
    stamps: np.ndarray
    hashes: np.ndarray

    @property
    def wanted(self) -> np.ndarray:
        """Which of its rows are."""
        return np.flatnonzero(self.members >= 0)

    def activations(self) -> np.ndarray:
        """(n, d) float16 of the wanted ones."""
        return safetensors.numpy.load_file(self.path)["activations"][self.wanted]


def known_pieces(folder: Path, source: Source, stamps: np.ndarray, new: Sequence[int]) -> list[Piece]:
    """What an earlier command computed of images that are still as they were; damaged files are removed.

    Args:
        folder: of the pieces.
        source, stamps: as they are now.
        new: places in the source that are to be computed.
    """
    waiting = {source.names[place]: place for place in new}
    pieces = []
    for path in sorted(folder.glob(PIECE.format(0).replace("0" * 6, "*"))):
        try:
            with safetensors.safe_open(path, "numpy") as file:
                noted = file.metadata() or {}
            arrays = safetensors.numpy.load_file(path)
            names = json.loads(noted["names"])
            if noted["checksum"] != _checksum(arrays, names) or len(names) != len(arrays["activations"]):
                raise ValueError("checksum")
        except (OSError, ValueError, KeyError, safetensors.SafetensorError):
            path.unlink(missing_ok=True)
            continue
        members = np.full(len(names), -1)
        for row, name in enumerate(map(files.real, names)):
            place = waiting.get(name)
            if place is not None and (arrays["stamps"][row] == stamps[place]).all():
                members[row] = waiting.pop(name)
        pieces.append(Piece(path, members, arrays["stamps"], arrays["hashes"]))
    return pieces


def computed_pieces(
    folder: Path,
    first: int,
    classifier: Classifier,
    layer: str,
    source: Source,
    stamps: np.ndarray,
    new: Sequence[int],
    workers: int,
    problem: Callable[[str], None],
) -> Iterator[Piece]:
    """Computes activations and writes them, a file at a time.

    Args:
        folder: of the pieces; there already.
        first: number of the first one.
        classifier, layer: what computes them.
        source, stamps: of the images.
        new: places in the source.
        workers: threads that decode.
        problem: called with a line on each image that cannot be read.

    Raises:
        UsageError: a layer whose activations half precision cannot hold.
    """
    numbers, hashed = itertools.count(first), source.some(new)
    waiting = {hashed.name(member): (place, member) for place, member in zip(new, hashed.members)}
    stimuli = FileStimuli([hashed], as_in_training(classifier.preprocessing))
    good: list[tuple[int, int]] = []
    parts: list[np.ndarray] = []

    def piece() -> Piece:
        places = [place for place, _ in good]
        digests = b"".join(hashed.hashes.pop(member) for _, member in good)
        arrays = {
            "activations": np.concatenate(parts),
            "stamps": stamps[places],
            "hashes": np.frombuffer(digests, np.uint8).reshape(-1, HASH),
        }
        path = folder / PIECE.format(next(numbers))
        _write(path, arrays, [source.names[place] for place in places])
        good.clear()
        parts.clear()
        return Piece(path, np.array(places), arrays["stamps"], arrays["hashes"])

    for batch in activations(classifier, stimuli, layer, workers=workers):
        for name, reason in batch.bad:
            problem(f"{name}: {reason}")
        if batch.names:
            good += [waiting[name] for name in batch.names]
            parts.append(half(batch.layers[layer], layer))
        if len(good) >= IMAGES:
            yield piece()
    if good:
        yield piece()


def half(rows: np.ndarray, layer: str) -> np.ndarray:
    """(n, d) float16 of (n, ...) float32 activations of a layer, each image's as one row.

    Raises:
        UsageError: they are beyond half precision.
    """
    with np.errstate(over="ignore"):
        halved = rows.reshape(len(rows), -1).astype(np.float16)
    if not np.isfinite(halved).all():
        raise UsageError(f"--layer {layer}: has activations beyond half precision (65,504); give another layer")
    return halved


def _write(path: Path, arrays: dict[str, np.ndarray], names: list[str]) -> None:
    plain = [files.kept(name) for name in names]
    noted = {"names": json.dumps(plain), "checksum": _checksum(arrays, plain)}
    files.write_bytes(path, safetensors.numpy.save(arrays, noted))


def _checksum(arrays: dict[str, np.ndarray], names: list[str]) -> str:
    parts = [arrays[name].tobytes() for name in ("activations", "stamps", "hashes")]
    return checksum(b"".join([*parts, json.dumps(names).encode()]))


def work_folder(index: Path, bound_to: str) -> Path:
    """Where pieces for an index are, of one run and layer; those of others are removed."""
    folder = index / f".work-{bound_to[:16]}"
    for other in index.glob(".work-*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    with files.explained(folder):
        folder.mkdir(exist_ok=True)
    files.remove_leftovers(folder, owned=True)
    return folder


def check_numbers(layer: str, numbers: int, most: int) -> None:
    """Raises ``UsageError`` where a layer has too many numbers for an index."""
    if numbers > most:
        raise UsageError(
            f"--layer {layer}: has {numbers:,} numbers an image, an index takes {most:,}; take fc7 or pool5"
        )


def check_room(folder: Path, count: int, numbers: int) -> int:
    """Bytes that a change takes while it is made. Raises ``AlexNetError`` where the disk lacks them."""
    needed = 4 * count * numbers  # of half precision, in pieces and then in the index
    free = files.free_bytes(folder)
    if needed > free:
        raise AlexNetError(
            f"{folder}: {count:,} images take {size_text(needed)} while the index is made, {size_text(free)} "
            "are free; free some space, or give a folder on another disk"
        )
    return needed
