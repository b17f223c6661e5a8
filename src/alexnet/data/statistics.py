"""Statistics of training images: mean image, channel moments, covariance of RGB and its eigenvectors.

They are sums of integers over the stored pixels: exact, and the same in whatever order they were added.
"""

import dataclasses
import os

import numpy as np
from safetensors.numpy import load, save

from alexnet import files, native
from alexnet.errors import AlexNetError


@dataclasses.dataclass
class Sums:
    """Exact sums over images.

    Attributes:
        images: how many.
        pixels: (size, size, 3) int64, the sum of all images.
        products: (3, 3) int64, the sum over images and pixels of the outer product of RGB.
    """

    images: int
    pixels: np.ndarray
    products: np.ndarray

    @classmethod
    def zero(cls, size: int) -> "Sums":
        """The sums of no image."""
        return cls(0, np.zeros((size, size, 3), np.int64), np.zeros((3, 3), np.int64))

    def add(self, image: np.ndarray, image_products: np.ndarray) -> None:
        """Adds one (size, size, 3) uint8 image and its ``products``, which workers have computed."""
        self.images += 1
        if native.available() and image.flags.c_contiguous:
            native.add_image(self.pixels, image)
        else:
            self.pixels += image
        self.products += image_products

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.images + other.images, self.pixels + other.pixels, self.products + other.products)

    def save(self, path: str | os.PathLike) -> None:
        """Writes a safetensors file, whole or not at all."""
        tensors = {
            "images": np.array([self.images], np.int64),
            "pixels": self.pixels,
            "products": self.products,
        }
        files.write_bytes(path, save(tensors))

    @classmethod
    def load(cls, path: str | os.PathLike, size: int) -> "Sums":
        """Reads what ``save`` wrote of images of ``size``. Raises ``AlexNetError`` where the file is damaged."""
        try:
            tensors = load(files.read_bytes(path))
            sums = cls(int(tensors["images"][0]), tensors["pixels"], tensors["products"])
        except Exception as error:
            raise AlexNetError(f"{path}: damaged ({error}); prepare the dataset again") from error
        problem = sums.problem(size)
        if problem:
            raise AlexNetError(f"{path}: damaged ({problem}); prepare the dataset again")
        return sums

    def problem(self, size: int) -> str | None:
        """What cannot be of sums over images of ``size``, in words; None where all can."""
        for name, array, shape in (("pixels", self.pixels, (size, size, 3)), ("products", self.products, (3, 3))):
            if array.shape != shape or array.dtype != np.int64:
                return f"{name} are {array.shape} {array.dtype}, must be {shape} int64"
        if not 0 < self.images < 2**40:
            return f"{self.images:,} images"
        most = 255 * self.images
        if self.pixels.min() < 0 or self.pixels.max() > most:
            return "sums of pixels beyond 0..255"
        if self.products.min() < 0 or int(self.products.max()) > 255 * most * size * size:
            return "sums of products beyond 0..255"
        return None


def products(image: np.ndarray) -> np.ndarray:
    """(3, 3) int64, the sum over pixels of the outer product of RGB; doubles hold it exactly to 2**53."""
    if native.available() and image.flags.c_contiguous:
        half = native.image_products(image)
        return half[[[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
    flat = image.reshape(-1, 3).astype(np.float64)
    return (flat.T @ flat).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Statistics:
    """What training subtracts and adds; all on the 0..255 scale.

    Attributes:
        images: training images they are of.
        mean_image: (3, size, size) float64.
        mean: (3,) float64, of each channel.
        deviation: (3,) float64, standard deviation of each channel over images and pixels.
        covariance: (3, 3) float64, of RGB over images and pixels.
        eigenvalues: (3,) float64, of the covariance, ascending.
        eigenvectors: (3, 3) float64, one in each column; the largest component of each is positive.
    """

    images: int
    mean_image: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    covariance: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray

    @classmethod
    def of(cls, sums: Sums) -> "Statistics":
        """From the exact sums."""
        count = sums.images * sums.pixels.shape[0] * sums.pixels.shape[1]
        mean = sums.pixels.sum((0, 1)) / count
        covariance = sums.products / count - np.outer(mean, mean)
        values, vectors = np.linalg.eigh(covariance)
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), range(3)])
        return cls(
            images=sums.images,
            mean_image=(sums.pixels / sums.images).transpose(2, 0, 1),
            mean=mean,
            deviation=np.sqrt(np.diag(covariance).clip(0)),
            covariance=covariance,
            eigenvalues=values.clip(0),
            eigenvectors=vectors,
        )

    def summary(self) -> dict[str, object]:
        """The small ones as plain numbers, for people and JSON."""
        return {
            "images": self.images,
            "mean": self.mean.tolist(),
            "deviation": self.deviation.tolist(),
            "covariance": self.covariance.tolist(),
            "eigenvalues": self.eigenvalues.tolist(),
            "eigenvectors": self.eigenvectors.tolist(),
        }
