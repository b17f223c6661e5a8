"""Requests that nobody means well: images that are none, HTTP that is none, names that lead elsewhere."""

import functools
import io
import random
import struct
import zlib
from collections.abc import Callable

from PIL import PngImagePlugin

from tests.conftest import picture

HOST = b"Host: localhost\r\n"


CUT = ("less than promised",)  # kinds whose client leaves: the server waits for more


def encoded(form: str) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    picture(1, 2, 200, 160).save(buffer, form)
    return buffer.getvalue()


JPEG, PNG, WEBP, GIF, TIFF, BMP = (encoded(form) for form in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"))


def post(body: bytes, head: bytes = HOST, path: bytes = b"/predict") -> bytes:
    return b"POST %s HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s" % (path, head, len(body), body)


def get(path: bytes, head: bytes = HOST) -> bytes:
    return b"GET %s HTTP/1.1\r\n%s\r\n" % (path, head)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    """A PNG of 8-bit RGB that claims a size."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def damaged(content: bytes, by: random.Random) -> bytes:
    """Some bytes changed, the first ones left alone half of the time."""
    changed = bytearray(content)
    for _ in range(by.randint(1, 30)):
        changed[by.randrange(by.choice((0, 30)), len(changed))] = by.randrange(256)
    return bytes(changed)


@functools.cache
def full_of_pixels() -> bytes:
    """A small PNG of as many pixels as are taken."""
    return png(4000, 3999, bytes(4000 * 3 + 1) * 3999)


@functools.cache
def with_text() -> bytes:
    """A PNG whose text unpacks to 30 MB."""
    return png(64, 64, bytes(64 * 193), chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(30_000_000), 9)))


@functools.cache
def with_profile() -> bytes:
    """A PNG that says where it was made."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Location", "a secret place" * 1000)
    buffer = io.BytesIO()
    picture(0, 1).save(buffer, "PNG", pnginfo=info, icc_profile=bytes(100_000))
    return buffer.getvalue()


PATHS = (
    *(b"/../../etc/passwd", b"/%2e%2e/%2e%2e/etc/passwd", b"/images/..%2f..%2frun.json", b"//etc/passwd", b"/\\..\\x"),
    *(b"/page.js%00", b"/images/%00", b"/images/1e999", b"/images/-9223372036854775809", b"/%ff%fe", b"/run;x=1"),
    *(b"*", b"http://evil.example/run", b"/" + b"a" * 9000, b"/images/" + b"9" * 5000),
)
QUERIES = (
    *(b"views=0", b"views=10&views=1&views=abc", b"views=" + b"1" * 5000, b"top=99999999999999999999", b"top=-1"),
    *(b"top=%ff", b"picture=2", b"&&&="),
)
ENTITY = b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
SVG = ENTITY + b'<svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'
FORM = b'--x\r\nContent-Disposition: form-data; name="f"; filename="../x"\r\n\r\n' + JPEG + b"\r\n--x--"
OPENING = b"POST /predict HTTP/1.1\r\n" + HOST
HIDDEN = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /run HTTP/1.1\r\n\r\n"
METHODS = (b"BREW", b"TRACE", b"CONNECT", b"PUT", b"\xff\xfe")
NO_HTTP = (b"\x16\x03\x01\x02\x00\x01", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 999, bytes(300))

KINDS: dict[str, Callable[[random.Random], bytes]] = {
    "cut JPEG": lambda by: post(JPEG[: by.randrange(2, len(JPEG))]),
    "cut PNG": lambda by: post(PNG[: by.randrange(8, len(PNG))]),
    "damaged JPEG": lambda by: post(damaged(JPEG, by)),
    "damaged PNG": lambda by: post(damaged(PNG, by)),
    "damaged WebP": lambda by: post(damaged(WEBP, by)),
    "damaged GIF": lambda by: post(damaged(GIF, by)),
    "damaged TIFF": lambda by: post(damaged(TIFF, by)),
    "damaged BMP": lambda by: post(damaged(BMP, by)),
    "bomb by its header": lambda by: post(png(by.randrange(20_000, 1 << 31), by.randrange(20_000, 1 << 31), b"0")),
    "bomb by its pixels": lambda by: post(full_of_pixels()),
    "bomb in its text": lambda by: post(with_text()),
    "fewer pixels than it claims": lambda by: post(png(3000, 3000, bytes(100))),
    "JPEG and page": lambda by: post(JPEG + b"<script>alert(1)</script>"),
    "GIF and script": lambda by: post(b"GIF89a/*" + GIF[8:] + b"*/=1;alert(1)"),
    "drawing with an entity": lambda by: post(SVG),
    "PostScript": lambda by: post(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(/etc/passwd) (r) file\n"),
    "archive": lambda by: post(b"PK\3\4" + by.randbytes(5000)),
    "noise": lambda by: post(by.randbytes(by.randrange(1, 60_000))),
    "JPEG's start and noise": lambda by: post(b"\xff\xd8\xff\xe0" + by.randbytes(9000)),
    "nothing": lambda by: post(b""),
    "profile and place": lambda by: post(with_profile()),
    "form": lambda by: post(FORM, HOST + b"Content-Type: multipart/form-data; boundary=x\r\n"),
    "less than promised": lambda by: post(JPEG)[: -by.randrange(1, 500)],
    "more than may be": lambda by: OPENING + b"Content-Length: %d\r\n\r\n" % by.choice((1 << 25, 1 << 80)) + b"x" * 999,
    "lengths that disagree": lambda by: OPENING + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "no length": lambda by: OPENING + b"Content-Length: -1\r\n\r\n",
    "length and chunks": lambda by: OPENING + HIDDEN,
    "bad chunks": lambda by: OPENING + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nx",
    "long header": lambda by: get(b"/healthz", HOST + b"X: " + b"a" * 100_000 + b"\r\n"),
    "many headers": lambda by: get(b"/healthz", HOST + b"".join(b"X-%d: 1\r\n" % i for i in range(3000))),
    "no host": lambda by: get(b"/run", b""),
    "two hosts": lambda by: get(b"/run", HOST + b"Host: evil.example\r\n"),
    "foreign host": lambda by: post(JPEG, b"Host: evil.example\r\n"),
    "foreign page": lambda by: post(JPEG, HOST + b"Origin: https://evil.example\r\n"),
    "path trick": lambda by: get(by.choice(PATHS)),
    "wrong parameter": lambda by: post(JPEG, path=b"/predict?" + by.choice(QUERIES)),
    "no method": lambda by: by.choice(METHODS) + b" /run HTTP/1.1\r\n" + HOST + b"\r\n",
    "no HTTP": lambda by: by.choice(NO_HTTP),
    "socket": lambda by: get(b"/run", HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"),
}
