"""One image on its way through a net: what it sees, what each layer makes of it, what the answer depends on."""

import dataclasses
import os

import numpy as np
import torch
from torch import Tensor, nn

from alexnet import files
from alexnet.data import codec
from alexnet.data.preprocessing import views
from alexnet.errors import AlexNetError, UsageError
from alexnet.evaluation.classifier import Classifier, stacked
from alexnet.evaluation.pictures import square_of
from alexnet.inside.attributions import grad_cam, gradient, smooth_gradient
from alexnet.inside.occlusion import Occlusion, occlusion
from alexnet.inside.plain import plain
from alexnet.inside.sanity import randomized, rank_correlation
from alexnet.nets.table import BatchNormLayer, ResponseNormLayer, WithinMapNormLayer

NORMS = (ResponseNormLayer, WithinMapNormLayer, BatchNormLayer)
EVERY = 2  # positions of the window, of which the net with random weights sees one: each costs a pass


@dataclasses.dataclass(frozen=True)
class Attribution:
    """A map of what a class's score or probability depends on.

    Attributes:
        values: (rows, columns) float32.
        randomized: the same of a net whose weights are random: what the map shows without anything learned.
        correlation: rank correlation of the two, -1..1; None where one is the same everywhere.
    """

    values: np.ndarray
    randomized: np.ndarray
    correlation: float | None

    @classmethod
    def of(cls, values: np.ndarray, randomized: np.ndarray) -> "Attribution":
        """From the two maps."""
        return cls(values, randomized, rank_correlation(values, randomized))


@dataclasses.dataclass(frozen=True)
class Look:
    """What a net makes of one image.

    Attributes:
        name: of the image.
        photo: (height, width, 3) uint8, as it was given.
        cut: (top, left, bottom, right), pixels of the photo: what the net sees.
        crop: (side, side, 3) uint8, what the net sees before the mean is subtracted.
        seen: (side, side, 3) float32, what it sees, minus the mean, in gray levels.
        shares: (classes,) float32, probabilities.
        index: of the class that the maps are about.
        layers: outputs by the layer's name, in order, without norms: (maps, rows, columns) or (units,) float32.
        cam_layer: whose maps Grad-CAM weighs: the last layer with maps.
        gradient, smooth_gradient: by how much the class's score grows where a pixel gets a gray level brighter.
        grad_cam: Grad-CAM on the maps of ``cam_layer``.
        occlusion: the loss of the class's probability under a window.
        occlusion_map: the same as an attribution.
    """

    name: str
    photo: np.ndarray
    cut: tuple[float, float, float, float]
    crop: np.ndarray
    seen: np.ndarray
    shares: np.ndarray
    index: int
    layers: dict[str, np.ndarray]
    cam_layer: str
    gradient: Attribution
    smooth_gradient: Attribution
    grad_cam: Attribution
    occlusion: Occlusion
    occlusion_map: Attribution


def look(classifier: Classifier, image: str | os.PathLike, label: str | None = None) -> Look:
    """Looks at what a net makes of an image.

    Args:
        classifier: of the net.
        image: a file.
        label: the class that the maps are about, by name; the most probable one if not given.

    Raises:
        UsageError: no such file or class, or a net without maps.
        AlexNetError: the image cannot be read.
    """
    index = None if label is None else class_index(classifier, label)
    layer = last_maps(classifier)
    photo, square = read_photo(classifier, image)
    shares = classifier.square_probabilities([square])[0].numpy()
    index = int(shares.argmax()) if index is None else index
    preprocessing = classifier.preprocessing
    crop = center(classifier, square)
    others = Classifier(randomized(classifier.run), classifier.device, classifier.precision)
    maps = [attribution_maps(opened, crop, layer, index) for opened in (classifier, others)]
    hidden, coarse = occlusion(classifier, square, index), occlusion(others, square, index, EVERY)
    pairs = [Attribution.of(own, other) for own, other in zip(*maps)]
    return Look(
        name=os.fsdecode(image),
        photo=photo,
        cut=cut_of(photo.shape[:2], preprocessing.size, preprocessing.crop, preprocessing.resize),
        crop=crop[0].permute(1, 2, 0).numpy(),
        seen=(preprocessing.apply(crop, torch.float32) / _scale(classifier))[0].permute(1, 2, 0).numpy(),
        shares=shares,
        index=index,
        layers=outputs_of(classifier, square),
        cam_layer=layer,
        gradient=pairs[0],
        smooth_gradient=pairs[1],
        grad_cam=pairs[2],
        occlusion=hidden,
        occlusion_map=Attribution(
            hidden.losses, coarse.losses, rank_correlation(hidden.losses[::EVERY, ::EVERY], coarse.losses)
        ),
    )


