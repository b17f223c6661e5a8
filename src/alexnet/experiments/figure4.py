"""Figure 4 of the paper: test images with their five most probable classes, and the training images nearest to them.

Near is a small Euclidean distance between the outputs of the last hidden layer, the paper's fc7 (section 6.1). Beyond
what the figure shows: over all test images, how many of the six nearest training images have the test image's class,
by fc7 and by pixels, for which the net's view is averaged down to 32x32. Six images of one class count alike whether
they look alike or not.

The rows of images hold small copies of them; the others are figures alone, and make the table without them.
"""

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image
from torch import Tensor

from alexnet import randomness
from alexnet.data.batches import whole_images
from alexnet.data.dataset import Dataset
from alexnet.data.preprocessing import views
from alexnet.evaluation.classifier import BATCH, Classifier
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.outputs import row_probabilities
from alexnet.experiments.experiment import PHOTOS, Case, Experiment, Row, Scale, by_condition
from alexnet.experiments.nets import on_photos
from alexnet.experiments.statistics import difference
from alexnet.figures import style
from alexnet.figures.style import INK, OTHER, QUIET, RIGHT, WRONG

NEIGHBORS = 6
SHOWN, QUERIES = 8, 5  # test images drawn with bars, and the first of them with neighbors, as in the paper
PIXELS = 32  # side to which a view is averaged for the distance between pixels
THUMBNAIL = 64  # pixels
SPACES = {"hidden": "last hidden layer", "pixels": "pixels"}


def measure(case: Case) -> list[Row]:
    """Trains a net; a row of figures, then one for each test image that is drawn."""
    trained = on_photos(case, {})
    dataset, split, classifier = trained.dataset, trained.split, trained.classifier
    errors = evaluate(classifier, dataset, split=split).errors
    rows, labels, neighbors = dataset.rows(split), dataset.labels, nearest_of(classifier, dataset, split)
    same = {space: (labels[found] == labels[rows][:, None]).sum(1) for space, found in neighbors.items()}
    chance = np.bincount(labels[dataset.rows("train")], minlength=len(dataset.classes)) / dataset.splits["train"]
    figures: Row = {
        "layer": classifier.net.names[-2],
        "epochs": trained.epochs,
        "train_images": dataset.splits["train"],
        "images": len(rows),
        "top1_error": errors.top1_error,
        "top5_error": errors.top5_error,
        "chance": float(chance[labels[rows]].mean()),
        **{
            space: base64.b64encode(counts.astype(np.uint8).tobytes()).decode("ascii") for space, counts in same.items()
        },
    }
    order = randomness.permutation(case.seed, "figure 4", 0, len(rows))[:SHOWN].numpy()
    return [figures, *_pictured(classifier, dataset, rows[order], neighbors["hidden"][order])]


def nearest_of(run: Classifier, dataset: Dataset, split: str) -> dict[str, np.ndarray]:
    """(n, NEIGHBORS) row ids of the training images nearest to each of a split's, nearest first, in each space."""
    described = [spaces for _, spaces in _described(run, dataset, split)]
    queries = {space: torch.cat([spaces[space] for spaces in described]) for space in SPACES}
    nearest = {space: Nearest(queries[space], NEIGHBORS) for space in SPACES}
    for rows, spaces in _described(run, dataset, "train"):
        for space in SPACES:
            nearest[space].see(rows, spaces[space])
    return {space: nearest[space].rows.cpu().numpy() for space in SPACES}


class Nearest:
    """The nearest of vectors that come batch by batch, so that never all of them are in memory.

    Args:
        queries: (n, numbers) float; to each of these.
        count: how many are kept.

    Attributes:
        distances: (n, at most ``count``), Euclidean, rising.
        rows: the same shape, the ids of those that have them.
    """

    def __init__(self, queries: Tensor, count: int):
        self.queries, self.count = queries, count
        self.distances = queries.new_empty(len(queries), 0)
        self.rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)

    def see(self, rows: Tensor, vectors: Tensor) -> None:
        """Takes a batch: (m,) ids and their (m, numbers) vectors."""
        distances = torch.cat([self.distances, torch.cdist(self.queries, vectors)], 1)
        ids = torch.cat([self.rows, rows.to(self.rows.device).expand(len(self.queries), -1)], 1)
        self.distances, order = distances.topk(min(self.count, distances.shape[1]), largest=False)
        self.rows = ids.gather(1, order)


