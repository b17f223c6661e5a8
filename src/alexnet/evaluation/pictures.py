"""Image files and images of a program, as the squares that a net was trained on."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from alexnet import files
from alexnet.data import codec as image_files
from alexnet.data.batches import ahead
from alexnet.data.preprocessing import Picture, Preprocessing
from alexnet.data.sources.pictures import OneFile, Paths, Pictures, Read, batches
from alexnet.data.sources.tree import Content
from alexnet.errors import AlexNetError, UsageError

T = TypeVar("T")
DECODED_AT_ONCE = 32  # images a task of a thread


def several(paths: Paths) -> list[str]:
    """One path or several, as a list."""
    return list(map(os.fsdecode, [paths] if isinstance(paths, str | bytes | os.PathLike) else paths))


def decoded_ahead(
    pictures: Sequence[Pictures], preprocessing: Preprocessing, workers: int
) -> Iterator[tuple[list[str], list[np.ndarray | str]]]:
    """Names and their (size, size, 3) uint8 squares (or what is wrong with them) by the batch, in flat memory.

    Args:
        pictures: where the images are.
        preprocessing: says the square's side, and how images get to it.
        workers: threads that decode ahead.
    """
    return made_ahead(pictures, lambda content: _decoded(content, preprocessing), workers)


def made_ahead(
    pictures: Sequence[Pictures], make: Callable[[bytes | np.ndarray], T], workers: int
) -> Iterator[tuple[list[str], list[T | str]]]:
    """Names, and what is made of each image's bytes or pixels (or what is wrong with them), by the batch.

    Args:
        pictures: where the images are.
        make: called in threads; may raise ``BadImage``, of this image, or ``UsageError``, which ends all and is raised
            here with the image's name.
        workers: threads.
    """

    def load(batch: list[tuple[str, Read]]) -> tuple[list[str], list[T | str]]:
        return [name for name, _ in batch], [_named(name, read, make) for name, read in batch]

    return ahead(load, batches(pictures, DECODED_AT_ONCE), workers)


def _decoded(content: bytes | np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    return np.asarray(image_files.decode_square(content, preprocessing.size, preprocessing.resize))


def _named(name: str, read: Read, make: Callable[[bytes | np.ndarray], T]) -> T | str:
    try:
        return _tried(read, make)
    except UsageError as error:
        if name in str(error):  # a URL, or an image of a list
            raise
        raise UsageError(f"{name}: {error}") from error


def _tried(read: Read, make: Callable[[bytes | np.ndarray], T]) -> T | str:
    """What is made of an image, or why it cannot be."""
    try:
        content: Content = read()
        if isinstance(content, OSError):
            raise content
        return make(content)
    except image_files.BadImage as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)


def square_of(picture: Picture | str | bytes | os.PathLike, preprocessing: Preprocessing) -> np.ndarray:
    """(size, size, 3) uint8: an image file's path, or an image that a program has.

    Raises:
        UsageError: no such file, or nothing that is an image.
        AlexNetError: a file that cannot be read.
    """
    if not isinstance(picture, str | bytes | os.PathLike):
        return preprocessing.square(picture)
    path = os.fsdecode(picture)
    if not files.exists(path):
        raise UsageError(f"{path}: no such file")
    if files.is_folder(path):
        raise UsageError(f"{path}: is a folder; `predict` takes all images of one")
    square = _tried(lambda: OneFile(path).read(0), lambda content: _decoded(content, preprocessing))
    if isinstance(square, str):
        raise AlexNetError(f"{path}: {square}")
    return square


def name_of(picture: object, default: str) -> str:
    """What to call an image: its path, where it has one."""
    path = picture if isinstance(picture, str | bytes | os.PathLike) else getattr(picture, "filename", "")
    return os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) and path else default
