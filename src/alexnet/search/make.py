"""Making an index, and keeping it current: what is new is computed, what is gone leaves, the rest stays."""

import contextlib
import dataclasses
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from alexnet import files
from alexnet.errors import AlexNetError, Interrupted, UsageError, check_threads
from alexnet.evaluation.activations import shapes
from alexnet.evaluation.classifier import AnyRun, Classifier, opened
from alexnet.files import mistakes
from alexnet.nets.layer_names import canonical
from alexnet.progress import plural
from alexnet.search.changes import Changes, changes_of
from alexnet.search.commit import Before, committed
from alexnet.search.images import NONE, Images, read_images
from alexnet.search.left_out import as_followed, followed, leave_out, paths_of, within, without
from alexnet.search.library import faiss
from alexnet.search.manifest import (
    MANIFEST,
    Bound,
    Content,
    bound_of,
    change_of,
    check_bound,
    read_manifest,
    read_whole,
    remove_others,
)
from alexnet.search.pieces import (
    Piece,
    check_numbers,
    check_room,
    computed_pieces,
    known_pieces,
    work_folder,
)
from alexnet.search.source import Source

MOST_NUMBERS = 1 << 16  # of an image: fc7 has 4,096, conv5 43,264


@dataclasses.dataclass(frozen=True)
class Made:
    """What ``make_index`` did.

    Attributes:
        images: in the index now.
        computed, kept, moved, removed: images of this command; those that were moved are among the kept.
        unreadable: images that could not be read.
        kind: ``exact`` or ``approximate``.
        recall: of the ten nearest, measured on the index's own images; 1 of an exact one.
        recall_images: how many were searched for.
        bytes: of the index on disk.
        typical: the median distance of two of its images.
    """

    images: int
    computed: int
    kept: int
    moved: int
    removed: int
    unreadable: int
    kind: str
    recall: float
    recall_images: int
    bytes: int
    typical: float


def make_index(
    run: AnyRun,
    source: str | os.PathLike,
    index: str | os.PathLike,
    *,
    layer: str | None = None,
    remove: bool = False,
    workers: int = 2,
    note: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] | None = None,
) -> Made:
    """Makes an index of a source's images, or makes one follow the source: given again, it computes what is new.

    Interrupted, the same call goes on where it stopped. The index changes as a whole, at the end. What was taken out
    stays out until its own path is given as the source.

    Args:
        run: opened, or its folder.
        source: a folder, archive, image file or dataset; several are added one after the other.
        index: the folder to make or change.
        layer: of the net's table; if not given that of the index, or fc7 (paper 6.1), or the last hidden one.
        remove: take the source's images out instead; the source need not be there any more.
        workers: threads that decode.
        note: called with a line on what is left out, taken over, unreadable.
        progress: called with images done and images in all.

    Raises:
        UsageError: no such run, source or layer; an index of another run.
        AlexNetError: the disk is full; a damaged index.
    """
    check_threads("--workers", workers)
    faiss()
    opens = source if remove else source_of(index, source)
    wanted = [("run", run), *([] if remove else [("images or dataset", opens)]), ("new index", index)]
    mistakes.check_order("index", *wanted)
    classifier = opened(run)
    folder = _folder(index, remove)
    layer = canonical(classifier.net.table, layer or _default_layer(classifier, folder))[0]
    numbers = math.prod(shapes(classifier, [layer])[layer])
    check_numbers(layer, numbers, MOST_NUMBERS)
    bound = bound_of(classifier, layer, numbers)
    images = None if remove else Source(opens, note, _words(classifier))
    files.make_folder(folder)
    with files.owned(folder, say=note):
        files.remove_leftovers(folder, owned=True)
        before = _before(folder)
        if before:
            check_bound(folder, before.content["bound"], bound)
            remove_others(folder, before.content)
        if images is not None:
            with _kept_said(folder, before):
                return _followed(folder, before, bound, classifier, images, source, workers, note, progress)
        assert before is not None  # else it was refused above
        return _removed(folder, before, source)


