"""What was taken out of an index with ``--remove`` stays out of it until its own path is given again."""

import os
from collections.abc import Callable, Iterable, Sequence

from alexnet import files
from alexnet.errors import UsageError
from alexnet.files import mistakes
from alexnet.search.images import Images
from alexnet.search.source import Source

SEPARATORS = "/" if os.sep == "/" else "/\\"  # elsewhere a backslash is a letter of a name


def within(path: str, outer: str) -> bool:
    """Whether a path is another one, or lies in it."""
    outer = outer.rstrip(SEPARATORS)
    return path.rstrip(SEPARATORS) == outer or path.startswith(tuple(outer + separator for separator in SEPARATORS))


def paths_of(images: Images, sources: list[str]) -> list[str]:
    """Where images are; of those in an archive the archive's path with the name behind it."""
    return [
        files.join(sources[number], name) if name else sources[number]
        for number, name in zip(images.sources.tolist(), images.names)
    ]


def as_followed(path: str | os.PathLike, sources: Iterable[str]) -> str:
    """A path as an index calls it: absolute, and below a source by the source's own name, whatever links lead there."""
    absolute = files.absolute(os.fsdecode(path))
    if files.is_remote(absolute) or any(within(absolute, source) for source in sources):
        return absolute
    settled = os.path.realpath(absolute)
    for source in sources:
        if not files.is_remote(source) and within(settled, os.path.realpath(source)):
            return source.rstrip(SEPARATORS) + settled[len(os.path.realpath(source).rstrip(SEPARATORS)) :]
    return absolute


def followed(path: str, sources: Sequence[str], left_out: Sequence[str]) -> tuple[str, list[str]]:
    """The source that an index follows when it is given a path, and what stays out of it.

    Args:
        path: as ``as_followed`` gives it.
        sources: absolute paths that the index follows.
        left_out: absolute paths that were taken out.

    Returns:
        A path and paths. A path that was taken out is taken in again, with the source around it.

    Raises:
        UsageError: the path lies in a source, or around it: its images would be there twice.
    """
    if path in sources and path not in left_out:
        return path, list(left_out)
    stays = [other for other in left_out if other != path]
    outer = next((other for other in sources if within(path, other)), None)
    if outer is not None and path in left_out:
        return outer, stays
    around = next((other for other in stays if within(path, other)), None)
    if around is not None:
        raise UsageError(f"{path}: was taken out of the index with {around}; give that path to take it in again")
    if outer is not None:
        raise UsageError(f"{path}: lies in {outer}, whose images the index has; give that one again")
    real = path if files.is_remote(path) else os.path.realpath(path)
    inner = next((other for other in sources if within(other, path) or _lies_in(other, real)), None)
    if inner is not None:
        remedy = f"take that one out first: {mistakes.quoted('alexnet', 'index', 'RUN', inner, 'INDEX', '--remove')}"
        raise UsageError(f"{path}: lies around {inner}, whose images the index has; {remedy}")
    return path, stays


def _lies_in(source: str, real: str) -> bool:
    return not files.is_remote(source) and within(os.path.realpath(source), real)


def leave_out(source: Source, left_out: Iterable[str], note: Callable[[str], None]) -> None:
    """Takes images that are to stay out from a source, and says so in a line."""
    paths = [path for path in left_out if within(path, source.path)]
    if not paths:
        return
    outer = source.path.rstrip(SEPARATORS)
    inside = [path[len(outer) :].replace(os.sep, "/").strip("/") for path in paths]
    out = {name for name in source.names if any(within(name, other) for other in inside)}
    source.keep([place for place, name in enumerate(source.names) if name not in out])
    if out:
        were = "image was" if len(out) == 1 else "images were"
        others = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        stay = "stays" if len(out) == 1 else "stay"
        note(
            f"{len(out):,} {were} removed with --remove and {stay} out: {paths[0]}{others}; to add what is at such a "
            "path again, give the path itself as SOURCE"
        )


def without(images: Images, sources: Sequence[str], path: str) -> tuple[Images, list[str]]:
    """Images whose sources are counted without those that lie at a path, and these sources."""
    stay = [number for number, source in enumerate(sources) if not within(source, path)]
    counted = {number: place for place, number in enumerate(stay)}
    numbers = [counted[number] for number in images.sources.tolist()]
    return images.of_sources(numbers), [sources[number] for number in stay]
