"""One image: bytes to 8-bit RGB, scaled to a square as the paper does, and back to bytes."""

import contextlib
import functools
import io
import warnings

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageFile, ImageOps

DECODER = f"Pillow {PIL.__version__}"
SHORTER_SIDE, WARP = "shorter-side", "warp"
RESIZED = {
    SHORTER_SIDE: "shorter side, area average when shrinking, cubic when enlarging; central square",
    WARP: "both sides, whatever their ratio, area average when shrinking, cubic when enlarging",
}
QUALITY = 95
SMALLEST = 8

ImageFile.LOAD_TRUNCATED_IMAGES = False


class BadImage(Exception):
    """Bytes that are no usable image; the message is the reason."""


def decode_square(data: bytes | np.ndarray, size: int = 256, resize: str = SHORTER_SIDE) -> Image.Image:
    """Decodes an image and makes it a square (paper section 2).

    The follow-up's tool averages over areas when it shrinks and interpolates cubically when it enlarges;
    here both act on the central square alone, which gives the same pixels without the rest.

    Args:
        data: an image file's bytes, or (H, W, 3) uint8 pixels.
        size: side of the square.
        resize: ``shorter-side``, scaled so that the shorter side is ``size``, then the central square; ``warp``,
            both sides to ``size`` (Caffe's published figures were measured so).

    Returns:
        RGB image of ``size`` x ``size``.

    Raises:
        BadImage: empty, truncated, not an image, too small, too large.
    """
    image = Image.fromarray(data) if isinstance(data, np.ndarray) else _decode(data)
    width, height = image.size
    if (width, height) == (size, size):
        return image
    if resize == WARP:
        kernel = Image.Resampling.BOX if min(width, height) > size else Image.Resampling.BICUBIC
        return image.resize((size, size), kernel)
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    kernel = Image.Resampling.BOX if side > size else Image.Resampling.BICUBIC
    return image.resize((size, size), kernel, box=(left, top, left + side, top + side))


def _decode(data: bytes) -> Image.Image:
    if not data:
        raise BadImage("empty file")
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS and not heic():
        raise BadImage("HEIC: pip install 'alexnet[heic]'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if min(width, height) < SMALLEST:
                raise BadImage(f"{width}x{height} pixels: a side below {SMALLEST}")
            image.load()
            return to_rgb(_upright(image))
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"too large: {error}") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        reason = str(error).split("<_io")[0].strip() or type(error).__name__
        raise BadImage(f"not decodable: {reason}") from error


HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")


@functools.cache
def heic() -> bool:
    """Whether HEIC can be read here; teaches Pillow to where pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]
    except ImportError:
        return False
    register_heif_opener()
    return True


def _upright(image: Image.Image) -> Image.Image:
    """Turned as the camera says. Some of ImageNet's EXIF blocks are damaged: then as it lies."""
    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(image)
    return image


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: transparent pixels over white, 16-bit scaled to 8, CMYK as Adobe writes it."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image, dtype=np.uint32)
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        scale = 255 / 65535 if values.max(initial=0) > 255 else 1
        return Image.fromarray(np.clip(values * scale + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def encode(image: Image.Image, form: str) -> bytes:
    """An RGB image as the store keeps it: ``jpeg`` (quality 95, 4:2:0) or ``raw`` (PPM: a line of header, then RGB)."""
    if form == "raw":
        return ppm_header(image.width) + image.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return buffer.getvalue()


def ppm_header(size: int) -> bytes:
    """What goes before the pixels of a raw square, so that any program can open it."""
    return f"P6\n{size} {size}\n255\n".encode()


def room_for(size: int) -> np.ndarray:
    """(size, size, 3) uint8 to decode into and read from soon.

    Where rows begin at multiples of 32 bytes, libjpeg-turbo writes them past the cache into memory; here they don't.
    """
    whole = np.empty(size * size * 3 + 64, np.uint8)
    start = -whole.ctypes.data % 64 + 16
    return whole[start : start + size * size * 3].reshape(size, size, 3)


def decode_stored(data: bytes | memoryview, form: str, size: int, room: np.ndarray | None = None) -> np.ndarray:
    """A stored image's pixels: (size, size, 3) uint8.

    Args:
        data: as the store has it.
        form: ``jpeg`` or ``raw``.
        size: side of the square.
        room: of the result's shape, for the pixels of a JPEG; new if not given.

    Raises:
        BadImage: the bytes were damaged.
    """
    if form == "raw":
        pixels, header = size * size * 3, ppm_header(size)
        if len(data) == pixels:  # stores of format 1 have no header
            return np.frombuffer(data, np.uint8).reshape(size, size, 3)
        if len(data) != len(header) + pixels or bytes(memoryview(data)[: len(header)]) != header:
            raise BadImage(f"{len(data):,} bytes, not {pixels:,} behind a header")
        return np.frombuffer(data, np.uint8, offset=len(header)).reshape(size, size, 3)
    try:
        pixels = simplejpeg.decode_jpeg(np.frombuffer(data, np.uint8), buffer=room)
    except Exception as error:
        raise BadImage(f"not decodable: {error}") from error
    if pixels.shape != (size, size, 3):
        raise BadImage(f"{pixels.shape} pixels, expected {(size, size, 3)}")
    return pixels