def center(classifier: Classifier, square: np.ndarray) -> Tensor:
    """(1, 3, crop, crop) uint8, channels-last in memory: what a net sees of a (size, size, 3) uint8 square."""
    crop = views(stacked([square]), classifier.preprocessing.crop, 1)[0]
    return crop.contiguous(memory_format=torch.channels_last)


def as_seen(classifier: Classifier, crop: Tensor) -> Tensor:
    """A crop as a plain copy of the net takes it: float32, minus the mean, on the net's device."""
    return classifier.preprocessing.apply(crop, torch.float32).contiguous().to(classifier.device)


def outputs_of(classifier: Classifier, square: np.ndarray) -> dict[str, np.ndarray]:
    """The outputs of every layer but the last and but norms, by name, for a (size, size, 3) uint8 square.

    A norm's maps look like those before them; one with an activation function of its own is another layer.
    """
    layers = classifier.net.table.layers
    names = [
        name for name in classifier.net.names[:-1] if layers[name].activation or not isinstance(layers[name], NORMS)
    ]
    outputs = classifier.activations(stacked([square]), names)
    return {name: tensor[0].cpu().numpy() for name, tensor in outputs.items()}


def class_index(classifier: Classifier, label: str) -> int:
    """Which class has a name, as the dataset has it or as people call it. Raises ``UsageError`` where none has."""
    for index, names in enumerate(zip(classifier.classes, classifier.words)):
        if label in names or label in names[1].split(", "):
            return index
    known = [word.split(", ")[0] for word in classifier.words]
    near = files.nearest(label, known)
    few = f"it knows {', '.join(known)}" if len(known) <= 20 else f"see alexnet info {classifier.path}"
    raise UsageError(f"--class {label}: {classifier.path} has no such class; {near}{few}")


def last_maps(classifier: Classifier) -> str:
    """The last layer whose outputs are maps of more than one pixel. Raises ``UsageError`` where there is none."""
    rows = classifier.net.table.sized(len(classifier.classes), classifier.preprocessing.crop)
    names = [row.layer.name for row in rows if len(row.made) == 3 and row.made[1] > 1]
    if not names:
        raise UsageError(f"{classifier.path}: net {classifier.net.table.name} has no layer whose outputs are maps")
    return names[-1]


def read_photo(classifier: Classifier, image: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """The (height, width, 3) uint8 pixels of an image file, and the (size, size, 3) square of it.

    Raises:
        UsageError: no such file.
        AlexNetError: it cannot be read.
    """
    square = square_of(image, classifier.preprocessing)
    try:
        return codec.decode_whole(files.read_bytes(image)), square
    except codec.BadImage as error:
        raise AlexNetError(f"{os.fsdecode(image)}: {error}") from error


def cut_of(shape: tuple[int, ...], size: int, crop: int, resize: str) -> tuple[float, float, float, float]:
    """What part of a (height, width) photo the net sees: top, left, bottom, right, in its pixels.

    The center of ``crop`` pixels of the square of ``size`` pixels that the photo, or its center, became.
    """
    spans = []
    for length in shape:
        side = length if resize == codec.WARP else min(shape)
        start, scale = (length - side) / 2, side / size
        edge = (size - crop) // 2
        spans.append((start + edge * scale, start + (edge + crop) * scale))
    (top, bottom), (left, right) = spans
    return top, left, bottom, right


def _scale(classifier: Classifier) -> Tensor:
    """(3, 1, 1) float32, what red, green and blue are multiplied with."""
    return classifier.preprocessing.channel_scale().float()[:, None, None]


def attribution_maps(classifier: Classifier, crop: Tensor, layer: str, index: int) -> list[np.ndarray]:
    """Gradient, SmoothGrad, both per gray level and summed over colors, and Grad-CAM of a (1, 3, side, side) crop."""
    row: nn.Sequential = plain(classifier.net, classifier.preprocessing.crop)
    image = as_seen(classifier, crop)
    slopes = [gradient(row, image, index), smooth_gradient(row, image, index)]
    brighter = [(slope[0].cpu() * _scale(classifier)).sum(0).numpy() for slope in slopes]
    return [*brighter, grad_cam(row, layer, image, index).cpu().numpy()]
