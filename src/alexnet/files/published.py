"""Runs and datasets that are written to object storage: made in a working copy, put up piece by piece, owned meanwhile.

What owns a remote folder is an object in it, ``.lock``, that says who it is and is written anew now and then. Object
storage has no locks that go with their process, so this is as good as its clocks: an owner that was silent for
``STALE_SECONDS`` counts as dead, and two that take a dead one's place at the same moment see it by reading it back.
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from alexnet.errors import AlexNetError
from alexnet.files import remote
from alexnet.files.checked import Misfit, checked, parse_json, to_json
from alexnet.files.copies import CHECKPOINTS, WHOLE, Copy, by_name, drop_work
from alexnet.files.locks import LOCK, Owner, busy, owner_words
from alexnet.files.places import note_origin, origin
from alexnet.files.urls import join

Say = Callable[[str], None]
BEAT_SECONDS, STALE_SECONDS = 20.0, 120.0
SETTLED = 1.0  # seconds after which a lock that another one wrote at the same moment is seen
LOOK_SECONDS = 1.0  # between looks for a checkpoint that is not there yet


class _Lock:
    """The lock of a remote folder: ours from when it is made to ``release``.

    Args:
        url: of the folder.
        name: of the lock; a folder may have several.
        say: is told where a dead owner's place is taken, and where another one takes ours.

    Raises:
        AlexNetError: another process has it.
    """

    def __init__(self, url: str, name: str, say: Say):
        self._folder, self._path, self._say = url, join(url, name), say
        self._own: dict[str, Any] = {
            "host": socket.gethostname(), "process": os.getpid(), "since": time.time(), "id": uuid.uuid4().hex,
        }  # fmt: skip
        self.lost, self.before = False, None  # before: the id of the owner whose place is taken
        if not remote.create(self._path, self._text()):
            self._take_over()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._thread.start()

    def _text(self) -> bytes:
        return to_json({**self._own, "at": time.time()}, indent=None).encode()

    def _read(self) -> dict[str, Any] | None:
        try:
            return parse_json(remote.read_all(self._path))
        except (FileNotFoundError, ValueError):
            return None

    def _take_over(self) -> None:
        content = self._read() or {}
        self.before = content.get("id")
        owner: Owner | None = None
        with contextlib.suppress(Misfit):
            owner = checked(content, Owner)
        age = max(0.0, time.time() - float(content.get("at") or 0.0))
        if owner and age < STALE_SECONDS and not _ended_here(owner):
            raise busy(self._folder, owner, STALE_SECONDS - age)
        remote.write(self._path, self._text())
        time.sleep(SETTLED)
        if (self._read() or {}).get("id") != self._own["id"]:
            raise AlexNetError(f"{self._folder}: another process has just begun to write there; give another folder")
        self._say(f"{self._folder}: {owner_words(owner)} ended without finishing; taking over")

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(AlexNetError, OSError):
                content = self._read()
                if content is not None and content.get("id") != self._own["id"]:
                    self.lost = True
                    self._say(f"warning: {self._folder}: another process has taken it over; nothing more is put there")
                    return
                remote.write(self._path, self._text())

    @property
    def id(self) -> str:
        """Of this owner."""
        return self._own["id"]

    def check(self) -> None:
        """Raises ``AlexNetError`` where another process has taken the folder over."""
        if self.lost:
            raise AlexNetError(f"{self._folder}: another process has taken it over meanwhile; give another folder")

    def release(self) -> None:
        """Gives the folder up."""
        self._ended.set()
        self._thread.join()
        if not self.lost:
            remote.remove([self._path])


def _ended_here(owner: Owner) -> bool:
    """Whether an owner was a process of this machine that is gone."""
    here = owner["host"] == socket.gethostname() and os.path.isdir("/proc/self")
    return here and not os.path.isdir(f"/proc/{owner['process']}")


@contextlib.contextmanager
def owned_remotely(url: str, copy: Path, name: str, say: Say) -> Iterator[Copy]:
    """Within the block this process alone writes in a remote folder, whose copy is what it is there.

    A copy that is ahead of what is there stays: of a process that died before it had put up all that it had made.

    Args:
        url: of the folder.
        copy: where it is written.
        name: of the lock.
        say: see ``_Lock``.
    """
    with by_name():
        lock = _Lock(url, name, say)
        try:
            note_origin(copy, url)
            work, session = Copy(url, copy), copy.parent / "session"
            own = session.read_text(encoding="utf-8") if session.exists() else None
            work.resume(continues=own is not None and own == lock.before)
            session.write_text(lock.id, encoding="utf-8")
            work.guard = lock.check
            yield work
        finally:
            with contextlib.suppress(AlexNetError, OSError):
                lock.release()


@contextlib.contextmanager
def published(folder: Path, say: Say) -> Iterator[None]:
    """Within the block a run's folder, if it is a remote one's copy, is put up whenever it has a new checkpoint.

    Args:
        folder: the run's.
        say: is told where that does not succeed; it is tried again with the next checkpoint, and at the end.

    Raises:
        AlexNetError: another process writes there, or the end could not be put up.
    """
    url = origin(folder)
    if url is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(owned_remotely(url, folder, LOCK, say))
        ended = threading.Event()
        thread = threading.Thread(target=_keep_up, args=(work, ended, say), name="upload", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            _end(thread, ended)
            try:
                put_run(work)
            except (AlexNetError, OSError) as error:
                kept = "what is missing there is kept in this machine's cache; the same command puts it up"
                say(f"warning: {error}; {kept}")
            raise
        _end(thread, ended)
        try:
            put_run(work)
        except (AlexNetError, OSError) as error:
            raise AlexNetError(f"{error}. All of it is in this machine's cache; the same command puts it up") from error
    drop_work(folder)


def _end(thread: threading.Thread, ended: threading.Event) -> None:
    ended.set()
    thread.join()


def _keep_up(work: Copy, ended: threading.Event, say: Say) -> None:
    """Puts the run up whenever it has a checkpoint that is not there."""
    while not ended.wait(LOOK_SECONDS):
        if not any(f"{CHECKPOINTS}/{place.name}/checkpoint.json" not in work.known for place in _whole(work)):
            continue
        try:
            put_run(work)
        except (AlexNetError, OSError) as error:
            say(f"warning: {error}; tried again with the next checkpoint")
            seen = {place.name for place in _whole(work)}
            while not ended.wait(LOOK_SECONDS) and {place.name for place in _whole(work)} <= seen:
                pass


def _whole(work: Copy) -> list[Path]:
    found = (path.parent for path in work.folder.glob(f"{CHECKPOINTS}/*/checkpoint.json"))
    return sorted(place for place in found if not place.name.startswith("."))


def put_run(work: Copy) -> None:
    """Puts up what of a run is not there yet: its small files, then each new checkpoint, whole, then what is gone.

    The checkpoints are looked up first: the journal that is read after that has all lines that they speak of.
    """
    new = [place for place in _whole(work) if f"{CHECKPOINTS}/{place.name}/checkpoint.json" not in work.known]
    work.put(work.names(but=CHECKPOINTS))
    for place in new:
        names = sorted(f"{CHECKPOINTS}/{place.name}/{path.name}" for path in place.iterdir()) if place.exists() else []
        try:
            work.put(sorted(names, key=lambda name: name.endswith(WHOLE)))
        except FileNotFoundError:  # replaced by a newer one while it was read
            work.remove([name for name in names if name in work.known])
    gone = [
        name
        for name in work.known
        if name.startswith(f"{CHECKPOINTS}/") and not (work.folder / Path(name).parent).is_dir()
    ]
    work.remove(gone)
