"""A run's checkpoints: how they are written, found, read whole, and held against their hashes."""

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import safetensors

from alexnet import files
from alexnet.errors import AlexNetError, UsageError
from alexnet.files import Count, Sha, nearest

if TYPE_CHECKING:  # imported where tensors are read or written: what a run is, is said without torch
    from torch import Tensor

KINDS = ("last", "best", "step")
AnyCheckpoint = str | int  # ``last``, ``best``, or a step as people write it; see ``parse_checkpoint``
CHECKPOINT = re.compile(rf"({'|'.join(KINDS)})-(\d{{8,}})")
STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")  # of batch norm, which no gradient changes
MOST_HEAD = 100_000_000  # bytes; the format allows no more
SHOWN = 4  # steps at each end of a list of them
LOOKS = (0.0, 0.01, 0.03)  # seconds between looks at a folder that another process writes in
REMOVE = "where its folder is removed, the run goes back to an earlier checkpoint that was kept, or to its start"
T = TypeVar("T")


class JournalMark(TypedDict):
    """The part of ``metrics.jsonl`` that was there when a checkpoint was written."""

    bytes: Count
    sha256: Sha


class CheckpointNote(TypedDict):
    """``checkpoint.json``."""

    step: Count
    sha256: dict[str, Sha]
    state: dict[str, Any]


def write_checkpoint(place: Path, step: int, parts: "dict[str, dict[str, Tensor]]", state: dict) -> None:
    """A checkpoint's files into a folder that the caller then moves into its place; ``checkpoint.json`` last.

    Args:
        place: the folder.
        step: of the training; 0 for imported weights.
        parts: tensors by file.
        state: what else a resumed training needs, as JSON.
    """
    from alexnet.nets import weights

    for name, content in parts.items():
        weights.save_tensors(place / name, content)
    hashes = {name: files.sha256(place / name) for name in parts}
    files.write_json(place / "checkpoint.json", files.seal({"step": step, "sha256": hashes, "state": state}))


@files.of_run
def checkpoints(folder: str | os.PathLike) -> list[Path]:
    """All whole checkpoints of a run, by name."""
    places = sorted(Path(folder, "checkpoints").glob("*-*"))
    return [place for place in places if CHECKPOINT.fullmatch(place.name) and (place / "checkpoint.json").exists()]


def parse_checkpoint(checkpoint: AnyCheckpoint) -> tuple[str | None, int | None]:
    """Which of a run's checkpoints is meant: its kind, its step, or both.

    Args:
        checkpoint: ``last``, ``best``, ``step`` (the newest of those that are kept for good); a step, as 4, ``4``,
            ``step-4`` or ``step-00000004``; the name of a checkpoint's folder.

    Raises:
        UsageError: it is none of these.
    """
    text = str(checkpoint).strip().lower()
    if text in KINDS:
        return text, None
    match = re.fullmatch(rf"(?:({'|'.join(KINDS)})-)?(\d{{1,15}})", text, re.ASCII)
    if not match or isinstance(checkpoint, bool):
        wanted = f"give last, best, or a step{' (all: alexnet evaluate takes it)' if text == 'all' else ''}"
        raise UsageError(f"--checkpoint {str(checkpoint)!r}: unknown; {nearest(text, KINDS[:2])}{wanted}")
    return None if match[1] == "step" else match[1], int(match[2])


@files.of_run
def find_checkpoint(folder: str | os.PathLike, checkpoint: AnyCheckpoint = "last") -> Path | None:
    """The newest whole checkpoint of a kind (``last``, ``best``, ``step``), or that of a step; None if there is none.

    Raises:
        UsageError: as ``parse_checkpoint``.
    """
    kind, step = parse_checkpoint(checkpoint)
    for pause in LOOKS:
        places = [
            place
            for place in checkpoints(folder)
            if (kind is None or place.name.startswith(f"{kind}-")) and (step is None or step_of(place) == step)
        ]
        if places:
            return max(places, key=step_of)
        if not Path(folder, "checkpoints").is_dir():
            break
        time.sleep(pause)  # a folder that is listed while a checkpoint is replaced may show neither
    return None


