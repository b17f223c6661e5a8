"""Stimuli as a study wants them seen, against the files' pixels, Pillow and Brain-Score's rule."""

import hashlib
import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from alexnet import UsageError
from alexnet.science import fits


def file_of(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    room = io.BytesIO()
    Image.fromarray(pixels).save(room, "PNG")
    return pixels, room.getvalue()


def test_exact_pixels_are_the_files(tmp_path):
    pixels, data = file_of(48, 48)
    fitted = fits.exact(48)(data)
    assert hashlib.sha256(fitted.pixels.tobytes()).digest() == hashlib.sha256(pixels.tobytes()).digest()
    Image.fromarray(pixels).save(tmp_path / "x.jpg", quality=90)
    jpeg = (tmp_path / "x.jpg").read_bytes()
    assert (fits.exact(48)(jpeg).pixels == np.asarray(Image.open(tmp_path / "x.jpg"))).all()
    for width, height in ((48, 47), (96, 96), (64, 48)):
        with pytest.raises(UsageError, match=f"{width}x{height} pixels, but the net sees 48x48"):
            fits.exact(48)(file_of(width, height)[1])


@pytest.mark.parametrize(("width", "height"), [(60, 30), (30, 60), (13, 31), (40, 40), (20, 20)])
def test_padded_images_are_whole_in_the_middle(width, height):
    _, data = file_of(width, height)
    shown = fits.padded(40, (128, 128, 128))(data).pixels
    rows, columns = (round(n * 40 / max(width, height)) for n in (height, width))
    top, left = (40 - rows) // 2, (40 - columns) // 2
    inside = np.asarray(Image.open(io.BytesIO(data)).resize((columns, rows), Image.Resampling.BICUBIC))
    assert (shown[top : top + rows, left : left + columns] == inside).all()
    shown = shown.copy()
    shown[top : top + rows, left : left + columns] = 128
    assert shown.shape == (40, 40, 3) and (shown == 128).all()


def half_to_even(number: Fraction) -> int:
    return round(number)  # Python's rule of whole Fractions, and NumPy's of floats


def test_the_canvas_is_brain_scores_on_twenty_images():
    """Its rule in words of Pillow: a gray canvas of ratio times the size, the image in the middle; or its center."""
    gray = fits.color("gray")
    assert gray == Image.new("RGB", (1, 1), "gray").getpixel((0, 0))
    random = np.random.default_rng(5)
    for number in range(20):
        width, height = (int(n) for n in random.integers(8, 60, 2))
        degrees, own = (int(n) for n in random.integers(2, 17, 2))
        _, data = file_of(width, height, number)
        image, ratio = Image.open(io.BytesIO(data)), Fraction(degrees, own)
        sides = [half_to_even(ratio * side) for side in (width, height)]
        if ratio >= 1:
            screen = Image.new("RGB", tuple(sides), "gray")
            screen.paste(image, tuple(half_to_even(Fraction(new - old, 2)) for new, old in zip(sides, image.size)))
        else:
            left, top = (half_to_even(Fraction(old - new, 2)) for new, old in zip(sides, image.size))
            screen = image.crop((left, top, left + sides[0], top + sides[1]))
        whole = np.asarray(image)
        assert (fits.canvas(whole, degrees / own, gray) == np.asarray(screen)).all(), (width, height, degrees, own)
        seen = fits.on_screen(32, degrees, own, gray)(data).pixels
        assert (seen == np.asarray(screen.resize((32, 32), Image.Resampling.BICUBIC))).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: fits.color("grau"), "--background grau: unknown color"),
        (lambda: fits.on_screen(32, 0, 8, (0, 0, 0)), "--degrees 0: must be above 0"),
        (lambda: fits.on_screen(32, 8, float("nan"), (0, 0, 0)), "--stimulus-degrees nan"),
        (lambda: fits.on_screen(32, 100, 1, (0, 0, 0)), "more than 64 times"),
    ],
)
def test_what_cannot_be_meant_is_said(make, said):
    with pytest.raises(UsageError, match=said):
        make()
