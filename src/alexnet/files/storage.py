"""Storage: atomic writes, local or remote paths. The one place that touches it.

A path is a local path or, for reading, any URL that fsspec knows (``s3://``, ``gs://``, ``memory://``).
Whatever is written appears whole or not at all: it is written beside its place, flushed, then renamed.
"""

import contextlib
import csv
import errno
import hashlib
import io
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from alexnet.errors import AlexNetError, UsageError
from alexnet.files import ranges, remote
from alexnet.files.checked import Misfit, checked, parse_json, to_json
from alexnet.files.text import plain
from alexnet.files.urls import is_remote, join, only_read

if TYPE_CHECKING:  # imported where it is used: help and mistakes are answered without
    import pyarrow as pa

PARTIAL = ".partial"
OWN = re.compile(rf"-([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{12}}{re.escape(PARTIAL)}$")  # host, process, a name of its own
ABANDONED_SECONDS = 24 * 3600.0  # after which what a process of another machine left half written counts as left
LARGEST_JSON = 1 << 28  # bytes


def exists(path: str | os.PathLike) -> bool:
    """Whether there is a file or folder at ``path``."""
    return remote.look(path) is not None if is_remote(path) else os.path.exists(path)


def is_folder(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a folder."""
    if is_remote(path):
        try:
            return remote.attempt(path, lambda fs, inner: fs.isdir(inner))
        except FileNotFoundError:
            return False
    return os.path.isdir(path)


def size(path: str | os.PathLike) -> int:
    """Bytes of a file."""
    if is_remote(path):
        entry = remote.look(path)
        if entry is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        return entry.size or 0
    return os.path.getsize(path)


def sizes(folder: str | os.PathLike, names: Sequence[str]) -> dict[str, int]:
    """Bytes of several files of a folder; of a remote one asked for together."""
    return dict(zip(names, remote.together(lambda name: size(join(folder, name)), names)))


def below(folder: str) -> list[str]:
    """The names of all files at any depth below a remote folder, relative to it, sorted."""
    return sorted(remote.listing(folder))


def open_read(path: str | os.PathLike) -> BinaryIO:
    """``path`` opened for reading bytes, seekable."""
    if is_remote(path):
        return ranges.open_object(path)
    return open(path, "rb")


def read_bytes(path: str | os.PathLike) -> bytes:
    """All of a file."""
    if is_remote(path):
        return remote.read_all(path)
    with open(path, "rb") as file:
        return file.read()


def map_file(path: str | os.PathLike) -> "pa.NativeFile":
    """``path`` for pyarrow: memory-mapped where it is local, read whole where it is remote."""
    import pyarrow as pa

    if is_remote(path):
        return pa.BufferReader(read_bytes(path))
    return pa.memory_map(os.fsencode(path))  # as bytes: a name may be no UTF-8


def read_json(path: str | os.PathLike, kind: Any = Any, remedy: str = "it was damaged after it was written") -> Any:
    """A JSON file of a form.

    Args:
        path: the file.
        kind: the annotation that its content must fit (``checked``).
        remedy: what to say behind what is wrong.

    Raises:
        AlexNetError: it is no JSON, or of another form; names the file and the key.
    """
    try:
        if size(path) > LARGEST_JSON:
            raise ValueError(f"{size(path):,} bytes")
        content = parse_json(read_bytes(path))
    except UsageError:
        raise
    except ValueError as error:
        raise AlexNetError(f"{path}: not readable as JSON ({error}); {remedy}") from error
    try:
        return checked(content, kind)
    except Misfit as misfit:
        raise AlexNetError(f"{path}: {misfit}; {remedy}") from misfit


REFUSED = {  # by the operating system, and what to do
    errno.ENOSPC: "no space left on the device; what was there before is untouched. "
    "Free some space and give the same command again",
    errno.EDQUOT: "the quota is used up; what was there before is untouched. "
    "Free some space and give the same command again",
    errno.EROFS: "cannot write there (read-only); give a folder that you may write to",
    errno.EACCES: "cannot write there (permission denied); give a folder that you may write to",
    errno.EPERM: "cannot write there (not permitted); give a folder that you may write to",
    errno.EISDIR: "is a folder; give a file's name",
    errno.ENAMETOOLONG: "the name is too long for this file system; give a shorter one",
    errno.ENOTEMPTY: "is there already; give another name, or remove it",
    errno.EEXIST: "is there already; give another name, or remove it",
    errno.EINVAL: "this file system does not take such a name; give another",
    errno.EILSEQ: "this file system does not take such a name; give another",
    errno.ELOOP: "is a link that leads to itself; give another name, or remove it",
}


@contextlib.contextmanager
def explained(path: str | os.PathLike) -> Iterator[None]:
    """Turns the operating system's refusals to write ``path`` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        words = REFUSED.get(error.errno or 0)
        end = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
        if words is None and error.errno in (errno.ENOENT, errno.ENOTDIR):
            words = REFUSED[errno.EPERM] if takes_no_files(error, end) else _no_folder(end.parent)
        if words is None:
            words = f"cannot be written ({error.strerror or error})"
        led = "" if error.errno == errno.ELOOP or end == Path(path) else f" (a link to {end})"
        raise AlexNetError(f"{path}{led}: {words}") from error


def takes_no_files(error: OSError, path: Path) -> bool:
    """Whether a refusal to write means that nobody can make a file in the folder, though it is there (``/proc``)."""
    renamed = getattr(error, "filename2", None) is not None  # then what was half written is gone
    return error.errno == errno.ENOENT and path.parent.is_dir() and not renamed


def through(path: str | os.PathLike) -> Path:
    """Where a file is written: at the path, or at the end of the links that lie there, which stay.

    Raises:
        AlexNetError: a link leads to itself.
    """
    if not os.path.islink(path):
        return Path(path)
    target = Path(os.path.realpath(path))
    with explained(path):
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    return target


DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # what writing to an open file may meet


def _no_folder(folder: Path) -> str:
    if folder.is_dir():
        return "was removed while it was written; give the same command again"
    if folder.exists():
        return f"{folder} is a file; give a place in a folder"
    return f"folder {folder} does not exist; make it, or give another folder"


def check_written(path: str | os.PathLike) -> None:
    """Raises ``UsageError`` where a URL is one that can only be read."""
    if re.match("https?://", os.fsdecode(path)):
        raise only_read(path)


def _host() -> str:
    return hashlib.sha256(socket.gethostname().encode("utf-8", "replace")).hexdigest()[:8]


def partial_of(target: Path) -> Path:
    """Where ``target`` is written until it is whole: a name that no other process, and no other write, has."""
    return target.with_name(f".{target.name[:40]}-{_host()}-{os.getpid()}-{uuid.uuid4().hex[:12]}{PARTIAL}")


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file that appears at ``path`` whole when the block ends without an error, else not at all.

    Several processes may write it at once; the last one's stays. A link stays, and what it leads to is written.
    """
    target = through(path)
    partial = partial_of(target)
    try:
        with explained(path):
            file = open(partial, "wb")
        try:
            yield file
        except BaseException as error:
            with contextlib.suppress(OSError):  # what is still to be written, to a disk that is full
                file.close()
            if not isinstance(error, OSError) or error.filename is not None or error.errno not in DISK:
                raise  # of something else than this file
            with explained(path):
                raise
        with explained(path), file:
            file.flush()
            os.fsync(file.fileno())
        with explained(path):
            os.replace(partial, target)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike, parents: bool = True) -> Iterator[Path]:
    """A folder that appears at ``path`` with all its files when the block ends, else not at all.

    Args:
        path: not there yet.
        parents: whether folders above it that are missing are made; else a missing one is an error.
    """
    target = Path(path)
    partial = partial_of(target)
    with explained(target):
        try:
            partial.mkdir(parents=parents)
            yield partial
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def partials(path: str | os.PathLike) -> list[Path]:
    """What killed processes left half written of one file; not what living ones are writing."""
    target = Path(path)
    prefix = f".{target.name[:40]}-"
    entries = (entry for entry in target.parent.iterdir() if entry.name.startswith(prefix))
    return [entry for entry in entries if OWN.fullmatch(entry.name[len(prefix) - 1 :]) and not _is_written(entry)]


def remove_folder(path: Path) -> None:
    """Removes a folder; whoever looks meanwhile sees it whole or not at all."""
    partial = partial_of(path)
    os.replace(path, partial)
    shutil.rmtree(partial, ignore_errors=True)


def remove_leftovers(folder: Path, owned: bool = False) -> None:
    """Removes what killed processes left half written in a folder; what living ones are writing stays.

    Args:
        folder: which.
        owned: nobody else writes in it: all that is half written is left over.
    """
    for entry in folder.glob(f".*{PARTIAL}"):
        with contextlib.suppress(OSError):
            if not owned and _is_written(entry):
                continue
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink(missing_ok=True)


def _is_written(partial: Path) -> bool:
    """Whether the process that makes this unfinished file may still be at it."""
    match = OWN.search(partial.name)
    if match is None:  # of an earlier version
        return False
    if match[1] == _host() and os.path.isdir("/proc/self"):
        return os.path.isdir(f"/proc/{match[2]}")
    return time.time() - partial.stat().st_mtime < ABANDONED_SECONDS


def flush(path: str | os.PathLike) -> None:
    """Has the operating system put a file's bytes on the disk."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def write_bytes(path: str | os.PathLike, data: bytes) -> None:
    """``data`` at ``path``, local or remote, whole or not at all."""
    if is_remote(path):
        remote.write(path, data)
        return
    with atomic(path) as file, explained(path):
        file.write(data)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """``value`` as JSON at ``path``, whole or not at all."""
    write_bytes(path, (to_json(value) + "\n").encode("utf-8"))


def to_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as CSV in UTF-8; a name's byte that is no UTF-8 is written as ``\\xNN``."""
    lines = []
    for row in rows:
        line = io.StringIO()
        csv.writer(line, lineterminator="\r\n").writerow(row)  # else a cell with a carriage return is not quoted
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return plain("".join(lines)).encode("utf-8")


def write_csv(path: str | os.PathLike, rows: Iterable[Sequence[object]]) -> None:
    """Rows as CSV at ``path``, whole or not at all."""
    write_bytes(path, to_csv(rows))


def make_folder(path: str | os.PathLike) -> Path:
    """The local folder ``path``, made if it is not there."""
    folder = Path(path)
    check_folder(path)
    try:
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except UsageError:
        raise
    except ValueError as error:  # a name that the system cannot have
        raise UsageError(f"{plain(str(path))!r}: {error}; give another name") from error
    return folder


def check_folder(path: str | os.PathLike) -> None:
    """Raises ``UsageError`` where a file is, or is above, what should be a local folder, or its name cannot be."""
    if is_remote(path):
        raise only_read(path, "a local folder")
    if "\0" in os.fsdecode(path):
        raise UsageError(f"{plain(os.fsdecode(path))!r}: has a zero byte; give another name")
    above = next((above for above in (Path(path), *Path(path).parents) if above.exists()), None)
    if above and not above.is_dir():
        raise UsageError(f"{above}: is a file; give a folder")


def free_bytes(folder: str | os.PathLike) -> int:
    """Of the disk that a folder is on, or will be; a folder's parents need not be there either."""
    above = Path(folder).resolve()
    while not above.exists():
        above = above.parent
    return shutil.disk_usage(above).free
