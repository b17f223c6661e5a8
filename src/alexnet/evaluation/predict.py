"""What is on image files, folders and archives: the most probable classes of each."""

import os
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from alexnet.data.sources.pictures import Paths, Pictures, find_pictures
from alexnet.errors import UsageError, check_number, check_threads
from alexnet.evaluation.classifier import AnyRun, Classifier, Prediction, check_views, opened
from alexnet.evaluation.pictures import decoded_ahead
from alexnet.files import mistakes


def predict(
    run: AnyRun,
    paths: Paths,
    *,
    top: int = 5,
    views: int = 1,
    precision: str | None = None,
    workers: int = 2,
    note: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Prediction]:
    """The most probable classes of image files, or of all images in folders and archives, in flat memory.

    Args:
        run: opened, or its folder.
        paths: a file, folder or archive, or several.
        top: classes per image.
        views: 1, 9 or 10 (paper 4.1).
        precision: of products, as for ``load``; an opened run's own if not given.
        workers: threads that decode.
        note: called with a line on what was left out of a folder or archive (hidden files, links that lead nowhere).
        progress: called with images done and images in all.

    Returns:
        A ``Prediction`` an image in order, each made when it is asked for; a bad image's has its ``problem``.

    Raises:
        UsageError: at once: no such run, file or folder, or an option that cannot be meant.
    """
    check_threads("--workers", workers)
    check_number("--top", top, 1)
    check_views(views)
    paths = [paths] if isinstance(paths, str | bytes | os.PathLike) else list(paths)
    mistakes.check_order("predict", ("run", run), *(("images", path) for path in paths))
    return _predictions(opened(run, precision), find_pictures(paths, note), top, views, workers, progress)


def _predictions(
    classifier: Classifier,
    pictures: Sequence[Pictures],
    top: int,
    views: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Prediction]:
    done, total = 0, sum(len(of.members) for of in pictures)
    for names, squares in decoded_ahead(pictures, classifier.preprocessing, workers):
        good = [square for square in squares if not isinstance(square, str)]
        probabilities = iter(classifier.square_probabilities(good, views))
        for name, square in zip(names, squares):
            if isinstance(square, str):
                yield Prediction(name, [], square)
            else:
                yield classifier.prediction(name, next(probabilities), top)
        done += len(names)
        if progress:
            progress(done, total)


def first_pictures(run: AnyRun, paths: Paths, most: int) -> tuple[list[str], list[np.ndarray]]:
    """The first readable images as the run stores them.

    Returns:
        At most ``most`` names, and as many (size, size, 3) uint8 pictures.

    Raises:
        UsageError: not one readable image.
    """
    return first_readable(run, find_pictures(paths), most)


def first_readable(
    run: AnyRun, sources: Sequence[Pictures], most: int, problems: list[str] | None = None
) -> tuple[list[str], list[np.ndarray]]:
    """As ``first_pictures``, of images that were found; what is wrong with others is added to ``problems``."""
    pairs: list[tuple[str, np.ndarray]] = []
    problems = [] if problems is None else problems
    for names, squares in decoded_ahead(sources, opened(run).preprocessing, 1):
        for name, square in zip(names, squares):
            if isinstance(square, str):
                problems.append(f"{name}: {square}")
            else:
                pairs.append((name, square))
            if len(pairs) == most:
                return [name for name, _ in pairs], [square for _, square in pairs]
    if not pairs:
        raise UsageError(f"not one of the images could be read; {'; '.join(problems[:1])}")
    return [name for name, _ in pairs], [square for _, square in pairs]
