"""The units' strongest images in a file, bound to weights and images: a second look takes no second pass."""

import dataclasses
import os

import numpy as np
import safetensors
import safetensors.numpy

from alexnet import files
from alexnet.data.dataset import Dataset
from alexnet.evaluation.classifier import Classifier
from alexnet.evaluation.identity import preprocessing_hash, weights_hash
from alexnet.evaluation.outputs import Progress
from alexnet.inside.units import LayerUnits, strongest_images, unit_layers

FILE = "units.safetensors"
KEY, FORMAT = "alexnet", "1"


def kept_units(
    folder: str | os.PathLike,
    classifier: Classifier,
    dataset: Dataset,
    split: str,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> dict[str, LayerUnits]:
    """``strongest_images`` of all layers on a split, from a folder's file where it is of this net and these images.

    Args:
        folder: local or remote; the file is written there where there is none yet, or one of something else.
        classifier, dataset, workers, progress: as for ``strongest_images``.
        split: of the dataset.

    Raises:
        UsageError: no such split, or a net that cannot see the images.
        AlexNetError: the file cannot be written.
    """
    path, bound = files.join(folder, FILE), bound_to(classifier, dataset, split)
    kept = _read(path, bound, unit_layers(classifier))
    if kept is None:
        kept = strongest_images(classifier, dataset, dataset.rows(split), workers=workers, progress=progress)
        tensors = {
            f"{layer}/{field.name}": np.ascontiguousarray(getattr(units, field.name))
            for layer, units in kept.items()
            for field in dataclasses.fields(units)
            if field.name != "columns"
        }
        columns = {layer: units.columns for layer, units in kept.items()}
        said = files.to_json({**bound, "columns": columns}, None)  # one text: the order of several is random
        files.write_bytes(path, safetensors.numpy.save(tensors, {KEY: said}))
    return kept


def known_units(
    folder: str | os.PathLike, classifier: Classifier, dataset: Dataset, split: str
) -> dict[str, LayerUnits] | None:
    """What ``kept_units`` kept in a folder of this net and these images, or None; nothing is computed or written."""
    path = files.join(folder, FILE)
    if not files.exists(path):
        return None
    return _read(path, bound_to(classifier, dataset, split), unit_layers(classifier))


def bound_to(classifier: Classifier, dataset: Dataset, split: str) -> dict[str, str]:
    """What the responses of units are a function of, as texts: another one is another file."""
    return {
        "format": FORMAT,
        "net": files.sha256_text(classifier.net.table.text),
        "weights": weights_hash(classifier.net),
        "preprocessing": preprocessing_hash(classifier.preprocessing),
        "dataset": dataset.fingerprint,
        "split": split,
        "precision": classifier.precision,
    }


def _read(path: str, bound: dict[str, str], layers: list[str]) -> dict[str, LayerUnits] | None:
    """What a file holds, or None where there is none, it is damaged, or it is of something else."""
    if not files.exists(path):
        return None
    content = files.read_bytes(path)
    try:
        tensors = safetensors.numpy.load(content)
        length = int.from_bytes(content[:8], "little")
        said = files.parse_json(files.parse_json(content[8 : 8 + length])["__metadata__"][KEY])
        if any(said.get(key) != value for key, value in bound.items()):
            return None
        names = [field.name for field in dataclasses.fields(LayerUnits) if field.name != "columns"]
        return {
            layer: LayerUnits(
                **{name: tensors[f"{layer}/{name}"] for name in names}, columns=int(said["columns"][layer])
            )
            for layer in layers
        }
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, AttributeError):
        return None
