"""What a path is, of all that a command may be given: told by names and first bytes, in bounded time.

What is not where it should be is looked at to say what it is instead; nothing here decides how it is read.
"""

import dataclasses
import os
import re
from collections.abc import Iterator

from alexnet.files.storage import is_remote

DATASET, UNFINISHED, RUN, CHECKPOINT, EXPORT = "dataset", "unfinished dataset", "run", "checkpoint", "export"
DAMAGED, INDEX = "damaged run", "index"
SEEDS, HOLDER, PART = "folder of runs", "folder around", "part"
IMAGES, SOURCES, FOLDER, EMPTY = "folder of images", "folder of archives or tables", "folder", "empty folder"
IMAGE, ARCHIVE, TABLE, NET, RECIPE, WEIGHTS, FILE = "image", "archive", "table", "net", "recipe", "weights", "file"
NOTHING, BLANK, REMOTE = "nothing", "blank", "remote"

IMAGE_ENDINGS = (
    *(".jpeg", ".jpg", ".jfif", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".heic", ".heif", ".avif"),
)
IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
ARCHIVE_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
ARCHIVE_STARTS = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00")
TABLE_ENDINGS = (".csv", ".tsv", ".parquet", ".arrow")
WEIGHTS_ENDINGS = (".pth", ".pt", ".safetensors", ".caffemodel", ".onnx", ".bin", ".ckpt")
MAKER = "alexnet"  # what pictures and pages that we draw say of themselves
MARKS = (  # files that say what a folder is
    (("alexnet-index.json",), INDEX),
    (("dataset.json",), DATASET),
    (("prepare.json",), UNFINISHED),
    (("run.json",), RUN),
    (("recipe.json",), DAMAGED),
    (("checkpoint.json",), CHECKPOINT),
    (("config.json", "preparation.safetensors"), EXPORT),
)
WORDS = {
    DATASET: "a dataset",
    UNFINISHED: "a dataset whose preparation was not finished",
    RUN: "a run",
    DAMAGED: "a run that lacks its run.json",
    EXPORT: "an exported run",
    INDEX: "an index of images",
    EMPTY: "an empty folder",
    IMAGE: "an image",
    ARCHIVE: "an archive",
    TABLE: "a table",
    NET: "a net's table",
    RECIPE: "a recipe",
    WEIGHTS: "a file of weights",
    NOTHING: "nothing",
    BLANK: "empty",
    REMOTE: "a URL",
}
MOST_LOOKED_AT = 1000  # entries of a folder and those below it
MOST_FOLDERS = 200  # that are looked for a dataset or a run


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a path is.

    Attributes:
        name: one of the names above.
        words: with its article: ``a folder of 40 images``.
        inside: of a part, a checkpoint or a folder around others: the dataset or run that is meant.
    """

    name: str
    words: str
    inside: str = ""


def kind_of(path: str | os.PathLike[str], wanted: str = "") -> Kind:
    """What is at a path; never raises. A remote path is not looked at.

    Args:
        path: where.
        wanted: which kind to name first of those that a folder has in it.
    """
    path = os.fsdecode(path)
    if not path.strip():
        return _plain(BLANK)
    if is_remote(path):
        return _plain(REMOTE)
    try:
        if os.path.isdir(path):
            return _folder(path, wanted)
        return _file(path) if os.path.lexists(path) else _plain(NOTHING)
    except (OSError, ValueError):  # nobody may look there; a name with a zero byte
        return _plain(NOTHING)


def _plain(name: str) -> Kind:
    return Kind(name, WORDS[name])


def mark_of(path: str | os.PathLike[str]) -> str | None:
    """What a folder is by the files in it; None where none of them says so."""
    return next(
        (kind for names, kind in MARKS if all(os.path.exists(os.path.join(path, name)) for name in names)), None
    )


def _folder(path: str, wanted: str) -> Kind:
    mark = mark_of(path)
    if mark == CHECKPOINT:
        return _checkpoint(path)
    if mark:
        return _plain(mark)
    above = os.path.dirname(os.path.normpath(path)) or "."
    if mark_of(above) == RUN and os.path.basename(os.path.normpath(path)) == "checkpoints":
        return Kind(PART, f"the folder of the checkpoints of the run {above}", above)
    return _around(path, wanted) or _contents(path)


def _checkpoint(path: str) -> Kind:
    run = os.path.dirname(os.path.dirname(os.path.normpath(path))) or "."
    return Kind(CHECKPOINT, f"a checkpoint of the run {run}" if mark_of(run) == RUN else "a checkpoint", run)


def _around(path: str, wanted: str) -> Kind | None:
    """A folder of runs (``train --seeds``), or one around a dataset or a run."""
    inner = {}
    with os.scandir(path) as entries:
        for entry, _ in zip(entries, range(MOST_FOLDERS)):
            if os.path.isdir(entry.path) and (mark := mark_of(entry.path)) in (DATASET, UNFINISHED, RUN):
                inner[entry.name] = mark
    several = {RUN: "runs", DATASET: "datasets", UNFINISHED: "unfinished datasets"}
    for kind in sorted(several, key=lambda kind: kind != wanted):
        names = sorted((name for name in inner if inner[name] == kind), key=_by_number)
        if len(names) > 1 and kind == RUN and all(name.startswith("seed-") for name in names):
            return Kind(SEEDS, f"a folder of {len(names)} runs ({names[0]} to {names[-1]})", _join(path, names[0]))
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            count = several[kind] if len(names) > 1 else several[kind].removesuffix("s")
            return Kind(HOLDER, f"a folder with the {count} {shown} in it", _join(path, names[0]))
    return None


def _join(path: str, name: str) -> str:
    return name if path == "." else os.path.join(path, name)


def _by_number(name: str) -> tuple[str, int]:
    digits = re.search(r"\d*$", name)
    assert digits
    return name[: digits.start()], int(digits[0] or 0)


def _below(path: str) -> Iterator[os.DirEntry[str]]:
    """Entries of a folder, then of those below it, level by level."""
    waiting = [path]
    while waiting:
        with os.scandir(waiting.pop(0)) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _contents(path: str) -> Kind:
    """What a folder without a mark holds, by the first entries."""
    images = sources = looked_at = 0
    example = ""
    entries = _below(path)
    for entry in entries:
        looked_at += 1
        name = entry.name.lower()
        images += name.endswith(IMAGE_ENDINGS)
        sources += name.endswith((*ARCHIVE_ENDINGS, *TABLE_ENDINGS)) or name.startswith("data_batch_")
        example = example if example and not example.startswith(".") else entry.name
        if looked_at == MOST_LOOKED_AT:
            break
    if not looked_at:
        return _plain(EMPTY)
    if images:
        if next(entries, None) is not None:
            return Kind(IMAGES, f"a folder of images ({images:,} among the {looked_at:,} entries looked at)")
        return Kind(IMAGES, f"a folder of {images:,} image{'s' if images > 1 else ''}")
    if sources:
        return Kind(SOURCES, "a folder of archives or tables")
    return Kind(FOLDER, f"a folder without images ({example}{', ...' if looked_at > 1 else ''})")


def _file(path: str) -> Kind:
    name = os.path.basename(path).lower()
    if name.endswith(IMAGE_ENDINGS):
        return _plain(IMAGE)
    above = os.path.dirname(path) or "."
    mark = mark_of(above)
    if mark in (DATASET, UNFINISHED, RUN, INDEX):
        what = mark if mark in (RUN, INDEX) else DATASET
        return Kind(PART, f"a file of the {what} {above}", above)
    if mark == CHECKPOINT:
        run = _checkpoint(above).inside
        return Kind(PART, f"a file of a checkpoint of the run {run}", run)
    endings = ((ARCHIVE_ENDINGS, ARCHIVE), (TABLE_ENDINGS, TABLE), (WEIGHTS_ENDINGS, WEIGHTS))
    by_name = next((kind for known, kind in endings if name.endswith(known)), None)
    if by_name:
        return _plain(by_name)
    head = b""
    if os.path.isfile(path):  # a pipe would wait for who writes into it
        with open(path, "rb") as file:
            head = file.read(1 << 14)
    if head.startswith(IMAGE_STARTS):
        return _plain(IMAGE)
    if head.startswith(ARCHIVE_STARTS):
        return _plain(ARCHIVE)
    if name.endswith(".toml"):
        return _plain(NET if b"[layers" in head or re.search(rb"^\s*base\s*=", head, re.MULTILINE) else RECIPE)
    if name.endswith(".json") and b'"epochs"' in head:
        return _plain(RECIPE)
    return Kind(FILE, "a file of another kind" if head else "an empty file")


def is_another_picture(path: str | os.PathLike) -> bool:
    """Whether a file is there that holds an image or a page which is none of ours, whatever its name is.

    Ours name their maker at their beginning, and may be drawn again.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(2048)
    except OSError:
        return False
    ours = (f"Software\0{MAKER}", f'name="generator" content="{MAKER}"')
    drawn = head.startswith((*IMAGE_STARTS, *ARCHIVE_STARTS)) or os.fspath(path).lower().endswith((".png", ".html"))
    return drawn and not any(mark.encode() in head for mark in ours)