def _followed(
    folder: Path,
    before: Before | None,
    bound: Bound,
    classifier: Classifier,
    source: Source,
    asked: str | os.PathLike,
    workers: int,
    note: Callable[[str], None],
    progress: Callable[[int, int], None] | None,
) -> Made:
    """An index that has what a source has; ``asked`` is the path that was given, the source's or one in it."""
    images, sources, before_out = (before.images, *_paths(before.content)) if before else (NONE, [], [])
    _, left_out = followed(as_followed(asked, sources), sources, before_out)
    leave_out(source, left_out, note)
    if source.path not in sources:
        sources.append(source.path)
    number, stamps = sources.index(source.path), source.stamps()
    changes = changes_of(images, number, source, stamps)
    check_room(folder, len(changes.new), bound["numbers"])
    work = work_folder(folder, files.sha256_text(files.to_json(dict(bound), None)))
    pieces, problems = _pieces(work, bound["layer"], classifier, source, stamps, changes, workers, note, progress)
    others = images.some(np.flatnonzero(images.sources != number))
    kept = _renewed(images, changes, source, stamps, number).and_those(others)
    new = _new(pieces, number, source)
    if not len(kept) + len(new):
        shutil.rmtree(work, ignore_errors=True)
        raise AlexNetError(f"{source.path}: not one of its images could be read; {folder} stays as it was")
    unchanged = not len(new) and not changes.gone and _same(images, kept) and left_out == before_out
    if before and unchanged:
        content = before.content
    else:
        named, out = ([files.kept(path) for path in paths] for paths in (sources, left_out))
        content = committed(folder, before, kept, new, pieces, bound, named, out)
    shutil.rmtree(work, ignore_errors=True)
    return _made(folder, content, len(new), len(changes.kept), changes.moved, len(changes.gone), problems)


def _removed(folder: Path, before: Before, source: str | os.PathLike) -> Made:
    """An index without the images at a path."""
    images, (sources, left_out) = before.images, _paths(before.content)
    path = as_followed(source, sources)
    gone = np.array([within(name, path) for name in paths_of(images, sources)], bool)
    if not gone.any():
        raise UsageError(
            f"{source}: the index {folder} has no image of it; give a path as `alexnet index` was given it"
        )
    if gone.all():
        raise UsageError(f"{source}: holds every image of the index; remove the folder {folder} instead")
    kept, used = without(images.some(np.flatnonzero(~gone)), sources, path)
    out = [other for other in left_out if not within(other, path)] + [path]
    named, out = ([files.kept(path) for path in paths] for paths in (used, out))
    content = committed(folder, before, kept, NONE, [], before.content["bound"], named, out)
    return _made(folder, content, 0, len(kept), 0, int(gone.sum()), 0)


def _pieces(
    work: Path,
    layer: str,
    classifier: Classifier,
    source: Source,
    stamps: np.ndarray,
    changes: Changes,
    workers: int,
    note: Callable[[str], None],
    progress: Callable[[int, int], None] | None,
) -> tuple[list[Piece], int]:
    """Activations of what is new, and how many images could not be read."""
    problems: list[str] = []

    def problem(line: str) -> None:
        problems.append(line)
        note(line)

    pieces = known_pieces(work, source, stamps, changes.new)
    known = {int(member) for piece in pieces for member in piece.members[piece.wanted]}
    left = [place for place in changes.new if place not in known]
    if known:
        note(f"{plural(len(known), 'image')} were computed by an earlier command; going on with {len(left):,} others")
    numbers = [int(piece.path.stem.rpartition("-")[2]) for piece in pieces]
    done = len(known)
    for piece in computed_pieces(
        work, max(numbers, default=-1) + 1, classifier, layer, source, stamps, left, workers, problem
    ):
        pieces.append(piece)
        done += len(piece.members)
        if progress:
            progress(done + len(problems), len(changes.new))
    return [piece for piece in pieces if len(piece.wanted)], len(problems)


