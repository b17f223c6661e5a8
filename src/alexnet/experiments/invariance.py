"""How far a net's answers and features stay when its image is moved, with and without crops and flips (section 4.1).

Beyond the paper, which says only that a net overfits without them. One arm trains on random crops and their mirrors,
the other on the central crop alone, with the same seeds and images. The stored test image is shifted (to the right,
down, left, up: image after image), scaled, rotated and flipped about its center, bilinearly, and reflected at its
border; then it is seen as any test image, in one view: the central crop. Lengths are in pixels of a stored image of
256, whose central crop of 224 has 16 pixels around it: as far as random crops reach.

An image's *area* is its mean along a curve, by the trapezoid rule, over the range of the axis.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from alexnet.data.batches import whole_images
from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import BATCH, Classifier
from alexnet.evaluation.evaluate import evaluate
from alexnet.experiments.experiment import PHOTOS, Case, Experiment, Row, Scale, by_condition
from alexnet.experiments.nets import on_photos
from alexnet.experiments.statistics import difference
from alexnet.figures import style
from alexnet.figures.style import INK, QUIET, RIGHT, WRONG

ARMS: Mapping[str, dict[str, Any]] = {"augmented": {}, "plain": {"flip": False, "crop_position": "center"}}
IMAGES = 500  # test images at most, at even distances
REACH = 16  # pixels of 256 by which random crops move an image
STEPS: Mapping[str, tuple[float, ...]] = {
    "shift": (0, 4, 8, 16, 24, 32),  # pixels of 256
    "scale": (0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4),
    "rotation": (-30, -20, -10, 0, 10, 20, 30),  # degrees
    "flip": (0, 1),
}
AXES = {"shift": "shift, pixels of 256", "scale": "scale", "rotation": "rotation, degrees", "flip": "flip"}
MEASURES = {
    "probability": "probability of the true class",
    "kept": "top-1 answer kept",
    "distance": "relative distance of fc7",
    "cosine": "cosine of fc7",
}


def measure(case: Case) -> list[Row]:
    """Trains an arm and measures how its answers and features stay on the test images."""
    trained = on_photos(case, ARMS[case.condition])
    dataset, split, classifier = trained.dataset, trained.split, trained.classifier
    curves: Row = {}
    areas: Row = {}
    for name, values in measured(classifier, dataset, split).items():
        curves[name] = {key: [_shown(value.mean(1)), _shown(value.std(1))] for key, value in values.items()}
        areas[name] = {key: packed(area(STEPS[name], value)) for key, value in values.items()}
    return [
        {
            "epochs": trained.epochs,
            "images": min(IMAGES, dataset.splits[split]),
            "top1_error": evaluate(classifier, dataset, split=split).errors.top1_error,
            "curves": curves,
            "areas": areas,
        }
    ]


def _shown(values: np.ndarray) -> list[float]:
    return values.round(4).tolist()


def measured(run: Classifier, dataset: Dataset, split: str) -> dict[str, dict[str, np.ndarray]]:
    """(steps, images) float64 for each transformation and each measure."""
    rows = dataset.rows(split)
    rows = rows[np.linspace(0, len(rows) - 1, min(IMAGES, len(rows))).round().astype(int)]
    parts: dict[str, list[list[dict[str, Tensor]]]] = {name: [] for name in STEPS}
    start = 0
    for batch in whole_images(dataset, "", BATCH, 2, pin=run.device.type == "cuda", rows=rows):
        images, labels = batch.images.to(run.device), batch.labels.to(run.device)
        untouched = _answers(run, images)
        directions = torch.arange(start, start + len(images)) % 4
        start += len(images)
        for name, steps in STEPS.items():
            parts[name].append([
                _compared(untouched, _answers(run, transformed(images, name, step, directions)), labels)
                for step in steps
            ])  # fmt: skip
    return {
        name: {
            key: np.stack([torch.cat([part[step][key] for part in parts[name]]).numpy() for step in range(len(steps))])
            for key in MEASURES
        }
        for name, steps in STEPS.items()
    }


def transformed(images: Tensor, name: str, step: float, directions: Tensor) -> Tensor:
    """Images moved about their centers, bilinearly, and reflected at their borders.

    Args:
        images: (N, 3, size, size) uint8.
        name: one of ``STEPS``.
        step: pixels of 256, factor (above 1 enlarges), degrees counterclockwise, or 1 for a flip.
        directions: (N,) 0..3, of a shift: to the right, down, left, up.

    Returns:
        (N, 3, size, size) uint8, channels-last in memory.
    """
    matrix = torch.eye(2, dtype=torch.float64)
    offsets = torch.zeros(len(images), 2, dtype=torch.float64)  # of what is sampled, in halves of a side
    if name == "shift":
        ways = torch.tensor([[1, 0], [0, 1], [-1, 0], [0, -1]], dtype=torch.float64)
        offsets = -2 * step / 256 * ways[directions]
    elif name == "scale":
        matrix = matrix / step
    elif name == "rotation":
        cos, sin = math.cos(math.radians(step)), math.sin(math.radians(step))
        matrix = torch.tensor([[cos, -sin], [sin, cos]], dtype=torch.float64)
    elif step:
        matrix[0, 0] = -1
    places = torch.cat([matrix.expand(len(images), 2, 2), offsets[..., None]], 2).to(images.device, torch.float32)
    grid = F.affine_grid(places, list(images.shape), align_corners=False)
    moved = F.grid_sample(images.float(), grid, "bilinear", "reflection", align_corners=False)
    return moved.round().clamp(0, 255).to(torch.uint8).contiguous(memory_format=torch.channels_last)


def _answers(run: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """(N, classes) probabilities and (N, units) outputs of the last hidden layer, in the central view."""
    hidden, last = run.net.names[-2:]
    outputs = run.activations(images, [hidden, last])
    return outputs[last].softmax(1), outputs[hidden].flatten(1)


def _compared(untouched: tuple[Tensor, Tensor], moved: tuple[Tensor, Tensor], labels: Tensor) -> dict[str, Tensor]:
    """(N,) float64 on the CPU of each measure."""
    (answers, features), (other_answers, other_features) = untouched, moved
    lengths = features.norm(dim=1).clamp_min(1e-12)
    values = {
        "probability": other_answers.gather(1, labels[:, None])[:, 0],
        "kept": other_answers.argmax(1) == answers.argmax(1),
        "distance": (other_features - features).norm(dim=1) / lengths,
        "cosine": F.cosine_similarity(features, other_features),
    }
    return {key: value.double().cpu() for key, value in values.items()}


def area(steps: Sequence[float], values: np.ndarray) -> np.ndarray:
    """(images,) mean of (steps, images) values along the steps; of a flip, what the flipped image has."""
    if len(steps) == 2:
        return values[1]
    return np.trapezoid(values, steps, axis=0) / (steps[-1] - steps[0])


def packed(values: np.ndarray) -> str:
    """Numbers as text: float16, base64."""
    return base64.b64encode(values.astype("<f2").tobytes()).decode("ascii")


def unpacked(text: str) -> np.ndarray:
    """(n,) float64 of a text that ``packed`` made."""
    return np.frombuffer(base64.b64decode(text), "<f2").astype(np.float64)


def areas_of(rows: Sequence[Row], seeds: Sequence[int], name: str, key: str) -> np.ndarray:
    """(seeds, images) areas of an arm's rows."""
    by_seed = {row["seed"]: row for row in rows}
    return np.stack([unpacked(by_seed[seed]["areas"][name][key]) for seed in seeds])