def _described(run: Classifier, dataset: Dataset, split: str) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """For each batch of a split its row ids, and (n, numbers) float32 of each image in each space."""
    layer = run.net.names[-2]
    for batch in whole_images(dataset, split, BATCH, 2, pin=run.device.type == "cuda"):
        images = batch.images.to(run.device)
        hidden = run.activations(images, [layer])[layer].flatten(1)
        seen = views(images, run.preprocessing.crop, 1)[0].float()
        yield batch.rows, {"hidden": hidden, "pixels": F.adaptive_avg_pool2d(seen, PIXELS).flatten(1)}


def _pictured(run: Classifier, dataset: Dataset, rows: np.ndarray, neighbors: np.ndarray) -> list[Row]:
    """A row for each of some test images: a small copy, true class, most probable classes, and nearest images."""
    names, pictured = style.first_synonyms(dataset.words), []
    for index, (row, shares) in enumerate(zip(rows, row_probabilities(run, dataset, rows))):
        top = np.argsort(-shares, kind="stable")[:5]
        near = neighbors[index] if index < QUERIES else ()
        pictured.append(
            {
                "image": thumbnail(dataset.image(int(row))),
                "class": names[dataset.labels[row]],
                "top": [[names[place], round(float(shares[place]), 4)] for place in top],
                "near": [[thumbnail(dataset.image(int(one))), names[dataset.labels[one]]] for one in near],
            }
        )
    return pictured


def thumbnail(image: np.ndarray) -> str:
    """An image as text: a JPEG file of ``THUMBNAIL`` pixels' side, base64."""
    small = Image.fromarray(image).resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _figures(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if "hidden" in row]


def shares_of(rows: Sequence[Row], space: str) -> np.ndarray:
    """(seeds, images) float64: of each test image's neighbors, the share that has its class."""
    counts = [np.frombuffer(base64.b64decode(row[space]), np.uint8) for row in _figures(rows)]
    return np.stack(counts) / NEIGHBORS


