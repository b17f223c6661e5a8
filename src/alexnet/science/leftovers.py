"""What a killed process left of files that belong together: half written ones, and finished ones that are its own.

Files get their names one after the other, the last one when all others have theirs. A note beside them says which files
they are, by what no other file has: the place on the disk, the size, the time of the last change. It counts as long
as the last one is half written; then whatever has its name is somebody's result.
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, TypedDict

from alexnet import files


class Note(TypedDict):
    """The name of the last file while it is half written, and the marks of the others by the names they get."""

    last: str
    files: dict[str, list[int]]


def _mark(status: os.stat_result) -> list[int]:
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def _noted(last: Path) -> Path:
    """What the note of files is called; it is half written for ever."""
    return files.through(last).with_suffix(".note")


def write_note(last: Path, half: BinaryIO, others: Iterable[tuple[Path, BinaryIO]]) -> Path:
    """Notes files of which none has its name yet.

    Args:
        last: the file that gets its name last.
        half: what it is written to.
        others: likewise; nothing is written to them any more.

    Returns:
        The note, to be removed when all have their names.
    """
    marks = {}
    for path, file in others:
        file.flush()
        marks[files.through(path).name] = _mark(os.fstat(file.fileno()))
    content = Note(last=os.path.basename(half.name), files=marks)
    note = files.partial_of(_noted(last))
    with files.explained(last), open(note, "wb") as file:
        file.write(files.to_json(content).encode())
        file.flush()
        os.fsync(file.fileno())
    return note


@dataclasses.dataclass(frozen=True)
class Leftovers:
    """What killed processes left.

    Attributes:
        finished: files that have their names, and are theirs.
        half: half written ones, and notes.
    """

    finished: list[Path]
    half: list[Path]

    @property
    def bytes(self) -> int:
        """That are free once it is removed."""
        return sum(path.stat().st_size for path in (*self.finished, *self.half) if path.exists())

    def remove(self) -> None:
        """Removes all; what says that finished ones are theirs last."""
        for path in (*self.finished, *self.half):
            path.unlink(missing_ok=True)


def leftovers(outputs: Sequence[Path]) -> Leftovers:
    """What killed processes left of files that belong together, in the order in which they get their names."""
    notes = files.partials(_noted(outputs[-1]))
    finished = [path for path in map(files.through, outputs) if any(_is_noted(path, note) for note in notes)]
    half = {partial: None for output in outputs for partial in files.partials(files.through(output))}
    return Leftovers(finished, [*half, *notes])


def _is_noted(path: Path, note: Path) -> bool:
    try:
        said: Note = files.checked(files.parse_json(note.read_bytes()), Note)
        half_written = (note.parent / said["last"]).is_file()
        return half_written and said["files"].get(path.name) == _mark(os.lstat(path))
    except (OSError, ValueError):  # not there; a note that was never finished
        return False
