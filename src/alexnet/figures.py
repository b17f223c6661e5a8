"""The pictures people look at: the error curve, the first layer's filters, predictions with their bars."""

import functools
import io
import itertools
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from alexnet import files, randomness
from alexnet.data.sources.pictures import Paths
from alexnet.data.store import Store
from alexnet.errors import Failure, WrongUse, check_number
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.evaluate import evaluate, row_probabilities
from alexnet.evaluation.pictures import several
from alexnet.evaluation.predict import first_pictures
from alexnet.nets.network import Network
from alexnet.runs.journal import read_metrics

RIGHT, WRONG, OTHER, INK = "#2a7f62", "#c8553d", "#b8c4cf", "#22303c"
TITLE = 72  # letters that fit above a curve
MOST_PICTURES = 3000  # in one sheet, which then has 156 million pixels
LARGE = 8_000_000  # pixels, from which packing them well takes longer than drawing them
FONT = "DejaVu Sans"  # comes with matplotlib


@functools.cache
def _fonts() -> dict[str, tuple[str, frozenset[int]]]:
    """The file and the letters of each installed font that can be drawn at any size; matplotlib's own first."""
    names = {entry.name for entry in font_manager.fontManager.ttflist}
    plain = {name for name in names if not name.startswith(("DejaVu", "Last Resort", "cm", "STIX"))}
    fonts = {}
    for name in [FONT, *sorted(plain, key=lambda name: ("CJK" not in name, name))]:
        try:
            path = font_manager.findfont(font_manager.FontProperties(family=name), fallback_to_default=False)
            font = font_manager.get_font(path)
        except (OSError, RuntimeError, ValueError):  # a broken font
            continue
        if font.scalable:
            fonts[name] = path, frozenset(font.get_charmap())
    return fonts


@functools.cache
def _font_of(letter: str) -> str | None:
    """An installed font that has a letter, or None."""
    return next((name for name, (_, letters) in _fonts().items() if ord(letter) in letters), None)


def legible(text: str, length: int) -> str:
    """A name for a picture: on one line, cut in the middle, by code points what no installed font has."""
    letters = [
        letter if letter.isascii() or _font_of(letter) else files.code_point(letter) for letter in files.shown(text)
    ]
    return short(letters, length)


def lettering(text: str, length: int) -> dict[str, Any]:
    """Keywords that make matplotlib write a name as it is: no mathematics, no TeX, and fonts that have its letters."""
    text = legible(text, length)
    fonts = dict.fromkeys([FONT, *(_font_of(letter) or FONT for letter in text if not letter.isascii())])
    return {"text": text, "family": list(fonts), "parse_math": False, "usetex": False}


def _title(axes: Any, text: str, length: int = TITLE, **looks: Any) -> None:
    """Writes a name above a plot."""
    words = lettering(text, length)
    axes.set_title(words.pop("text"), color=INK, **words, **looks)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a layout that is too narrow: it is drawn all the same
        FigureCanvasAgg(figure).print_png(buffer)
    files.write_bytes(path, buffer.getvalue())


def save_image(image: Image.Image, path: str | os.PathLike) -> None:
    """Writes a picture as PNG, whole or not at all."""
    buffer = io.BytesIO()
    level = 6 if image.width * image.height < LARGE else 1
    image.save(buffer, "PNG", compress_level=level)
    files.write_bytes(path, buffer.getvalue())