def table(rows: Sequence[Row]) -> list[str]:
    """Of the nearest training images, the share of the test image's class: by hidden layer, by pixels, by chance."""
    lines = [
        "| | test images | seeds | top-1, top-5 error | same class among the six nearest: last hidden layer | pixels | "
        "difference, 95% interval | chance |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for condition, group in by_condition(_figures(rows)).items():
        hidden, pixels = (shares_of(group, space) for space in SPACES)
        compared, (row, *_) = difference(pixels, hidden), group
        low, high = (100 * end for end in compared.interval)
        seen = "" if compared.seen else "; no difference seen at this scale"
        errors = ", ".join(f"{np.mean([row[f'top{k}_error'] for row in group]):.1%}" for k in (1, 5))
        lines.append(
            f"| {condition} | {row['images']:,} | {len(group)} | {errors} | {hidden.mean():.1%} | "
            f"{pixels.mean():.1%} | {100 * compared.mean:+.1f} points, {low:+.1f} to {high:+.1f}{seen} | "
            f"{row['chance']:.1%} |"
        )
    return lines


def figure(rows: Sequence[Row]) -> Figure:
    """The first seed's images with bars, at the left, and with neighbors, at the right; below, the shares.

    Without rows of images, the shares alone.
    """
    pictures = [row for row in rows if "image" in row and row["seed"] == rows[0]["seed"]]
    if not pictures:
        drawing = style.blank(7, 2.4)
        _draw_shares(drawing.add_subplot(), rows)
        return drawing
    drawing = style.blank(12, 8)
    places = drawing.add_gridspec(2, 2, height_ratios=[3.2, 1], width_ratios=[4.6, 5.6])
    _draw_bars(drawing.add_subplot(places[0, 0]), pictures)
    _draw_neighbors(drawing.add_subplot(places[0, 1]), pictures)
    _draw_shares(drawing.add_subplot(places[1, :]), rows)
    return drawing


def _draw_bars(axes: Axes, pictures: Sequence[Row]) -> None:
    """Four images in a row, each below its true class and above the bars of its most probable ones."""
    for number, row in enumerate(pictures):
        x, y = 1.12 * (number % 4), 2.2 * (number // 4)
        _draw_image(axes, row["image"], x, y, row["class"], INK)
        for rank, (name, share) in enumerate(row["top"]):
            top, right = y + 1.06 + 0.18 * rank, name == row["class"]
            color = RIGHT if right else WRONG if rank == 0 else OTHER
            axes.add_patch(Rectangle((x, top), share, 0.045, facecolor=color))
            _write(axes, x, top + 0.1, style.label(f"{'✓ ' if right else ''}{name}", 16), fontsize=6.5)
            _write(axes, x + 1, top + 0.1, style.percent(share), fontsize=6.5, ha="right")
    _frame(axes, 4, 2.2 * (-(-len(pictures) // 4)), "test images: most probable classes, ✓ the true one")


def _draw_neighbors(axes: Axes, pictures: Sequence[Row]) -> None:
    """A test image in each line, and to the right its nearest training images; names of other classes in orange."""
    queries = [row for row in pictures if row["near"]]
    for line, row in enumerate(queries):
        y = 1.26 * line
        _draw_image(axes, row["image"], 0, y, row["class"], INK)
        for place, (image, name) in enumerate(row["near"], 1):
            _draw_image(axes, image, 0.15 + 1.12 * place, y, name, RIGHT if name == row["class"] else WRONG)
    title = "a test image, and the six nearest training images; orange: of other classes"
    _frame(axes, NEIGHBORS + 1, 1.26 * len(queries), title)


def _draw_image(axes: Axes, text: str, x: float, y: float, name: str, color: str) -> None:
    """An image of one unit's side, its upper left corner at a place, with a name above it."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
    axes.imshow(pixels, extent=(x, x + 1, y + 1, y), interpolation="bilinear")
    _write(axes, x, y - 0.09, style.label(name, 17), fontsize=7, color=color)


def _write(axes: Axes, x: float, y: float, text: str, **looks: Any) -> None:
    words = style.lettering(text, len(text))
    axes.text(x, y, words.pop("text"), **{"color": INK, "va": "center", **words, **looks})


def _frame(axes: Axes, columns: int, height: float, title: str) -> None:
    axes.set(xlim=(0, 1.12 * columns + 0.1), ylim=(height, -0.2), aspect="equal", anchor="NW")
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_axis_off()


def _draw_shares(axes: Axes, rows: Sequence[Row]) -> None:
    """How often so many of the six nearest images have the test image's class, by hidden layer and by pixels."""
    group = _figures(rows)
    for shift, color, (space, words) in zip((-0.2, 0.2), (RIGHT, OTHER), SPACES.items()):
        shares = shares_of(group, space)
        counts = np.bincount((NEIGHBORS * shares).round().astype(int).ravel(), minlength=NEIGHBORS + 1)
        label = f"{words}: {shares.mean():.1%} of all neighbors"
        axes.bar(np.arange(NEIGHBORS + 1) + shift, 100 * counts / counts.sum(), 0.38, color=color, label=label)
    axes.set(xlabel="neighbors of the test image's class, of six", ylabel="test images, %")
    axes.set_title(f"all {group[0]['images']:,} test images; chance: {group[0]['chance']:.1%}", fontsize=10,
                   color=QUIET, loc="left")  # fmt: skip
    axes.legend(frameon=False, fontsize=9)
    style.clean(axes)


FIGURE4 = Experiment(
    "test images with their most probable classes and the training images that are nearest to them by fc7",
    conditions=("default",),
    seeds=(0, 1, 2),
    measure=measure,
    figure=figure,
    table=table,
    paper="fc7 finds images of the same kind that are far off in pixels (6.1)",
    takes=PHOTOS,
    scales={
        "minutes": Scale(0.5, (0,), None, "one seed, half the epochs, images of 128 pixels", 14),
        "hours": Scale(1.0, (0, 1, 2), None, "three seeds, images of 256 pixels"),
        "paper": Scale(1.0, (0, 1, 2), None, "three seeds; with --data an ImageNet dataset on GPUs"),
    },
)
