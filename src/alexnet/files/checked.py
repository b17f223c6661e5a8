"""Values held against their annotations: every JSON that is read, and every recipe, by one small validator.

An annotation is a plain one (``int``, ``float``, ``str``, ``bool``, ``None``, ``Literal``, ``list[...]``,
``tuple[...]``, ``dict[str, ...]``, ``X | Y``, a ``TypedDict``), or ``Annotated`` with ``Within``, ``Length``, ``Form``.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import numbers
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

from alexnet.files.text import plain

MANY_DIGITS = "a number has more than 4,300 digits"
SEAL = "seal"  # key of a JSON object that holds the SHA-256 of all others


class Misfit(ValueError):
    """A value that its annotation does not allow.

    Attributes:
        at: which one: ``layers.conv1.size``; empty for the whole.
        reason: in words.
        of_type: it is of another type; else of the right one, and refused all the same.
    """

    def __init__(self, at: str, reason: str, of_type: bool = False):
        super().__init__(f"{at}: {reason}" if at else reason)
        self.at, self.reason, self.of_type = at, reason, of_type


@dataclasses.dataclass(frozen=True)
class Within:
    """A number from ``low`` to ``high``, both allowed."""

    low: float
    high: float

    def misfit(self, value: Any) -> str | None:
        """Why a value is refused, or None."""
        return (
            None if self.low <= value <= self.high else f"must be between {_number(self.low)} and {_number(self.high)}"
        )


@dataclasses.dataclass(frozen=True)
class Length:
    """From ``low`` to ``high`` elements or letters."""

    low: int
    high: int

    def misfit(self, value: Any) -> str | None:
        """Why a value is refused, or None."""
        if self.low <= len(value) <= self.high:
            return None
        wanted = f"{self.low:,}" if self.low == self.high else f"from {self.low:,} to {self.high:,}"
        return f"has {len(value):,} elements, must have {wanted}"


@dataclasses.dataclass(frozen=True)
class Form:
    """A text of a form: the regular expression that it must match, and what to say of one that does not."""

    pattern: str
    words: str

    def misfit(self, value: Any) -> str | None:
        """Why a value is refused, or None."""
        return None if re.fullmatch(self.pattern, value) else self.words


Count = Annotated[int, Within(0, 2**53)]
Sha = Annotated[str, Form("[0-9a-f]{64}", "must be a SHA-256 in hexadecimal")]


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def checked(value: Any, annotation: Any, at: str = "") -> Any:
    """A value as its annotation has it: lists become tuples, and integers floats, where these are asked for.

    Args:
        value: from JSON, TOML, a command line or a caller.
        annotation: see above.
        at: what the value is called.

    Raises:
        Misfit: it is of another type or range, lacks a key, or holds a number that is not finite.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return value
    if origin is typing.Annotated:
        value = checked(value, inner[0], at)
        for limit in inner[1:]:
            reason = limit.misfit(value) if value is not None and hasattr(limit, "misfit") else None
            if reason:
                raise Misfit(at, f"{_shown(value)}: {reason}")
        return value
    if origin in (typing.Required, typing.NotRequired):
        return checked(value, inner[0], at)
    if origin in (typing.Union, types.UnionType):
        return _one_of(value, inner, at)
    if origin is typing.Literal:
        if not any(type(value) is type(choice) and value == choice for choice in inner):
            raise Misfit(at, _unknown(value, inner), not isinstance(value, type(inner[0])))
        return value
    if typing.is_typeddict(annotation):
        return _object(value, annotation, at)
    if origin in (list, tuple):
        return _elements(value, origin, inner, at)
    if origin is dict or annotation is dict:
        if not isinstance(value, dict):
            raise _misfit(value, annotation, at)
        key_kind, kind = inner or (str, Any)
        return {checked(key, key_kind, at): checked(each, kind, _below(at, key)) for key, each in value.items()}
    return _plain_value(value, annotation, at)


def _plain_value(value: Any, kind: Any, at: str) -> Any:
    """A number, a text, a truth value, nothing."""
    if kind in (None, types.NoneType):
        fits = value is None
    elif kind is bool:
        fits = isinstance(value, bool)
    elif kind is int:
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    elif kind is float:
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
    else:
        fits = isinstance(value, kind)
    if not fits:
        raise _misfit(value, kind, at)
    if kind is int:
        return int(value)  # pyright: ignore[reportArgumentType]
    if isinstance(value, str) and plain(value) != value:
        raise Misfit(at, f"{_shown(value)}: holds letters that no text has (surrogates)")
    if kind is float:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise Misfit(at, f"{value}: must be a finite number")
    return value


