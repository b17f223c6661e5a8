"""Images made to drive a unit: gradient ascent on an image's Fourier spectrum (Olah et al., Distill 2017)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from alexnet import machine, randomness
from alexnet.data.preprocessing import Preprocessing
from alexnet.evaluation.classifier import Classifier
from alexnet.inside.plain import plain, up_to
from alexnet.inside.units import seen_by_unit
from alexnet.nets.costs import LayerCost, costs

STEPS = 128
RATE = 0.08  # of Adam
# Of what the unit sees, one part: by how much an image is moved between steps, so that no pattern clings to a pixel. A
# unit that sees 11 pixels would see another part of a pattern after a larger move.
JITTER = 16


@machine.as_imported()
def driving_images(
    classifier: Classifier,
    layer: str,
    units: Sequence[int],
    *,
    steps: int = STEPS,
    seed: int = 0,
    between: Callable[[], None] = lambda: None,
) -> Tensor:
    """Images that drive units as far as gradient ascent gets them.

    Of a unit with a map, the one in its middle is driven. What grows is its sum before the activation function: where a
    ReLU gives 0, its gradient is 0 as well, and an image would stay gray. An image's numbers are those of its spectrum,
    each divided by its frequency as in photos, so that coarse structure comes as soon as fine; their colors vary
    together as in the run's photos.

    Args:
        classifier: of the net.
        layer: of its table, with weights.
        units: whose images are made, together; each is by itself.
        steps: of Adam.
        seed: of the first images and of the moves between steps.
        between: called before each step; others may have their turn there.

    Returns:
        (units, crop, crop, 3) uint8 on the CPU, as the net sees images before the mean is subtracted.
    """
    preprocessing, side = classifier.preprocessing, classifier.preprocessing.crop
    device = classifier.device
    start = up_to(plain(classifier.net, side), layer, before=True)
    spectrum = _first_spectrum(len(units), side, seed).to(device).requires_grad_()
    scale, colors = _scale(side).to(device), _colors(preprocessing).to(device)
    optimizer = torch.optim.Adam([spectrum], lr=RATE)
    which = torch.arange(len(units)), torch.tensor(units)
    reach = seen_side(classifier, layer) // JITTER
    moves = randomness.integers(seed, "moves of an image", 0, torch.arange(steps), [2 * reach + 1] * 2) - reach
    for move in moves.tolist():
        between()
        pixels = _pixels(spectrum, scale, colors, side)
        outputs = start(_seen(torch.roll(pixels, move, (2, 3)), preprocessing))[which[0], which[1]]
        responses = outputs[:, outputs.shape[1] // 2, outputs.shape[2] // 2] if outputs.dim() == 3 else outputs
        spectrum.grad = torch.autograd.grad(-responses.sum(), spectrum)[0]
        optimizer.step()
    with torch.no_grad():
        return _pixels(spectrum, scale, colors, side).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()


@machine.as_imported(gradients=False)
@torch.inference_mode()
def responses_to(classifier: Classifier, layer: str, units: Sequence[int], crops: Tensor) -> Tensor:
    """The largest sum of each unit on its own image, counted as ``strongest_images`` does.

    Args:
        classifier, layer, units: as for ``driving_images``.
        crops: (units, crop, crop, 3) uint8.

    Returns:
        (units,) float32 on the CPU.
    """
    squares = framed(crops, classifier.preprocessing)
    outputs = classifier.activations(squares.permute(0, 3, 1, 2), [f"{layer}:before"])[f"{layer}:before"]
    largest = outputs.flatten(2).amax(2) if outputs.dim() == 4 else outputs
    return largest[torch.arange(len(units)), torch.tensor(units)].cpu()


def seen_side(classifier: Classifier, layer: str) -> int:
    """The side of the square that a unit of a layer can depend on, pixels; of the image where it is not smaller."""
    field, side = _cost(classifier, layer).receptive_field, classifier.preprocessing.crop
    return side if field is None else min(field.size, side)


def driven_part(classifier: Classifier, layer: str, image: Tensor) -> np.ndarray:
    """What the unit for which an image was made sees of it, cut as ``seen_by_unit`` cuts photos.

    Args:
        classifier, layer: as for ``driving_images``.
        image: (crop, crop, 3) uint8, of ``driving_images``.

    Returns:
        (side, side, 3) uint8.
    """
    preprocessing, cost = classifier.preprocessing, _cost(classifier, layer)
    shape = cost.output
    middle, columns = (shape[1] // 2 * shape[2] + shape[2] // 2, shape[2]) if len(shape) == 3 else (0, 1)
    square = framed(image[None], preprocessing)[0].numpy()
    return seen_by_unit(square, preprocessing, cost.receptive_field, middle, columns)


def _cost(classifier: Classifier, layer: str) -> LayerCost:
    rows = costs(classifier.net.table, len(classifier.classes), classifier.preprocessing.crop)
    return next(row for row in rows if row.name == layer)


def framed(crops: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Squares whose center view is a crop.

    Args:
        crops: (N, crop, crop, 3) uint8.
        preprocessing: of the run.

    Returns:
        (N, size, size, 3) uint8, black around the crops.
    """
    edge = (preprocessing.size - preprocessing.crop) // 2
    squares = crops.new_zeros(len(crops), preprocessing.size, preprocessing.size, 3)
    squares[:, edge : edge + preprocessing.crop, edge : edge + preprocessing.crop] = crops
    return squares


def _first_spectrum(count: int, side: int, seed: int) -> Tensor:
    """(count, 3, side, side // 2 + 1, 2) float32: a little noise, from which every image begins."""
    drawn = randomness.normal_tensor(seed, "first spectrum", (3, side, side // 2 + 1, 2))
    return drawn.mul_(0.01).expand(count, -1, -1, -1, -1).clone()


def _scale(side: int) -> Tensor:
    """(side, side // 2 + 1) float32: what the numbers of a spectrum are multiplied with, by their frequency."""
    frequencies = torch.hypot(torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None])
    return side / frequencies.clamp(min=1 / side) / 4


def _colors(preprocessing: Preprocessing) -> Tensor:
    """(3, 3) float32: red, green and blue of three independent numbers, as the run's photos vary; of length 1 at most.

    The color noise's directions are the eigenvectors of the photos' RGB times their deviations.
    """
    directions = preprocessing.noise.cpu()
    longest = float(directions.norm(dim=0).max())
    return directions / longest if longest > 0 else torch.eye(3)


def _pixels(spectrum: Tensor, scale: Tensor, colors: Tensor, side: int) -> Tensor:
    """(N, 3, side, side) float32, 0..255."""
    images = torch.fft.irfft2(torch.view_as_complex(spectrum.contiguous()) * scale, s=(side, side))
    return 255 * torch.sigmoid(torch.einsum("ck,nkhw->nchw", colors, images))


def _seen(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Pixels as the net sees them, with gradients."""
    edge = (preprocessing.size - preprocessing.crop) // 2
    inner = slice(edge, edge + preprocessing.crop)
    mean = preprocessing.mean_image[:, inner, inner].to(pixels.device)
    return (pixels - mean) * preprocessing.channel_scale().float()[:, None, None].to(pixels.device)
