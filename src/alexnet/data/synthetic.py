"""The embedded data set: drawn, deterministic, works offline.

Eight classes: a hue (red, yellow, green, blue) by a pattern (stripes, dots). One patterned object of any
shape, place, size, rotation and light lies on a ground cluttered with plain shapes of those very hues and with
colorless patterns, so neither color nor pattern alone gives the class away.
"""

import numpy as np
import torch

from alexnet import randomness
from alexnet.data.sources import Source, folder
from alexnet.data.sources.tree import Tree

SIZE = 256
HUES = {"red": 0.99, "yellow": 0.135, "green": 0.36, "blue": 0.59}  # turns of the color circle
PATTERNS = ("stripes", "dots")
CLASSES = [f"{hue} {pattern}" for hue in HUES for pattern in PATTERNS]
CLUTTER = 10
VALIDATION_SHARE = 4  # one validation image for so many training images


class _Draws:
    """An image's random numbers, handed out one after the other."""

    def __init__(self, index: int):
        drawn = randomness.uniform(2012, "demo", 0, torch.tensor([index]), 512)
        self._values = iter(drawn[0].tolist())

    def between(self, low: float, high: float) -> float:
        """Uniform in ``low``..``high``."""
        return low + (high - low) * next(self._values)

    def choice(self, count: int) -> int:
        """Uniform in 0..count-1."""
        return int(next(self._values) * count)


def _color(hue: float, saturation: float, value: float) -> np.ndarray:
    """(3,) float32 RGB in 0..1 of a color on the circle."""
    places = (np.array([5, 3, 1], np.float32) + 6 * hue) % 6
    return np.float32(value) * (1 - np.float32(saturation) * np.clip(np.minimum(places, 4 - places), 0, 1))


ROWS, COLUMNS = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)


def _outline(draws: _Draws, x: np.ndarray, y: np.ndarray, size: float) -> np.ndarray:
    """Distance in pixels inside the edge of a shape of any kind around 0, 0; negative outside."""
    kind = draws.choice(5)
    aspect = draws.between(0.68, 1.0)
    x, y = x * aspect, y / aspect
    if kind == 0:  # ellipse
        return size - np.hypot(x, y)
    if kind == 1:  # rounded box
        return size * 0.9 - (x**4 + y**4) ** np.float32(0.25)
    angle = np.arctan2(y, x)
    corners = 3 + draws.choice(4)
    if kind == 2:  # polygon
        part = np.float32(2 * np.pi / corners)
        return size * 0.85 - np.hypot(x, y) * np.cos((angle % part) - part / 2)
    depth = draws.between(0.10, 0.22)
    if kind == 3:  # flower or star
        return size * (1 + depth * np.cos((corners + 1) * angle)) - np.hypot(x, y)
    wave = depth * np.cos(2 * angle + draws.between(0, 6)) + 0.1 * np.cos(3 * angle + draws.between(0, 6))
    return size * (1 + wave) - np.hypot(x, y)  # pebble


