"""What ``alexnet show --unit`` and ``--layer`` draw: what drives a unit, or each unit of a layer."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import torch

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import Classifier, load
from alexnet.evaluation.outputs import Progress
from alexnet.figures.dataset import dataset_of, split_of
from alexnet.figures.filters import tiles_of
from alexnet.figures.place import Place
from alexnet.figures.sheet import spread
from alexnet.figures.style import first_synonyms, percent
from alexnet.figures.style import number as number_text
from alexnet.figures.unit_sheet import Unit, layer_sheet, unit_sheet
from alexnet.inside.kept_units import FILE, kept_units
from alexnet.inside.look import class_index
from alexnet.inside.synthesis import driven_part, driving_images, responses_to
from alexnet.inside.units import LayerUnits, fields, layer_of, parse_unit, seen_by_unit
from alexnet.progress import plural
from alexnet.runs.checkpoint import AnyCheckpoint

MOST_TILES = 512  # units on a layer's sheet


class ShownOptions(TypedDict, total=False):
    """Options of ``show_unit``, ``show_class`` and ``show_layer``."""

    output: str | os.PathLike | None
    dataset: Dataset | str | os.PathLike | None
    split: str | None
    checkpoint: AnyCheckpoint
    device: torch.device | str
    progress: Progress | None


class Shown:
    """A run and the dataset whose images drive its units.

    Args:
        path, output, dataset, split, checkpoint, device, workers, progress: as for ``show_unit``.
        name: of the picture.
        check: called with the run before images are looked at.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        name: Callable[[Classifier], str],
        *,
        output: str | os.PathLike | None = None,
        dataset: Dataset | str | os.PathLike | None = None,
        split: str | None = None,
        checkpoint: AnyCheckpoint = "last",
        device: torch.device | str = "cpu",
        progress: Progress | None = None,
    ):
        self.run = load(path, checkpoint, device)
        self.picture = name(self.run)
        self.place = Place.of(path, output, [self.picture, FILE])
        self.dataset = dataset_of(self.run, dataset)
        self.split = split_of(self.dataset, split)
        self.layers = kept_units(self.place.belongs, self.run, self.dataset, self.split, progress=progress)
        self.images = self.dataset.splits[self.split]
        self.fields = fields(self.run)

    def seen(self, layer: str, unit: int, rank: int) -> np.ndarray:
        """What a unit sees of one of its strongest images."""
        units = self.layers[layer]
        square = self.dataset.image(int(units.rows[unit, rank]))
        return seen_by_unit(
            square, self.run.preprocessing, self.fields[layer], int(units.places[unit, rank]), units.columns
        )


def show_unit(
    path: str | os.PathLike,
    text: str,
    *,
    wrote: Callable[[Path | str], None] = lambda path: None,
    **options: Unpack[ShownOptions],
) -> dict[str, Any]:
    """Draws ``conv5-17.png``: what drives a unit.

    The first call looks at all images of the split and keeps the strongest of *all* units in ``units.safetensors``
    beside the picture; the next ones, of any unit, read it.

    Args:
        path: the run's folder.
        text: the unit, ``conv5:17``, counted from 0.
        output: folder to write to; the run's if not given.
        dataset: whose images; the one that the run was trained on if not given.
        split: of it; ``val`` if not given.
        checkpoint, device: as for ``load``.
        wrote: called with the picture when it is written.
        progress: called with images done and images in all.

    Returns:
        What is on the sheet in numbers, for JSON.

    Raises:
        UsageError: no such run, unit, dataset or split; a file that may not be written.
    """
    return _show_unit(path, lambda run: text, wrote, **options)


def _show_unit(
    path: str | os.PathLike,
    text_of: Callable[[Classifier], str],
    wrote: Callable[[Path | str], None],
    **options: Unpack[ShownOptions],
) -> dict[str, Any]:
    """As ``show_unit``, of the unit that a run is asked for."""
    shown = Shown(path, lambda run: "{}-{}.png".format(*parse_unit(run, text_of(run))), **options)
    run = shown.run
    layer, number = parse_unit(run, text_of(run))
    units, data = shown.layers[layer], shown.dataset
    ranks = np.flatnonzero(units.rows[number] >= 0).tolist()
    rows = [int(units.rows[number, rank]) for rank in ranks]
    names, classes = [data.name(row) for row in rows], [data.words[data.labels[row]] for row in rows]
    values = units.values[number, ranks].tolist()
    shorts = dict(zip(data.words, first_synonyms(data.words)))
    made = driving_images(run, layer, [number])
    response = float(responses_to(run, layer, [number], made)[0])
    unit = Unit(
        name=f"{layer}:{number}",
        facts=_facts(shown, layer, number),
        pictures=[shown.seen(layer, number, rank) for rank in ranks],
        captions=[(f"{number_text(value)}  {shorts[name]}", file) for value, name, file in zip(values, classes, names)],
        made=driven_part(run, layer, made[0]),
        response=response,
        strongest=values[0] if values else float("nan"),
        means=units.means[:, number],
        words=data.words,
        filter=_filter_of(run, layer, number),
    )
    shown.place.write({shown.picture: unit_sheet(unit, f"{run.name}: {_named(run, layer, number)}")}, wrote)
    strongest = [
        {"image": name, "class": label, "response": value, "place": divmod(int(place), units.columns)}
        for name, label, value, place in zip(names, classes, values, units.places[number, ranks])
    ]
    return {
        "unit": f"{layer}:{number}",
        "active": float(units.active[number]),
        "strongest": strongest,
        "made": {"response": response},
        "mean_by_class": dict(zip(data.words, units.means[:, number].tolist())),
    }


