"""Decoding, scaling and cropping, against NumPy's averages and hand-made files."""

import io

import numpy as np
import pytest
from PIL import Image

from alexnet.data import images


def encoded(image: Image.Image, form: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_shorter_side_by_area_average_and_central_square():
    pixels = np.random.default_rng(0).integers(0, 256, (128, 192, 3)).astype(np.uint8)
    found = np.asarray(images.decode_square(encoded(Image.fromarray(pixels)), 64)).astype(int)
    square = pixels[:, 32:160].astype(float)  # twice the size: each pixel is the mean of 2x2
    expected = square.reshape(64, 2, 64, 2, 3).mean((1, 3))
    assert np.abs(found - expected).max() <= 1


def test_an_image_of_the_right_size_is_kept_and_a_smaller_one_enlarged():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    assert (np.asarray(images.decode_square(encoded(Image.fromarray(pixels)), 64)) == pixels).all()
    assert images.decode_square(encoded(Image.fromarray(pixels[:20, :30])), 64).size == (64, 64)


def test_kinds_of_pixels():
    grey = np.full((16, 16), 80, np.uint8)
    assert (np.asarray(images.decode_square(encoded(Image.fromarray(grey)), 16)) == 80).all()
    deep = Image.fromarray(np.full((16, 16), 80 * 257, np.uint16))
    assert (np.asarray(images.decode_square(encoded(deep), 16)) == 80).all()
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    assert (np.asarray(images.decode_square(encoded(clear), 16)) == 255).all()  # over white
    palette = Image.new("RGB", (16, 16), (10, 200, 30)).quantize(4)
    assert (np.asarray(images.decode_square(encoded(palette), 16))[0, 0] == (10, 200, 30)).all()
    cmyk = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    assert np.asarray(images.decode_square(encoded(cmyk, "JPEG"), 16)).min() > 250


def test_camera_rotation_is_undone():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    found = np.asarray(images.decode_square(encoded(Image.fromarray(pixels), "JPEG", exif=exif, quality=95), 16))
    assert found[:, 12:].min() > 200 and found[:, :4].max() < 50


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, no image", "not decodable"),
        (encoded(Image.effect_noise((90, 90), 50), "JPEG")[:900], "not decodable"),
        (encoded(Image.new("RGB", (4, 300))), "4x300 pixels: a side below 8"),
        (encoded(Image.new("1", (30_000, 10_000))), "too large"),
    ],
)
def test_bad_images_say_why(data, reason):
    with pytest.raises(images.BadImage, match=reason):
        images.decode_square(data)


def test_stored_pixels_come_back():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8))
    raw = images.encode(image, "raw")
    assert (images.decode_stored(raw, "raw", 32) == np.asarray(image)).all()
    with pytest.raises(images.BadImage):
        images.decode_stored(raw[:-1], "raw", 32)
    with pytest.raises(images.BadImage):
        images.decode_stored(images.encode(image, "jpeg"), "jpeg", 64)