def table(rows: Sequence[Row]) -> list[str]:
    """A line for each transformation and measure: the mean area of both arms, and their difference, image by image."""
    groups = by_condition(rows)
    lines = [
        f"| | measure | {' | '.join(groups)} | difference to plain, 95% interval | |",
        "| --- | --- |" + " --- |" * (len(groups) + 2),
    ]
    errors = [f"{np.mean([row['top1_error'] for row in group]):.1%}" for group in groups.values()]
    lines.append(f"| untouched | top-1 error | {' | '.join(errors)} | | |")
    shared = [{row["seed"] for row in group} for group in groups.values()]
    seeds = sorted(set.intersection(*shared)) if shared else []
    for name in STEPS:
        for key, words in MEASURES.items():
            areas = {arm: areas_of(group, seeds, name, key) for arm, group in groups.items()} if seeds else {}
            means = " | ".join(f"{values.mean():.3f}" for values in areas.values())
            lines.append(f"| {name} | {words} | {means} | {_words(areas)} |")
    return lines


def _words(areas: Mapping[str, np.ndarray]) -> str:
    """The difference between the arms and what it means, as two cells."""
    if areas.keys() != ARMS.keys():
        return " | "
    compared = difference(areas["plain"], areas["augmented"])
    low, high = compared.interval
    means = "" if compared.seen else "no difference seen at this scale"
    return f"{compared.mean:+.3f}, {low:+.3f} to {high:+.3f} | {means}"


