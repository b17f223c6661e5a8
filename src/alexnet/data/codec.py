"""One image: bytes to 8-bit RGB, scaled to a square as the paper does, and back to bytes."""

import contextlib
import functools
import io
import threading
import warnings
from typing import Final

import numpy as np
import PIL
import simplejpeg
from PIL import Image, ImageFile

from alexnet import native
from alexnet.data.containers import has_app1, without_metadata

DECODER = f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}"
SHORTER_SIDE: Final = "shorter-side"
WARP: Final = "warp"
RESIZED = {
    SHORTER_SIDE: "shorter side, area average when shrinking, cubic when enlarging; central square",
    WARP: "both sides, whatever their ratio, area average when shrinking, cubic when enlarging",
}
QUALITY = 95
SMALLEST = 8
REDUCED = 1.5  # what libjpeg may leave of a larger image, times the square's side: docs/speed.md has what that loses
ORIENTATION = 0x0112  # EXIF's tag
MOST_SIDE = 1 << 14  # of a stored square
MOST_PIXELS = 89_478_485  # Pillow's bound, beyond which it warns of a bomb

TURNED = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # TIFF's tags


class BadImage(Exception):
    """Bytes that are no usable image; the message is the reason."""


def decode_square(data: bytes | np.ndarray, size: int = 256, resize: str = SHORTER_SIDE) -> np.ndarray:
    """Decodes an image and makes it a square (paper section 2).

    The follow-up's tool averages over areas when it shrinks and interpolates cubically when it enlarges;
    here both act on the central square alone, which gives the same pixels without the rest.

    Args:
        data: an image file's bytes, or (H, W, 3) uint8 pixels.
        size: side of the square.
        resize: ``shorter-side``, scaled so that the shorter side is ``size``, then the central square; ``warp``,
            both sides to ``size`` (Caffe's published figures were measured so).

    Returns:
        (size, size, 3) uint8 RGB.

    Raises:
        BadImage: empty, truncated, not an image, too small, too large.
    """
    image = _pixels(data, size)
    height, width = image.shape[:2]
    if (width, height) == (size, size):
        return image
    side = min(width, height)
    spans = (
        ((0.0, height), (0.0, width)) if resize == WARP else (((height - side) / 2, side), ((width - side) / 2, side))
    )
    if side > size:
        return area_average(image, *spans, size)
    (top, rows), (left, columns) = spans
    box = (left, top, left + columns, top + rows)
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=box))


def _pixels(data: bytes | np.ndarray, size: int) -> np.ndarray:
    """(H, W, 3) uint8, upright; of a JPEG perhaps reduced, no further than a square of ``size`` allows."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data)
    image = _decode_jpeg(data, size)
    return np.asarray(_decode(data)) if image is None else image


def decode_whole(data: bytes | np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright: every pixel of an image. Arguments and errors as for ``decode_square``."""
    return check_sides(_pixels(data, MOST_SIDE))


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A whole image at another size, cubic, antialiased where it shrinks; unchanged at its own.

    Args:
        image: (H, W, 3) uint8.
        height, width: of the result.

    Returns:
        (height, width, 3) uint8.
    """
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def area_average(image: np.ndarray, rows: tuple[float, int], columns: tuple[float, int], size: int) -> np.ndarray:
    """An image, or a part of it, shrunk: each pixel is the mean of the area that it covers, in integers.

    The same bytes with the compiled library and without: weights are multiples of 1/2048 for either axis.

    Args:
        image: (H, W, 3) uint8, contiguous.
        rows, columns: where the part begins, and its extent of at least ``size`` pixels.
        size: side of the result.

    Returns:
        (size, size, 3) uint8.
    """
    first_row, row_weights = _coverage(*rows, size)
    first_column, column_weights = _coverage(*columns, size)
    if native.available():
        return native.area_average(image, first_row, row_weights, first_column, column_weights)
    lines = np.zeros((size, *image.shape[1:]), np.uint32)
    for k, weight in enumerate(row_weights.T):
        lines += weight[:, None, None] * image[first_row + k]
    sums = np.full((size, size, 3), 1 << 21, np.uint32)
    for k, weight in enumerate(column_weights.T):
        sums += weight[:, None] * lines[:, first_column + k]
    return (sums >> 22).astype(np.uint8)


@functools.lru_cache(maxsize=256)
def _coverage(start: float, extent: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of ``size`` equal parts of a span: its first pixel (size,) int32, and its pixels' weights, uint32.

    The last pixels of a row of weights may be 0; all lie within the image.
    """
    edges = start + np.arange(size + 1) * extent / size
    low, high = np.floor(edges[:-1] + 1e-9).astype(np.int32), np.ceil(edges[1:] - 1e-9).astype(np.int32)
    taps = int((high - low).max())
    first = np.minimum(low, high[-1] - taps)
    pixels = first[:, None] + np.arange(taps + 1)
    inside = (pixels - edges[:-1, None]) / (extent / size)  # share of the part that lies before each pixel
    weights = np.diff(np.rint(2048 * inside.clip(0, 1)), axis=1)
    return first, np.ascontiguousarray(weights.astype(np.uint32))


