"""On the device: from uint8 images to what the network sees - mean, color noise, scale, the ten views."""

import dataclasses
import math
from typing import Annotated, Literal, get_type_hints

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alexnet import machine, native, randomness
from alexnet.data import codec as stored_images
from alexnet.data.dataset import Dataset
from alexnet.data.statistics import Statistics
from alexnet.errors import UsageError
from alexnet.files import Misfit, Within, checked

Picture = Image.Image | np.ndarray | Tensor
BLOCK_IMAGES = 4  # on a CPU: what the passes over them share stays in the cache


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a net's images are prepared; it stays with the run. A transform for other people's data sets, too.

    Attributes:
        size: side of the stored square, pixels.
        crop: side of what the net sees, pixels.
        scale: what pixels minus mean are multiplied with; 1 keeps the paper's 0..255 scale. Three numbers where red,
            green and blue have their own, as torchvision's weights want it.
        mean_image: (3, size, size) float32, 0..255; its center crop is subtracted whatever the crop's position.
        noise: (3, 3) float32, color noise (paper 4.1): one column an eigenvector of the RGB covariance times
            0.1 times its standard deviation, 0..255 scale. The paper writes eigenvalues; the 2012 source takes
            standard deviations, and on 0..255 pixels only they make sense.
        resized: how images get to ``size``, in words.
        resize: the same by its name, ``shorter-side`` or ``warp``.
    """

    size: Annotated[int, Within(1, stored_images.MOST_SIDE)]
    crop: Annotated[int, Within(1, stored_images.MOST_SIDE)]
    scale: float | tuple[float, float, float]
    mean_image: Tensor
    noise: Tensor
    resized: str = stored_images.RESIZED[stored_images.SHORTER_SIDE]
    resize: Literal["shorter-side", "warp"] = stored_images.SHORTER_SIDE

    def __post_init__(self) -> None:
        """Raises ``UsageError`` where the values do not go together: nothing after this looks at them again."""
        try:
            for name, kind in get_type_hints(Preprocessing, include_extras=True).items():
                object.__setattr__(self, name, checked(getattr(self, name), kind, name))
            if min(self.scale if isinstance(self.scale, tuple) else (self.scale,)) <= 0:
                raise Misfit("scale", f"{self.scale}: must be above 0")
            if self.crop > self.size:
                raise Misfit("crop", f"{self.crop}: is larger than the images, whose size is {self.size}")
            _check_tensor("mean_image", self.mean_image, (3, self.size, self.size))
            _check_tensor("noise", self.noise, (3, 3))
        except Misfit as misfit:
            raise UsageError(f"preprocessing: {misfit}") from misfit

    @classmethod
    def of(
        cls, dataset: Dataset, crop: int, input_scale: str, strength: float, noise_by: str = "std"
    ) -> "Preprocessing":
        """From a dataset's statistics.

        Args:
            dataset: whose.
            crop: side of what the net sees.
            input_scale: ``raw`` or ``standardized`` (divides by the pixels' standard deviation).
            strength: of the color noise.
            noise_by: ``std`` or ``eigenvalue``.
        """
        statistics = dataset.statistics
        deviation = math.sqrt(float((statistics.deviation**2).mean()))
        return cls(
            size=dataset.size,
            crop=crop,
            scale={"standardized": 1 / max(deviation, 1.0), "raw": 1.0}[input_scale],
            mean_image=torch.from_numpy(statistics.mean_image).float().contiguous(),
            noise=noise_directions(statistics, strength, noise_by),
            resized=dataset.description["resized"],
            resize=dataset.resize,
        )

    def to(self, device: torch.device | str) -> "Preprocessing":
        """The same with its tensors on a device."""
        return dataclasses.replace(self, mean_image=self.mean_image.to(device), noise=self.noise.to(device))

    def square(self, image: Picture) -> np.ndarray:
        """An image as the data set would have stored it.

        Args:
            image: a PIL image; (H, W, 3) or (H, W) uint8, 0..255, as an array; (3, H, W) uint8 as a tensor.

        Returns:
            (size, size, 3) uint8.

        Raises:
            UsageError: nothing that is such an image.
        """
        try:
            pixels = stored_images.check_sides(_pixels(image))
            return stored_images.decode_square(pixels, self.size, self.resize)
        except stored_images.BadImage as error:
            raise UsageError(f"image: {error}") from error

    @machine.as_imported(gradients=False)
    def __call__(self, image: Picture) -> Tensor:
        """An image as the net sees it in evaluation: resized unless it has the size, the center, minus the mean.

        Args:
            image: as for ``square``.

        Returns:
            (3, crop, crop) float32 on the device of ``mean_image``, channels-last in memory.

        Raises:
            UsageError: nothing that is such an image.
        """
        pixels = torch.from_numpy(np.array(self.square(image))).permute(2, 0, 1)[None]
        return self.apply(views(pixels.to(self.mean_image.device), self.crop, 1)[0], torch.float32)[0]

    def channel_scale(self) -> Tensor:
        """(3,) float64, what red, green and blue are multiplied with."""
        return torch.tensor(self.scale if isinstance(self.scale, tuple) else (self.scale,) * 3, dtype=torch.float64)

    def apply(self, crops: Tensor, dtype: torch.dtype, noise: Tensor | None = None, divisor: float = 1.0) -> Tensor:
        """Crops as the net sees them: minus the mean's center crop, plus noise, divided, times the scale.

        Args:
            crops: (N, 3, crop, crop) uint8, channels-last in memory.
            dtype: of the result.
            noise: (N, 3) float32, what to add to every pixel's RGB.
            divisor: of what comes of it (2012 source: 1.1 while noise is on).

        Returns:
            (N, 3, crop, crop), channels-last in memory.

        Raises:
            ValueError: crops of another side or type, or noise for other images.
        """
        if crops.shape[1:] != (3, self.crop, self.crop) or crops.dtype != torch.uint8:
            raise ValueError(
                f"crops {tuple(crops.shape)} {crops.dtype}: must be (N, 3, {self.crop}, {self.crop}) uint8"
            )
        if noise is not None and noise.shape != (len(crops), 3):
            raise ValueError(f"noise {tuple(noise.shape)}: must be {(len(crops), 3)}")
        edge = (self.size - self.crop) // 2
        mean = self.mean_image[:, edge : edge + self.crop, edge : edge + self.crop].permute(1, 2, 0).contiguous()
        pixels, exact = crops.permute(0, 2, 3, 1), torch.promote_types(dtype, torch.float32)
        scale = (self.channel_scale() / divisor).to(exact).to(pixels.device, non_blocking=True)
        if native.available(pixels.device, dtype) and pixels.is_contiguous():
            shift = None if noise is None else noise.contiguous()
            return native.prepare_images(pixels, mean, shift, scale, dtype).permute(0, 3, 1, 2)
        out = torch.empty(pixels.shape, dtype=dtype, device=pixels.device)
        block = BLOCK_IMAGES if pixels.device.type == "cpu" else max(1, len(pixels))
        for i in range(0, len(pixels), block):
            part = pixels[i : i + block].to(exact).sub_(mean)
            if noise is not None:
                part.add_(noise[i : i + block, None, None, :])
            out[i : i + block] = part.mul_(scale)
        return out.permute(0, 3, 1, 2)

    def color_noise(self, seed: int, epoch: int, rows: Tensor) -> Tensor:
        """(N, 3) float32 on the device of ``noise``, one RGB shift an image, keyed by epoch and row id (paper 4.1)."""
        drawn = randomness.normal(seed, "colour noise", epoch, rows, 3)
        return drawn.to(self.noise.device) @ self.noise.t()


def _pixels(image: Picture) -> np.ndarray:
    """(H, W, 3) uint8 of what a program has as an image. Raises ``UsageError`` in words for all else."""
    if isinstance(image, Image.Image):
        return stored_images.from_pil(image)
    if not isinstance(image, np.ndarray | Tensor):
        raise UsageError(
            f"image: of type {type(image).__name__}; give a path, a PIL image, a uint8 array of (height, width, 3), or "
            "a uint8 tensor of (3, height, width)"
        )
    kind, shape = ("array", "(height, width, 3)") if isinstance(image, np.ndarray) else ("tensor", "(3, height, width)")
    if image.dtype not in (np.uint8, torch.uint8):
        raise UsageError(
            f"image: {kind} of {image.dtype}; give uint8, 0..255: a float image of 0..1 times 255, rounded"
        )
    pixels = image if isinstance(image, np.ndarray) else image.numpy(force=True)
    if isinstance(image, Tensor) and pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    elif isinstance(image, np.ndarray) and pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        several = "; of several images give a list" if image.ndim == 4 else ""
        raise UsageError(f"image: {kind} of shape {tuple(image.shape)}; give {shape}{several}")
    return pixels


def _check_tensor(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tensor.shape != shape or tensor.dtype != torch.float32:
        raise Misfit(name, f"is {tuple(tensor.shape)} {tensor.dtype}, must be {shape} torch.float32")
    if not (tensor.is_meta or bool(torch.isfinite(tensor).all())):
        raise Misfit(name, "holds numbers that are not finite")


def noise_directions(statistics: Statistics, strength: float, by: str = "std") -> Tensor:
    """(3, 3) float32: each eigenvector of the RGB covariance times ``strength`` and its deviation or eigenvalue."""
    sizes = {"std": statistics.eigenvalues**0.5, "eigenvalue": statistics.eigenvalues}[by]
    return torch.from_numpy(statistics.eigenvectors * (strength * sizes)).float().contiguous()


def views(images: Tensor, crop: int, count: int) -> Tensor:
    """The views whose soft-max outputs are averaged at test (paper 4.1).

    Args:
        images: (N, 3, size, size) uint8, channels-last in memory.
        crop: side of a view, pixels.
        count: 1, the center; 10, four corners and the center, then the mirrors of these five; 9, a grid of 3 by 3
            without mirrors (2012 source on CIFAR-10).

    Returns:
        (count, N, 3, crop, crop) uint8, each view channels-last in memory.
    """
    if count not in (1, 9, 10):
        raise ValueError(f"{count} views: 1, 9 or 10")
    side = images.shape[-1]
    if images.shape[1:] != (3, side, side) or not 1 <= crop <= side:
        raise ValueError(f"images {tuple(images.shape)}: must be (N, 3, size, size) of at least {crop} pixels")
    pixels = images.permute(0, 2, 3, 1)
    crops = [(pixels[:, top : top + crop, left : left + crop], flip) for top, left, flip in corners(side, crop, count)]
    return torch.stack([view.flip(2) if flip else view for view, flip in crops]).permute(0, 1, 4, 2, 3)


def corners(side: int, crop: int, count: int) -> list[tuple[int, int, bool]]:
    """Where each view begins: its first row, its first column, and whether it is flipped then.

    Args:
        side: of the images, pixels.
        crop, count: as for ``views``.
    """
    far = side - crop
    middle = far // 2
    starts = {
        1: [(middle, middle)],
        9: [(top, left) for top in (0, middle, far) for left in (0, middle, far)],
        10: [(0, 0), (0, far), (far, 0), (far, far), (middle, middle)],
    }[count]
    return [(top, left, flip) for flip in (False, True)[: 1 + (count == 10)] for top, left in starts]
