"""Links within an archive, followed as a file system would follow them once the archive were unpacked.

Whatever they say, they lead to members of the same archive or nowhere.
"""

import bisect
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from alexnet.data.sources.names import Names
from alexnet.data.sources.tree.rules import LEAVES, NOTHING, ROUND, LeftOut, hidden
from alexnet.errors import UsageError

MOST_HOPS = 40  # links in one path, as Linux has it
MOST_NAMES = 10_000_000  # that links to folders may make


class Link(NamedTuple):
    """A link member.

    Attributes:
        position: how many files come before it in the archive.
        name: its own.
        target: of a symbolic link the text that it holds, of a hard link a member's name.
        hard: which of the two.
        root: the folder that it cannot leave, without a slash at its end; empty for the whole archive.
    """

    position: int
    name: str
    target: str
    hard: bool
    root: str = ""


class _Segment(NamedTuple):
    """A part of a walk: the folder that was entered, and the one below it that was left through a link."""

    base: str
    leaf: str

    def holds(self, folder: str) -> bool:
        below_base = not self.base or folder == self.base or folder.startswith(self.base + "/")
        return below_base and (not folder or folder == self.leaf or self.leaf.startswith(folder + "/"))


class _Unresolved(Exception):
    """Why a link leads nowhere: one of the reasons of ``rules``."""


def follow(
    names: Names, links: Sequence[Link], folders: set[str], absolute: bool, left_out: LeftOut
) -> tuple[Names, np.ndarray]:
    """All names under which an archive's files can be had.

    Args:
        names: of the regular files, in the archive's order; the last of equal ones counts.
        links: in the archive's order.
        folders: every folder of the archive; those that links make are added.
        absolute: whether the archive has names that began with a slash, so that its root is the file system's.
        left_out: takes the links that lead nowhere.

    Returns:
        The names, sorted, and the position among ``names`` of each one's file.
    """
    latest = _latest(names, links, left_out)
    plain, positions = names.sorted_last()
    replaced = [i for name in latest if (i := find(plain, name)) is not None]
    if replaced:
        keep = np.ones(len(plain), bool)
        keep[replaced] = False
        plain, positions = plain.filter(keep), positions[keep]
    aliases = {name: target for name, target in latest.items() if isinstance(target, int)}
    if aliases:
        plain, positions = _joined(plain, positions, aliases)
    symbolic = {name: target for name, target in latest.items() if isinstance(target, Link)}
    walk = _Walk(plain, positions, symbolic, folders, absolute, left_out)
    for name in sorted(symbolic):
        walk.through(name, name, [_Segment(symbolic[name].root, _parent(name))])
    folders |= walk.made
    return _joined(plain, positions, walk.names) if walk.names else (plain, positions)


def _joined(names: Names, positions: np.ndarray, more: dict[str, int]) -> tuple[Names, np.ndarray]:
    everything, order = Names([*names, *more]).sorted_last()
    return everything, np.concatenate([positions, np.fromiter(more.values(), np.int64, len(more))])[order]


def _latest(names: Names, links: Sequence[Link], left_out: LeftOut) -> dict[str, int | Link]:
    """What each link's name stands for at the archive's end, where that is not a later plain file of that name.

    A hard link is the file that its target was when it was made: a later version of the target does not change it.
    """
    wanted = {link.name for link in links} | {link.target for link in links if link.hard}
    events = [(position, name) for position, name in enumerate(names) if name in wanted]
    now: dict[str, int | Link] = {}
    last: dict[str, int | Link] = {}
    at = 0
    for link in links:
        while at < len(events) and events[at][0] < link.position:
            position, name = events[at]
            now[name] = position
            last.pop(name, None)
            at += 1
        target: int | Link | None = now.get(link.target) if link.hard else link
        if target is None:
            if not hidden(link.name):
                left_out.add(NOTHING, link.name)
            continue
        if isinstance(target, Link):
            target = target._replace(name=link.name)
        now[link.name] = last[link.name] = target
    for _, name in events[at:]:
        last.pop(name, None)
    return last


