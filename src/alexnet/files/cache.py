"""Pieces of remote data sets on this machine's disk: fetched once, checked, bounded, for all processes together.

A piece is called by its SHA-256 and lies there only when its bytes had it. Beside it ``SHA256.json`` says how long it
was and when it was written, so that one that was changed since is known; that file's own time is that of the last use.
Where room is needed, what was not used for longest goes, and never what a process has open: it holds the operating
system's lock on the piece, shared, for as long as it has it mapped.
"""

import contextlib
import dataclasses
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from alexnet.errors import AlexNetError, UsageError
from alexnet.files import ranges, remote, storage
from alexnet.files.checked import to_json
from alexnet.files.places import CACHE, RUNS, SHARDS, SIZE, cache_folder, cache_limit

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None

LOCKS, USED = "locks", "used"
KEPT_FREE = 0.02  # of the disk
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class CacheFull(AlexNetError):
    """There is no room for a piece, since what is there is in use, the disk is full or the bound is too low.

    Attributes:
        waiting: whether something is in use, and may be let go.
    """

    def __init__(self, message: str, waiting: bool):
        super().__init__(message)
        self.waiting = waiting


def opened(url: str, digest: str) -> BinaryIO:
    """A piece of a data set, opened for reading; it stays for as long as the file, or a map of it, is open.

    Args:
        url: where it is fetched from if it is not here.
        digest: SHA-256 that its bytes must have.

    Raises:
        FileNotFoundError: it is not there.
        CacheFull: no room.
        AlexNetError: it cannot be fetched, or its bytes are others.
    """
    path = shards_folder() / digest
    while True:
        file = _held(path)
        if file is not None:
            return file
        with locked(path.parent / LOCKS / digest[:2]):
            if not _is_whole(path):
                _fetch(url, digest, path)


def shards_folder() -> Path:
    """Where pieces lie, made if it is not there. Raises ``UsageError`` where it cannot be."""
    folder = cache_folder() / SHARDS
    try:
        (folder / LOCKS).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(
            f"{folder}: copies of what lies elsewhere cannot be kept there ({error.strerror}); set {CACHE} to a folder "
            "that you may write to"
        ) from error
    return folder


def _held(path: Path) -> BinaryIO | None:
    """A whole piece, opened and locked, its use noted; None where there is none."""
    if not _is_whole(path):
        return None
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return None
    with contextlib.suppress(OSError):  # a file system without locks
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH)
    try:
        if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
            os.utime(_note(path))
            return file
    except OSError:  # removed before it was ours
        pass
    file.close()
    return None


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _state(path: Path) -> dict[str, int]:
    seen = path.stat()
    return {"bytes": seen.st_size, "written": seen.st_mtime_ns}


