"""Where this program keeps copies of what lies elsewhere, and what a copy there is a copy of.

The folder is this user's: ``ALEXNET_CACHE``, or ``alexnet/remote`` in the user's cache. In it::

    shards/SHA256               pieces of datasets, by their hash
    runs/KEY/NAME               runs that are read
    work/KEY/NAME               runs and datasets that are being written, until all of them is where it belongs
"""

import hashlib
import os
import re
import sys
from pathlib import Path

from alexnet.errors import UsageError

CACHE, SIZE = "ALEXNET_CACHE", "ALEXNET_CACHE_SIZE"
DEFAULT_BYTES = 100 * 10**9
UNITS = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
RUNS, WORK, SHARDS = "runs", "work", "shards"
ORIGIN = "origin"  # the file beside a copy that says what it is of


def cache_folder() -> Path:
    """Where copies are kept; it may not be there yet."""
    own = os.environ.get(CACHE, "")
    if own:
        return Path(os.path.abspath(os.path.expanduser(own)))
    home = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(home):  # the specification has such values ignored
        home = os.environ.get("LOCALAPPDATA", "") if sys.platform == "win32" else ""
        home = home or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(os.path.abspath(os.path.join(home, "alexnet", "remote")))


def cache_limit() -> int:
    """How many bytes copies may take together. Raises ``UsageError`` where the environment says no size."""
    text = os.environ.get(SIZE, "").strip()
    if not text:
        return DEFAULT_BYTES
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", text.upper())
    if match is None:
        raise UsageError(f"{SIZE}={text}: is no size; give 50GB, say")
    return round(float(match[1]) * UNITS[match[2]])


def copy_place(kind: str, url: str, part: str = "") -> Path:
    """Where the copy of a remote folder, or of a part of one, is or will be. Its own name is that of the folder."""
    url = url.rstrip("/")
    key = hashlib.sha256(f"{url}\n{part}".encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return cache_folder() / kind / key / _name(url)


def _name(url: str) -> str:
    return re.sub(r"[^\w.-]", "_", url.rpartition("/")[2])[:60] or "folder"


def note_origin(copy: Path, url: str) -> None:
    """Says of a copy what it is of."""
    copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    (copy.parent / ORIGIN).write_text(url.rstrip("/"), encoding="utf-8", errors="surrogateescape")


def origin(path: str | os.PathLike) -> str | None:
    """The URL that a path in a copy stands for; None of any other path."""
    root, path = str(cache_folder()), os.fspath(path)
    if not path.startswith(root + os.sep):
        return None
    parts = Path(path[len(root) + 1 :]).parts
    if len(parts) < 3 or parts[0] not in (RUNS, WORK):
        return None
    try:
        url = Path(root, *parts[:2], ORIGIN).read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return "/".join([url, *parts[3:]])


def copy_of(path: str | os.PathLike) -> Path | None:
    """The copied folder that a path is of, or in; None of any other path."""
    if origin(path) is None:
        return None
    root = cache_folder()
    return root.joinpath(*Path(path).relative_to(root).parts[:3])


def folder_name(path: str | os.PathLike) -> str:
    """The last part of a folder's path, local or remote."""
    text = os.fspath(path)
    return text.rstrip("/").rpartition("/")[2] if "://" in text else Path(text).resolve().name


def named(text: str) -> str:
    """A text in which copies are called by the URL of what they are copies of."""
    root = str(cache_folder())
    if root not in text:
        return text
    sep = re.escape(os.sep)
    copies = re.compile(rf"{re.escape(root)}{sep}(?:{RUNS}|{WORK}){sep}[0-9a-f]{{16}}{sep}[\w.-]+")

    def called(match: re.Match[str]) -> str:
        url = origin(match[0])
        if url is None:
            return match[0]
        return url + Path(match[0]).name.removeprefix(_name(url))  # with what may follow: a name like it

    return copies.sub(called, text)