def _clean(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def curve(metrics: Sequence[dict], title: str = "") -> Figure:
    """Training and validation error against epochs, as the source's cost plot.

    Args:
        metrics: lines of ``metrics.jsonl``.
        title: above it.
    """
    figure = Figure(figsize=(7, 4.2), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    training = [line for line in metrics if line.get("split") == "train"]
    if training:
        window = max(1, len(training) // 120)
        groups = [training[i : i + window] for i in range(0, len(training), window)]
        x = [group[-1]["epoch"] for group in groups]
        y = [100 * float(np.mean([line["top1_error"] for line in group])) for group in groups]
        axes.plot(x, y, color=OTHER, linewidth=1.6, label="training (crops, dropout)")
    validation = [line for line in metrics if line.get("split") == "val"]
    if validation:
        x = [line["epoch"] for line in validation]
        y = [100 * line["top1_error"] for line in validation]
        axes.plot(x, y, color=WRONG, linewidth=2, marker="o", markersize=3, label="validation, one view")
        best = int(np.argmin(y))
        axes.annotate(
            f"{y[best]:.1f}%",
            (x[best], y[best]),
            textcoords="offset points",
            xytext=(0, -16 if y[best] > 10 else 8),
            ha="center",
            color=WRONG,
        )
    axes.set(xlabel="epoch", ylabel="top-1 error, %", ylim=(0, 100))
    _title(axes, title, fontsize=11, loc="left")
    axes.grid(axis="y", color="#e6eaee")
    if training or validation:
        axes.legend(frameon=False, fontsize=9)
    _clean(axes)
    return figure


def filters(net: Network, title: str = "") -> Figure:
    """The first layer's filters as RGB (paper Figure 3); tower one above, tower two below.

    Each is scaled by its own largest weight, grey being zero.
    """
    name = net.names[0]
    weights = net.tensors()[f"{name}.weight"].detach().float().cpu().numpy().transpose(0, 2, 3, 1)
    tiles = 0.5 + 0.5 * weights / np.maximum(np.abs(weights).max((1, 2, 3), keepdims=True), 1e-12)
    count, side = len(tiles), tiles.shape[1]
    columns = 16 if count % 16 == 0 else int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.ones((rows * (side + 1) + 1, columns * (side + 1) + 1, 3))
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * (side + 1) + 1, (i % columns) * (side + 1) + 1
        sheet[top : top + side, left : left + side] = tile
    figure = Figure(figsize=(columns * 0.55, rows * 0.55 + 0.4), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_axis_off()
    _title(axes, title or f"{name}: {count} filters of {side}x{side}x3", fontsize=11, loc="left")
    return figure


def predictions(
    pictures: Sequence[np.ndarray],
    shares: np.ndarray,
    classes: list[str],
    labels: Sequence[int] | np.ndarray | None = None,
    captions: list[str] | None = None,
    columns: int | None = None,
) -> Image.Image:
    """Images with the bars of their five most probable classes (paper Figure 4, left), on one sheet.

    Args:
        pictures: (H, W, 3) uint8 each.
        shares: (n, classes) probabilities.
        classes: their names.
        labels: right classes, written above each picture; the right class's bar is green, others red or grey.
        captions: what to write above where there are no labels.
        columns: 4, or more where there are more than 32 pictures.
    """
    count, scale = len(pictures), 1.0 if len(pictures) <= 200 else 0.7
    width, height, side, bar, size, small = (round(scale * length) for length in (275, 385, 216, 22, 14, 12))
    columns = columns or (4 if count <= 32 else math.ceil(math.sqrt(count * height / width)))
    columns = min(columns, max(1, count))
    sheet = Image.new("RGB", (columns * width, -(-count // columns) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, picture in enumerate(pictures):
        left, top = i % columns * width, i // columns * height
        right = None if labels is None else int(labels[i])
        caption = classes[right] if right is not None else (captions[i] if captions else "")
        _write(draw, legible(caption, 24), left + width // 2, top + bar, size, centred=True)
        tile = Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, (left + (width - side) // 2, top + 2 * bar))
        x, longest = left + bar // 2, width - bar
        for place, index in enumerate(np.argsort(-shares[i], kind="stable")[:5]):
            y = top + 2 * bar + side + bar // 2 + place * bar
            colour = RIGHT if index == right else WRONG if place == 0 and right is not None else OTHER
            draw.rectangle((x, y, x + longest * float(shares[i, index]), y + 0.8 * bar), fill=colour)
            _write(draw, legible(classes[index], 26), x + bar // 4, y + round(0.4 * bar), small)
    return sheet


def _write(draw: ImageDraw.ImageDraw, text: str, x: float, y: int, size: int, centred: bool = False) -> None:
    """Writes a legible text, its middle at a height; each stretch of it in a font that has its letters."""
    stretches = [
        (_pillow_font(font, size), "".join(letters))
        for font, letters in itertools.groupby(
            text, lambda letter: FONT if letter.isascii() else _font_of(letter) or FONT
        )
    ]
    if centred:
        x -= sum(font.getlength(letters) for font, letters in stretches) / 2
    for font, letters in stretches:
        draw.text((x, y), letters, INK, font, anchor="lm")
        x += font.getlength(letters)


@functools.cache
def _pillow_font(name: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_fonts()[name][0], size, layout_engine=ImageFont.Layout.BASIC)


def contact_sheet(store: Store, columns: int = 12, rows: int = 8, side: int = 96) -> Image.Image:
    """A picture of images of the store, spread over its classes and splits.

    Args:
        store: any.
        columns, rows: images across and down.
        side: of each, pixels.
    """
    chosen = spread(store, columns * rows)
    sheet = Image.new("RGB", (columns * (side + 2) + 2, -(-len(chosen) // columns) * (side + 2) + 2), "white")
    for place, row in enumerate(chosen):
        tile = Image.fromarray(store.image(row)).resize((side, side), Image.Resampling.BOX)
        sheet.paste(tile, (2 + place % columns * (side + 2), 2 + place // columns * (side + 2)))
    return sheet


def spread(store: Store, count: int) -> Sequence[int]:
    """At most ``count`` row ids, as evenly over the classes as may be, in the order of the labels."""
    labels = store.labels
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(len(store.classes)))
    turn = np.arange(len(order)) - starts[labels[order]]  # which of its class an image is
    chosen = order[np.argsort(turn, kind="stable")[:count]]
    return chosen[np.argsort(labels[chosen], kind="stable")].tolist()


def short(letters: Sequence[str], length: int) -> str:
    """A text, its middle left out where it is longer than ``length``; no letter that takes several is cut."""
    if sum(map(len, letters)) <= length:
        return "".join(letters)
    head, tail = _fitting(letters, length // 2), _fitting(letters[::-1], length - length // 2 - 1)
    return "".join([*head, "…", *tail[::-1]])


def _fitting(letters: Sequence[str], length: int) -> Sequence[str]:
    """The first letters that are no longer than ``length`` in all."""
    widths = np.cumsum([len(letter) for letter in letters[: length + 1]])
    return letters[: int(np.searchsorted(widths, length, side="right"))]


def show(
    path: str | os.PathLike,
    images: Paths = (),
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
    images = several(images)
    if only_errors and images:
        raise WrongUse("--only-errors: images given by name have no right class; leave them out or the option")
    check_number("--count", count, 1, MOST_PICTURES)
    run = load(path, checkpoint, device)
    folder = _output_folder(path, output, images)
    figures: dict[str, Figure | Image.Image | None] = {
        "curve.png": _curve_of(run, note),
        "filters.png": _filters_of(run, note),
        "predictions.png": _named_images(run, images, count)
        if images
        else _store_images(run, _store_of(run, store, note), split, only_errors, count, note),
    }
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


PICTURES = ("curve.png", "filters.png", "predictions.png")


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


def _curve_of(run: Classifier, note: Callable[[str], None]) -> Figure | None:
    metrics = read_metrics(run.path)
    if not metrics:
        note(f"no curve.png: {run.path} has no metrics.jsonl, where a training writes down its errors")
        return None
    return curve(metrics, run.name)


def _filters_of(run: Classifier, note: Callable[[str], None]) -> Figure | None:
    first = run.net.names[0]
    weights = run.net.tensors().get(f"{first}.weight")
    if weights is None or weights.dim() != 4 or weights.shape[1] != 3:
        note(f"no filters.png: the first layer of {run.path}, {first}, has no filters that can be seen as colours")
        return None
    return filters(run.net)


def _store_of(run: Classifier, path: Store | str | os.PathLike | None, note: Callable[[str], None]) -> Store | None:
    """The store asked for, or the one that the run was trained on if it is still there."""
    if path is not None:
        return path if isinstance(path, Store) else Store(path)
    place = run.data.get("path")
    if not place:
        note(f"no predictions.png: {run.path} was trained on no store; give images, or --store")
        return None
    for candidate in dict.fromkeys((place, files.real(place))):  # a path's bytes may be no UTF-8
        if files.exists(files.join(candidate, "dataset.json")):
            store = Store(candidate)
            if store.fingerprint == run.data.get("store"):
                return store
            note(f"no predictions.png: {place} is not the store any more that {run.path} was trained on; give --store")
            return None
    note(f"no predictions.png: {place}, which {run.path} was trained on, is not there any more; give --store")
    return None


def _named_images(run: Classifier, images: Sequence[str], count: int) -> Image.Image:
    names, pictures, shares = first_pictures(run, images, count)
    return predictions(pictures, shares, run.words, captions=[Path(name).name for name in names])


def _store_images(
    run: Classifier, store: Store | None, split: str | None, only_errors: bool, count: int, note: Callable[[str], None]
) -> Image.Image | None:
    if store is None:
        return None
    if split is None and "val" not in store.splits:
        note(f"no predictions.png: {store.path} has no split 'val'; give --split, one of {', '.join(store.splits)}")
        return None
    split = split or "val"
    rows = store.rows(split)
    if only_errors:
        measured = evaluate([run], store, split=split, keep_probabilities=False)
        wrong = np.flatnonzero(measured.predicted != measured.labels)
        rows = rows[wrong[np.argsort(measured.own[wrong], kind="stable")][:count]]
        if not len(rows):
            raise Failure(f"{run.path}: not one error on the {split} images of {store.path}; there is nothing to draw")
    else:
        order = randomness.permutation(0, "shown images", 0, len(rows)).numpy()
        rows = rows[np.sort(order[:count])]
    pictures = [store.image(int(row)) for row in rows]
    return predictions(pictures, row_probabilities(run, store, rows), store.words, store.labels[rows])
