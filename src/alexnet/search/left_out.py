"""What was taken out of an index with ``--remove`` stays out of it until its own path is given again."""

import os
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from alexnet import files
from alexnet.errors import UsageError
from alexnet.files import mistakes
from alexnet.progress import plural
from alexnet.search.images import Images
from alexnet.search.source import Source


def within(path: str, outer: str) -> bool:
    """Whether a path is another one, or lies in it."""
    outer = outer.rstrip("/\\")
    return path.rstrip("/\\") == outer or path.startswith((outer + "/", outer + os.sep))


def paths_of(images: Images, sources: list[str]) -> list[str]:
    """Where images are; of those in an archive the archive's path with the name behind it."""
    return [
        files.join(sources[number], name) if name else sources[number]
        for number, name in zip(images.sources.tolist(), images.names)
    ]


def followed(
    source: Source, sources: Sequence[str], left_out: Sequence[str], again: Callable[[str], Source]
) -> tuple[Source, list[str]]:
    """The source that an index follows when it is given a path, and what stays out of it.

    Args:
        source: at the path.
        sources: absolute paths that the index follows.
        left_out: absolute paths in these that were taken out.
        again: opens one of the sources.

    Returns:
        A source and paths. A path that was taken out, or one around it, is taken in again, with the source around it.

    Raises:
        UsageError: the path lies in a source, or around it: its images would be there twice.
    """
    path = source.path
    if path in sources:
        return source, list(left_out)
    stays = [other for other in left_out if not within(other, path)]
    outer = next((other for other in sources if within(path, other)), None)
    if outer is None:
        inner = next((other for other in sources if within(other, path)), None)
        if inner is None:
            return source, stays
        remedy = f"take that one out first: {mistakes.quoted('alexnet', 'index', 'RUN', inner, 'INDEX', '--remove')}"
        raise UsageError(f"{path}: lies around {inner}, whose images the index has; {remedy}")
    if len(stays) < len(left_out):
        return again(outer), stays
    around = next((other for other in left_out if within(path, other)), None)
    if around is not None:
        raise UsageError(f"{path}: was taken out of the index with {around}; give that path to take it in again")
    raise UsageError(f"{path}: lies in {outer}, whose images the index has; give that one again")


def leave_out(source: Source, left_out: Iterable[str], note: Callable[[str], None]) -> None:
    """Takes images that are to stay out from a source, and says so in a line."""
    paths = [path for path in left_out if within(path, source.path)]
    if not paths:
        return
    outer = source.path.rstrip("/\\")
    inside = [path[len(outer) :].replace(os.sep, "/").strip("/") for path in paths]
    out = {name for name in source.names if any(within(name, other) for other in inside)}
    source.keep([place for place, name in enumerate(source.names) if name not in out])
    if out:
        others = f" and {plural(len(paths) - 1, 'other path')}" if len(paths) > 1 else ""
        note(
            f"{plural(len(out), 'image')} stay out, which --remove took out: {paths[0]}{others}; to take them in again,"
            " give that path as SOURCE"
        )


def only_used(images: Images, sources: list[str]) -> tuple[Images, list[str]]:
    """Images whose sources are counted anew, and those of the sources that have some."""
    used, numbers = np.unique(images.sources, return_inverse=True)
    counted = Images(
        images.rows, numbers.astype(np.int32), images.names, images.labels, images.stamps, images.hashes
    )  # fmt: skip
    return counted, [sources[number] for number in used.tolist()]
