"""Names of the classes of weights that came without: a list of one's own, or ImageNet's thousand."""

import codecs
import os
import re
import unicodedata
from typing import Any

from alexnet import files
from alexnet.data import imagenet
from alexnet.errors import AlexNetError, UsageError
from alexnet.interchange.exported import AGAIN

MOST_CLASSES_BYTES = 1 << 26  # of a list of classes
MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
         codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # fmt: skip
NO_LETTERS = ("Cc", "Zl", "Zp")  # Unicode's categories of control characters and of ends of lines


def read_classes(file: str | os.PathLike) -> tuple[list[str], list[str] | None]:
    """One class per line; where every line begins with a WNID, words follow it.

    The text is UTF-8, or what the mark at its beginning says (UTF-16 from Windows, say).

    Raises:
        UsageError: no such file, no text, no class, or one that comes twice; names the line.
    """
    if not files.exists(file) or files.is_folder(file):
        raise UsageError(f"--classes {file}: no such file")
    if files.size(file) > MOST_CLASSES_BYTES:
        raise UsageError(f"--classes {file}: {files.size(file):,} bytes; give a text with one class per line")
    lines = [line.strip() for line in re.split("\r\n|\r|\n", _text(files.read_bytes(file), f"--classes {file}"))]
    for number, line in enumerate(lines, 1):
        wrong = next((letter for letter in line if _no_letter(letter)), None)
        if wrong is not None:
            raise UsageError(
                f"--classes {file}: line {number}: has the control character U+{ord(wrong):04X}; remove it"
            )
    parts = [(number, re.fullmatch(r"(n\d{8})[\s,]+(.+)", line)) for number, line in enumerate(lines, 1) if line]
    with_words = all(part for _, part in parts)
    names = [(number, part[1] if with_words and part else lines[number - 1]) for number, part in parts]
    first: dict[str, int] = {}
    for number, name in names:
        if first.setdefault(name, number) != number:
            raise UsageError(f"--classes {file}: line {number}: the class {name!r} comes twice (line {first[name]})")
    if not names:
        raise UsageError(f"--classes {file}: is empty")
    return [name for _, name in names], [part[2] for _, part in parts if part] if with_words else None


def _text(content: bytes, where: str) -> str:
    """Text by the mark at its beginning, else UTF-8. Raises ``UsageError`` with the line that is none."""
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    encoding = MARKS.get(mark, "utf-8")
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        number = content[len(mark) : len(mark) + error.start].decode(encoding, "ignore").count("\n") + 1
        raise UsageError(f"{where}: line {number}: is no text in {encoding.upper()}; save the file in UTF-8") from error


def _no_letter(letter: str) -> bool:
    return letter == "\ufeff" or (letter != "\t" and unicodedata.category(letter) in NO_LETTERS)


def classes_of(
    count: int, own: dict[str, Any], own_names: tuple[list[str], list[str] | None] | None, where: str
) -> tuple[list[str], list[str] | None]:
    """Names of the classes, and their words: those said by the caller, those in the file, or ImageNet's."""
    if own_names is not None:
        if len(own_names[0]) != count:
            raise UsageError(f"--classes: {len(own_names[0])} classes, {where} has {count}")
        return own_names
    if own:
        if len(own["classes"]) != count:
            raise AlexNetError(
                f"{where}: classes: {len(own['classes']):,} names, its last layer has {count:,}; {AGAIN}"
            )
        return own["classes"], own.get("words")
    known = imagenet.classes()
    if count == len(known):
        return list(known), list(known.values())
    raise UsageError(f"{where}: {count} classes, whose names are not in it; give --classes FILE, one per line")