def figure(rows: Sequence[Row]) -> Figure:
    """A curve for each arm, with the 95% interval over images as a band, and a thin line for each seed."""
    drawing = style.blank(11, 9.5)
    grid = drawing.subplots(len(MEASURES), len(STEPS), sharey="row", width_ratios=[1, 1, 1, 0.5])
    for line, (key, words) in zip(grid, MEASURES.items()):
        line[0].set_ylabel(words, fontsize=9, color=INK)
        for axes, (name, steps) in zip(line, STEPS.items()):
            for (arm, group), color, dashes in zip(by_condition(rows).items(), (RIGHT, WRONG), ("-", "--")):
                curves = np.array([row["curves"][name][key] for row in group])  # (seeds, mean and std, steps)
                mean = curves[:, 0].mean(0)
                half = 1.96 * np.sqrt((curves[:, 1] ** 2).mean(0) / group[0]["images"])
                low, high = np.clip([mean - half, mean + half], 0, None if key == "distance" else 1)
                axes.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
                axes.plot(steps, mean, dashes, marker="o", markersize=3, color=color, linewidth=1.6, label=arm)
                if len(group) > 1:
                    axes.plot(steps, curves[:, 0].T, color=color, linewidth=0.5, alpha=0.7)
            if name == "shift":
                axes.axvline(REACH, color=QUIET, linewidth=0.8, linestyle=":")
            if name == "flip":
                axes.set(xticks=(0, 1), xticklabels=("as it is", "flipped"), xlim=(-0.3, 1.3))
            axes.grid(axis="y", color=style.GRID)
            style.clean(axes)
    for axes, words in zip(grid[-1], AXES.values()):
        axes.set_xlabel(words, fontsize=9, color=INK)
    for axes in grid[:3].flat:
        axes.set_ylim(0, None)
    grid[0, 0].legend(frameon=False, fontsize=9)
    grid[0, 0].set_title("dotted: as far as crops move it", fontsize=8, color=QUIET, loc="left")
    return drawing


INVARIANCE = Experiment(
    "answers and features as a test image is shifted, scaled, rotated, flipped: with and without crops and flips",
    conditions=tuple(ARMS),
    seeds=(0, 1, 2),
    measure=measure,
    figure=figure,
    table=table,
    paper="without crops and flips a net overfits (4.1); of invariance nothing",
    takes=PHOTOS,
    scales={
        "minutes": Scale(0.15, (0, 1), None, "two seeds, a seventh of the epochs, images of 128 pixels", 9),
        "hours": Scale(1.0, (0, 1, 2), None, "three seeds, images of 256 pixels"),
        "paper": Scale(1.0, (0, 1, 2), None, "three seeds; with --data an ImageNet dataset on GPUs"),
    },
)