def _one_of(value: Any, kinds: Sequence[Any], at: str) -> Any:
    """A value that fits one of several annotations; of another it is said why the one of its type refuses it."""
    for kind in kinds:
        try:
            return checked(value, kind, at)
        except Misfit as misfit:
            if not misfit.of_type:
                raise
    raise Misfit(at, f"{_shown(value)}: must be {' or '.join(_words(kind) for kind in kinds)}", True)


def _elements(value: Any, origin: type, inner: tuple[Any, ...], at: str) -> Any:
    """A list, or a tuple of one length or of any."""
    if not isinstance(value, list | tuple):
        raise _misfit(value, origin, at)
    kinds: Iterable[Any] = inner[:1] * len(value) if origin is list or inner[1:] == (...,) else inner
    if len(value) != len(tuple(kinds)):
        raise Misfit(at, f"{_shown(value)}: must be {len(tuple(kinds))} values")
    return origin(checked(each, kind, f"{at}[{place}]") for place, (each, kind) in enumerate(zip(value, kinds)))


def _object(value: Any, kind: Any, at: str) -> dict[str, Any]:
    """A JSON object against a ``TypedDict``: keys that it does not know stay as they are."""
    if not isinstance(value, dict):
        raise _misfit(value, dict, at)
    hints = typing.get_type_hints(kind, include_extras=True)
    for key in sorted(kind.__required_keys__):
        if key not in value:
            raise Misfit(_below(at, key), "is missing")
    return {key: checked(each, hints[key], _below(at, key)) if key in hints else each for key, each in value.items()}


def _below(at: str, key: object) -> str:
    return f"{at}.{key}" if at else str(key)


def _misfit(value: Any, kind: Any, at: str) -> Misfit:
    return Misfit(at, f"{_shown(value)}: must be {_words(kind)}", True)


def _words(kind: Any) -> str:
    """An annotation for people."""
    while typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(_shown, typing.get_args(kind)))
    kind = typing.get_origin(kind) or kind
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", types.NoneType: "nothing"}
    lists = {list: "a list", tuple: "a list", dict: "an object with keys"}
    return {**names, **lists, None: "nothing"}.get(kind) or (
        "an object" if typing.is_typeddict(kind) else kind.__name__
    )


def _unknown(value: Any, choices: Sequence[Any]) -> str:
    near = nearest(value, [str(choice) for choice in choices])
    return f"{_shown(value)}: unknown; {near}give one of {', '.join(str(choice) for choice in choices)}"


def nearest(name: object, known: Iterable[str], likeness: float = 0.6) -> str:
    """``perhaps you meant cosine; `` where one of the known names is near; else nothing.

    Args:
        name: that was given.
        known: that could be meant.
        likeness: least of two near names, by difflib: 1 is equal.
    """
    near = difflib.get_close_matches(str(name).lower(), list(known), 1, likeness)
    return f"perhaps you meant {near[0]}; " if near else ""


def _shown(value: Any) -> str:
    text = plain(value if isinstance(value, str) else repr(value))
    return text if len(text) <= 60 else text[:57] + "..."


def parse_json(text: bytes | str) -> Any:
    """What JSON says; NaN and Infinity, which Python once wrote, are null. Raises ``ValueError`` in words."""

    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8-sig"), parse_constant=lambda _: None)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # Python's own limit, whose words are for programmers
        raise ValueError(MANY_DIGITS) from error


def to_json(value: Any, indent: int | None = 2) -> str:
    """``value`` as JSON that strict readers take: keys in the order given; what is not finite is null."""
    return json.dumps(_strict(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, Mapping):
        return {_strict(key): _strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(each) for each in value]
    return value


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """An object with the SHA-256 of its own content under ``seal``, so that a change made by hand is seen."""
    return {**content, SEAL: _digest(content)}


def seal_holds(content: Mapping[str, Any]) -> bool:
    """Whether an object is as it was sealed; true of one that never was (of an earlier version)."""
    return SEAL not in content or content[SEAL] == _digest(content)


def _digest(content: Mapping[str, Any]) -> str:
    rest = {key: value for key, value in content.items() if key != SEAL}
    return hashlib.sha256(json.dumps(_strict(rest), sort_keys=True, ensure_ascii=False).encode("utf-8")).hexdigest()
