"""The manifest of an index: what it was made with, and the checksum of each of its files.

An index is a folder::

    alexnet-index.json             this manifest; it is replaced last, so that the index changes as a whole
    vectors-1.f16                  a row of half-precision numbers an image; the file only grows
    sums-4.u64                     the checksum of each of its rows
    projection-1.safetensors       principal components
    scan-4.safetensors or .faiss   what a search reads first: short rows, or faiss's index
    names-4.arrow, stamps-4.arrow  the images: names and labels; sizes, times, SHA-256

The numbers count the changes: a file whose number is not in the manifest is of a change that was cut off.
"""

import contextlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NotRequired, TypedDict, TypeVar

import numpy as np
import safetensors
import safetensors.numpy

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.identity import preprocessing_hash, weights_hash
from alexnet.files import Count, Form, Length, Sha, Within, mistakes
from alexnet.search.checksums import checksum
from alexnet.search.rows import Rows

MANIFEST = "alexnet-index.json"
FORMAT_VERSION = 1
AGAIN = "make the index again in another folder"
T = TypeVar("T")


class Bound(TypedDict):
    """What an index was made with: the answers of another net are no use in it."""

    run: str
    step: Count
    weights: Sha
    net: Sha
    preprocessing: Sha
    layer: str
    numbers: Annotated[int, Within(1, 1 << 16)]
    precision: str


class Part(TypedDict):
    """A file of an index."""

    file: Annotated[str, Form(r"[a-z]+-\d+\.[a-z0-9]+", "must be the name of a file of an index")]
    bytes: Count
    checksum: Sha | None  # of all of it; of the vectors each row has its own


class Content(TypedDict):
    """``alexnet-index.json``."""

    format_version: Annotated[int, Within(1, 2**31)]
    change: Annotated[int, Within(1, 2**31)]
    bound: Bound
    sources: Annotated[list[str], Length(1, 1 << 20)]
    left_out: NotRequired[Annotated[list[str], Length(0, 1 << 20)]]  # paths that --remove took out
    kind: Literal["exact", "approximate"]
    images: Annotated[int, Within(1, 2**40)]
    rows: Annotated[int, Within(1, 2**40)]
    width: Annotated[int, Within(4, 1 << 16)]
    fitted_to: Annotated[int, Within(1, 2**40)]  # images that there were when the projection was fitted
    trained_on: Count  # images that there were when faiss's index was trained
    probes: Count
    recall: Annotated[float, Within(0, 1)] | None
    recall_images: Count
    typical: Annotated[float, Within(0, 1e30)]
    parts: dict[str, Part]


PARTS = {  # of an index, with the endings of their files
    "vectors": ("f16",), "sums": ("u64",), "projection": ("safetensors",), "scan": ("safetensors", "faiss"),
    "names": ("arrow",), "stamps": ("arrow",),
}  # fmt: skip
PART_FILE = re.compile(r"([a-z]+)-([1-9]\d{0,9})\.([a-z0-9]+)")


def bound_of(classifier: Classifier, layer: str, numbers: int) -> Bound:
    """What an index of a layer of a run is bound to."""
    return {
        "run": files.kept(files.absolute(classifier.path)),
        "step": classifier.step,
        "weights": weights_hash(classifier.net),
        "net": files.sha256_text(classifier.net.table.text),
        "preprocessing": preprocessing_hash(classifier.preprocessing),
        "layer": layer,
        "numbers": numbers,
        "precision": classifier.precision,
    }


def check_bound(folder: str | os.PathLike, old: Bound, new: Bound) -> None:
    """Raises ``UsageError`` where an index was made with other weights, another layer or preprocessing."""
    words = {
        "weights": "other weights", "net": "another net", "preprocessing": "another preprocessing",
        "layer": f"layer {old['layer']}", "numbers": f"{old['numbers']:,} numbers an image",
    }  # fmt: skip
    other = {key: text for key, text in words.items() if old[key] != new[key]}
    command = mistakes.quoted("alexnet", "index", new["run"], "SOURCE", "NEW", "--layer", new["layer"])
    if other and set(other) <= {"layer", "numbers"}:
        raise UsageError(
            f"{folder}: was made with layer {old['layer']}, not {new['layer']}; leave --layer out, or make another"
            f" index of this layer: {command}"
        )
    if other:
        raise UsageError(
            f"{folder}: was made with {' and '.join(other.values())}: with layer {old['layer']} of the run {old['run']}"
            f" (step {old['step']:,}, weights {old['weights'][:8]}), not {new['layer']} of {new['run']} (step"
            f" {new['step']:,}, weights {new['weights'][:8]}); give that run and step, or make an index of this one:"
            f" {command}"
        )


