"""Names from outside on their way out: a file system's names may be no UTF-8; Python then has surrogates in them."""

import codecs
import re

NAMED_BYTES = "alexnet.named_bytes"  # as `errors` of a stream: what it cannot say is written as \xNN or \uNNNN
SURROGATE = re.compile("[\ud800-\udfff]")


def plain(text: str) -> str:
    """``text`` as UTF-8 can hold it: a byte that was none is written as ``\\xNN``, another surrogate as ``\\uNNNN``."""
    return text if text.isascii() else SURROGATE.sub(lambda match: _escape(match[0]), text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte that could not be decoded
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _named_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_escape, error.object[error.start : error.end])), error.end


codecs.register_error(NAMED_BYTES, _named_bytes)
