"""What a client sends: so many bytes in so much time, and an image whose header is looked at before its pixels."""

import asyncio
import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, overload

import numpy as np
from fastapi import Request
from PIL import Image

from alexnet import machine
from alexnet.data import codec
from alexnet.data.preprocessing import Preprocessing
from alexnet.web.refusals import Gone, Refused

MOST_BYTES = 20 << 20  # of a file
MOST_HELD = 64 << 20  # bytes of all files that are being sent or decoded
MOST_JPEG, MOST_OTHER = 40_000_000, 16_000_000  # pixels; libjpeg gives a smaller image, the others all their pixels
LARGE = 4_000_000  # pixels, from which one thread decodes images one after the other: each takes and keeps memory
PATIENCE, SLOWEST = 10.0, 256 << 10  # seconds for a file, and one more for so many bytes
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "HEIF")  # as far as Pillow has them here


class Photo(NamedTuple):
    """An image that was sent.

    Attributes:
        square: (size, size, 3) uint8, as the run's dataset would have it.
        width, height: of the file, pixels, as they lie there.
    """

    square: np.ndarray
    width: int
    height: int


class Uploads:
    """Takes images from requests and decodes them, a few at a time. Closes with its block.

    Args:
        preprocessing: says what squares are made of them.
    """

    def __init__(self, preprocessing: Preprocessing):
        self.preprocessing = preprocessing
        self.held = 0
        self._pool = ThreadPoolExecutor(max(2, machine.cores()), "decoding")
        Image.init()  # Pillow's formats, which take a moment to be read
        self._large = ThreadPoolExecutor(1, "decoding")

    def __enter__(self) -> "Uploads":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._large.shutdown(cancel_futures=True)

    async def photo(self, content: bytes) -> Photo:
        """Raises ``Refused`` where the bytes are no image, or one of too many pixels."""
        photo = await asyncio.wrap_future(self._pool.submit(self._decoded, content, LARGE))
        return photo or await asyncio.wrap_future(self._large.submit(self._decoded, content))

    async def read(self, request: Request) -> bytes:
        """The body of a request.

        Raises:
            Refused: it is too large, comes too slowly, or too many are being sent.
            Gone: the client went away.
        """
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > MOST_BYTES:
            raise _too_large()
        parts: list[bytes] = []
        size, begun, clock = 0, asyncio.get_running_loop().time(), asyncio.get_running_loop().time
        try:
            while True:
                try:
                    async with asyncio.timeout(begun + PATIENCE + size / SLOWEST - clock()):
                        message = await request.receive()
                except TimeoutError:
                    raise Refused(408, f"the file did not come within {PATIENCE:g} seconds") from None
                if message["type"] != "http.request":
                    raise Gone
                parts.append(message.get("body", b""))
                size, self.held = size + len(parts[-1]), self.held + len(parts[-1])
                if size > MOST_BYTES:
                    raise _too_large()
                if self.held > MOST_HELD:
                    raise Refused(503, "too many large files are being sent; try again in a second", retry=1)
                if not message.get("more_body", False):
                    return b"".join(parts)
        finally:
            self.held -= size

    @overload
    def _decoded(self, content: bytes) -> Photo: ...

    @overload
    def _decoded(self, content: bytes, below: int) -> Photo | None: ...

    def _decoded(self, content: bytes, below: int | None = None) -> Photo | None:
        """An image, or None where it has no fewer pixels than are asked for."""
        width, height, form = _header(content)
        most = MOST_JPEG if form in ("JPEG", "MPO") else MOST_OTHER
        if width * height > most:
            raise Refused(413, f"{width:,}x{height:,} pixels: a {form} image may have {most // 1_000_000} megapixels")
        if below is not None and width * height >= below:
            return None
        try:
            square = codec.decode_square(content, self.preprocessing.size, self.preprocessing.resize)
        except codec.BadImage as error:
            raise Refused(400, f"not a usable image: {error}") from error
        return Photo(square, width, height)


def _header(content: bytes) -> tuple[int, int, str]:
    """Width, height and format of an image, by its header alone."""
    if not content:
        raise Refused(400, "the request has no body; send the bytes of an image")
    if content[4:8] == b"ftyp" and content[8:12] in codec.HEIC_BRANDS and not codec.heic():
        raise Refused(400, "HEIC: the server reads none; pip install 'alexnet[heic]' there")
    formats = [form for form in FORMATS if form in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(content), formats=formats) as image:
                return image.width, image.height, image.format or ""
    except Image.DecompressionBombError:
        raise Refused(413, "too many pixels") from None
    except Exception:  # Pillow's readers raise almost anything on damaged bytes
        raise Refused(400, "not an image of a format that is read here (JPEG, PNG, WebP, GIF, BMP, TIFF)") from None


def _too_large() -> Refused:
    return Refused(413, f"a file may have {MOST_BYTES >> 20} MiB")
