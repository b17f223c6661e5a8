"""One image: bytes to 8-bit RGB, scaled and cropped to a square as the paper does, and back to bytes."""

import io
import warnings

import numpy as np
import PIL
from PIL import Image, ImageFile, ImageOps

from alexnet.errors import WrongUse

DECODER = f"Pillow {PIL.__version__}"
RESIZED = "shorter side, area average when shrinking, cubic when enlarging; central square"
QUALITY = 95
SMALLEST = 8

ImageFile.LOAD_TRUNCATED_IMAGES = False


class BadImage(Exception):
    """Bytes that are no usable image; the message is the reason."""


def decode_square(data: bytes, size: int = 256) -> Image.Image:
    """Decodes an image, scales its shorter side to ``size`` and keeps the central square (paper section 2).

    The follow-up's tool averages over areas when it shrinks and interpolates cubically when it enlarges;
    here both act on the central square alone, which gives the same pixels without the rest.

    Returns:
        RGB image of ``size`` x ``size``.

    Raises:
        BadImage: empty, truncated, not an image, too small, too large.
    """
    if not data:
        raise BadImage("empty file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if min(width, height) < SMALLEST:
                raise BadImage(f"{width}x{height} pixels: a side below {SMALLEST}")
            image = to_rgb(ImageOps.exif_transpose(image))
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"too large: {error}") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        reason = str(error).split("<_io")[0].strip() or type(error).__name__
        raise BadImage(f"not decodable: {reason}") from error
    width, height = image.size
    side = min(width, height)
    if (width, height) == (size, size):
        return image
    left, top = (width - side) / 2, (height - side) / 2
    kernel = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    return image.resize((size, size), kernel, box=(left, top, left + side, top + side))


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: transparent pixels over white, 16-bit scaled to 8."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / 65535 if values.max(initial=0) > 255 else 1
        return Image.fromarray(np.clip(values * scale + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def encode(image: Image.Image, form: str) -> bytes:
    """An RGB image as the store keeps it: ``jpeg`` (quality 95, 4:2:0) or ``raw`` (height x width x 3 bytes)."""
    if form == "raw":
        return image.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def decode_stored(data: bytes | memoryview, form: str, size: int) -> np.ndarray:
    """A stored image's pixels: (size, size, 3) uint8.

    Raises:
        BadImage: the bytes were damaged.
    """
    if form == "raw":
        if len(data) != size * size * 3:
            raise BadImage(f"{len(data):,} bytes, expected {size * size * 3:,}")
        return np.frombuffer(data, np.uint8).reshape(size, size, 3)
    try:
        pixels = np.asarray(Image.open(io.BytesIO(data)))
    except Exception as error:
        raise BadImage(f"not decodable: {error}") from error
    if pixels.shape != (size, size, 3):
        raise BadImage(f"{pixels.shape} pixels, expected {(size, size, 3)}")
    return pixels


def check_form(form: str) -> None:
    """Raises ``WrongUse`` unless ``form`` is one the store knows."""
    if form not in ("jpeg", "raw"):
        raise WrongUse(f"--format {form}: unknown; give jpeg or raw")
