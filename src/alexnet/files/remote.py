"""What lies on object storage or a web server: every call to fsspec, each tried several times and never for ever.

A server that says nothing for ``ALEXNET_REMOTE_TIMEOUT`` seconds (15 if not given) has failed, and so has one that
answers with an error of its own; each call is made up to six times, with pauses that grow, and no more once a server
was silent for so long four times, or was never reached in three. Credentials come from where
the protocol's own library finds them (for S3: the environment, ``~/.aws``, the machine's role), never from a URL.
"""

import dataclasses
import errno
import os
import random
import re
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from alexnet.errors import AlexNetError, UsageError
from alexnet.files.urls import only_read
from alexnet.files.waiting import within

if TYPE_CHECKING:  # imported where it is used: help and mistakes are answered without
    import fsspec

T = TypeVar("T")
TIMEOUT = "ALEXNET_REMOTE_TIMEOUT"
SECONDS = 15.0  # that a server may say nothing
MOST_SILENCES = 4  # in all, before a call is given up
FIRST_ATTEMPTS = 3  # of a server that was never reached: its name may be wrong
_REACHED: set[str] = set()
ATTEMPTS, FIRST_PAUSE, LONGEST_PAUSE = 6, 0.2, 5.0
SLOWEST = 16e3  # bytes a second; a call that brings fewer does not end in our time
EXTRAS = {
    **dict.fromkeys(("s3", "s3a", "http", "https"), "pip install 'alexnet[s3]'"),
    **dict.fromkeys(("gs", "gcs"), "pip install gcsfs"),
    "hf": "pip install huggingface_hub",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a server says of an object.

    Attributes:
        size: bytes; None where it does not say.
        tag: changes whenever the object does.
        folder: whether it is a folder, or the beginning of names.
    """

    size: int | None
    tag: str
    folder: bool = False


def silence() -> float:
    """Seconds that a server may say nothing. Raises ``UsageError`` where the environment says something else."""
    text = os.environ.get(TIMEOUT, "").strip()
    try:
        seconds = float(text or SECONDS)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 86400:
        raise UsageError(f"{TIMEOUT}={text}: give seconds, from 0.1 to 86400")
    return seconds


def _options(protocol: str) -> dict[str, Any]:
    """What a protocol's file system is told: its time-outs, and that nothing it listed is taken to be still so."""
    from fsspec.config import conf

    seconds, own = silence(), conf.get(protocol, {})
    if protocol in ("s3", "s3a"):
        config = {
            "connect_timeout": min(seconds, 5.0),
            "read_timeout": seconds,
            "retries": {"total_max_attempts": 1},  # we do that
            **own.get("config_kwargs", {}),
        }
        return {"config_kwargs": config, "use_listings_cache": False}
    if protocol in ("http", "https"):
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(seconds, 5.0), sock_read=seconds)
        return {"client_kwargs": {"timeout": timeout, "trust_env": True, **own.get("client_kwargs", {})}}
    return {}


def connection(path: str | os.PathLike) -> "tuple[fsspec.AbstractFileSystem, str]":
    """The file system that a URL is of, and the path in it. Raises ``UsageError`` where it cannot be used here."""
    url = os.fsdecode(path)
    protocol = re.split(r"::|://", url, maxsplit=1)[0].lower()
    try:
        import fsspec

        options = {} if "::" in url else _options(protocol)
        fs, inner = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        todo = EXTRAS.get(protocol, f"install what fsspec asks for ({error})")
        raise UsageError(f"{url}: reading from there needs a package more: {todo}") from error
    except UsageError:
        raise
    except Exception as error:  # a protocol that nobody knows, a URL without a host, credentials: each its own
        raise UsageError(
            f"{url}: cannot be read from ({error or type(error).__name__}); see whether the URL is right"
        ) from error
    if getattr(fs, "retries", 0) > 2:
        # s3fs tries each request five times, within calls that it tries five times; there is no argument for it. Not
        # once: a call may be several requests, and a server that fails every other one would fail each such call.
        fs.retries = 2
    return fs, inner


