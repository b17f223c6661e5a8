"""How Caffe's and torchvision's published figures had their images, as ours."""

import os
from typing import Any, Literal

import torch
from torch import Tensor

from alexnet.data import codec as images
from alexnet.data.preprocessing import Preprocessing
from alexnet.errors import UsageError
from alexnet.interchange import caffe_file
from alexnet.interchange.foreign import Foreign
from alexnet.runs.run import preprocessing_of

SIZE = 256  # of the square that crops are taken from, in Caffe's and torchvision's figures
CAFFE_BGR = (104.00698793, 116.66876762, 122.67891434)  # means of Caffe's ilsvrc_2012_mean, 0..255
TORCHVISION_MEAN, TORCHVISION_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB on 0..1
CAFFE, TORCHVISION = "caffe", "torchvision"
USUAL = {"caffe": CAFFE, "caffenet": CAFFE, "torchvision": TORCHVISION}  # a net's, where nothing else is said


def prepared(
    part: Foreign,
    own: dict[str, Any],
    like: str | None,
    mean: str | os.PathLike | None,
    net: str,
    side: int,
    file: str,
) -> tuple[Preprocessing, str]:
    """How images are prepared, and in which order a file of this format usually has the colors."""
    if own and like is None:
        if mean is not None:
            raise UsageError(f"--mean: {file} has its own mean image; with --preprocessing {CAFFE} another is taken")
        if own["mean_image"] is None:
            raise UsageError(
                f"{file}: was exported without its preprocessing, so the mean image is not in it; "
                "export the run once more with it, or as a folder"
            )
        tensors = {"mean_image": own["mean_image"], "noise": torch.tensor(own["noise"]).view(3, 3)}
        return preprocessing_of(own["preparation"], tensors, file), "rgb"
    like = like or USUAL.get(net)
    if like is None:
        raise UsageError(
            f"{file}: does not say how images are prepared for net {net}; give --preprocessing {CAFFE} or {TORCHVISION}"
        )
    caffes = like == CAFFE and not own and part.operations is not None  # torch's files have none
    return usual_preprocessing(like, side, mean), "bgr" if caffes else "rgb"


def usual_preprocessing(like: str, side: int, mean: str | os.PathLike | None = None) -> Preprocessing:
    """How Caffe's or torchvision's published figures were measured, as ours: RGB, 0..255, minus mean, times scale.

    Args:
        like: ``caffe`` or ``torchvision``.
        side: of the center crop, pixels.
        mean: with ``caffe``, a ``.binaryproto``.
    """
    if like == TORCHVISION:
        if mean is not None:
            raise UsageError("--mean: goes with --preprocessing caffe; torchvision's mean is a color")
        colors = torch.tensor([255 * value for value in TORCHVISION_MEAN])
        image = colors.view(3, 1, 1).expand(3, SIZE, SIZE).contiguous()
        red, green, blue = (1 / (255 * value) for value in TORCHVISION_DEVIATION)
        return _preparation(image, side, (red, green, blue), images.SHORTER_SIDE)
    if mean is None:
        image = torch.tensor(CAFFE_BGR).flip(0).view(3, 1, 1).expand(3, SIZE, SIZE).contiguous()
    else:
        image = caffe_file.read_mean(mean).flip(0).contiguous()
        if image.shape[1:] == (1, 1):
            image = image.expand(3, SIZE, SIZE).contiguous()
        if image.shape[1] != image.shape[2] or image.shape[1] < side:
            raise UsageError(
                f"{mean}: a mean of {image.shape[1]}x{image.shape[2]} pixels; it must be a square of {side}"
            )
    return _preparation(image, side, 1.0, images.WARP)


def _preparation(
    mean: Tensor, side: int, scale: float | tuple[float, float, float], resize: Literal["shorter-side", "warp"]
) -> Preprocessing:
    return Preprocessing(
        size=mean.shape[-1],
        crop=side,
        scale=scale,
        mean_image=mean,
        noise=torch.zeros(3, 3),
        resized=images.RESIZED[resize],
        resize=resize,
    )