def _decode_jpeg(data: bytes, size: int) -> np.ndarray | None:
    """The usual JPEG file's pixels, reduced by a power of two where that leaves ``REDUCED`` times ``size``; or None.

    None for what is not upright, not of three colors, damaged or no JPEG: Pillow looks at these.
    """
    if data[:2] != b"\xff\xd8":
        return None
    try:
        if has_app1(data) and Image.open(io.BytesIO(data)).getexif().get(ORIENTATION, 1) != 1:
            return None
        rows, columns, colors, _ = simplejpeg.decode_jpeg_header(data)
        height, width = int(rows), int(columns)
        if colors not in ("YCbCr", "Gray") or min(height, width) < SMALLEST or height * width > MOST_PIXELS:
            return None
        power = 1
        while power < 8 and min(height, width) // (2 * power) >= REDUCED * size:
            power *= 2
        if power == 1:
            return simplejpeg.decode_jpeg(data)
        return simplejpeg.decode_jpeg(data, min_height=-(-height // power), min_width=-(-width // power))
    except Exception:  # whatever it is, Pillow says it in words
        return None


class _Strict:
    """While any thread is in it, Pillow refuses truncated images, whatever the program around has set."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside, self._before = 0, False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = ImageFile.LOAD_TRUNCATED_IMAGES
                ImageFile.LOAD_TRUNCATED_IMAGES = False
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                ImageFile.LOAD_TRUNCATED_IMAGES = self._before


_strict = _Strict()


def _decode(data: bytes) -> Image.Image:
    """Any image file's pixels, upright, in RGB; where what is beside the pixels is damaged, without that."""
    if not data:
        raise BadImage("empty file")
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS and not heic():
        raise BadImage("HEIC: pip install 'alexnet[heic]'")
    with _strict:
        try:
            return _load(data)
        except _Undecodable:
            bare = without_metadata(data)
            if bare is None or bare == data:
                raise
            with contextlib.suppress(_Undecodable):
                return _load(bare)
            raise


class _Undecodable(BadImage):
    """Pillow could not read it."""


def _load(data: bytes) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            width, height = image.size
            if min(width, height) < SMALLEST:
                raise BadImage(f"{width}x{height} pixels: a side below {SMALLEST}")
            if width * height > 2 * MOST_PIXELS:
                raise BadImage(f"too large: {width:,}x{height:,} pixels")
            image.load()
            return _upright(to_rgb(image), image)
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(f"too large: {error}") from error
    except Exception as error:  # Pillow's decoders raise almost anything on damaged bytes
        reason = str(error).split("<_io")[0].strip() or type(error).__name__
        raise _Undecodable(f"not decodable: {reason}") from error


def from_pil(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an image that a program has opened, upright. Raises ``BadImage`` where it has none."""
    try:
        return np.asarray(_upright(to_rgb(image), image))
    except (OSError, ValueError, SyntaxError) as error:  # a file is read when its pixels are asked for
        raise BadImage(f"not decodable: {error}") from error


def check_sides(pixels: np.ndarray) -> np.ndarray:
    """The (H, W, 3) pixels. Raises ``BadImage`` where a side is too short, as of a file."""
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        raise BadImage(f"{width}x{height} pixels: a side below {SMALLEST}")
    return pixels


def dimensions(data: bytes | np.ndarray) -> tuple[int, int] | None:
    """Width and height of an image as it is stored, by its header alone; None where it has none."""
    if isinstance(data, np.ndarray):
        return data.shape[1], data.shape[0]
    with contextlib.suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Image.open(io.BytesIO(data)).size
    return None


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


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Pixels turned as the camera says of their image. Some of ImageNet's EXIF blocks are damaged: then as they lie."""
    with contextlib.suppress(Exception):
        turn = TURNED.get(image.getexif().get(ORIENTATION, 1))
        return pixels if turn is None else pixels.transpose(turn)
    return pixels


def to_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB: transparent pixels over white, 16-bit scaled to 8, CMYK as Adobe writes it.

    Raises:
        BadImage: the values have no range that the file or its type would say (floats beyond 0..1, 32-bit integers).
    """
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return _gray_of_range(image)
    if image.mode == "La":
        image = image.convert("LA")
    if "transparency" in image.info or image.mode in ("RGBA", "RGBa", "LA", "PA"):
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(ground, image).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _gray_of_range(image: Image.Image) -> Image.Image:
    """A gray picture of more than 8 bits, scaled by the range that its form has, never by what its pixels have."""
    tags = getattr(image, "tag_v2", {})
    if image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        if not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
            raise BadImage("float pixels without a known range (not 0 to 1); save it with 8 or 16 bits")
        levels = np.floor(values * 255 + 0.5).astype(np.uint8)
    elif image.mode == "I" and image.format not in WHOLE_16_BITS:
        raise BadImage("32-bit or signed pixels without a known range; save it with 8 or 16 bits")
    else:
        values = np.asarray(image, dtype=np.uint32)
        bits = tags.get(BITS, (16,))
        top = (1 << int(bits[0])) - 1 if bits and 8 < int(bits[0]) <= 16 else 65535
        levels = ((values.clip(0, top) * 255 + top // 2) // top).astype(np.uint8)
        key = image.info.get("transparency")
        if isinstance(key, int):
            levels[values == key] = 255
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        levels = 255 - levels
    return Image.fromarray(levels).convert("RGB")


WHOLE_16_BITS = ("PNG", "PPM")  # where Pillow gives a file of 16 bits in 32


def encode(image: np.ndarray, form: str) -> bytes:
    """An RGB image as datasets keep it: ``jpeg`` (quality 95, 4:2:0) or ``raw`` (PPM: a line of header, then RGB)."""
    if form == "raw":
        return ppm_header(image.shape[1]) + image.tobytes()
    buffer = io.BytesIO()  # Pillow: at the same quality simplejpeg's default transform loses more
    Image.fromarray(image).save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
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
        data: as the dataset has it.
        form: ``jpeg`` or ``raw``.
        size: side of the square.
        room: of the result's shape, for the pixels of a JPEG; new if not given.

    Raises:
        BadImage: the bytes were damaged.
    """
    if form == "raw":
        pixels, header = size * size * 3, ppm_header(size)
        if len(data) == pixels:  # datasets of format 1 have no header
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