def _pattern(draws: _Draws, kind: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Float32 in 0..1 of the shape of ``x``: where the second tone of a pattern is."""
    period = draws.between(10, 16) if kind == "stripes" else draws.between(22, 36)
    turn = draws.between(0, np.pi)
    u = (x * np.cos(turn) + y * np.sin(turn)) / period + draws.between(0, 1)
    if kind == "stripes":
        away = np.abs((u % 1) - 0.5) * period
        return np.clip(away - period * draws.between(0.21, 0.29) + 0.5, 0, 1)
    v = (y * np.cos(turn) - x * np.sin(turn)) / period + draws.between(0, 1)
    u = u + 0.5 * (np.floor(v) % 2)  # every second row of dots lies between those of the first
    away = np.hypot((u % 1) - 0.5, (v % 1) - 0.5) * period
    return np.clip(period * draws.between(0.27, 0.34) - away + 0.5, 0, 1)


def _place(draws: _Draws, size: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """A window around a random place, with its pixels' coordinates around that place, turned by any angle."""
    margin = size * 0.8
    left, top, turn = draws.between(margin, SIZE - margin), draws.between(margin, SIZE - margin), draws.between(0, 6.3)
    reach = int(2.55 * size) + 10  # as far as the corners of a narrow triangle and its shadow
    window = (
        slice(max(0, int(top) - reach), min(SIZE, int(top) + reach)),
        slice(max(0, int(left) - reach), min(SIZE, int(left) + reach)),
    )
    x, y = COLUMNS[window] - np.float32(left), ROWS[window] - np.float32(top)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    return window, x * cos + y * sin, y * cos - x * sin


def _lay(canvas: np.ndarray, inside: np.ndarray, colors: np.ndarray, shadow: float) -> None:
    """Lays a shape over the canvas, with a soft shadow below and to the right of it."""
    dark = shadow * np.clip(inside / 9 + 1, 0, 1)[:-4, :-3, None] ** 2
    canvas[4:, 3:] *= 1 - dark
    edge = np.clip(inside + 0.5, 0, 1)[..., None]
    canvas += edge * (colors - canvas)


def _ground(draws: _Draws) -> np.ndarray:
    """(SIZE, SIZE, 3) float32: two dull colors that run into each other, with clouds of grain."""
    ends = [_color(draws.between(0, 1), draws.between(0.05, 0.3), draws.between(0.35, 0.85)) for _ in range(2)]
    turn = draws.between(0, 6.3)
    share = ((COLUMNS - 128) * np.cos(turn) + (ROWS - 128) * np.sin(turn)) / 320 + 0.5
    clouds = sum(
        (
            np.sin(draws.between(0.01, 0.06) * COLUMNS + draws.between(-0.06, 0.06) * ROWS + draws.between(0, 6.3))
            for _ in range(4)
        ),
        np.zeros_like(ROWS),
    )
    mix = np.clip(share + 0.12 * clouds, 0, 1)[..., None].astype(np.float32)
    return ends[0] * (1 - mix) + ends[1] * mix


def _clutter(draws: _Draws, canvas: np.ndarray) -> None:
    """Plain shapes of any of the four hues or none, and patterned ones without color."""
    hues = list(HUES.values())
    for _ in range(CLUTTER):
        size = draws.between(10, 40)
        window, x, y = _place(draws, size)
        inside = _outline(draws, x, y, size)
        kind = draws.choice(4)
        value = draws.between(0.4, 0.95)
        if kind < 3:
            hue = hues[draws.choice(len(hues))] + draws.between(-0.03, 0.03)
            colors = _color(hue % 1, draws.between(0.45, 0.85), value)
        else:
            other = draws.between(0.25, 0.5) * (1 if value < 0.6 else -1) + value
            tone = _pattern(draws, PATTERNS[draws.choice(2)], x, y)
            gray = value + (np.clip(other, 0, 1) - value) * tone
            colors = gray[..., None]
        _lay(canvas[window], inside, colors, 0.25)


def draw(index: int, label: int) -> np.ndarray:
    """One image of the embedded data set.

    Args:
        index: which; the same index and label give the same pixels.
        label: index into ``CLASSES``.

    Returns:
        (256, 256, 3) uint8.
    """
    draws = _Draws(index)
    hue = list(HUES.values())[label // len(PATTERNS)] + draws.between(-0.025, 0.025)
    pattern = PATTERNS[label % len(PATTERNS)]
    canvas = _ground(draws)
    _clutter(draws, canvas)

    size = draws.between(40, 88)
    window, x, y = _place(draws, size)
    inside = _outline(draws, x, y, size)
    saturation, value = draws.between(0.5, 0.95), draws.between(0.7, 1.0)
    base = _color(hue % 1, saturation, value)
    light_tone, dark_tone = _color(hue % 1, saturation * 0.25, 1.0), _color(hue % 1, saturation, value * 0.42)
    second = light_tone if draws.choice(2) else dark_tone
    tone = _pattern(draws, pattern, x, y)[..., None]
    _lay(canvas[window], inside, base * (1 - tone) + second * tone, 0.55)

    turn = draws.between(0, 6.3)
    light = 1 + draws.between(0.1, 0.3) * ((COLUMNS - 128) * np.cos(turn) + (ROWS - 128) * np.sin(turn)) / 128
    exposure = draws.between(0.5, 1.1)
    pixels = canvas * (exposure * light[..., None]) * 255
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


class DrawnTree(Tree):
    """The data set as a tree of image files that are drawn when they are read.

    Args:
        training: training images; a quarter as many come for validation. A multiple of 32 gives each class
            as many.
    """

    kind = "drawn"

    def __init__(self, training: int):
        names = []
        for index in range(training + training // VALIDATION_SHARE):
            split = "train" if index < training else "val"
            names.append(f"{split}/{CLASSES[index % len(CLASSES)]}/{index:05d}.bmp")
        super().__init__("synthetic images", names)

    def read(self, member: int) -> np.ndarray:
        return draw(member, member % len(CLASSES))


def source(training: int) -> Source:
    """The data set as ``prepare`` takes it; see ``DrawnTree``."""
    return folder.source(DrawnTree(training))
