"""What an archive's listing gathers member by member, and the names that come of it by the rules of all trees."""

import re

import numpy as np

from alexnet.data.sources.names import Names
from alexnet.data.sources.tree.base import parents
from alexnet.data.sources.tree.links import Link, follow, range_below
from alexnet.data.sources.tree.rules import (
    HIDDEN,
    HIDDEN_FILE,
    HIDDEN_FOLDER,
    LARGEST_MARK,
    MARKS,
    OUTSIDE,
    OWN,
    PICTURES,
    LeftOut,
    hidden,
    mark_of,
)

UNTIDY = re.compile(r"^/|//|/\Z|(?:^|/)\.\.?(?:/|\Z)")
HIDDEN_IN_RE2 = "(?i)" + HIDDEN.pattern.replace("(?=/|\\Z)", r"(?:/|\z)")
PICTURES_IN_RE2 = r"/(?:" + "|".join(map(re.escape, sorted(PICTURES))) + r")\z"


def tidy(name: str) -> str | None:
    """A member's name without ``./``, ``..`` and a slash at either end, as ``tar`` unpacks it.

    Returns:
        None where it leads outside; empty for the archive's own folder.
    """
    if not UNTIDY.search(name):
        return name
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                return None
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class Gathered:
    """An archive's members while they are listed.

    Attributes:
        folders: those seen.
        links: in the archive's order.
        marks: by the position of the file: the kind of folder that it tells.
        absolute: whether a name began with a slash.
        left_out: what is not listed.
        own: what the whole archive is, where it is something of this program's.
    """

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self.links: list[Link] = []
        self.marks: dict[int, str] = {}
        self.absolute = False
        self.left_out = LeftOut()
        self.own: str | None = None

    def name(self, name: str) -> str | None:
        """A member's name, tidied; None where it is left out, empty for the archive's own folder."""
        self.absolute = self.absolute or name.startswith("/")
        tidied = tidy(name)
        if tidied is None:
            self.left_out.add(OUTSIDE, name)
        return tidied

    def wants(self, name: str, size: int) -> bool:
        """Whether ``mark`` should see a file's content."""
        return name.rpartition("/")[2] in MARKS and size <= LARGEST_MARK

    def mark(self, position: int, name: str, content: bytes) -> None:
        """Looks at a file that may tell a folder of this program's."""
        kind = mark_of(name, content)
        if kind:
            self.marks[position] = kind

    def settled(self, names: Names) -> tuple[Names, np.ndarray, list[str]]:
        """The names that are listed.

        Args:
            names: of the regular files, in the archive's order.

        Returns:
            The names, sorted, each once; the position among ``names`` of each one's file; the folders, sorted.
        """
        self.folders -= {""}
        if self.links:
            self.folders |= parents([link.name for link in self.links])
            listed, positions = follow(names, self.links, self.folders, self.absolute, self.left_out)
        else:
            listed, positions = names.sorted_last()
        keep = np.ones(len(listed), bool)
        own = self._own_folders(listed, positions)
        for folder, kind in own.items():
            first, last = range_below(listed, folder)
            if keep[first:last].any():
                self.left_out.add(OWN[kind], folder)
            keep[first:last] = False
        gone = set(own)
        for i in listed.matching(HIDDEN_IN_RE2).tolist():
            if not keep[i] or (top := hidden(listed[i])) is None:
                continue
            keep[i] = False
            if top == listed[i]:
                self.left_out.add(HIDDEN_FILE, top)
            elif top not in gone:
                self.left_out.add(HIDDEN_FOLDER, top)
                gone.add(top)
        if not keep.all():
            listed, positions = listed.filter(keep), positions[keep]
        return listed, positions, self._visible(listed, gone)

    def _own_folders(self, listed: Names, positions: np.ndarray) -> dict[str, str]:
        """The folders that are datasets, runs, exports or hold nothing but pictures of runs, sorted."""
        folders: dict[str, str] = {}
        if self.marks:
            for i in np.flatnonzero(np.isin(positions, list(self.marks))).tolist():
                folders[listed[i].rpartition("/")[0]] = self.marks[int(positions[i])]
        self.own = folders.pop("", None)
        for i in listed.matching(PICTURES_IN_RE2).tolist():
            folder = listed[i].rpartition("/")[0]
            if folder not in folders and all(
                listed[j][len(folder) + 1 :] in PICTURES for j in range(*range_below(listed, folder))
            ):
                folders[folder] = "folder of pictures"
        return dict(sorted(folders.items()))

    def _visible(self, listed: Names, gone: set[str]) -> list[str]:
        """The folders without those left out, and without those that hold nothing but such."""
        if not gone:
            return sorted(folder for folder in self.folders if not hidden(folder))
        emptied = parents(gone) | gone
        held = {folder for folder in emptied if len(range(*range_below(listed, folder)))}
        return sorted(
            folder
            for folder in self.folders
            if not hidden(folder) and (folder not in emptied or folder in held) and not parents([folder]) & gone
        )
