"""How many messages a protobuf file is made of, before a library makes an object of each: two bytes may ask for one."""

import os
from typing import Any

from alexnet.errors import AlexNetError

MOST_FIELDS = 1 << 18  # an AlexNet has hundreds
Fields = dict[int, Any]  # of a message: number of a field that is one itself, and that one's fields


def check_fields(data: bytes, fields: Fields, path: str | os.PathLike) -> None:
    """Raises ``AlexNetError`` where a file is of more messages than any net; what is damaged is left to the parser."""
    count, waiting = 0, [(0, len(data), fields)]
    while waiting:
        position, end, inner = waiting.pop()
        while position < end:
            count += 1
            if count > MOST_FIELDS:
                raise AlexNetError(
                    f"{path}: of more than {MOST_FIELDS:,} fields; it is damaged, or made to fill the memory"
                )
            tag, position = _varint(data, position)
            length = {1: 8, 5: 4}.get(tag & 7, 0)
            if tag & 7 == 0:
                _, position = _varint(data, position)
            elif tag & 7 == 2:
                length, position = _varint(data, position)
                if tag >> 3 in inner:
                    waiting.append((position, min(end, position + length), inner[tag >> 3]))
            elif not length:  # groups, or no protobuf
                return
            position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A number, and where the next field begins."""
    value = shift = 0
    while position < len(data) and shift < 64:
        byte = data[position]
        value, position, shift = value | (byte & 127) << shift, position + 1, shift + 7
        if byte < 128:
            break
    return value, position