def read_manifest(folder: str | os.PathLike) -> Content:
    """What ``alexnet-index.json`` says.

    Raises:
        UsageError: no index there, or one of a newer format.
        AlexNetError: it is not as it was written.
    """
    path = Path(folder) / MANIFEST
    if not os.fspath(folder).strip() or files.is_remote(folder) or not path.is_file():
        if not files.is_remote(folder) and any(Path(folder).glob("projection-*.safetensors")):
            raise AlexNetError(f"{path}: is missing, the index's list of its files; {AGAIN}")
        mistakes.refuse(folder, "index")
    raw = files.read_bytes(path)
    content = files.read_json(path, dict, AGAIN)
    if (files.to_json(content) + "\n").encode() != raw or files.SEAL not in content or not files.seal_holds(content):
        raise AlexNetError(f"{path}: is not as it was written (its seal differs); {AGAIN}")
    version = content.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise UsageError(
            f"{path}: an index of format {version:,}, newer than this alexnet reads ({FORMAT_VERSION}); upgrade alexnet"
        )
    checked: Content = files.read_json(path, Content, AGAIN)
    if len(set(checked["sources"])) < len(checked["sources"]):
        raise AlexNetError(f"{path}: sources: one stands there twice; {AGAIN}")
    missing = [name for name in PARTS if name not in checked["parts"]]
    if missing:
        raise AlexNetError(f"{path}: parts.{missing[0]}: is missing; {AGAIN}")
    return checked


def write_manifest(folder: Path, content: Content) -> None:
    """Makes a change to an index whole; files of earlier changes, and of those that were cut off, are removed."""
    files.write_json(folder / MANIFEST, files.seal(dict(content)))
    remove_others(folder, content)


def change_of(name: str) -> int | None:
    """The number of the change that wrote a file of an index; None of a file of another name."""
    match = PART_FILE.fullmatch(name)
    return int(match[2]) if match and match[3] in PARTS[match[1]] else None


def remove_others(folder: Path, content: Content) -> None:
    """Removes files of an index that its manifest does not name."""
    own = {part["file"] for part in content["parts"].values()}
    for path in folder.iterdir():
        change = change_of(path.name)
        if change is not None and change <= content["change"] + 1 and path.name not in own:
            with contextlib.suppress(OSError):  # Windows removes no file that a search has open
                path.unlink()


def write_part(folder: Path, file: str, content: bytes | np.ndarray) -> Part:
    """Writes a file of an index, whole or not at all."""
    data = content if isinstance(content, bytes) else content.tobytes()
    files.write_bytes(folder / file, data)
    return {"file": file, "bytes": len(data), "checksum": checksum(data)}


def read_part(folder: Path, content: Content, name: str) -> np.ndarray:
    """(bytes,) uint8 of a file of an index, once its checksum was right.

    Raises:
        FileNotFoundError: it is not there.
        AlexNetError: it is not as it was written.
    """
    part = content["parts"][name]
    path = folder / part["file"]
    data = np.fromfile(path, np.uint8)
    if len(data) != part["bytes"] or checksum(data) != part["checksum"]:
        raise AlexNetError(f"{path}: damaged (its checksum differs from the one in {MANIFEST}); {AGAIN}")
    return data


def read_arrays(folder: Path, content: Content, name: str) -> dict[str, np.ndarray]:
    """The arrays in a file of an index. Raises as ``read_part``."""
    try:
        return safetensors.numpy.load(read_part(folder, content, name).tobytes())
    except safetensors.SafetensorError as error:
        path = folder / content["parts"][name]["file"]
        raise AlexNetError(f"{path}: cannot be read ({error}); {AGAIN}") from error


def open_rows(folder: Path, content: Content) -> Rows:
    """The vectors of an index."""
    sums = read_part(folder, content, "sums").view(np.uint64)
    return Rows(folder / content["parts"]["vectors"]["file"], sums, content["width"])


def write_arrays(folder: Path, file: str, arrays: dict[str, np.ndarray]) -> Part:
    """Arrays as a file of an index."""
    return write_part(folder, file, safetensors.numpy.save({k: np.ascontiguousarray(v) for k, v in arrays.items()}))


def _check_sizes(folder: Path, content: Content) -> None:
    """Raises ``AlexNetError`` where a file is not as long as it was written; behind the vectors there may be more."""
    for name, part in content["parts"].items():
        path = folder / part["file"]
        status = path.stat()
        size = min(status.st_size, part["bytes"]) if name == "vectors" else status.st_size
        if not stat.S_ISREG(status.st_mode) or size != part["bytes"]:
            raise AlexNetError(f"{path}: is not the file of {part['bytes']:,} bytes that was written; {AGAIN}")


def read_whole(folder: str | os.PathLike, read: Callable[[Path, Content], T]) -> tuple[Content, T]:
    """The manifest, and what ``read`` makes of the files that it names, though the index is changed meanwhile.

    Raises:
        UsageError, AlexNetError: as ``read_manifest``; a file is missing or damaged.
    """
    content = read_manifest(folder)
    while True:
        try:
            _check_sizes(Path(folder), content)
            return content, read(Path(folder), content)
        except FileNotFoundError as error:
            before, content = content, read_manifest(folder)
            if content["change"] == before["change"]:
                raise AlexNetError(f"{error.filename}: missing; {AGAIN}") from error