def attempt(
    path: str | os.PathLike,
    act: "Callable[[fsspec.AbstractFileSystem, str], T]",
    doing: str = "read",
    count: int = 0,
) -> T:
    """What comes of a call to a remote file system, made again where the server or the way to it failed.

    Args:
        path: what it is about.
        act: the call: file system and path in it.
        doing: ``read`` or ``written``, for messages.
        count: bytes that it moves.

    Raises:
        FileNotFoundError: there is nothing.
        UsageError: it is not allowed, or cannot be done there.
        AlexNetError: no attempt succeeded.
    """
    last: Exception = AlexNetError("nothing was tried")
    started, server = time.monotonic(), "/".join(os.fsdecode(path).split("/")[:3])
    for number in range(ATTEMPTS):
        if number:
            if number == FIRST_ATTEMPTS and server not in _REACHED:
                break
            if _is_silence(last) and time.monotonic() - started > MOST_SILENCES * silence():
                break
            time.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2**number) * random.uniform(0.5, 1.0))
        try:
            fs, inner = connection(path)
            result = within(silence() + 10.0 + count / SLOWEST, lambda: act(fs, inner), "remote")  # noqa: B023
            _REACHED.add(server)
            return result
        except AlexNetError:
            raise
        except Exception as error:
            if is_missing(error):
                raise FileNotFoundError(2, "no such object", os.fspath(path)) from error
            refused = _refused(error)
            if refused:
                raise UsageError(f"{path}: cannot be {doing} ({refused})") from error
            last = error
            if _status(error) is not None:
                _REACHED.add(server)
    raise AlexNetError(
        f"{path}: cannot be {doing}, for all that it was tried again: {_reason(last)}; see the network and the "
        "server, then give the same command again"
    ) from last


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that an error, or what it came of, is about."""
    while error is not None:
        status = getattr(error, "status", None)
        response = getattr(error, "response", None)
        if status is None and isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        elif status is None:
            status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return None


def is_missing(error: Exception) -> bool:
    """Whether the server said that there is nothing, and not that it failed: some clients call both so."""
    status, cause = _status(error), error.__cause__
    failed = isinstance(cause, OSError | TimeoutError) or type(cause).__module__.startswith("aiohttp")
    return isinstance(error, FileNotFoundError) and (status in (404, 410) or (status is None and not failed))


def _is_silence(error: Exception) -> bool:
    """Whether a server said nothing for too long."""
    names = ("FSTimeoutError", "ReadTimeoutError", "SocketTimeoutError", "ConnectTimeoutError", "ServerTimeoutError")
    return isinstance(error, TimeoutError) or type(error).__name__ in names


def _refused(error: Exception) -> str | None:
    """Why a call would fail again however often it is made; None where it may not."""
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError", "ProfileNotFound"):
        return (
            f"{str(error).rstrip('.')}; give credentials as the SDK takes them: AWS_PROFILE, ~/.aws/credentials, the "
            "machine's role; FSSPEC_S3_ANON=true for a public bucket"
        )
    if isinstance(error, PermissionError) or _status(error) in (401, 403):
        return f"permission denied: {str(error) or name}; see whether these credentials may"
    if isinstance(error, NotImplementedError | IsADirectoryError | NotADirectoryError):
        return f"{str(error) or name}"
    return None


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # which one client hides
    text = " ".join(str(error).split()) or type(error).__name__
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN"):
        text = text.replace(os.environ.get(name) or "\0", "***")
    if _is_silence(error):
        text = f"no answer within {silence():g} s ({TIMEOUT})"
    return text[:300]


def look(path: str | os.PathLike) -> Entry | None:
    """What is at a URL; None where there is nothing."""
    try:
        return attempt(path, lambda fs, inner: _entry(fs.info(inner)))
    except FileNotFoundError:
        return None


def _entry(info: dict[str, Any]) -> Entry:
    keys = ("ETag", "etag", "LastModified", "mtime", "updated", "created", "Last-Modified")
    tag = next((str(info[key]) for key in keys if info.get(key)), "")
    return Entry(None if info.get("size") is None else int(info["size"]), tag, info.get("type") == "directory")


def is_file(path: str) -> bool:
    """Whether a URL is of an object. Raises ``FileNotFoundError`` where it is of nothing."""
    entry = look(path)
    if entry is None:
        raise FileNotFoundError(2, "no such object", path)
    return not entry.folder


def folders(folder: str) -> list[str]:
    """The names of the folders in a folder."""

    def listed(fs: "fsspec.AbstractFileSystem", inner: str) -> list[str]:
        entries: Any = fs.ls(inner, detail=True)
        return sorted(str(e["name"]).rstrip("/").rpartition("/")[2] for e in entries if e["type"] == "directory")

    try:
        return attempt(folder, listed)
    except FileNotFoundError:
        return []


def listing(folder: str) -> dict[str, Entry]:
    """All objects at any depth below a folder, by their names relative to it."""

    def listed(fs: "fsspec.AbstractFileSystem", inner: str) -> dict[str, Entry]:
        prefix = inner.rstrip("/") + "/"
        objects: Any = fs.find(inner, detail=True)
        names = {str(name).removeprefix(prefix): _entry(info) for name, info in objects.items()}
        # S3's console makes an empty object for a folder
        return {name: entry for name, entry in names.items() if name and name != inner and not name.endswith("/")}

    try:
        return attempt(folder, listed)
    except FileNotFoundError:
        return {}


def read_all(path: str | os.PathLike, most: int | None = None) -> bytes:
    """All of an object. Raises ``OSError`` where it has more than ``most`` bytes."""
    entry = look(path)
    if entry is None:
        raise FileNotFoundError(2, "no such object", os.fspath(path))
    if most is not None and (entry.size or 0) > most:
        raise OSError(errno.EFBIG, f"{entry.size:,} bytes")

    if entry.size is not None:
        return read_range(path, 0, entry.size)[: entry.size] if entry.size else b""

    def read(fs: "fsspec.AbstractFileSystem", inner: str) -> bytes:
        data: Any = fs.cat_file(inner)
        return bytes(data)

    return attempt(path, read, count=1 << 30)


def read_range(path: str | os.PathLike, start: int, end: int) -> bytes:
    """Bytes ``start`` to ``end`` of an object, or all of it where the server knows no ranges."""

    def read(fs: "fsspec.AbstractFileSystem", inner: str) -> bytes:
        data: Any = fs.cat_file(inner, start=start, end=end)
        if len(data) < end - start:
            raise OSError(f"the connection ended after {len(data):,} of {end - start:,} bytes")
        return bytes(data)

    return attempt(path, read, count=end - start)


def _written(fs: "fsspec.AbstractFileSystem", path: str | os.PathLike) -> None:
    protocols = [fs.protocol] if isinstance(fs.protocol, str) else list(fs.protocol)
    if "http" in protocols:
        raise only_read(path)


def write(path: str | os.PathLike, content: bytes | Path) -> None:
    """Puts bytes, or a local file, at a URL: whole or not at all, as far as the storage does so."""

    def put(fs: "fsspec.AbstractFileSystem", inner: str) -> None:
        _written(fs, path)
        if isinstance(content, bytes):
            fs.pipe_file(inner, content)
        else:
            fs.put_file(str(content), inner)

    attempt(path, put, "written", len(content) if isinstance(content, bytes) else content.stat().st_size)


def create(path: str | os.PathLike, content: bytes) -> bool:
    """Puts bytes at a URL where there is nothing yet; whether it did."""

    def put(fs: "fsspec.AbstractFileSystem", inner: str) -> bool:
        _written(fs, path)
        try:
            fs.pipe_file(inner, content, mode="create")
        except FileExistsError:
            return False
        except TypeError:  # a file system without such a mode
            if fs.exists(inner):
                return False
            fs.pipe_file(inner, content)
        return True

    return attempt(path, put, "written")


def remove(paths: Iterable[str]) -> None:
    """Removes objects, one after the other; those that are not there are no error."""
    for path in paths:
        try:
            attempt(path, lambda fs, inner: fs.rm_file(inner), "removed")
        except FileNotFoundError:
            continue


def together(act: Callable[[T], Any], items: Iterable[T], threads: int = 8) -> list[Any]:
    """``act`` of each item, several at once, in order."""
    with ThreadPoolExecutor(threads, thread_name_prefix="remote") as pool:
        return list(pool.map(act, items))