class _Walk:
    """Every name that symbolic links make.

    Attributes:
        names: the names, and the position of the file that each stands for.
        made: the folders that they lie in.
    """

    def __init__(
        self,
        plain: Names,
        positions: np.ndarray,
        symbolic: dict[str, Link],
        folders: set[str],
        absolute: bool,
        left_out: LeftOut,
    ):
        self._plain, self._positions, self._symbolic = plain, positions, symbolic
        self._sorted = sorted(symbolic)
        self._folders, self._absolute, self._left_out = folders, absolute, left_out
        self.names: dict[str, int] = {}
        self.made: set[str] = set()

    def through(self, shown: str, link: str, path: list[_Segment]) -> None:
        """Follows one link, and those in the folder that it leads to.

        Args:
            shown: the name under which the walk came to it.
            link: its own name.
            path: how the walk got there.
        """
        if hidden(shown):
            return
        try:
            real = self._resolve(link)
            index = find(self._plain, real)
            if index is not None:
                self._add(shown, int(self._positions[index]))
                return
            if real not in self._folders and real != self._symbolic[link].root:
                raise _Unresolved(NOTHING)
            if any(segment.holds(real) for segment in path) or len(path) > MOST_HOPS:
                raise _Unresolved(ROUND)
        except _Unresolved as why:
            self._left_out.add(str(why), shown)
            return
        self.made.add(shown)
        below = f"{real}/" if real else ""
        for i in range(*range_below(self._plain, real)):
            name = self._plain[i]
            self._add(f"{shown}/{name[len(below) :]}", int(self._positions[i]))
        for inner in self._links_below(below):
            self.through(f"{shown}/{inner[len(below) :]}", inner, [*path, _Segment(real, _parent(inner))])

    def _add(self, name: str, position: int) -> None:
        self.names[name] = position
        self.made |= _above(name)
        if len(self.names) > MOST_NAMES:
            raise UsageError(f"its links make more than {MOST_NAMES:,} names of its files; unpack it and remove some")

    def _links_below(self, prefix: str) -> list[str]:
        first = bisect.bisect_left(self._sorted, prefix)
        return [name for name in self._sorted[first:] if name.startswith(prefix)] if prefix else list(self._sorted)

    def _resolve(self, link: str) -> str:
        """The name of the file or folder that a link leads to in the end. Raises ``_Unresolved``."""
        root = [part for part in self._symbolic[link].root.split("/") if part]
        todo = link.split("/")[::-1]
        done: list[str] = []
        hops = 0
        while todo:
            part = todo.pop()
            if part in ("", ".", ".."):
                if done and "/".join(done) not in self._folders:
                    raise _Unresolved(NOTHING)
                if part != "..":
                    continue
                if len(done) <= len(root):
                    raise _Unresolved(LEAVES)
                done.pop()
                continue
            done.append(part)
            target = self._symbolic.get("/".join(done))
            if target is None:
                continue
            hops += 1
            if hops > MOST_HOPS:
                raise _Unresolved(ROUND)
            done.pop()
            if target.target.startswith("/"):
                if not self._absolute:
                    raise _Unresolved(LEAVES)
                done = list(root)
            todo += target.target.lstrip("/").split("/")[::-1]
        return "/".join(done)


def _above(name: str) -> set[str]:
    parts = name.split("/")
    return {"/".join(parts[:count]) for count in range(1, len(parts))}


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def find(names: Names, name: str) -> int | None:
    """Where a name is among sorted ones."""
    index = bisect.bisect_left(names, _key(name), key=_key)
    return index if index < len(names) and names[index] == name else None


def range_below(names: Names, folder: str) -> tuple[int, int]:
    """The range of a folder's files among sorted names."""
    if not folder:
        return 0, len(names)
    return (
        bisect.bisect_left(names, _key(folder + "/"), key=_key),
        bisect.bisect_left(names, _key(folder + "0"), key=_key),  # "0" comes after "/"
    )
