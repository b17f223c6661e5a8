"""What ``alexnet show RUN IMAGE`` draws: one image on its way through the net."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch

from alexnet import files
from alexnet.data.sources.pictures import OneFile, find_pictures
from alexnet.evaluation.classifier import load
from alexnet.figures.inside_sheet import inside_sheet, strongest
from alexnet.figures.place import Place, named_picture, own_name
from alexnet.figures.style import ABOUT, first_synonyms
from alexnet.files import mistakes
from alexnet.inside.look import Look, class_index, look
from alexnet.runs.checkpoint import AnyCheckpoint


def is_one_image(run: str | os.PathLike, images: Sequence[str]) -> bool:
    """Whether one image file is given, no folder, archive or several. Raises ``UsageError`` where nothing is there."""
    mistakes.check_order("show", ("run", run), *(("images", image) for image in images))
    return len(images) == 1 and isinstance(find_pictures(images)[0].tree, OneFile)


def show_inside(
    path: str | os.PathLike,
    image: str,
    *,
    output: str | os.PathLike | None = None,
    label: str | None = None,
    checkpoint: AnyCheckpoint = "last",
    device: torch.device | str = "cpu",
    wrote: Callable[[Path | str], None] = lambda path: None,
) -> dict[str, Any]:
    """Draws ``inside-PHOTO.png``: what a net sees, the strongest maps of its layers, what its answer depends on.

    Args:
        path: the run's folder.
        image: a file.
        output: folder to write to; the run's if not given.
        label: the class that the maps are about; the most probable one if not given.
        checkpoint, device: as for ``load``.
        wrote: called with the file when it is written.

    Returns:
        What is on the sheet in numbers, for JSON.

    Raises:
        UsageError: no such run, image or class; a file that may not be written.
        AlexNetError: the image cannot be read.
    """
    run = load(path, checkpoint, device)
    word = None if label is None else first_synonyms(run.words)[class_index(run, label)]
    about = files.plain(f"{files.absolute(image)} {word or ''}".rstrip())
    name = named_picture("inside", PurePath(image).stem, word)
    picture = own_name(path if output is None else output, name, about)
    place = Place.of(path, output, [picture], [image])
    seen = look(run, image, label)
    sheet = inside_sheet(seen, run.words, f"{run.name}: {image}")
    sheet.info[ABOUT] = about
    place.write({picture: sheet}, wrote)
    return described(seen, run.words)


def described(seen: Look, words: Sequence[str]) -> dict[str, Any]:
    """The sheet in numbers: probabilities, the strongest units of each layer, occlusion, what random weights give."""
    order = np.argsort(-seen.shares, kind="stable")[:5].tolist()
    hidden = seen.occlusion
    maps = {"gradient": seen.gradient, "smooth_gradient": seen.smooth_gradient, "grad_cam": seen.grad_cam}
    return {
        "image": seen.name,
        "top": [[words[index], float(seen.shares[index])] for index in order],
        "class": words[seen.index],
        "probability": float(seen.shares[seen.index]),
        "layers": {
            name: [{"unit": unit, "largest": largest} for unit, largest in strongest(values)]
            for name, values in seen.layers.items()
        },
        "occlusion": {"window": hidden.window, "step": hidden.step, "losses": hidden.losses.tolist()},
        "grad_cam": {"layer": seen.cam_layer, "values": seen.grad_cam.values.tolist()},
        "correlation_with_random_weights": {
            **{name: attribution.correlation for name, attribution in maps.items()},
            "occlusion": seen.occlusion_map.correlation,
        },
    }
