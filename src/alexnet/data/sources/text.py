"""Text from outside, decoded strictly, and the labels in it: each is one of a few forms, or an error with its place."""

import codecs
import csv
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator

from alexnet.errors import UsageError

# A mark at the beginning says the encoding; the longer ones first, for UTF-32's begins with UTF-16's.
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WHOLE = re.compile(r"[+-]?[0-9]{1,18}(?:\.0*)?")  # ASCII digits alone: other scripts' are names
NO_NUMBER = ("nan", "na", "n/a", "null", "none")


def decode(data: bytes, where: str) -> str:
    """Text of UTF-8, or of UTF-16 or UTF-32 that begins with its mark.

    Args:
        data: a file's bytes.
        where: its name, for the error.

    Raises:
        UsageError: anything else, naming the line and the byte.
    """
    mark, encoding = next(((m, e) for m, e in BYTE_ORDER_MARKS if data.startswith(m)), (b"", "utf-8"))
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        before = data[len(mark) :][: error.start].decode(encoding, "replace")
        line, at = _line(before), len(mark) + error.start
        raise UsageError(
            f"{where}: line {line}: byte {at:,} ({data[at]:#04x}) is no {encoding.upper()}; save it as UTF-8"
        ) from error
    if "\0" in text:
        raise UsageError(
            f"{where}: line {_line(text[: text.index(chr(0))])}: holds a NUL character, as UTF-16 without its mark and "
            "binary files do; save it as UTF-8"
        )
    return text


def _line(before: str) -> int:
    return len(lines_of(before + "x"))


def lines_of(text: str) -> list[str]:
    """The lines of a text, whatever system ended them; other separators of Unicode's are part of a line."""
    lines = re.split(r"\r\n|\n|\r", text)
    return lines[:-1] if not lines[-1] else lines


def label_of(value: object, where: str) -> str | None:
    """A label's text, from any table or list.

    Args:
        value: a whole number (a float may be whole), a truth value, or text (bytes of UTF-8).
        where: file and row, for the error.

    Returns:
        The class's name; None where there is no label: None, NaN, nothing but spaces.

    Raises:
        UsageError: anything else, and text with control characters or line breaks.
    """
    if value is None:
        return None
    if isinstance(value, bytes):
        value = decode(value, where)
    if isinstance(value, bool | int):
        return str(value)
    if isinstance(value, float):
        if math.isnan(value):
            return None
        if value.is_integer():
            return str(int(value))
    if isinstance(value, str):
        text = value.strip()
        odd = next((c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c == "\ufffd"), None)
        if odd is None:
            return text or None
        raise UsageError(f"{where}: label {_short(text)} holds {odd!a}, which no class's name does; fix it")
    raise UsageError(
        f"{where}: label {_short(value)} of type {type(value).__name__}: give whole numbers, truth values or names"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def named(labels: Iterable[str]) -> tuple[dict[str, str | None], list[str]]:
    """What each label's class is called, and the classes in order.

    Where all are whole numbers the classes are sorted as such, ``1.0`` is ``1`` and a ``nan`` among them is no label;
    else they are names, sorted as text.

    Args:
        labels: texts that ``label_of`` gave.
    """
    used = set(labels)
    numbers = {label for label in used if WHOLE.fullmatch(label)}
    if numbers and all(label.lower() in NO_NUMBER for label in used - numbers):
        names = {label: label.partition(".")[0] if label in numbers else None for label in used}
        classes = sorted({name for name in names.values() if name is not None}, key=lambda name: (int(name), name))
        return dict(names), classes
    return {label: label for label in used}, sorted(used)


def csv_rows(text: str, delimiter: str, where: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV with the number of their line, from 1; empty lines left out.

    A row is a line, so that a quote that is never closed is an error where it stands.

    Raises:
        UsageError: a quote left open or in the midst of a cell, or a cell of more than 131,072 characters.
    """
    for number, line in enumerate(lines_of(text), 1):
        if not line.strip():
            continue
        try:
            row = next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))
        except csv.Error as error:
            if "unexpected end" in str(error):
                why = "a quote is opened and not closed on this line (a cell of several lines is not read)"
            else:
                why = str(error)
            raise UsageError(f"{where}: line {number:,}: {why}; fix it") from error
        yield number, row
