"""Storage: atomic writes, hashes, local or remote paths. The one place that touches it.

A path is a local path or, for reading, any URL that fsspec knows (``s3://``, ``gs://``, ``memory://``).
Whatever is written appears whole or not at all: it is written beside its place, flushed, then renamed.
"""

import contextlib
import csv
import errno
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
import pyarrow as pa

from alexnet.errors import Failure, WrongUse

PARTIAL = ".partial"


def is_remote(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a URL for fsspec rather than a local path."""
    return "://" in str(path)


def join(folder: str | os.PathLike, *names: str) -> str:
    """A path below ``folder``, local or remote."""
    if is_remote(folder):
        return "/".join([str(folder).rstrip("/"), *names])
    return str(Path(folder, *names))


def exists(path: str | os.PathLike) -> bool:
    """Whether there is a file or folder at ``path``."""
    if is_remote(path):
        fs, inner = fsspec.core.url_to_fs(str(path))
        return fs.exists(inner)
    return os.path.exists(path)


def is_folder(path: str | os.PathLike) -> bool:
    """Whether ``path`` is a folder."""
    if is_remote(path):
        fs, inner = fsspec.core.url_to_fs(str(path))
        return fs.isdir(inner)
    return os.path.isdir(path)


def size(path: str | os.PathLike) -> int:
    """Bytes of a file."""
    if is_remote(path):
        fs, inner = fsspec.core.url_to_fs(str(path))
        return int(fs.size(inner))
    return os.path.getsize(path)


def below(folder: str) -> list[str]:
    """The names of all files at any depth below a remote folder, relative to it."""
    fs, inner = fsspec.core.url_to_fs(folder)
    prefix = inner.rstrip("/") + "/"
    return [str(name).removeprefix(prefix) for name in fs.find(inner)]


def open_read(path: str | os.PathLike) -> BinaryIO:
    """``path`` opened for reading bytes, seekable."""
    if is_remote(path):
        fs, inner = fsspec.core.url_to_fs(str(path))
        return fs.open(inner, "rb")  # pyright: ignore[reportReturnType]
    return open(path, "rb")


def read_bytes(path: str | os.PathLike) -> bytes:
    """All of a file."""
    with open_read(path) as file:
        return file.read()


def map_file(path: str | os.PathLike) -> pa.NativeFile:
    """``path`` for pyarrow: memory-mapped where it is local, read whole where it is remote."""
    if is_remote(path):
        return pa.BufferReader(read_bytes(path))
    return pa.memory_map(str(path))


def read_json(path: str | os.PathLike) -> Any:
    """A JSON file. Raises ``Failure`` naming the file where it is not JSON."""
    try:
        return json.loads(read_bytes(path).decode("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: not readable as JSON ({error}); it was damaged after it was written") from error


def to_json(value: Any) -> str:
    """``value`` as this project writes JSON: indented, keys in the order given, newline at the end."""
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


@contextlib.contextmanager
def explained(path: str | os.PathLike) -> Iterator[None]:
    """Turns the operating system's refusals to write ``path`` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Failure(
                f"{path}: no space left on the device; what was there before is untouched. "
                "Free some space and give the same command again"
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise Failure(
                f"{path}: cannot write there ({os.strerror(error.errno)}); give a folder that you may write to"
            ) from error
        raise


@contextlib.contextmanager
def atomic(path: str | os.PathLike, *, shared: bool = False) -> Iterator[BinaryIO]:
    """A binary file that appears at ``path`` whole when the block ends without an error, else not at all.

    Args:
        path: of the file.
        shared: several processes may write it at once; the last one's stays.
    """
    target = Path(path)
    own = f".{uuid.uuid4().hex}" if shared else ""
    partial = target.with_name(f".{target.name}{own}{PARTIAL}")
    with explained(target):
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        finally:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A folder that appears at ``path`` with all its files when the block ends, else not at all."""
    target = Path(path)
    partial = target.with_name(f".{target.name}{PARTIAL}")
    with explained(target):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Removes a folder; whoever looks meanwhile sees it whole or not at all."""
    partial = path.with_name(f".{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    os.replace(path, partial)
    shutil.rmtree(partial, ignore_errors=True)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes left half written in a folder."""
    for entry in folder.glob(f".*{PARTIAL}"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def flush(path: str | os.PathLike) -> None:
    """Has the operating system put a file's bytes on the disk."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def write_bytes(path: str | os.PathLike, data: bytes, *, shared: bool = False) -> None:
    """``data`` at ``path``, whole or not at all; ``shared`` as for ``atomic``."""
    with atomic(path, shared=shared) as file:
        file.write(data)


def write_json(path: str | os.PathLike, value: Any, *, shared: bool = False) -> None:
    """``value`` as JSON at ``path``, whole or not at all; ``shared`` as for ``atomic``."""
    write_bytes(path, to_json(value).encode("utf-8"), shared=shared)


def to_csv(rows: Iterable[Sequence[object]]) -> bytes:
    """Rows as CSV; names that are no UTF-8 keep their bytes."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def write_csv(path: str | os.PathLike, rows: Iterable[Sequence[object]], *, shared: bool = False) -> None:
    """Rows as CSV at ``path``, whole or not at all; ``shared`` as for ``atomic``."""
    write_bytes(path, to_csv(rows), shared=shared)


def make_folder(path: str | os.PathLike) -> Path:
    """The local folder ``path``, made if it is not there."""
    folder = Path(path)
    if is_remote(path):
        raise WrongUse(f"{path}: can be read from there but not written; give a local folder")
    if folder.exists() and not folder.is_dir():
        raise WrongUse(f"{path}: is a file; give a folder")
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def sha256(path: str | os.PathLike) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open_read(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def sha256_text(*parts: str) -> str:
    """SHA-256 of texts, each closed by a newline, in hexadecimal."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode("utf-8", "surrogateescape") + b"\n")
    return digest.hexdigest()
