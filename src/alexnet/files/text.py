"""Names from outside on their way out: a file system's names may be no UTF-8; Python then has surrogates in them.

``plain`` is for files, ``shown`` for people; ``json_shown`` is JSON for a stream of any encoding.
"""

import codecs
import re
from typing import TextIO

from alexnet.errors import without_secrets
from alexnet.files.places import named

NAMED_BYTES = "alexnet.named_bytes"  # as `errors` of a stream: what it cannot say is written as \xNN or \uNNNN
SURROGATE = re.compile("[\ud800-\udfff]")
BYTE = re.compile(r"\\x(5c|[89a-f][0-9a-f])")
# What acts instead of being shown: controls (C0, DEL, C1), line separators, changes of the writing direction, tags
ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufff9-\ufffb]")
NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str) -> str:
    """``text`` as UTF-8 can hold it: a byte that was none is written as ``\\xNN``, another surrogate as ``\\uNNNN``."""
    return text if text.isascii() else SURROGATE.sub(lambda match: code_point(match[0]), text)


def kept(text: str) -> str:
    """``plain`` of a path that ``real`` gives back, though ``\\x`` be letters of its name: they are ``\\x5cx`` then."""
    return plain(text.replace("\\x", "\\x5cx"))


def real(text: str) -> str:
    """The path that ``kept`` made ``text`` of, or ``plain`` where ``\\x`` stood for bytes that were no UTF-8."""
    return BYTE.sub(lambda match: "\\" if match[1] == "5c" else chr(0xDC00 + int(match[1], 16)), text)


def shown(text: object) -> str:
    """``text`` on one line, as people see it: what would move the cursor or turn the line round is escaped.

    Copies of what lies elsewhere are called as it is, and URLs have no passwords.
    """
    text = without_secrets(named(plain(str(text))))
    return ACTING.sub(lambda match: NAMED.get(match[0]) or code_point(match[0]), text)


def json_shown(text: str, stream: TextIO) -> str:
    """JSON text with JSON's own escapes for what acts on a terminal, or what the stream's encoding does not have."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if not encoding.lower().replace("-", "").startswith("utf"):
        text = "".join(letter if _fits(letter, encoding) else _json_escape(letter) for letter in text)
    return ACTING.sub(lambda match: match[0] if match[0] == "\n" else _json_escape(match[0]), text)


def _fits(letter: str, encoding: str) -> bool:
    if letter.isascii():
        return True
    try:
        letter.encode(encoding)
    except UnicodeError:
        return False
    return True


def _json_escape(letter: str) -> str:
    units = letter.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def code_point(letter: str) -> str:
    """``\\xNN``, ``\\uNNNN`` or ``\\UNNNNNNNN``."""
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # PEP 383: a byte that could not be decoded
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _named_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(code_point, error.object[error.start : error.end])), error.end


codecs.register_error(NAMED_BYTES, _named_bytes)