def show_class(
    path: str | os.PathLike,
    label: str,
    *,
    wrote: Callable[[Path | str], None] = lambda path: None,
    **options: Unpack[ShownOptions],
) -> dict[str, Any]:
    """Draws what drives the unit of a class, as ``show_unit`` does; takes the same options.

    Raises:
        UsageError: no such class; else as ``show_unit``.
    """
    return _show_unit(path, lambda run: f"{run.net.names[-1]}:{class_index(run, label)}", wrote, **options)


def show_layer(
    path: str | os.PathLike,
    layer: str,
    *,
    wrote: Callable[[Path | str], None] = lambda path: None,
    **options: Unpack[ShownOptions],
) -> dict[str, Any]:
    """Draws ``conv5.png``: of each unit of a layer what it sees of the image that drives it most.

    Args:
        layer: of the net's table, with weights; all else as for ``show_unit``.

    Returns:
        Each unit's strongest image in numbers, for JSON.

    Raises:
        UsageError: no such run, layer, dataset or split; a file that may not be written.
    """

    shown = Shown(path, lambda run: f"{layer_of(run, layer, '--layer')}.png", **options)
    layer = layer_of(shown.run, layer, "--layer")
    units, count = shown.layers[layer], len(shown.layers[layer].values)
    numbers = list(spread(count, MOST_TILES))
    is_last = layer == shown.run.net.names[-1]
    words = first_synonyms(shown.run.words) if is_last else [""] * count
    captions = [
        (f"{number} {words[number]}".rstrip(), number_text(float(units.values[number, 0]))) for number in numbers
    ]
    dead = int((units.active == 0).sum())
    which = f"{len(numbers):,} of {count:,} units at even distances" if len(numbers) < count else f"all {count:,} units"
    note = (
        f"{_field_text(shown, layer)} Below a tile: the unit, counted from 0, and its largest response."
        f" {_response_text(shown, layer)} {_dead_text(dead, shown.images)}"
    )
    pictures = [shown.seen(layer, number, 0) for number in numbers]
    title = f"{shown.run.name}: {layer}, {which}, each with its strongest of {shown.images:,} {shown.split} images"
    shown.place.write({shown.picture: layer_sheet(pictures, captions, title, note, 120 if is_last else 72)}, wrote)
    return {"layer": layer, "units": [_strongest(shown, units, number) for number in range(count)]}


def _strongest(shown: Shown, units: LayerUnits, number: int) -> dict[str, Any]:
    value, row = float(units.values[number, 0]), int(units.rows[number, 0])
    return {"unit": number, "response": value, "image": shown.dataset.name(row), "active": float(units.active[number])}


def _filter_of(run: Classifier, layer: str, number: int) -> np.ndarray | None:
    """A unit's weights as colors, as ``filters.png`` has them; None of a layer that does not see colors."""
    weights = run.net.tensors()[f"{layer}.weight"]
    if layer != run.net.names[0] or weights.dim() != 4 or weights.shape[1] != 3:
        return None
    return (255 * tiles_of(weights[number : number + 1].detach().float().cpu().numpy())[0]).round().astype(np.uint8)


def _named(run: Classifier, layer: str, number: int) -> str:
    """``conv5:17``; of the last layer with its class."""
    last = layer == run.net.names[-1]
    return f"{layer}:{number}, “{first_synonyms(run.words)[number]}”" if last else f"{layer}:{number}"


def _facts(shown: Shown, layer: str, number: int) -> list[str]:
    active = float(shown.layers[layer].active[number])
    return [
        _field_text(shown, layer),
        f"Positive on {percent(active)} of the {shown.images:,} {shown.split} images of"
        f" {files.folder_name(shown.dataset.path)}. {_response_text(shown, layer)}",
    ]


def _field_text(shown: Shown, layer: str) -> str:
    field, crop = shown.fields[layer], shown.run.preprocessing.crop
    if field is None:
        return f"Each unit sees the whole image of {crop}x{crop} pixels."
    square = f"{field.size}x{field.size} pixels"
    if field.size >= crop:
        return f"The square that each unit sees, {square}, is larger than the image of {crop}x{crop}; tiles show all."
    return f"Each unit sees a square of {square} of the {crop}x{crop}; gray is beyond the edge."


def _response_text(shown: Shown, layer: str) -> str:
    """What a response is: of a layer with maps, of one without, and of the last, which has no activation function."""
    if shown.fields[layer] is not None:
        return "A response is the largest sum in the map, before the activation function."
    last = layer == shown.run.net.names[-1]
    return f"A response is its sum before the {'soft-max' if last else 'activation function'}."


def _dead_text(dead: int, images: int) -> str:
    if not dead:
        return "Every unit is positive on some image."
    return f"{plural(dead, 'unit is', 'units are')} positive on none of these {images:,} images."