def _renewed(images: Images, changes: Changes, source: Source, stamps: np.ndarray, number: int) -> Images:
    """The images that stay, under the names and stamps that they have now."""
    old = images.some(np.array(changes.kept, np.int64))
    names, labels = ([texts[member] for member in changes.members] for texts in (source.names, source.labels))
    same = Images.of(old.rows, number, names, labels, stamps[changes.members], old.hashes)
    return same.some(np.argsort(same.rows, kind="stable"))


def _new(pieces: list[Piece], number: int, source: Source) -> Images:
    """The images that were computed, in the order of the pieces; their rows count from 0."""
    members = [int(member) for piece in pieces for member in piece.members[piece.wanted]]
    if not members:
        return NONE
    names, labels = ([texts[member] for member in members] for texts in (source.names, source.labels))
    stamps = np.concatenate([piece.stamps[piece.wanted] for piece in pieces])
    hashes = np.concatenate([piece.hashes[piece.wanted] for piece in pieces])
    return Images.of(np.arange(len(members)), number, names, labels, stamps, hashes)


def source_of(index: str | os.PathLike, source: str | os.PathLike) -> str | os.PathLike:
    """What is opened for a source that an index is given: of a path that was taken out, the source around it.

    Raises:
        UsageError: the index has its images already.
        AlexNetError: a damaged index.
    """
    if files.is_remote(index) or not Path(os.fsdecode(index), MANIFEST).is_file():
        return source
    sources, left_out = _paths(read_manifest(index))
    opens = followed(as_followed(source, sources), sources, left_out)[0]
    return source if opens == files.absolute(os.fsdecode(source)) else opens


def _paths(content: Content) -> tuple[list[str], list[str]]:
    """The paths that an index follows, and those that it leaves out."""
    return [files.real(path) for path in content["sources"]], [files.real(path) for path in content.get("left_out", [])]


@contextlib.contextmanager
def _kept_said(folder: Path, before: Before | None) -> Iterator[None]:
    """An interruption says whether the index is as it was, and what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        if (folder / MANIFEST).exists() and (not before or before.content["change"] != read_manifest(folder)["change"]):
            raise Interrupted(
                f"{folder}: interrupted when the index was changed already; nothing is left to do"
            ) from None
        raise Interrupted(
            f"{folder}: interrupted; the index is {'as it was' if before else 'not there yet'}, activations that were"
            " computed are kept, and the same command goes on with the others"
        ) from None


def _same(before: Images, now: Images) -> bool:
    return before.names == now.names and before.labels == now.labels and bool((before.stamps == now.stamps).all())


def _folder(index: str | os.PathLike, is_old: bool) -> Path:
    """The index's folder; refused where it holds something else, or nothing though it should be there."""
    folder = Path(os.fsdecode(index))
    if not (folder / MANIFEST).is_file():
        if is_old:
            mistakes.refuse(index, "index")
        entries = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        if any(not name.startswith(".") and change_of(name) != 1 for name in entries):
            mistakes.refuse(index, "new index")
    return folder


def _before(folder: Path) -> Before | None:
    """The index that is there."""
    if not (folder / MANIFEST).exists():
        return None
    return Before(*read_whole(folder, read_images))


def _words(classifier: Classifier) -> dict[str, str]:
    """What people call the classes."""
    return {name: word.partition(", ")[0] for name, word in zip(classifier.classes, classifier.words)}


def _default_layer(classifier: Classifier, folder: Path) -> str:
    """The layer of an index that is there; else fc7, or the last hidden one of a net without."""
    names = classifier.net.names
    if (folder / MANIFEST).exists():
        layer = read_manifest(folder)["bound"]["layer"]
        if layer.partition(":")[0] in names:
            return layer
    return "fc7" if "fc7" in names else names[max(0, len(names) - 2)]


def _made(folder: Path, content: Content, computed: int, kept: int, moved: int, removed: int, unreadable: int) -> Made:
    return Made(
        images=content["images"], computed=computed, kept=kept, moved=moved, removed=removed, unreadable=unreadable,
        kind=content["kind"], recall=1.0 if content["recall"] is None else content["recall"],
        recall_images=content["recall_images"],
        bytes=sum((folder / part["file"]).stat().st_size for part in content["parts"].values()),
        typical=content["typical"],
    )  # fmt: skip