def _is_whole(path: Path) -> bool:
    """Whether a piece is there as it was when its hash was right."""
    try:
        return _note(path).read_text(encoding="utf-8") == to_json(_state(path), indent=None)
    except (OSError, ValueError):
        return False


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process and thread at a time; where the system has no locks, the block runs without."""
    with open(path, "ab") as file:
        with contextlib.suppress(OSError):
            if fcntl is not None:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        yield


def held(path: Path) -> BinaryIO:
    """A lock file that says, for as long as it is open, that what it belongs to is in use."""
    file = open(path, "ab")
    with contextlib.suppress(OSError):
        if fcntl is not None:
            fcntl.flock(file.fileno(), fcntl.LOCK_SH)
    return file


def _fetch(url: str, digest: str, path: Path) -> None:
    """Brings a piece here. One whose bytes are others is asked for once more: it may have been written meanwhile."""
    for last in (False, True):
        entry = remote.look(url)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, "no such object", url)
        try:
            received = _download(url, entry.size, path, digest)
        except AlexNetError:
            if last or remote.look(url) in (None, entry):
                raise
            continue
        if received == digest:
            return
        if last:
            changed = remote.look(url) != entry
            raise AlexNetError(
                f"{url}: {'is changed while it is read' if changed else 'was changed'}: its SHA-256 is not the one in "
                "dataset.json; put the file back as it was, or prepare the dataset again"
            )


def _download(url: str, size: int | None, path: Path, digest: str) -> str:
    """Fetches an object to ``path`` if its hash is right; its hash."""
    room = path.parent
    for last in (False, True):
        try:
            with storage.atomic(path) as file:
                with locked(room / LOCKS / "room"):
                    make_room(room, size or 0)
                    file.truncate(size or 0)  # what is on its way counts
                hashed = hashlib.sha256()
                for data in ranges.pieces(url, size):
                    with storage.explained(path):
                        file.write(data)
                    hashed.update(data)
                if hashed.hexdigest() != digest:
                    raise _Other(hashed.hexdigest())
            _note(path).write_text(to_json(_state(path), indent=None), encoding="utf-8")
            return digest
        except _Other as other:
            return other.digest
        except (AlexNetError, OSError) as error:
            cause = error.__cause__ if isinstance(error, AlexNetError) else error
            if not isinstance(cause, OSError) or cause.errno not in DISK_FULL or isinstance(error, CacheFull):
                raise
            if last or not _make_free(room, size or 1):
                raise CacheFull(
                    f"{room}: its disk is full, so {url} cannot be kept there; make room, or set {CACHE} to a folder "
                    "on another disk",
                    True,
                ) from error
    raise AssertionError


class _Other(Exception):
    """The bytes that came have another hash."""

    def __init__(self, digest: str):
        super().__init__(digest)
        self.digest = digest


@dataclasses.dataclass(frozen=True)
class _Kept:
    """What takes room: a piece with its note, a run's copy, a file that is on its way."""

    path: Path
    bytes: int
    used: float
    removable: bool


def _kept(room: Path) -> list[_Kept]:
    """All that counts, what was used last at the end."""
    kept = []
    for entry in room.iterdir():
        with contextlib.suppress(OSError):
            if entry.is_dir() or entry.suffix == ".json":
                continue
            whole = len(entry.name) == 64
            used = _note(entry).stat().st_mtime if whole and _note(entry).exists() else 0.0
            kept.append(_Kept(entry, entry.stat().st_size, used, whole))
    for run in (room.parent / RUNS).glob("*"):
        with contextlib.suppress(OSError):
            total = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
            kept.append(_Kept(run, total, run.stat().st_mtime, True))
    return sorted(kept, key=lambda entry: entry.used)


def make_room(room: Path, needed: int) -> None:
    """Removes what was not used for longest until so many bytes more are within the bound and on the disk.

    Raises:
        CacheFull: what is in use leaves no room.
    """
    storage.remove_leftovers(room)
    limit, kept = cache_limit(), _kept(room)
    total, disk = sum(entry.bytes for entry in kept), shutil.disk_usage(room)
    free = disk.free - KEPT_FREE * disk.total
    for entry in kept:
        if total + needed <= limit and needed <= free:
            return
        if entry.removable and _remove(entry.path):
            total, free = total - entry.bytes, free + entry.bytes
    if total + needed > limit:
        raise CacheFull(
            f"{room.parent}: {needed:,} bytes more are beyond the {limit:,} that {SIZE} allows, and {total:,} are in "
            f"use; set {SIZE} to more",
            total > 0,
        )
    if needed > disk.free:
        raise CacheFull(
            f"{room.parent}: its disk has {disk.free:,} bytes free, {needed:,} are needed; make room, or set {CACHE} "
            "to a folder on another disk",
            total > 0,
        )


def _make_free(room: Path, needed: int) -> bool:
    """Removes what is not in use where the disk turned out to be full; whether there was any."""
    removed = 0
    with locked(room / LOCKS / "room"):
        for entry in _kept(room):
            if entry.removable and removed < needed and _remove(entry.path):
                removed += entry.bytes
    return removed > 0


def _remove(path: Path) -> bool:
    """Removes a piece, or a run's copy, unless somebody has it open."""
    try:
        with open(path / USED if path.is_dir() else path, "rb") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                except OSError:
                    pass
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
                _note(path).unlink(missing_ok=True)
    except OSError:
        return False
    return True
