"""Copies of remote folders: of a run that is read, of a run or a dataset that is being written.

What is small is fetched when a copy is looked at, weights when they are read. What was written is put up in an order in
which nothing half there is taken for whole: ``checkpoint.json`` of a checkpoint last, ``dataset.json`` of a dataset
last. Beside a copy, ``state.json`` says which objects it knows, and what of it is on the other side already.
"""

import contextlib
import functools
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, ParamSpec, TypedDict, TypeVar

from alexnet.errors import AlexNetError
from alexnet.files import cache, ranges, remote, storage
from alexnet.files.places import RUNS, WORK, copy_of, copy_place, named, note_origin, origin
from alexnet.files.remote import Entry
from alexnet.files.urls import is_remote, join

P = ParamSpec("P")
R = TypeVar("R")
STATE = "state.json"
CHECKPOINTS, WHOLE = "checkpoints", ("checkpoint.json", "dataset.json")
SMALL = 256 << 20  # bytes of a file that is fetched with its folder
MARKS = ("run.json", "recipe.json", "dataset.json", "prepare.json")  # of folders that are this program's
LAST = (*WHOLE, "run.json", "config.json")  # of a folder that is put up whole
MENTIONED = 100  # files of any other
LARGE = (".safetensors", ".arrow")
LOGGERS = ("tensorboard/", "wandb/")  # folders that nothing here reads
_USED: dict[Path, BinaryIO] = {}  # files whose locks say that this process uses a copy


class Known(TypedDict):
    """An object as it was when the copy was last compared: its size and tag, and its local file's size and time."""

    size: int | None
    tag: str
    here: tuple[int, int] | None


class State(TypedDict):
    """``state.json``."""

    objects: dict[str, Known]


