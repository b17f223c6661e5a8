"""Which files of a tree are nobody's photos: one rule for folders, archives and `predict`, and what it left out."""

import collections
import json
import re

from alexnet.files.kinds import IMAGE_ENDINGS as IMAGE_ENDINGS

# Beside names that begin with a dot: what macOS, Windows, Linux, Synology, QNAP and NetApp leave in shared folders.
SYSTEM = (
    *("__MACOSX", "Icon\r", "Network Trash Folder", "Temporary Items", "TheFindByContentFolder"),
    *("TheVolumeSettingsFolder", "System Volume Information", "$RECYCLE.BIN", "RECYCLER", "$Extend", "Thumbs.db"),
    *("ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "WPSettings.dat", "lost+found", "@eaDir", "@tmp"),
    *("@Recycle", "@Recently-Snapshot", "@Snapshot", "@sharebin", "@SynoResource", "@SynoEAStream", "#recycle"),
    *("#snapshot", "~snapshot", "__pycache__"),
)
HIDDEN = re.compile(r"(?:^|/)(?:\.[^/]*|FOUND\.\d{3}|" + "|".join(map(re.escape, SYSTEM)) + r")(?=/|\Z)", re.I | re.A)

# Files that tell a folder of this program's, and what they hold at least.
MARKS = {
    "dataset.json": ("dataset", {"format_version", "classes", "shards"}),
    "prepare.json": ("dataset", {"shard_rows", "source"}),
    "run.json": ("run", {"net", "classes"}),
    "recipe.json": ("run", {"net", "epochs"}),
    "config.json": ("export", {"architectures", "id2label", "classes"}),
}
LARGEST_MARK = 1 << 26  # bytes
PICTURES = frozenset({"curve.png", "filters.png", "predictions.png"})

HIDDEN_FILE, HIDDEN_FOLDER = "hidden or system file", "hidden or system folder"
LEAVES, NOTHING, ROUND = "link that leaves the source", "link to nothing", "link that goes round"
OUTSIDE, DEVICE, UNKNOWN = "name that leads outside", "pipe, socket or device", "member of unknown kind"
TARGET = "the dataset that is being made"
OWN = {kind: f"{kind} of alexnet's" for kind in ("dataset", "run", "export", "folder of pictures")}
SEVERAL = {
    HIDDEN_FILE: "hidden or system files",
    HIDDEN_FOLDER: "hidden or system folders",
    LEAVES: "links that leave the source",
    NOTHING: "links to nothing",
    ROUND: "links that go round",
    OUTSIDE: "names that lead outside",
    DEVICE: "pipes, sockets or devices",
    UNKNOWN: "members of unknown kind",
    **{
        reason: reason.replace(kind, f"{kind}s" if kind != "folder of pictures" else "folders of pictures")
        for kind, reason in OWN.items()
    },
}


class LeftOut:
    """What a tree holds and does not list: how many of each kind, and the name of one of them."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.examples: dict[str, str] = {}

    def add(self, reason: str, name: str, count: int = 1) -> None:
        """One more, or several, for a reason."""
        self.counts[reason] += count
        self.examples.setdefault(reason, name)

    def update(self, other: "LeftOut") -> None:
        """All of another's as well."""
        for reason, count in other.counts.items():
            self.add(reason, other.examples[reason], count)

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        """One line: ``left out: 10 links that leave the source (x/y), 80 hidden or system files (cat/._1.jpg)``."""
        parts = [
            f"{_counted(count, reason)} ({printable(self.examples[reason])})" for reason, count in self.counts.items()
        ]
        return f"left out: {', '.join(parts)}"


def _counted(count: int, reason: str) -> str:
    return reason if reason == TARGET else f"{count:,} {reason if count == 1 else SEVERAL[reason]}"


def printable(name: str) -> str:
    """A name on one line, whatever characters it has."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def hidden(name: str) -> str | None:
    """The hidden or system file or folder that a name is, or is in; None if it is in none."""
    match = HIDDEN.search(name)
    return name[: match.end()] if match else None


def is_image(name: str) -> bool:
    """Whether a file is called like an image."""
    return name.lower().endswith(IMAGE_ENDINGS)


def mark_of(name: str, content: bytes) -> str | None:
    """What a folder that holds this file is: a ``dataset``, ``run`` or ``export`` of this program's, or None."""
    kind, keys = MARKS[name.rpartition("/")[2]]
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return kind if isinstance(value, dict) and keys <= set(value) else None
