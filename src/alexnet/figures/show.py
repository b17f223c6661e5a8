"""What ``alexnet show`` draws of a run: its curve, its filters, its predictions."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from alexnet import evaluation, files, randomness
from alexnet.data.store import Store
from alexnet.errors import Failure, WrongUse, check_number
from alexnet.figures.curve import curve
from alexnet.figures.filters import filters
from alexnet.figures.predictions import predictions
from alexnet.figures.style import save, save_image
from alexnet.run import Run, load, read_metrics

MOST_PICTURES = 3000  # in one sheet, which then has 156 million pixels
PICTURES = ("curve.png", "filters.png", "predictions.png")


def show(
    path: str | os.PathLike,
    images: evaluation.Paths = (),
    *,
    output: str | os.PathLike | None = None,
    store: Store | str | os.PathLike | None = None,
    split: str | None = None,
    only_errors: bool = False,
    count: int = 16,
    checkpoint: str = "last",
    device: torch.device | str = "cpu",
    note: Callable[[str], None] = lambda line: None,
    wrote: Callable[[Path], None] = lambda path: None,
) -> list[Path]:
    """Draws ``curve.png``, ``filters.png`` and ``predictions.png`` of a run, as far as there is what they show.

    Args:
        path: the run's folder.
        images: a file or folder to predict, or several; not given, images of the store's split.
        output: folder to write to; the run's if not given.
        store: the one that the run was trained on if not given and still where it was.
        split: which of the store's images; ``val`` if not given and the store has them.
        only_errors: those whose first class is wrong, the most certain mistakes first.
        count: images in the picture.
        checkpoint: ``last`` or ``best``.
        device: where the net runs.
        note: called with a line for each picture that is left out, and why.
        wrote: called with each file when it is written.

    Returns:
        The files written.

    Raises:
        WrongUse: no such run, image, store or split; a file that may not be written. Before anything is written.
        Failure: not one error to show.
    """
    images = evaluation.several(images)
    if only_errors and images:
        raise WrongUse("--only-errors: images given by name have no right class; leave them out or the option")
    check_number("--count", count, 1, MOST_PICTURES)
    run = load(path, checkpoint, device)
    folder = _output_folder(path, output, images)
    figures = {"curve.png": _curve_of(run, note), "filters.png": _filters_of(run, note)}
    if images:
        sheet = _named_images(run, images, count)
    else:
        sheet = _store_images(run, _store_of(run, store, note), split, only_errors, count, note)
    return _write({**figures, "predictions.png": sheet}, folder, wrote)


def _write(
    figures: Mapping[str, Figure | Image.Image | None], folder: Path, wrote: Callable[[Path], None]
) -> list[Path]:
    """Writes the figures that there are."""
    written = []
    for name, figure in figures.items():
        if figure:
            if isinstance(figure, Figure):
                save(figure, folder / name)
            else:
                save_image(figure, folder / name)
            written.append(folder / name)
            wrote(folder / name)
    return written


def _output_folder(path: str | os.PathLike, output: str | os.PathLike | None, images: Sequence[str]) -> Path:
    """Where the pictures go; refused where they would overwrite another's, or what is read."""
    folder = files.make_folder(output or path)
    other_run = (folder / "run.json").exists() and not folder.samefile(path)
    if other_run or any((folder / name).exists() for name in ("dataset.json", "prepare.json")):
        raise WrongUse(f"{folder}: holds {'another run' if other_run else 'a store'}; give another --output")
    targets = [folder / name for name in PICTURES]
    for target in targets:
        files.check_output(target)
        if any(os.path.realpath(image) == os.path.realpath(target) for image in images):
            raise WrongUse(f"{target}: is one of the images, and would be overwritten; give another --output")
    return folder


def _curve_of(run: Run, note: Callable[[str], None]) -> Figure | None:
    metrics = read_metrics(run.path)
    if not metrics:
        note(f"no curve.png: {run.path} has no metrics.jsonl, where a training writes down its errors")
        return None
    return curve(metrics, run.name)


def _filters_of(run: Run, note: Callable[[str], None]) -> Figure | None:
    first = run.net.names[0]
    weights = run.net.tensors().get(f"{first}.weight")
    if weights is None or weights.dim() != 4 or weights.shape[1] != 3:
        note(f"no filters.png: the first layer of {run.path}, {first}, has no filters that can be seen as colours")
        return None
    return filters(run.net)


def _store_of(run: Run, path: Store | str | os.PathLike | None, note: Callable[[str], None]) -> Store | None:
    """The store asked for, or the one that the run was trained on if it is still there."""
    if path is not None:
        return path if isinstance(path, Store) else Store(path)
    recorded = run.data.get("path")
    if not recorded:
        note(f"no predictions.png: {run.path} was trained on no store; give images, or --store")
        return None
    for candidate in dict.fromkeys((recorded, files.real(recorded))):  # a path's bytes may be no UTF-8
        if files.exists(files.join(candidate, "dataset.json")):
            store = Store(candidate)
            if store.fingerprint == run.data.get("store"):
                return store
            note(
                f"no predictions.png: {recorded} is not the store any more that {run.path} was trained on; give --store"
            )
            return None
    note(f"no predictions.png: {recorded}, which {run.path} was trained on, is not there any more; give --store")
    return None


def _named_images(run: Run, images: Sequence[str], count: int) -> Image.Image:
    names, pictures, shares = evaluation.picture_shares(run, images, count)
    return predictions(pictures, shares, run.words, captions=[Path(name).name for name in names])


def _store_images(
    run: Run, store: Store | None, split: str | None, only_errors: bool, count: int, note: Callable[[str], None]
) -> Image.Image | None:
    if store is None:
        return None
    if split is None and "val" not in store.splits:
        note(f"no predictions.png: {store.path} has no split 'val'; give --split, one of {', '.join(store.splits)}")
        return None
    split = split or "val"
    rows = store.rows(split)
    if only_errors:
        measured = evaluation.evaluate([run], store, split=split, keep_probabilities=False)
        wrong = np.flatnonzero(measured.predicted != measured.labels)
        rows = rows[wrong[np.argsort(measured.own[wrong], kind="stable")][:count]]
        if not len(rows):
            raise Failure(f"{run.path}: not one error on the {split} images of {store.path}; there is nothing to draw")
    else:
        order = randomness.permutation(0, "shown images", 0, len(rows)).numpy()
        rows = rows[np.sort(order[:count])]
    pictures = [store.image(int(row)) for row in rows]
    return predictions(pictures, evaluation.store_shares(run, store, rows), store.words, store.labels[rows])