class Copy:
    """A local copy of a remote folder.

    Args:
        url: of the folder.
        folder: the copy; not there yet, or made by an earlier one.
    """

    def __init__(self, url: str, folder: Path):
        self.url, self.folder = url.rstrip("/"), folder
        self._path = folder.parent / STATE
        self.guard: Callable[[], None] | None = None  # called before anything is put up
        self.known: dict[str, Known] = {}
        if self._path.exists():
            with contextlib.suppress(AlexNetError):
                self.known = storage.read_json(self._path, State)["objects"]

    @classmethod
    def at(cls, path: str | os.PathLike) -> "Copy | None":
        """The copy that a path is of, or in; None of any other path."""
        folder = copy_of(path)
        url = None if folder is None else origin(folder)
        return None if folder is None or url is None else cls(url, folder)

    def _save(self) -> None:
        storage.write_json(self._path, {"objects": self.known})

    def look(self) -> bool:
        """Fetches what is small and has changed, forgets what is gone; whether there is anything."""
        entries = {name: entry for name, entry in remote.listing(self.url).items() if not _hidden(name)}
        note_origin(self.folder, self.url)
        if not entries:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.known = {}
            return False
        self.folder.mkdir(exist_ok=True, mode=0o700)
        with cache.locked(self.folder.parent / "lock"):
            for name in set(self.known) - set(entries):
                self.forget(name)
            if not any(name in MARKS for name in entries):
                return self._mention(entries)
            changed = [name for name, entry in entries.items() if not self._same(name, entry)]
            for name in changed:
                (self.folder / name).unlink(missing_ok=True)
                self.known[name] = {"size": entries[name].size, "tag": entries[name].tag, "here": None}
            wanted = [n for n, known in self.known.items() if known["here"] is None and _early(n, known["size"])]
            # checkpoint.json after all others: a copy that is cut off here has no checkpoint that is not whole
            wanted.sort(key=lambda name: name.endswith(WHOLE))
            remote.together(self.fetch, [name for name in wanted if not name.endswith(WHOLE)])
            remote.together(self.fetch, [name for name in wanted if name.endswith(WHOLE)])
            self._save()
        return True

    def _mention(self, entries: dict[str, Entry]) -> bool:
        """Shows by empty files what lies in a folder that is neither a run nor a dataset."""
        for name, entry in list(entries.items())[:MENTIONED]:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            self.known[name] = {"size": entry.size, "tag": entry.tag, "here": _state(path)}
        return True

    def resume(self, continues: bool) -> None:
        """As ``look``, of a copy that is written: nothing that is not there yet is lost.

        Args:
            continues: nobody else wrote there since this copy did; known as well where the objects are those that it
                knew last.
        """
        entries = {name: entry for name, entry in remote.listing(self.url).items() if not _hidden(name)}
        before = {name: (known["size"], known["tag"]) for name, known in self.known.items()}
        now = {name: (entry.size, entry.tag) for name, entry in entries.items()}
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if continues or before == now:
            kept = {name: known for name, known in self.known.items() if now.get(name) == before[name]}
            news: dict[str, Known] = {n: {"size": size, "tag": tag, "here": None} for n, (size, tag) in now.items()}
            self.known = news | kept
            return
        for name in self.names():
            (self.folder / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder / CHECKPOINTS, ignore_errors=True)
        self.known = {}
        if entries:
            self.look()

    def names(self, but: str = "") -> list[str]:
        """Of all files of the copy that are to be put up, except those in one folder of it."""
        names = []
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if not _hidden(name) and not (but and name.startswith(f"{but}/")) and path.is_file():
                names.append(name)
        return names

    def forget(self, name: str) -> None:
        """Removes what is not there any more, and the folders that are then empty."""
        self.known.pop(name, None)
        path = self.folder / name
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            while path.parent != self.folder:
                path = path.parent
                path.rmdir()

    def _same(self, name: str, entry: Entry) -> bool:
        known = self.known.get(name)
        if known is None or (known["size"], known["tag"]) != (entry.size, entry.tag):
            return False
        return known["here"] is None or known["here"] == _state(self.folder / name)

    def fetch(self, name: str) -> Path:
        """A file of the folder, fetched. Raises ``FileNotFoundError`` where it is gone."""
        path, url = self.folder / name, join(self.url, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = remote.look(url)
        if entry is None:
            raise FileNotFoundError(2, "no such object", url)
        if _late(name):
            cache.make_room(cache.shards_folder(), entry.size or 0)
        _download(url, entry.size, path)
        self.known[name] = {"size": entry.size, "tag": entry.tag, "here": _state(path)}
        return path

    def put(self, names: list[str]) -> None:
        """Puts files of the copy up, in this order; those that are there as they are, are left."""
        if self.guard:
            self.guard()
        changed = [name for name in names if (self.known.get(name) or {}).get("here") != _state(self.folder / name)]
        for name in changed:
            here = _state(self.folder / name)
            path = self.folder / name
            # what is small may be replaced while it is read: its bytes at one moment
            remote.write(join(self.url, name), path if path.name.endswith(LARGE) else path.read_bytes())
            entry = remote.look(join(self.url, name)) or Entry(None, "")
            self.known[name] = {"size": entry.size, "tag": entry.tag, "here": here}
            self._save()

    def remove(self, names: list[str]) -> None:
        """Removes objects; what says that others are whole goes first."""
        ordered = sorted(names, key=lambda name: not name.endswith(WHOLE))
        remote.remove(join(self.url, name) for name in ordered)
        for name in ordered:
            self.known.pop(name, None)
        if names:
            self._save()

    def bytes(self) -> int:
        """Of all objects of the folder."""
        return sum(known["size"] or 0 for known in self.known.values())


def _download(url: str, size: int | None, path: Path) -> None:
    """Fetches an object to a file, whole or not at all."""
    with storage.atomic(path) as file:
        for data in ranges.pieces(url, size):
            with storage.explained(path):
                file.write(data)


def _state(path: Path) -> tuple[int, int]:
    try:
        seen = path.stat()
    except OSError:
        return (-1, 0)
    return seen.st_size, seen.st_mtime_ns


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _late(name: str) -> bool:
    """Whether a file is fetched when it is read, not with the folder."""
    return name.endswith(".arrow") or (name.startswith(CHECKPOINTS) and name.endswith(LARGE))


def _early(name: str, size: int | None) -> bool:
    """Whether a file is fetched with the folder."""
    return not _late(name) and not name.startswith(LOGGERS) and (size or 0) <= SMALL


def read_copy(path: str | os.PathLike) -> Path:
    """A remote run's copy as it is now; any other path as it is."""
    if not is_remote(path):
        return Path(path)
    url = os.fsdecode(path).rstrip("/")
    copy = Copy(url, copy_place(RUNS, url))
    if copy.look() and copy.folder not in _USED:
        _USED[copy.folder] = cache.held(copy.folder.parent / cache.USED)
    return copy.folder


def of_run(function: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    """A function of a run's folder made one of remote folders, too; its errors call them by their URL."""

    @functools.wraps(function)
    def call(path: Any, *args: P.args, **kwargs: P.kwargs) -> R:
        if not isinstance(path, str | os.PathLike) or not is_remote(path):
            return function(path, *args, **kwargs)
        with by_name():
            return function(read_copy(path), *args, **kwargs)

    return call


@contextlib.contextmanager
def by_name() -> Iterator[None]:
    """Within the block errors call copies by the URL of what they are copies of."""
    try:
        yield
    except AlexNetError as error:
        text = str(error)
        if named(text) == text:
            raise
        renamed = error.__class__.__new__(error.__class__)
        Exception.__init__(renamed, named(text))
        vars(renamed).update(vars(error))
        raise renamed from error


def here(path: Path) -> Path:
    """A file that is read now: fetched first where it is of a remote run's copy and was not read before."""
    if not path.exists():
        copy = Copy.at(path)
        if copy is not None:
            name = path.relative_to(copy.folder).as_posix()
            if name in copy.known:
                try:
                    copy.fetch(name)
                except FileNotFoundError:  # replaced since it was looked at
                    copy.look()
                else:
                    copy._save()
    return path


def folder_bytes(path: Path) -> int | None:
    """Of all objects of the remote folder that a path is the copy of; None of any other path."""
    copy = Copy.at(path)
    return None if copy is None else copy.bytes()


def real_size(path: Path) -> int | None:
    """Bytes of a file, here or, of a copy, on the other side; None where it is at neither."""
    if path.exists():
        return path.stat().st_size
    copy = Copy.at(path)
    known = None if copy is None else copy.known.get(path.relative_to(copy.folder).as_posix())
    return None if known is None else known["size"]


def start_of(path: Path, count: int) -> bytes:
    """The first bytes of a file; of one that is not here yet, no more than these are fetched."""
    copy = None if path.exists() else Copy.at(path)
    if copy is not None and path.relative_to(copy.folder).as_posix() in copy.known:
        return remote.read_range(origin(path) or "", 0, count)[:count]
    with open(path, "rb") as file:
        return file.read(count)


def work_place(path: str | os.PathLike, part: str = "") -> Path:
    """Where a run, or a part of a dataset, is written until it is put where it belongs; a local path is its own."""
    if not is_remote(path):
        return Path(path)
    place = copy_place(WORK, os.fsdecode(path), part)
    note_origin(place, os.fsdecode(path))
    return place


@contextlib.contextmanager
def brought(path: str | os.PathLike) -> Iterator[Path]:
    """A local file or folder as it is; a remote one fetched, for the time of the block.

    Raises:
        FileNotFoundError: there is nothing.
    """
    if not is_remote(path):
        yield Path(path)
        return
    with _passing(path) as (url, place), by_name():
        names = [""] if remote.is_file(url) else list(remote.listing(url))
        for name in names:
            file = place / name if name else place
            file.parent.mkdir(parents=True, exist_ok=True)
            source = join(url, name) if name else url
            _download(source, (remote.look(source) or Entry(0, "")).size, file)
        yield place


@contextlib.contextmanager
def sent(path: str | os.PathLike) -> Iterator[Path]:
    """Where a file or a folder is made that belongs at ``path``: there, or here and put there at the block's end."""
    if not is_remote(path):
        yield Path(path)
        return
    with _passing(path) as (url, place), by_name():
        yield place
        if place.is_file():
            remote.write(url, place)
        else:
            work = Copy(url, place)
            work.put(sorted(work.names(), key=lambda name: (name.endswith(LAST), name)))


@contextlib.contextmanager
def _passing(path: str | os.PathLike) -> Iterator[tuple[str, Path]]:
    """A place of its own for a copy that is wanted for a while."""
    url = os.fsdecode(path).rstrip("/")
    place = copy_place(WORK, url, uuid.uuid4().hex)
    note_origin(place, url)
    try:
        yield url, place
    finally:
        drop_work(place)


def drop_work(folder: Path) -> None:
    """Removes a working copy of which all is where it belongs."""
    shutil.rmtree(folder.parent, ignore_errors=True)
