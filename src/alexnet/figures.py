"""The pictures people look at: the error curve, the first layer's filters, predictions with their bars."""

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from alexnet import evaluation, files, randomness
from alexnet.data.store import Store
from alexnet.errors import Failure, WrongUse
from alexnet.nets.network import Network
from alexnet.run import Run, load, read_journal

RIGHT, WRONG, OTHER, INK = "#2a7f62", "#c8553d", "#b8c4cf", "#22303c"


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Writes a figure as PNG, whole or not at all."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    files.write_bytes(path, buffer.getvalue())


def save_image(image: Image.Image, path: str | os.PathLike) -> None:
    """Writes a picture as PNG, whole or not at all."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    files.write_bytes(path, buffer.getvalue())


def _clean(axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)


def read_lines(run: str | os.PathLike, name: str = "metrics.jsonl") -> list[dict]:
    """The lines of a run's journal that can be read."""
    return [line for _, line in read_journal(Path(run) / name)[0]]


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
    axes.set_title(title, color=INK, fontsize=11, loc="left")
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
    axes.set_title(title or f"{name}: {count} filters of {side}x{side}x3", color=INK, fontsize=11, loc="left")
    return figure


def predictions(
    pictures: Sequence[np.ndarray],
    shares: np.ndarray,
    classes: list[str],
    labels: Sequence[int] | np.ndarray | None = None,
    captions: list[str] | None = None,
    columns: int = 4,
) -> Figure:
    """Images with the bars of their five most probable classes (paper Figure 4, left).

    Args:
        pictures: (H, W, 3) uint8 each.
        shares: (n, classes) probabilities.
        classes: their names.
        labels: right classes, written below each picture; the right class's bar is green, others red or grey.
        captions: what to write below where there are no labels.
    """
    count, top = len(pictures), min(5, len(classes))
    columns = min(columns, max(1, count))
    rows = -(-count // columns)
    figure = Figure(figsize=(2.5 * columns, 3.5 * rows), dpi=110, layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[2.2, 1.2] * rows)
    for i, picture in enumerate(pictures):
        above = figure.add_subplot(grid[2 * (i // columns), i % columns])
        above.imshow(picture)
        above.set_axis_off()
        below = figure.add_subplot(grid[2 * (i // columns) + 1, i % columns])
        order = np.argsort(-shares[i], kind="stable")[:top]
        first = int(order[0])
        right = None if labels is None else int(labels[i])
        colours = [RIGHT if c == right else WRONG if c == first and right is not None else OTHER for c in order]
        below.barh(range(top), shares[i][order], color=colours, height=0.82)
        below.set(xlim=(0, 1), ylim=(top - 0.4, -0.6), yticks=[], xticks=[])
        for place, index in enumerate(order):
            below.text(0.02, place, short(classes[index], 26), va="center", fontsize=8, color=INK)
        below.spines[:].set_visible(False)
        caption = classes[right] if right is not None else (captions[i] if captions else "")
        above.set_title(short(caption, 24), fontsize=9, color=INK)
    return figure


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


def short(text: str, length: int) -> str:
    """``text``, its middle left out where it is longer than ``length`` characters."""
    return text if len(text) <= length else text[: length // 2] + "…" + text[-(length - length // 2 - 1) :]


def show(
    path: str | os.PathLike,
    images: Sequence[str | os.PathLike] = (),
    *,
    output: str | os.PathLike | None = None,
    store: Store | str | os.PathLike | None = None,
    split: str = "val",
    only_errors: bool = False,
    count: int = 16,
    checkpoint: str = "last",
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Draws ``curve.png``, ``filters.png`` and ``predictions.png`` of a run.

    Args:
        path: the run's folder.
        images: files and folders to predict; not given, images of the store's split.
        output: folder to write to; the run's if not given.
        store: the one that the run was trained on if not given and still where it was.
        split: which of the store's images.
        only_errors: those whose first class is wrong, the most certain mistakes first.
        count: images in the picture.
        checkpoint: ``last`` or ``best``.
        device: where the net runs.

    Returns:
        The files written. Without images and without a store there are no predictions.

    Raises:
        WrongUse: no such run, image or store.
    """
    if only_errors and images:
        raise WrongUse("--only-errors: images given by name have no right class; leave them out or the option")
    run = load(path, checkpoint, device)
    folder = files.make_folder(output or path)
    written = []
    metrics = read_lines(path)
    if metrics:
        save(curve(metrics, run.name), folder / "curve.png")
        written.append(folder / "curve.png")
    if run.net.tensors()[f"{run.net.names[0]}.weight"].dim() == 4:
        save(filters(run.net), folder / "filters.png")
        written.append(folder / "filters.png")
    if images:
        figure = _named_images(run, images, count)
    else:
        opened = store if isinstance(store, Store) else _store_of(run, store)
        figure = None if opened is None else _store_images(run, opened, split, only_errors, count)
    if figure:
        save(figure, folder / "predictions.png")
        written.append(folder / "predictions.png")
    return written


def _store_of(run: Run, path: str | os.PathLike | None) -> Store | None:
    """The store asked for, or the one that the run was trained on if it is still there."""
    if path is not None:
        return Store(path)
    place = run.data.get("path")
    if place and files.exists(files.join(place, "dataset.json")):
        store = Store(place)
        return store if store.fingerprint == run.data.get("store") else None
    return None


def _named_images(run: Run, images: Sequence[str | os.PathLike], count: int) -> Figure:
    names, pictures, shares = evaluation.picture_shares(run, images, count)
    return predictions(pictures, shares, run.words, captions=[Path(name).name for name in names])


def _store_images(run: Run, store: Store, split: str, only_errors: bool, count: int) -> Figure:
    found = evaluation.evaluate([run], store, split=split)
    if only_errors:
        own = found.probabilities[np.arange(len(found.labels)), found.labels]
        wrong = found.probabilities.argmax(1) != found.labels
        chosen = np.flatnonzero(wrong)[np.argsort(own[wrong], kind="stable")][:count]
        if not len(chosen):
            raise Failure(f"{run.path}: not one error on the {split} images of {store.path}; there is nothing to draw")
    else:
        order = randomness.permutation(0, "shown images", 0, len(found.rows)).numpy()
        chosen = np.sort(order[:count])
    pictures = [store.image(int(row)) for row in found.rows[chosen]]
    return predictions(pictures, found.probabilities[chosen], store.words, found.labels[chosen])