@files.of_run
def kept_steps(folder: str | os.PathLike) -> list[int]:
    """The steps of a run's whole checkpoints, each once, ascending."""
    return sorted({step_of(place) for place in checkpoints(folder)})


def steps_text(steps: Sequence[int]) -> str:
    """Steps for a line: ``1, 2, 4, 8, ..., 128``; of many, the first and the last."""
    shown = [f"{step:,}" for step in steps]
    if len(shown) > 2 * SHOWN:
        shown = [*shown[:SHOWN], "...", *shown[-SHOWN:]]
    return ", ".join(shown)


def step_of(checkpoint: Path) -> int:
    """The step that a checkpoint's folder is named by."""
    return int(checkpoint.name.rpartition("-")[2])


def read_note(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's ``checkpoint.json``. Raises ``AlexNetError`` where it is damaged."""
    note = files.read_json(checkpoint / "checkpoint.json", CheckpointNote, REMOVE)
    if "weights.safetensors" not in note["sha256"]:
        raise AlexNetError(f"{checkpoint / 'checkpoint.json'}: sha256.weights.safetensors: is missing; {REMOVE}")
    return note


def check_hashes(checkpoint: Path, names: list[str] | None = None) -> dict[str, Any]:
    """A checkpoint's ``checkpoint.json`` once the files' hashes agree with it.

    Raises:
        AlexNetError: a file's bytes are not those that were written.
    """
    note = read_note(checkpoint)
    for name, digest in note["sha256"].items():
        if names is not None and name not in names:
            continue
        path = files.here(checkpoint / name)
        if not path.exists():
            raise AlexNetError(f"{path}: missing; {REMOVE}")
        if files.sha256(path) != digest:
            raise AlexNetError(f"{path}: damaged (its SHA-256 differs from the one written with it); {REMOVE}")
    return note


@files.of_run
def read_checkpoint(folder: str | os.PathLike, checkpoint: AnyCheckpoint, read: Callable[[Path], T]) -> T | None:
    """What ``read`` makes of a run's checkpoint (see ``find_checkpoint``), None where there is none.

    A training that goes on meanwhile may replace the checkpoint that was found: then the next one is read.
    """
    while True:
        place = find_checkpoint(folder, checkpoint)
        if place is None:
            return None
        try:
            return read(place)
        except (AlexNetError, OSError):
            if (place / "checkpoint.json").exists():
                raise


def weights_digest(path: str | os.PathLike) -> str | None:
    """SHA-256 of a run's last weights, as its checkpoint says it; None where there is none."""
    note = read_checkpoint(path, "last", read_note)
    return None if note is None else note["sha256"]["weights.safetensors"]


def count_parameters(checkpoint: Path) -> int:
    """How many numbers a checkpoint's net learns, by its file's head. Raises ``AlexNetError`` where it is damaged."""
    path = checkpoint / "weights.safetensors"
    try:
        shapes = _shapes(path)
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise AlexNetError(f"{path}: cannot be read ({error}); {REMOVE}") from error
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(STATISTICS))


def _shapes(path: Path) -> dict[str, list[int]]:
    """Of the tensors in a file; of one on object storage only its head is fetched."""
    if path.exists():
        with safetensors.safe_open(path, "numpy") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (no mapping)
    length = min(int.from_bytes(files.start_of(path, 8), "little"), MOST_HEAD)
    head = files.parse_json(files.start_of(path, 8 + length)[8:])
    return {name: entry["shape"] for name, entry in head.items() if name != "__metadata__"}


def read_weights(checkpoint: Path) -> "tuple[int, dict[str, Tensor]]":
    """A checkpoint's step, and its weights by name. Raises as ``check_hashes``."""
    from alexnet.nets import weights

    note = check_hashes(checkpoint, ["weights.safetensors"])
    return note["step"], weights.load_tensors(checkpoint / "weights.safetensors")
