"""Image files as they lie: a JPEG's segments, and files of the same pixels without texts, profiles and the like."""

import zlib
from collections.abc import Iterator


def has_app1(data: bytes) -> bool:
    """Whether a JPEG file may have a segment of the kind that EXIF and XMP are in: where in doubt, yes."""
    return any(marker in (0xE1, None) for marker, _, _ in _jpeg_segments(data))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int | None, int, int]]:
    """Marker, beginning and end of each segment up to the first scan; the marker None where it cannot be followed."""
    at = 2
    while True:
        start = at
        if data[at : at + 1] != b"\xff":
            yield None, start, len(data)
            return
        while data[at : at + 1] == b"\xff":  # any number of fill bytes may come before a marker: ITU-T T.81, B.1.1.2
            at += 1
        marker = data[at] if at < len(data) else None
        if marker == 0xDA:
            return
        if marker == 0x01 or (marker is not None and 0xD0 <= marker <= 0xD7):  # they have no length
            at += 1
        else:
            length = int.from_bytes(data[at + 1 : at + 3], "big")
            if marker is None or length < 2 or at + 1 + length > len(data):
                yield None, start, len(data)
                return
            at += 1 + length
        yield marker, start, at


def without_metadata(data: bytes) -> bytes | None:
    """A file of the same pixels without texts, profiles and the like; None where the form is not known."""
    if data.startswith(PNG):
        return _bare_png(data)
    if data.startswith(b"\xff\xd8"):
        return _bare_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _bare_webp(data)
    return None


PNG = b"\x89PNG\r\n\x1a\n"


def _bare_png(data: bytes) -> bytes:
    """Critical chunks and transparency; the camera's rotation where its checksum is right."""
    parts, at = [PNG], len(PNG)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + length
        whole = zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        if kind[:1].isupper() or kind == b"tRNS" or (kind == b"eXIf" and whole):
            parts.append(data[at:end])
        at = end
        if kind == b"IEND":
            break
    return b"".join(parts)


def _bare_jpeg(data: bytes) -> bytes:
    """Without comments and the segments of applications but EXIF's (rotation) and Adobe's (colors)."""
    kept, at = [data[:2]], 2
    for marker, start, end in _jpeg_segments(data):
        if marker is None:
            break
        if not (0xE2 <= marker <= 0xEF and marker != 0xEE) and marker != 0xFE:
            kept.append(data[start:end])
        at = end
    return b"".join([*kept, data[at:]])


def _bare_webp(data: bytes) -> bytes:
    """The picture and its transparency."""
    parts, at = [], 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        if kind == b"VP8X":
            flags = data[at + 8] & 0x12 if at + 8 < len(data) else 0  # transparency and animation
            parts.append(data[at : at + 8] + bytes([flags]) + data[at + 9 : end])
        elif kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"):
            parts.append(data[at:end])
        at = end
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + len(body).to_bytes(4, "little") + body
