"""A folder has an owner: one process writes in it, and others are told which.

The owner holds the operating system's lock on a small file that says who it is, and touches that file now and then. The
lock goes with its process, however that ends, so on one machine a dead owner is known at once. Where the lock says
nothing (another machine, a file system without locks), an owner whose file was not touched for a while is dead.
"""

import contextlib
import dataclasses
import datetime
import errno
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, TypedDict

from alexnet.errors import AlexNetError
from alexnet.files.checked import Misfit, Within, checked, parse_json, to_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCK = ".lock"
TOUCH_SECONDS, STALE_SECONDS = 15.0, 90.0  # how often an owner shows that it lives; after how long it counts as dead


class Owner(TypedDict):
    """What a lock file says."""

    host: str
    process: Annotated[int, Within(1, 2**31 - 1)]
    since: Annotated[float, Within(0, 1e11)]


@dataclasses.dataclass
class _Seen:
    """A lock file as another process finds it."""

    owner: Owner | None
    age: float


def owner_words(owner: Owner | None) -> str:
    """``process 123 on host (since 2026-11-25 14:02:11)``, or what can be said."""
    if owner is None:
        return "another process"
    since = datetime.datetime.fromtimestamp(owner["since"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"process {owner['process']} on {owner['host']} (since {since})"


def busy(folder: str | os.PathLike, owner: Owner | None, left: float | None) -> AlexNetError:
    """The error where another process owns a folder.

    Args:
        folder: of which.
        owner: who that is, where it is known.
        left: seconds until it would count as dead; None: it lives.
    """
    more = "" if left is None else f"; if it is dead, this is known in {max(1, round(left))} s: try again then"
    to_do = f"wait for it, stop it, or give another folder{more}"
    return AlexNetError(f"{folder}: {owner_words(owner)} is writing there; {to_do}")


def owner_of(folder: str | os.PathLike, name: str = LOCK) -> Owner | None:
    """Who a lock file says its owner is; None where it is not there, or says nothing. Arguments as for ``owned``."""
    try:
        file = os.open(Path(folder, name), os.O_RDONLY)
    except OSError:
        return None
    try:
        return _seen(file).owner
    finally:
        os.close(file)


@contextlib.contextmanager
def owned(
    folder: str | os.PathLike, name: str = LOCK, say: Callable[[str], None] = lambda line: None
) -> Iterator[None]:
    """Within the block this process alone owns what ``name`` stands for in a folder that is there.

    Args:
        folder: of the lock file.
        name: of it; a folder may have several.
        say: is told where a dead owner's place is taken.

    Raises:
        AlexNetError: another process owns it.
    """
    path = Path(folder, name)
    file = _taken(path, say)
    if file is None:  # where nothing can be written there is nothing to own: whoever writes says so
        yield
        return
    ended = threading.Event()
    toucher = threading.Thread(target=_touch, args=(path, ended), name="lock", daemon=True)
    toucher.start()
    try:
        yield
    finally:
        ended.set()
        toucher.join()
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(file), os.stat(path)):
                os.truncate(file, 0)  # where an open file cannot be removed, it then names nobody
                path.unlink()
        os.close(file)


def _taken(path: Path, say: Callable[[str], None]) -> int | None:
    """The lock file, locked and ours; None where no file can be made there."""
    for _ in range(100):
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise AlexNetError(f"{path.parent}: {error.strerror}, so nobody could own it") from error
            if isinstance(error, FileNotFoundError) and _made_again(path.parent):
                continue  # somebody has just removed the empty folder
            return None
        try:
            locked = _lock(file)
            seen = _seen(file)
            if not _is_there(path, file):
                continue  # its owner has just ended, and removed it
            if locked is False or (seen.owner and not _dead(seen, locked)):
                raise busy(path.parent, seen.owner, None if locked is False else STALE_SECONDS - seen.age)
            if seen.owner:
                say(f"{path.parent}: {owner_words(seen.owner)} ended without finishing; taking over")
            content: Owner = {"host": socket.gethostname(), "process": os.getpid(), "since": time.time()}
            text = to_json(dict(content), indent=None).encode()
            try:
                os.lseek(file, 0, os.SEEK_SET)
                os.truncate(file, 0)
                os.write(file, text)
            except OSError as error:
                with contextlib.suppress(OSError):
                    path.unlink()
                raise AlexNetError(f"{path.parent}: cannot be written ({error.strerror}); free some space") from error
            os.lseek(file, 0, os.SEEK_SET)
            if locked is None and os.read(file, len(text) + 1) != text:
                continue  # without the system's locks another one may have come at the same moment
            kept, file = file, -1
            return kept
        finally:
            if file >= 0:
                os.close(file)
    raise AlexNetError(f"{path.parent}: its lock {path.name} changes all the time; try again")


def _made_again(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return True


def _is_there(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _lock(file: int) -> bool | None:
    """Whether the operating system's lock on a file is now ours; None where it has none to give."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _seen(file: int) -> _Seen:
    os.lseek(file, 0, os.SEEK_SET)
    age = max(0.0, time.time() - os.fstat(file).st_mtime)
    try:
        return _Seen(checked(parse_json(os.read(file, 4096)), Owner), age)
    except (Misfit, ValueError):  # empty: made a moment ago, or when its owner died
        return _Seen(None, age)


def _dead(seen: _Seen, locked: bool | None) -> bool:
    """Whether the process that a lock file names is gone, as far as can be told."""
    assert seen.owner is not None
    if locked and seen.owner["host"] == socket.gethostname():
        return True
    return seen.age > STALE_SECONDS


def _touch(path: Path, ended: threading.Event) -> None:
    while not ended.wait(TOUCH_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)
